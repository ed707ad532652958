//! The connections to members, and what is told of them.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use libp2p::{Multiaddr, core::ConnectedPoint, multiaddr::Protocol, swarm::ConnectionId};
use tokio::sync::watch;

use super::{Path, Peer, Peers, Transport, listen, node_of, peers::Rtt, ping};
use crate::ledger::NodeId;

/// How often in a row it is told that there is no answer before a connection is given up. Once makes the peer unresponsive,
/// and it gets no work; the connection is kept a little longer, because a machine that was merely frozen goes on with it.
const SILENCES: u32 = 3;

/// The same of a connection over a bad line, whose answers took long before: where one packet is lost five times in a row, TCP
/// stands still for a quarter of a minute, and goes on. As long as so many of the slowest round trip.
const SILENCES_MAX: u32 = 10;
const STRETCH: u32 = 8;

/// What is left of the slowest round trip with each faster one: half after a minute or two.
const FADES: f64 = 0.95;

/// All connections to members. Each change is told at once, as a new [`Peers`].
#[derive(Debug)]
pub(super) struct Connections {
    /// In the order they were made, never empty.
    by_node: BTreeMap<NodeId, Vec<Connection>>,
    count: u64,
    told: watch::Sender<Arc<Peers>>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    number: u64,
    /// The number of the connection that this one was made beside, to have more room; its own for all others.
    beside: u64,
    address: Multiaddr,
    path: Path,
    dialled: bool,
    clock_ahead_ms: i64,
    rtt: Rtt,
    /// How often in a row it was told that there is no answer.
    silent: u32,
    /// The slowest round trip of late.
    slowest: Duration,
}

