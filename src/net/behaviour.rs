//! What this node speaks: among members everything, with servers of a DHT Kademlia and identify alone, with any relay what
//! one asks of relays, and in a compat network with nodes of edgevpn's what they speak.

use std::io;

use libp2p::{
    connection_limits, identify, identity, kad, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{
    Dht,
    admission::{Admission, Standing},
    dht,
    gate::Gate,
    mesh::{self, Gossipsub},
    meter::Meter,
    ping,
    relay::{self as relaying, Limits},
    streams,
    topics::Allowed,
};

/// Connections that have not finished their handshakes. Admission has its own, lower bound for those that have.
const PENDING_INBOUND: u32 = 128;
const PENDING_OUTBOUND: u32 = 128;

/// Connections in total: a front of a thousand workers, each dialled and dialling at once. Neighbours are a few beside them.
const ESTABLISHED: u32 = 2048;

/// Connections to one peer: those that streams fill, and four for a peer that dials anew, and is dialled, over two
/// transports, while the old ones are not found out to be dead.
const ESTABLISHED_PER_PEER: u32 = streams::CONNECTIONS as u32 + 4;

/// All that the swarm runs.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kademlia: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    /// The client's side. It asks where it is told to, and takes circuits from relays that it asked.
    pub(super) relays: relay::client::Behaviour,
    pub(super) members: Gate<MemberBehaviour>,
    pub(super) legacy: Toggle<Gate<ping::Behaviour>>,
    /// Of edgevpn's protocols, which members speak as well in a compat network.
    foreign: Toggle<Gate<streams::Behaviour>>,
}

/// What only members meet.
#[derive(NetworkBehaviour)]
pub(super) struct MemberBehaviour {
    pub(super) gossip: Gossipsub,
    pub(super) ping: ping::Behaviour,
    pub(super) relay: relay::Behaviour,
    streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &identity::Keypair,
        dht: Dht,
        admission: Admission,
        (streams, foreign): (streams::Behaviour, Option<streams::Behaviour>),
        topics: Allowed,
        meter: Meter,
        (relays, given): (relay::client::Behaviour, Limits),
    ) -> io::Result<Self> {
        let local = keypair.public().to_peer_id();
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_INBOUND))
            .with_max_pending_outgoing(Some(PENDING_OUTBOUND))
            .with_max_established(Some(ESTABLISHED))
            .with_max_established_per_peer(Some(ESTABLISHED_PER_PEER));
        let identify = identify::Config::new("p2p-fed/1".to_owned(), keypair.public())
            .with_agent_version(concat!("p2p-fed/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true);
        let members = MemberBehaviour {
            gossip: mesh::behaviour(topics, meter)?,
            ping: ping::Behaviour::default(),
            relay: relaying::behaviour(local, given),
            streams,
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            kademlia: dht::behaviour(local, dht).into(),
            relays,
            legacy: foreign
                .is_some()
                .then(|| Gate::new(ping::Behaviour::default(), admission.clone(), is_legacy))
                .into(),
            foreign: foreign.map(|foreign| Gate::new(foreign, admission.clone(), is_known)).into(),
            members: Gate::new(members, admission, is_member),
        })
    }
}

fn is_member(standing: Standing) -> bool {
    matches!(standing, Standing::Member { .. })
}

fn is_legacy(standing: Standing) -> bool {
    standing == Standing::Legacy
}

fn is_known(standing: Standing) -> bool {
    standing != Standing::Stranger
}
