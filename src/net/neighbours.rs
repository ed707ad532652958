//! Which members this node picks for itself, to hear of changes and to sync with. Pure: chance is an argument.
//!
//! In a large network nobody is connected to all. Each node puts the members in an order of its own, drawn once, and picks
//! from the front as many as it takes to have [`PICKED`] that can be reached. Orders of different nodes have nothing to do
//! with each other, so the graph of all picks is random: it holds together, with nobody in its centre, and whoever floods
//! the network with connections does not choose for others.
//!
//! The pick follows from the order and from who can be reached, and from nothing that happened before. So nodes that come
//! take their places among the picks of those that were there, and the oldest ones do not gather connections.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use libp2p::PeerId;
use sha2::{Digest, Sha256};

/// Members picked. Picks of others come on top, so that a node has twice as many connections; with three or four, random
/// graphs hold together, and the gossip mesh wants five peers.
pub(super) const PICKED: usize = 8;

/// A place in this node's order.
type Place = u64;

/// This node's order of the members, and how far it picks.
#[derive(Debug)]
pub(super) struct Neighbours {
    seed: u64,
    places: BTreeMap<PeerId, Place>,
    order: BTreeSet<(Place, PeerId)>,
    /// The place of the last pick; all are picked where there is none.
    last: Option<Place>,
}

impl Neighbours {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, places: BTreeMap::new(), order: BTreeSet::new(), last: None }
    }

    /// `peer` may be picked from now on.
    pub(super) fn add(&mut self, peer: PeerId) {
        if let Entry::Vacant(vacant) = self.places.entry(peer) {
            let digest = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(peer.to_bytes()).finalize();
            let place = digest.iter().take(size_of::<Place>()).fold(0, |place, byte| place << 8 | Place::from(*byte));
            vacant.insert(place);
            self.order.insert((place, peer));
        }
    }

    /// `peer` is picked no more.
    pub(super) fn remove(&mut self, peer: PeerId) {
        if let Some(place) = self.places.remove(&peer) {
            self.order.remove(&(place, peer));
        }
    }

    /// Picks anew: everybody up to the last of [`PICKED`] that are, or may soon be, connected.
    pub(super) fn pick(&mut self, within_reach: impl Fn(&PeerId) -> bool) {
        let reachable = self.order.iter().filter(|(_, peer)| within_reach(peer));
        self.last = reachable.map(|(place, _)| *place).nth(PICKED - 1);
    }

    /// Whether `peer` was among the last pick.
    pub(super) fn has_picked(&self, peer: &PeerId) -> bool {
        self.place(peer).is_some_and(|place| self.last.is_none_or(|last| place <= last))
    }

    /// Where `peer` stands in this node's order.
    pub(super) fn place(&self, peer: &PeerId) -> Option<Place> {
        self.places.get(peer).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> Vec<PeerId> {
        (0..count).map(|_| PeerId::random()).collect()
    }

    fn of(members: &[PeerId], seed: u64) -> Neighbours {
        let mut neighbours = Neighbours::new(seed);
        members.iter().for_each(|peer| neighbours.add(*peer));
        neighbours
    }

    fn picked(neighbours: &Neighbours, members: &[PeerId]) -> BTreeSet<PeerId> {
        members.iter().filter(|peer| neighbours.has_picked(peer)).copied().collect()
    }

    #[test]
    fn those_out_of_reach_are_picked_in_addition() {
        let all = members(100);
        let mut neighbours = of(&all, 1);
        neighbours.pick(|_| true);
        let before = picked(&neighbours, &all);
        assert_eq!(before.len(), PICKED);
        let lost = *before.first().unwrap();
        neighbours.pick(|peer| *peer != lost);
        let after = picked(&neighbours, &all);
        assert_eq!(after.len(), PICKED + 1);
        assert!(after.is_superset(&before), "it is still tried");
        neighbours.pick(|_| true);
        assert_eq!(picked(&neighbours, &all), before, "and the one in its place is not needed when it is back");
        neighbours.pick(|_| false);
        assert_eq!(picked(&neighbours, &all).len(), 100, "with nobody in reach everybody is tried");
    }

    #[test]
    fn a_newcomer_moves_few_picks() {
        let mut all = members(200);
        let mut nodes: Vec<_> = (0..100).map(|seed| of(&all, seed)).collect();
        nodes.iter_mut().for_each(|node| node.pick(|_| true));
        let before: Vec<_> = nodes.iter().map(|node| picked(node, &all)).collect();
        let newcomer = PeerId::random();
        all.push(newcomer);
        let mut picks = 0;
        for (node, before) in nodes.iter_mut().zip(before) {
            node.add(newcomer);
            node.pick(|_| true);
            let kept = picked(node, &all).intersection(&before).count();
            assert!(kept >= PICKED - 1);
            picks += PICKED - kept;
        }
        assert!((0..16).contains(&picks), "about 8 × 100 / 201 are expected: {picks}");
    }

    #[test]
    fn a_member_that_left_is_not_picked() {
        let all = members(20);
        let mut neighbours = of(&all, 1);
        neighbours.pick(|_| true);
        let left = *picked(&neighbours, &all).first().unwrap();
        neighbours.remove(left);
        neighbours.pick(|_| true);
        assert!(!neighbours.has_picked(&left));
        assert_eq!(picked(&neighbours, &all).len(), PICKED);
    }

    #[test]
    fn a_thousand_nodes_are_one_graph_without_a_centre() {
        let all = members(1000);
        let mut edges: BTreeMap<PeerId, BTreeSet<PeerId>> = BTreeMap::new();
        for (seed, peer) in all.iter().enumerate() {
            let others: Vec<_> = all.iter().filter(|other| *other != peer).copied().collect();
            let mut node = of(&others, seed as u64);
            node.pick(|_| true);
            for other in picked(&node, &others) {
                edges.entry(*peer).or_default().insert(other);
                edges.entry(other).or_default().insert(*peer);
            }
        }
        let degrees: Vec<_> = edges.values().map(BTreeSet::len).collect();
        assert!(degrees.iter().all(|degree| (PICKED..=2 * PICKED + 16).contains(degree)), "{:?}", degrees.iter().max());
        assert_eq!(degrees.iter().sum::<usize>() / all.len(), 2 * PICKED - 1);
        let (mut reached, mut news, mut hops) = (BTreeSet::from([all[0]]), vec![all[0]], 0);
        while !news.is_empty() {
            let next: BTreeSet<_> = news.iter().flat_map(|peer| edges[peer].iter().copied()).collect();
            news = next.into_iter().filter(|peer| reached.insert(*peer)).collect();
            hops += usize::from(!news.is_empty());
        }
        assert_eq!(reached.len(), all.len());
        assert!(hops <= 5, "{hops}");
    }
}
