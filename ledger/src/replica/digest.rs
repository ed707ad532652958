//! What a sync asks of a replica: what is here, and who lacks what.

use std::ops::Bound;

use super::{Held, Replica};
use crate::{
    NodeId,
    rumour::{Evidence, tell},
};

/// What a digest says about one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) owner: NodeId,
    pub(crate) seq: u64,
    pub(crate) prefix: [u8; 8],
    pub(crate) quarantined: bool,
}

/// Which side of a sync lacks something about one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) here: bool,
    pub(crate) there: bool,
}

impl Replica {
    /// Up to `max` lines about fresh owners after `after`, ascending, and whether that was all.
    pub(crate) fn page(&self, after: Option<NodeId>, max: usize) -> (Vec<Line>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.held.range((from, Bound::Unbounded)).filter(|(_, held)| held.fresh);
        let lines = rest.by_ref().take(max).map(|(owner, held)| line(*owner, held)).collect();
        (lines, rest.next().is_none())
    }

    /// The fresh owners after `after`, up to and including `until` if there is one.
    pub(crate) fn fresh_between(&self, after: Option<NodeId>, until: Option<NodeId>) -> impl Iterator<Item = NodeId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.held.range((from, Bound::Unbounded));
        rest.take_while(move |(owner, _)| until.is_none_or(|until| **owner <= until))
            .filter(|(_, held)| held.fresh)
            .map(|(owner, _)| *owner)
    }

    /// Who lacks what about an owner of whom the other side says `theirs`.
    pub(crate) fn lack(&self, theirs: &Line) -> Lack {
        let Some(held) = self.held.get(&theirs.owner) else {
            let old = self.floors.get(&theirs.owner).is_some_and(|seq| seq >= theirs.seq);
            return Lack { here: !old && self.takes_in(&theirs.owner), there: false };
        };
        let mine = line(theirs.owner, held);
        let order = (mine.seq, mine.prefix).cmp(&(theirs.seq, theirs.prefix));
        // A stale record is not offered, so all that the other side's can do for it is to be newer.
        let conflict = mine.seq == theirs.seq && order.is_ne() && !mine.quarantined;
        Lack {
            here: order.is_lt() || conflict || (theirs.quarantined && !mine.quarantined),
            there: held.fresh && (order.is_gt() || (mine.quarantined && !theirs.quarantined)),
        }
    }

    /// All that is to be told about `owner`: its record, and evidence against it.
    pub(crate) fn rumours(&self, owner: &NodeId) -> impl Iterator<Item = Vec<u8>> {
        let held = self.held.get(owner).filter(|held| held.fresh);
        let evidence = held.and_then(|held| held.evidence.as_ref()).map(Evidence::tell);
        held.map(|held| tell(&held.signed)).into_iter().chain(evidence)
    }
}

fn line(owner: NodeId, held: &Held) -> Line {
    let (seq, id) = held.signed.rank();
    Line { owner, seq, prefix: id.prefix(), quarantined: held.evidence.is_some() }
}
