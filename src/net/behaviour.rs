//! What this node speaks: among members everything, with servers of a DHT Kademlia and identify alone.

use std::{io, time::Duration};

use libp2p::{
    connection_limits, identify, identity, kad, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{
    Dht,
    admission::Admission,
    dht,
    members::Members,
    mesh::{self, Gossipsub},
    meter::Meter,
    streams,
    topics::Allowed,
};

/// Signalling round trips. libp2p keeps quiet about a ping that failed unless the next one fails too, so a stopped process
/// is found within twice the sum: 9 s.
const PING_INTERVAL: Duration = Duration::from_millis(2500);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections that have not finished their handshakes. Admission has its own, lower bound for those that have.
const PENDING_INBOUND: u32 = 128;
const PENDING_OUTBOUND: u32 = 128;

/// Connections in total: two hundred machines, each dialled and dialling at once over two transports, and some room.
const ESTABLISHED: u32 = 1024;

/// Connections to one peer: those that streams fill, and four for a peer that dials anew, and is dialled, over two
/// transports, while the old ones are not found out to be dead.
const ESTABLISHED_PER_PEER: u32 = streams::CONNECTIONS as u32 + 4;

/// All that the swarm runs.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kademlia: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    pub(super) members: Members<MemberBehaviour>,
}

/// What only members meet.
#[derive(NetworkBehaviour)]
pub(super) struct MemberBehaviour {
    pub(super) gossip: Gossipsub,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &identity::Keypair,
        dht: Dht,
        admission: Admission,
        streams: streams::Behaviour,
        topics: Allowed,
        meter: Meter,
    ) -> io::Result<Self> {
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
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            streams,
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            kademlia: dht::behaviour(keypair.public().to_peer_id(), dht).into(),
            members: Members::new(members, admission),
        })
    }
}
