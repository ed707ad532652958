//! What a node says of itself: plain data, the JSON that scripts rely on.
//!
//! Fields may be added; the ones here keep their names and meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `p2p-fed status -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The network's short id.
    pub network: String,
    /// This node.
    pub node: Node,
    /// Bound, answering, and neither draining nor stopping.
    pub ready: bool,
    /// Connected members.
    pub peers: Vec<Peer>,
    /// Every service that some node offers, with its workers.
    pub services: Vec<Service>,
    /// Local listeners that balance.
    pub fronts: Vec<Front>,
    /// Local backends on offer.
    pub exports: Vec<Export>,
    /// The edgevpn side; none in a strict network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edgevpn: Option<Edgevpn>,
}

/// What edgevpn's gossip has cost and brought, in a compat network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edgevpn {
    /// The height of its ledger.
    pub index: i64,
    /// `legacy` (LocalAI, edgevpn up to 0.34, and later where ownership is off) or `signed`.
    pub form: String,
    /// Peers that listen to this node, members included.
    pub listeners: u64,
    /// Streams of gossip that peers opened: each opens one when it connects, and nodes of edgevpn one at each rotation.
    #[serde(default)]
    pub streams_total: u64,
    /// Messages heard, each once.
    pub heard_total: u64,
    /// Said by this node.
    pub published_total: u64,
    /// Passed on, once for each peer.
    pub passed_on_total: u64,
    /// Messages and blocks that were not believed, by reason: `forged`, `replayed`, `sealed` (of another token or another time), `unread`,
    /// `refused`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
}

/// This node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its name on this host.
    pub name: String,
    /// Multiaddrs to give to others as `--peer`.
    pub addresses: Vec<String>,
    /// Seconds since it started.
    pub uptime_s: u64,
}

/// A connected member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// Its name, once its record is known.
    pub name: Option<String>,
    /// `direct`, `punched` (both ends dialled at once, through their NATs) or `relayed`.
    pub path: String,
    /// `tcp` or `quic`.
    pub transport: String,
    /// What tunnels to it ride on: `direct`, `stream` for streams of the libp2p connection, or `edgevpn` for edgevpn's.
    pub carrier: String,
    /// It is no member but a node of edgevpn's or LocalAI's: nothing but edgevpn's ledger tells of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub legacy: bool,
    /// Its end of the connection, or the relay's.
    pub address: String,
    /// Last round trip in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
    /// It answered the last ping.
    pub responsive: bool,
    /// Its clock minus this one's, in seconds, when it connected.
    pub clock_ahead_s: f64,
    /// How often it broke which rule of the ledger.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offences: BTreeMap<String, u64>,
}

/// A member that this node refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Barred {
    /// Its id.
    pub id: String,
    /// Its name, if its record is known.
    pub name: Option<String>,
    /// What it did, or `banned` where the network's issuer excluded it.
    pub reason: String,
    /// Seconds until it is let in again; none for a ban.
    pub remaining_s: Option<u64>,
    /// How often it broke which rule of the ledger.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offences: BTreeMap<String, u64>,
    /// How often it was expelled until now.
    pub expulsions: u32,
}

/// One service of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `http`, `h2`, `tcp` or `udp`; empty while nobody offers it.
    pub protocol: String,
    /// Who offers it.
    pub workers: Vec<Worker>,
}

/// One worker of a service, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its node's id.
    pub node: String,
    /// Its node's name.
    pub name: String,
    /// `warming`, `ready`, `ejected`, `draining` where a local front balances over it; `offered` or `unreachable` else.
    pub state: String,
    /// It is no member but a node of edgevpn's or LocalAI's: nothing but edgevpn's ledger tells of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub legacy: bool,
    /// Connections or requests that this node's fronts have there now.
    pub in_flight: u64,
    /// The same of all fronts, as far as it reports; none where no front here balances over it.
    #[serde(default)]
    pub load: Option<u64>,
    /// Those that it was picked for since this node started.
    pub requests_total: u64,
    /// Those of them that failed there.
    pub failures_total: u64,
    /// Time to the response, where measured.
    pub latency_ms: Option<Latency>,
    /// How many it works on at once; 0 where nobody knows.
    pub slots: u32,
    /// Bytes of responses per second and busy slot, as it reports; 0 where nobody knows.
    #[serde(default)]
    pub rate: f32,
    /// Its tier: those of a higher one are used while none of a lower one can take work.
    #[serde(default)]
    pub tier: u8,
    /// The models that it has, where its backend has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Model>,
    /// Relative share.
    pub weight: u8,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A model of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// As requests name it; `*` stands for others.
    pub name: String,
    /// It is in memory now.
    pub loaded: bool,
}

/// Percentiles over the last requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// One in a hundred was slower.
    pub p99: f64,
}

