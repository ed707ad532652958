//! What a node has found out about the network between it and others: plain data, for `p2p-fed doctor`.
//!
//! Nothing is judged here, and nothing is tried for it: these are counts and last words of what the node does anyway. Fields may
//! be added; the ones here keep their names and meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of it, as of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Multiaddrs that are bound.
    pub listening: Vec<String>,
    /// Multiaddrs that others are told, those by relays included.
    pub announced: Vec<String>,
    /// The user said what others are told.
    pub is_forwarded: bool,
    /// It was told to listen on loopback alone.
    pub is_confined: bool,
    /// It was told to keep to private addresses.
    pub is_lan: bool,
    /// What came of dialling, by `tcp` and `quic`; relays are not in it.
    pub dials: BTreeMap<String, Dials>,
    /// Members that dialled this node, from where.
    pub came_in: CameIn,
    /// Where others see this node, the newest first.
    pub sightings: Vec<Sighting>,
    /// By interface; none where it is off.
    pub mdns: Option<Vec<Link>>,
    /// None where it is off.
    pub dht: Option<Meeting>,
    /// Those that the user named.
    pub bootstrap: Vec<Bootstrap>,
    /// Members that were dialled and not reached, by their ids, as far as remembered.
    pub unreached: BTreeMap<String, Fault>,
    /// Who came and was not let in, by reason, as far as remembered.
    pub turned_away: Vec<TurnedAway>,
    /// Relays that this node could be reached by.
    pub relays: Vec<Relay>,
    /// Dials from both ends at once.
    pub punches: Punches,
    /// What others said when they were asked to dial this node; empty where nobody was asked (AutoNAT).
    #[serde(default)]
    pub probed: Vec<Probed>,
    /// What the router said when it was asked to open ports; none where it was not asked (UPnP).
    #[serde(default)]
    pub mapping: Option<Mapping>,
}

/// What came of dialling members by one transport.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dials {
    /// How often it led to a connection, be it one that was not let through.
    pub reached: u64,
    /// How often an address was tried in vain.
    pub failed: u64,
    /// The last reason.
    pub fault: Option<String>,
}

/// Members that dialled this node since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameIn {
    /// From this machine or private addresses.
    pub near: u64,
    /// From the internet.
    pub afar: u64,
}

/// Where one peer sees this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who.
    pub peer: String,
    /// Its IP address; none of servers of a DHT.
    pub from: Option<String>,
    /// `tcp` or `quic`.
    pub transport: String,
    /// The IP address that it sees.
    pub ip: String,
    /// The port that it sees.
    pub port: u16,
    /// This node dialled it; else the port is the one that it dialled.
    pub is_dialled: bool,
}

/// mDNS on one interface, in one of its families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The interface.
    pub interface: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Why it is not used, where that is so.
    pub fault: Option<String>,
    /// Packets sent.
    pub sent: u64,
    /// Packets that the system would not send.
    pub unsent: u64,
    /// Packets of this node that came back, as multicast does on the machine that sends it.
    pub own: u64,
    /// Answers of other nodes of this network.
    pub answers: u64,
    /// Packets from off the link, or from another port.
    pub foreign: u64,
}

/// The DHT as a meeting place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// It is the public one.
    pub is_public: bool,
    /// Servers known that were reached or named.
    pub servers: u64,
    /// A server has answered.
    pub has_answered: bool,
    /// How often this node was advertised.
    pub announced: u64,
    /// Lookups that ended.
    pub lookups: u64,
    /// Other nodes that they named.
    pub found: u64,
    /// What failed, in all.
    pub failed: u64,
    /// The last reason.
    pub fault: Option<String>,
}

/// A bootstrap peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// As it was given.
    pub address: String,
    /// It was reached at the last try.
    pub reached: bool,
    /// Why not; none while it was not tried.
    pub fault: Option<String>,
}

/// Why something failed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In a few words.
    pub why: String,
    /// Seconds since.
    pub ago_s: u64,
}

/// Connections that came in and were not let through, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// In a few words.
    pub why: String,
    /// Admission said so, and not the network on the way to it.
    pub by_admission: bool,
    /// How often.
    pub count: u64,
    /// Where the last one came from.
    pub address: String,
    /// Seconds since the last one.
    pub ago_s: u64,
}

/// A relay that this node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Its id.
    pub peer: String,
    /// Where it is.
    pub address: String,
    /// The user named it.
    pub is_named: bool,
    /// `held`, `asked` or `free`.
    pub reservation: String,
    /// Failures in a row.
    pub failures: u32,
    /// The last reason.
    pub fault: Option<String>,
}

/// Dials from both ends at once, to members that a relay connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punches {
    /// How often this node asked for one.
    pub asked: u64,
    /// Dials that were agreed on.
    pub dialled: u64,
    /// Those that led to a connection.
    pub opened: u64,
    /// Those that did not.
    pub failed: u64,
    /// The last reason.
    pub fault: Option<String>,
}

/// Whether others could dial an address of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The address.
    pub address: String,
    /// They could.
    pub is_reachable: bool,
}

/// What came of asking the router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Multiaddrs that it opened.
    pub opened: Vec<String>,
    /// Why it did not.
    pub fault: Option<String>,
}
