//! Nodes of edgevpn and LocalAI on this node's connections, in a compat network.
//!
//! They prove nothing to a connection ([`super::admission`]), so they are kept apart from the members: a list of their own,
//! streams of their own for the two protocols that are spoken with them, and nothing else. Members of a compat network speak
//! the two among each other as well, so that what one of them hears from a node of edgevpn reaches all.
//!
//! A peer that speaks no pubsub is no node of edgevpn's; it is parted with as soon as it says so. Nor is one by a relay of
//! use: edgevpn's own nodes send nothing over such connections (go-libp2p calls them limited).

use std::{sync::Arc, time::Duration};

use libp2p::{PeerId, StreamProtocol, core::ConnectedPoint, swarm::ConnectionId};
use tokio::sync::{mpsc, watch};

use super::{
    Inbound, Path, Peers, Streams, admission::Admission, connections::Connections, dht, node_of, ping, streams,
};

/// A TCP stream to the service that the peer exposes, from its first byte on.
pub const SERVICE: StreamProtocol = StreamProtocol::new("/edgevpn/service/0.1");

/// The simplest of libp2p's pubsub protocols; those that speak gossipsub speak it as well.
pub const PUBSUB: StreamProtocol = StreamProtocol::new("/floodsub/1.0.0");

/// What the names of gossipsub's protocols begin with.
const GOSSIPSUB: &str = "/meshsub/";

/// A handle to the connections with nodes of edgevpn. Clones share.
#[derive(Clone, Debug)]
pub struct Legacy {
    streams: Streams,
    peers: watch::Receiver<Arc<Peers>>,
}

/// The streams that nodes of edgevpn open, and those of pubsub that members do.
#[derive(Debug)]
pub struct LegacyArrivals {
    /// Streams of [`SERVICE`].
    pub services: mpsc::Receiver<Inbound>,
    /// Streams of [`PUBSUB`].
    pub pubsub: mpsc::Receiver<Inbound>,
}

impl Legacy {
    /// Who of them is connected; changes with each connection made, lost or fallen silent.
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.clone()
    }

    /// Opens streams of [`SERVICE`] and [`PUBSUB`], to nodes of edgevpn and to members.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }
}

/// The actor's side.
#[derive(Debug)]
pub(super) struct Company {
    connections: Connections,
    streams: Streams,
}

impl Company {
    /// The behaviour of the streams, the actor's side, and what is handed out; nothing where the network is strict.
    pub(super) fn new(
        admission: &Admission,
    ) -> (Option<streams::Behaviour>, Option<Self>, Option<(Legacy, LegacyArrivals)>) {
        if !admission.takes_legacy() {
            return (None, None, None);
        }
        let (behaviour, streams, [services, pubsub]) = Streams::new(admission.clone(), [SERVICE, PUBSUB]);
        let (connections, peers) = Connections::new();
        let company = Self { connections, streams: streams.clone() };
        let out = (Legacy { streams, peers }, LegacyArrivals { services, pubsub });
        (Some(behaviour.fixed()), Some(company), Some(out))
    }

    /// A connection to a node of edgevpn, if it is one.
    pub(super) fn opened(&mut self, peer: PeerId, id: ConnectionId, point: &ConnectedPoint, path: Path) {
        let Some(node) = node_of(&peer) else {
            return tracing::debug!(%peer, "a peer without an Ed25519 key is no node of edgevpn's");
        };
        tracing::debug!(peer = node.short(), address = %point.get_remote_address(), path = path.as_str(), "legacy node connected");
        self.connections.opened(node, id, point, path, 0, false);
    }

    /// A peer says what it speaks; whether the connection is to be kept. One that is not is no node of edgevpn's from now on,
    /// so that it is not dialled again as soon as one would be. A server of the DHT that this node dialled is kept.
    pub(super) fn identified(&mut self, peer: PeerId, id: ConnectionId, protocols: &[StreamProtocol]) -> bool {
        let Some(node) = node_of(&peer).filter(|_| !is_edgevpn(protocols)) else { return true };
        let was_dialled = self.was_dialled(peer, id);
        self.connections.closed(node, id);
        was_dialled && protocols.contains(&dht::KADEMLIA)
    }

    /// Whether this node has dialled that connection.
    pub(super) fn was_dialled(&self, peer: PeerId, id: ConnectionId) -> bool {
        let way = node_of(&peer).and_then(|node| self.connections.way(node, id));
        way.is_some_and(|(_, dialled)| dialled.is_some())
    }

    /// Whether it was one to a node of edgevpn's.
    pub(super) fn closed(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        node_of(&peer).is_some_and(|node| self.connections.closed(node, id))
    }

    /// A ping was answered, or was not; whether the connection is to be given up.
    pub(super) fn pinged(&mut self, event: &ping::Event, heard: Duration) -> bool {
        let Some(node) = node_of(&event.peer) else { return true };
        if event.answer.is_none() && self.streams.heard_within(&event.peer, event.connection, heard) {
            self.connections.heard(node, event.connection);
            return false;
        }
        self.connections.pinged(node, event.connection, event.answer)
    }
}

/// Whether a peer that speaks these may be a node of edgevpn's.
pub(super) fn is_edgevpn(protocols: &[StreamProtocol]) -> bool {
    protocols.iter().any(|protocol| *protocol == PUBSUB || protocol.as_ref().starts_with(GOSSIPSUB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_pubsub_may_be_of_edgevpn() {
        let spoken = |names: &[&'static str]| names.iter().map(|name| StreamProtocol::new(name)).collect::<Vec<_>>();
        assert!(is_edgevpn(&spoken(&["/ipfs/id/1.0.0", "/meshsub/1.2.0"])));
        assert!(is_edgevpn(&spoken(&["/floodsub/1.0.0"])));
        assert!(!is_edgevpn(&spoken(&["/ipfs/id/1.0.0", "/ipfs/kad/1.0.0"])));
    }
}
