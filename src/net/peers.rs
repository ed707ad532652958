//! Who is connected, as one immutable snapshot.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, identity};

use super::{Path, Transport};
use crate::ledger::NodeId;

/// The members that this node is connected to.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// By id; a member with several connections appears once.
    pub connected: BTreeMap<NodeId, Peer>,
}

/// One connected member.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Grows with each connection of this process but those that only add room, so that a reader sees a flap as a new
    /// number.
    pub number: u64,
    /// Its end of the connection that is used: the newest that does more than add room and goes by no relay, if there is
    /// one. A relay's where it does.
    pub address: Multiaddr,
    /// This node dialled it there, so others of its ports may be reached there as well.
    pub dialled: bool,
    /// What carries that connection, as far as the relay where there is one.
    pub transport: Transport,
    /// By what way it goes.
    pub path: Path,
    /// It answered the last ping. A member that does not is stopped, frozen or cut off, and the connection is kept a while
    /// to see.
    pub responsive: bool,
    /// Its clock minus ours when it was admitted, in milliseconds.
    pub clock_ahead_ms: i64,
    pub(super) rtt: Rtt,
}

impl Peers {
    /// Whether both say the same; round trips are no news.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |one: &Peer, other: &Peer| {
            (one.number, &one.address, one.path, one.responsive)
                == (other.number, &other.address, other.path, other.responsive)
        };
        let mut pairs = self.connected.iter().zip(&other.connected);
        self.connected.len() == other.connected.len() && pairs.all(|((a, one), (b, other))| a == b && same(one, other))
    }
}

impl Peer {
    /// The last round trip, once one was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.get()
    }
}

/// A round trip that changes too often to be news: shared, in microseconds, zero before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Rtt(Arc<AtomicU32>);

impl Rtt {
    pub(super) fn set(&self, rtt: Duration) {
        self.0.store(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros.into())),
        }
    }
}

/// The node whose key `peer` is rendered from; none for a key that is not Ed25519.
pub fn node_of(peer: &PeerId) -> Option<NodeId> {
    // An Ed25519 peer id is the identity multihash (code 0) of the key's protobuf.
    let multihash = peer.as_ref();
    if multihash.code() != 0 {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(multihash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(NodeId::from_bytes(key.to_bytes()))
}

/// libp2p's rendering of `node`; none where its bytes are no point on the curve.
pub fn peer_of(node: &NodeId) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_reads_like_its_peer_id_and_back() {
        let peer = identity::Keypair::generate_ed25519().public().to_peer_id();
        let node = node_of(&peer).unwrap();
        assert_eq!(node.to_string(), peer.to_string());
        assert_eq!(peer_of(&node), Some(peer));
        assert_eq!(peer.to_string().parse(), Ok(node));
    }

    #[test]
    fn a_peer_id_that_hides_its_key_is_no_node() {
        let hashed: PeerId = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN".parse().unwrap();
        assert_eq!(node_of(&hashed), None);
    }
}