impl Connections {
    pub(super) fn new() -> (Self, watch::Receiver<Arc<Peers>>) {
        let (told, peers) = watch::channel(Arc::default());
        (Self { by_node: BTreeMap::new(), count: 0, told }, peers)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// A `further` connection adds room to the last one and is no news: a reader would take it for a new beginning.
    pub(super) fn opened(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        point: &ConnectedPoint,
        path: Path,
        clock_ahead_ms: i64,
        further: bool,
    ) {
        self.count += 1;
        let number = self.count;
        let connections = self.by_node.entry(node).or_default();
        let beside = connections.last().filter(|_| further).map_or(number, |last| last.beside);
        connections.push(Connection {
            id,
            number,
            beside,
            address: address_of(point),
            path,
            // The ports of a NAT that was punched are open to nobody else.
            dialled: path == Path::Direct && point.is_dialer(),
            clock_ahead_ms,
            rtt: Rtt::default(),
            silent: 0,
            slowest: Duration::ZERO,
        });
        self.tell();
    }

    /// Every way to `node`, and every connection that goes by a relay.
    pub(super) fn ways(&self, node: NodeId) -> (Option<Path>, Vec<ConnectionId>) {
        let connections = || self.by_node.get(&node).into_iter().flatten();
        let relayed = connections().filter(|connection| connection.path == Path::Relayed);
        (connections().map(|connection| connection.path).min(), relayed.map(|connection| connection.id).collect())
    }

    /// How that connection goes, and where this node dialled it, if it did, and by no relay.
    pub(super) fn way(&self, node: NodeId, id: ConnectionId) -> Option<(Path, Option<Multiaddr>)> {
        let connection = self.by_node.get(&node)?.iter().find(|connection| connection.id == id)?;
        Some((connection.path, connection.dialled.then(|| connection.address.clone())))
    }

    /// The addresses of the internet that `node` is seen at, by no relay.
    pub(super) fn seen_at(&self, node: NodeId) -> HashSet<IpAddr> {
        let direct =
            self.by_node.get(&node).into_iter().flatten().filter(|connection| connection.path != Path::Relayed);
        direct
            .filter(|connection| listen::is_public(&connection.address))
            .filter_map(|it| listen::ip_of(&it.address))
            .collect()
    }

    /// Members on the other side of the internet: connected by no relay, and not from this network.
    pub(super) fn outside(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.by_node.keys().copied().filter(|node| !self.seen_at(*node).is_empty())
    }

    /// That connection only adds room to another one.
    pub(super) fn is_further(&self, node: NodeId, id: ConnectionId) -> bool {
        let connections = self.by_node.get(&node).into_iter().flatten();
        connections.into_iter().any(|connection| connection.id == id && connection.number != connection.beside)
    }

    /// The other end of that connection, as it is seen here.
    pub(super) fn address(&self, node: NodeId, id: ConnectionId) -> Option<Multiaddr> {
        let connection = self.by_node.get(&node)?.iter().find(|connection| connection.id == id)?;
        Some(connection.address.clone())
    }

    /// Members that are reached by relays alone.
    pub(super) fn relayed(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.by_node.keys().copied().filter(|node| self.ways(*node).0 == Some(Path::Relayed))
    }

    /// Whether there are connections to `node` and this one dialled them all.
    pub(super) fn are_dialled(&self, node: NodeId) -> bool {
        self.by_node.get(&node).is_some_and(|connections| connections.iter().all(|connection| connection.dialled))
    }

    /// Whether it was one to a member.
    pub(super) fn closed(&mut self, node: NodeId, id: ConnectionId) -> bool {
        let Some(connections) = self.by_node.get_mut(&node) else { return false };
        connections.retain(|connection| connection.id != id);
        if connections.is_empty() {
            self.by_node.remove(&node);
        }
        self.tell();
        true
    }

    /// A ping was answered after a round trip, or is not yet. Whether the connection is to be given up.
    pub(super) fn pinged(&mut self, node: NodeId, id: ConnectionId, answer: Option<Duration>) -> bool {
        let Some(connection) = self.get_mut(node, id) else { return false };
        let was_silent = connection.silent > 0;
        match answer {
            Some(rtt) => {
                connection.rtt.set(rtt);
                connection.silent = 0;
                connection.slowest = rtt.max(connection.slowest.mul_f64(FADES));
            }
            None => connection.silent += 1,
        }
        let (silent, enough) = (connection.silent, connection.enough());
        if was_silent != (silent > 0) {
            self.tell();
        }
        silent >= enough
    }

    /// It has not answered, but lives.
    pub(super) fn heard(&mut self, node: NodeId, id: ConnectionId) {
        if self.get_mut(node, id).is_some_and(|connection| std::mem::take(&mut connection.silent) > 0) {
            self.tell();
        }
    }

    fn get_mut(&mut self, node: NodeId, id: ConnectionId) -> Option<&mut Connection> {
        self.by_node.get_mut(&node)?.iter_mut().find(|connection| connection.id == id)
    }

    /// What carries it: if it goes by a relay, what carries the connection to that. Its own address names one of the relay's,
    /// which need not be the one that was reached.
    fn transport(&self, connection: &Connection) -> Transport {
        let leg = relay_of(&connection.address).and_then(|relay| self.by_node.get(&relay)?.last());
        Transport::of(&leg.unwrap_or(connection).address)
    }

    fn tell(&self) {
        let peer = |connections: &Vec<Connection>| {
            // As where new streams go: by no relay, if there is a way.
            let best = connections.iter().rfind(|connection| connection.path != Path::Relayed);
            let newest = best.or_else(|| connections.last())?.beside;
            let told = connections.iter().find(|connection| connection.beside == newest)?;
            Some(Peer {
                number: told.number,
                transport: self.transport(told),
                path: told.path,
                address: told.address.clone(),
                dialled: told.dialled,
                responsive: connections.iter().any(|connection| connection.silent == 0),
                clock_ahead_ms: told.clock_ahead_ms,
                rtt: told.rtt.clone(),
            })
        };
        let connected = self.by_node.iter().filter_map(|(node, connections)| Some((*node, peer(connections)?)));
        self.told.send_replace(Arc::new(Peers { connected: connected.collect() }));
    }
}

/// The relay that the address goes by.
fn relay_of(address: &Multiaddr) -> Option<NodeId> {
    let circuit = address.iter().position(|part| part == Protocol::P2pCircuit)?;
    match address.iter().nth(circuit.checked_sub(1)?)? {
        Protocol::P2p(relay) => node_of(&relay),
        _ => None,
    }
}

impl Connection {
    /// How often in a row there may be no answer.
    fn enough(&self) -> u32 {
        let stretched = (self.slowest * STRETCH).as_secs_f64() / ping::PATIENCE.as_secs_f64();
        // Never negative, and far from what a number cannot hold once it is cut.
        (stretched.min(SILENCES_MAX.into()).ceil() as u32).max(SILENCES)
    }
}

/// The other end, or the relay before it.
fn address_of(point: &ConnectedPoint) -> Multiaddr {
    match point {
        ConnectedPoint::Listener { local_addr, .. } if point.is_relayed() => local_addr.clone(),
        _ => point.get_remote_address().clone(),
    }
}

#[cfg(test)]
mod tests {
    use libp2p::{
        PeerId,
        core::{Endpoint, transport::PortUse},
    };