/// A local listener that balances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Front {
    /// The service it balances.
    pub service: String,
    /// Where clients connect.
    pub listen: String,
    /// How it picks: a policy's name, or `external:URL`.
    pub policy: String,
    /// Why the scorer of `external:URL` is not asked now, where it fails; `least-used` decides meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_fault: Option<String>,
    /// `auto`, `http`, `tcp` or `udp`.
    pub mode: String,
    /// Why no worker can take what comes in this mode, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_fault: Option<String>,
    /// Requests (HTTP), connections (TCP) and sessions (UDP) taken.
    pub requests_total: u64,
    /// Those under way.
    pub in_flight: u64,
    /// Those of them that wait for a free slot.
    #[serde(default)]
    pub queued: u64,
    /// Requests that were sent to a further worker after one may have got them.
    #[serde(default)]
    pub retries_total: u64,
    /// Tokens that model servers said they read for its requests.
    #[serde(default)]
    pub tokens_read_total: u64,
    /// Tokens that they said they made.
    #[serde(default)]
    pub tokens_made_total: u64,
    /// About how many more were made in streams that said nothing of it.
    #[serde(default)]
    pub tokens_estimated_total: u64,
    /// Datagrams that it dropped, by reason; reasons that were none are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub datagrams_dropped: BTreeMap<String, u64>,
}

/// A local backend on offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The service it is offered as.
    pub service: String,
    /// The backend.
    pub target: String,
    /// Whether its probe succeeds, so that it is offered.
    pub healthy: bool,
    /// Why it is not.
    pub error: Option<String>,
    /// Which model server it was found to be: `llama.cpp`, `vllm`, `sglang`, `ollama`, `localai`, or `openai` for any other
    /// that lists its models as OpenAI does.
    #[serde(default)]
    pub model_server: Option<String>,
    /// Its models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Model>,
    /// How many requests it works on at once; 0 where nobody knows.
    #[serde(default)]
    pub slots: u32,
    /// Tunnels open to it.
    pub in_flight: u64,
    /// Tunnels accepted since start.
    pub tunnels_total: u64,
    /// Tunnels refused since start.
    pub refused_total: u64,
    /// Datagrams lost between the tunnels and the backend since start.
    #[serde(default)]
    pub datagrams_dropped: u64,
}

/// One node's record, as `p2p-fed ledger -o json` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Whose.
    pub node: String,
    /// Its name.
    pub name: String,
    /// It is no member but a node of edgevpn's or LocalAI's: nothing but edgevpn's ledger tells of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub legacy: bool,
    /// The record's number; 0 of one that is not a member's.
    pub seq: u64,
    /// A record of it arrived within its time to live.
    pub fresh: bool,
    /// It takes no new work.
    pub draining: bool,
    /// It is stopping.
    pub leaving: bool,
    /// Two different records with one number were seen: its key is used twice.
    pub quarantined: bool,
    /// Why it is quarantined, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_because: Option<String>,
    /// Where it can be dialled.
    pub addresses: Vec<String>,
    /// Names of what it offers.
    pub services: Vec<String>,
    /// What the network's issuer granted it; none in an open network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invited>,
}

/// What a node was invited to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Which invitation.
    pub serial: String,
    /// What it may do, in words.
    pub may: String,
    /// From when on it is worth nothing, in seconds since 1970; 0 is never.
    pub expires_unix_s: u64,
    /// It is for one machine.
    pub once: bool,
    /// It is for one machine, and another node has the same one: the issuer had better ban one of them.
    pub used_twice: bool,
}

/// `p2p-fed ledger -o json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Grows with each change at this node.
    pub revision: u64,
    /// Every record held.
    pub records: Vec<Record>,
    /// What it cost since this node started.
    #[serde(default)]
    pub traffic: Traffic,
    /// What it did not take since then.
    #[serde(default)]
    pub refusals: Vec<Refusal>,
    /// How often what happened since then, by name; as of a second ago.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// What the ledger, and the network as a whole, cost a node since it started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// This node's own rumours, as often as they were sent.
    pub gossip_published: Volume,
    /// Others' rumours, as often as they were passed on.
    pub gossip_passed_on: Volume,
    /// Rumours that came, repeated ones included.
    pub gossip_received: Volume,
    /// Of those, dropped because too many were waiting; sync repairs it.
    pub gossip_dropped: u64,
    /// Frames of syncs that were sent.
    pub sync_sent: Volume,
    /// Frames of syncs that came.
    pub sync_received: Volume,
    /// Bytes that left over libp2p's TCP connections, for whatever purpose, as given to the kernel.
    pub tcp_sent_bytes: u64,
    /// Bytes that came over them.
    pub tcp_received_bytes: u64,
    /// Bytes that left over streams of libp2p's QUIC connections, without what carries and secures them.
    #[serde(default)]
    pub quic_sent_bytes: u64,
    /// Bytes that came over them.
    #[serde(default)]
    pub quic_received_bytes: u64,
}

/// Messages, and their bytes without what carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// How many.
    pub messages: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// How often something was not taken, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A word for it.
    pub reason: String,
    /// The reason in a few words.
    pub meaning: String,
    /// How often.
    pub count: u64,
}

/// `p2p-fed peers -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// Connected members.
    pub peers: Vec<Peer>,
    /// Members that are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub barred: Vec<Barred>,
}

/// `p2p-fed services -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// Every service that some node offers, with its workers.
    pub services: Vec<Service>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}
