//! The numbers of owners that were forgotten.
//!
//! **Invariant.** While an owner has a floor, none of its records with that number or a lower one is taken: what was
//! valid once stays refused. A floor goes when the date of such a record would refuse it anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use crate::NodeId;

#[derive(Clone, Copy, Debug)]
struct Floor {
    seq: u64,
    until: Duration,
}

#[derive(Debug)]
pub(crate) struct Floors {
    /// At most so many; the one that would go first makes room.
    max: usize,
    floors: BTreeMap<NodeId, Floor>,
    deadlines: BTreeSet<(Duration, NodeId)>,
}

impl Floors {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, floors: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// Keeps the number of an owner.
    pub(crate) fn set(&mut self, owner: NodeId, seq: u64, until: Duration) {
        self.remove(&owner);
        if self.floors.len() >= self.max
            && let Some((_, first)) = self.deadlines.first().copied()
        {
            self.remove(&first);
        }
        self.floors.insert(owner, Floor { seq, until });
        self.deadlines.insert((until, owner));
    }

    pub(crate) fn remove(&mut self, owner: &NodeId) {
        if let Some(floor) = self.floors.remove(owner) {
            self.deadlines.remove(&(floor.until, *owner));
        }
    }

    /// The highest number of the owner that is refused.
    pub(crate) fn get(&self, owner: &NodeId) -> Option<u64> {
        self.floors.get(owner).map(|floor| floor.seq)
    }

    /// All of them: owner, number, until when it stays.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, u64, Duration)> {
        self.floors.iter().map(|(owner, floor)| (*owner, floor.seq, floor.until))
    }

    /// The highest numbers of these owners that are refused.
    pub(crate) fn range(&self, owners: RangeInclusive<NodeId>) -> impl Iterator<Item = u64> {
        self.floors.range(owners).map(|(_, floor)| floor.seq)
    }

    /// Lets go what is due.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some((until, owner)) = self.deadlines.first().copied()
            && until <= now
        {
            self.remove(&owner);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_stays_until_its_time_or_until_there_are_too_many() {
        let node = |n| NodeId::from_bytes([n; 32]);
        let s = Duration::from_secs;
        let mut floors = Floors::new(2);
        floors.set(node(1), 7, s(10));
        floors.set(node(1), 8, s(30));
        floors.set(node(2), 5, s(20));
        assert_eq!((floors.get(&node(1)), floors.deadline()), (Some(8), Some(s(20))));
        floors.set(node(3), 1, s(40));
        assert_eq!(floors.get(&node(2)), None, "it would have gone first");
        floors.expire(s(29));
        assert_eq!(floors.get(&node(1)), Some(8));
        floors.expire(s(30));
        assert_eq!((floors.get(&node(1)), floors.get(&node(3))), (None, Some(1)));
        floors.remove(&node(3));
        assert_eq!(floors.deadline(), None);
    }
}