    use super::*;

    const NODE: NodeId = NodeId::from_bytes([7; 32]);

    fn point() -> ConnectedPoint {
        let (local_addr, send_back_addr) = (Multiaddr::empty(), "/ip4/192.0.2.1/tcp/1".parse().unwrap());
        ConnectedPoint::Listener { local_addr, send_back_addr }
    }

    #[test]
    fn a_way_without_a_relay_is_told_whichever_is_newer() {
        let (mut connections, peers) = Connections::new();
        let id = ConnectionId::new_unchecked;
        let path = || peers.borrow().connected[&NODE].path;
        connections.opened(NODE, id(1), &point(), Path::Relayed, 0, false);
        assert_eq!((path(), connections.relayed().count()), (Path::Relayed, 1));
        connections.opened(NODE, id(2), &point(), Path::Punched, 0, false);
        let first = peers.borrow().connected[&NODE].number;
        assert_eq!((path(), connections.relayed().count()), (Path::Punched, 0));
        connections.opened(NODE, id(3), &point(), Path::Relayed, 0, false);
        assert_eq!((path(), peers.borrow().connected[&NODE].number), (Path::Punched, first));
        assert_eq!(connections.ways(NODE), (Some(Path::Punched), vec![id(1), id(3)]));
        connections.closed(NODE, id(2));
        assert_eq!(path(), Path::Relayed);
    }

    #[test]
    fn what_goes_by_a_relay_is_carried_by_what_carries_the_connection_to_it() {
        let (mut connections, peers) = Connections::new();
        let relay = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
        let dialled = |address: String| ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let circuit = format!("/ip4/192.0.2.9/udp/4001/quic-v1/p2p/{relay}/p2p-circuit/p2p/{}", PeerId::random());
        let transport = || peers.borrow().connected[&NODE].transport;
        connections.opened(NODE, ConnectionId::new_unchecked(1), &dialled(circuit), Path::Relayed, 0, false);
        assert_eq!(transport(), Transport::Quic, "all there is to go by");
        let (node, leg) = (node_of(&relay).unwrap(), dialled("/ip4/192.0.2.9/tcp/4001".to_owned()));
        connections.opened(node, ConnectionId::new_unchecked(2), &leg, Path::Direct, 0, false);
        assert_eq!(transport(), Transport::Tcp);
    }

    #[test]
    fn a_flap_shows_as_a_new_number() {
        let (mut connections, peers) = Connections::new();
        connections.opened(NODE, ConnectionId::new_unchecked(1), &point(), Path::Direct, 0, false);
        let first = peers.borrow().connected[&NODE].number;
        assert!(connections.closed(NODE, ConnectionId::new_unchecked(1)));
        assert!(peers.borrow().connected.is_empty());
        connections.opened(NODE, ConnectionId::new_unchecked(2), &point(), Path::Direct, 0, false);
        assert!(peers.borrow().connected[&NODE].number > first);
    }

    /// A download of ten minutes over a line that lost a tenth of the packets was cut off when one was lost five times.
    #[test]
    fn a_peer_on_a_bad_line_is_given_more_time_and_less_again_when_it_is_better() {
        let (mut connections, _) = Connections::new();
        let id = ConnectionId::new_unchecked(1);
        connections.opened(NODE, id, &point(), Path::Direct, 0, false);
        let mut endured = |slowest: u64, faster: usize| {
            connections.pinged(NODE, id, Some(Duration::from_millis(slowest)));
            for _ in 0..faster {
                connections.pinged(NODE, id, Some(Duration::from_millis(1)));
            }
            (1..).find(|_| connections.pinged(NODE, id, None)).unwrap()
        };
        assert_eq!(endured(300, 0), SILENCES);
        assert_eq!(endured(2500, 0), 5);
        assert_eq!(endured(60_000, 0), SILENCES_MAX);
        assert_eq!(endured(1, 100), SILENCES);
    }

    #[test]
    fn a_silent_peer_is_told_at_once_and_given_up_at_the_third_time() {
        let (mut connections, peers) = Connections::new();
        let id = ConnectionId::new_unchecked(1);
        connections.opened(NODE, id, &point(), Path::Direct, 0, false);
        assert!(!connections.pinged(NODE, id, Some(Duration::from_millis(3))));
        assert_eq!(peers.borrow().connected[&NODE].rtt(), Some(Duration::from_millis(3)));
        assert!(!connections.pinged(NODE, id, None));
        assert!(!peers.borrow().connected[&NODE].responsive);
        assert!(!connections.pinged(NODE, id, Some(Duration::from_millis(3))), "it is back");
        assert!(peers.borrow().connected[&NODE].responsive);
        assert!(!connections.pinged(NODE, id, None));
        assert!(!connections.pinged(NODE, id, None));
        connections.heard(NODE, id);
        assert!(peers.borrow().connected[&NODE].responsive, "what it sends says that it lives");
        assert!(!connections.pinged(NODE, id, None));
        assert!(!connections.pinged(NODE, id, None));
        assert!(connections.pinged(NODE, id, None));
    }

    #[test]
    fn a_second_connection_keeps_a_peer_whose_first_one_ends() {
        let (mut connections, peers) = Connections::new();
        connections.opened(NODE, ConnectionId::new_unchecked(1), &point(), Path::Direct, 0, false);
        connections.opened(NODE, ConnectionId::new_unchecked(2), &point(), Path::Direct, 0, false);
        connections.closed(NODE, ConnectionId::new_unchecked(1));
        assert!(peers.borrow().connected.contains_key(&NODE));
    }

    #[test]
    fn a_further_connection_is_no_new_number_until_the_one_beside_it_ends() {
        let (mut connections, peers) = Connections::new();
        let number = || peers.borrow().connected[&NODE].number;
        connections.opened(NODE, ConnectionId::new_unchecked(1), &point(), Path::Direct, 0, false);
        connections.opened(NODE, ConnectionId::new_unchecked(2), &point(), Path::Direct, 0, false);
        let first = number();
        connections.opened(NODE, ConnectionId::new_unchecked(3), &point(), Path::Direct, 0, true);
        connections.opened(NODE, ConnectionId::new_unchecked(4), &point(), Path::Direct, 0, true);
        assert_eq!(number(), first);
        connections.closed(NODE, ConnectionId::new_unchecked(4));
        assert_eq!(number(), first, "one that only added room went");
        connections.closed(NODE, ConnectionId::new_unchecked(2));
        let second = number();
        assert!(second > first, "what was pooled on it is gone, and readers must see it");
        connections.opened(NODE, ConnectionId::new_unchecked(5), &point(), Path::Direct, 0, false);
        assert!(number() > second, "a peer that dials anew began anew");
    }
}
