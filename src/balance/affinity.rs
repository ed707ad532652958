//! Which workers served prompts that began alike, and so may still have that beginning in their cache.
//!
//! A prompt is known by hashes of ever longer beginnings. Each of the newest [`PREFIXES_KEPT`] is remembered with the last
//! [`WORKERS_KEPT`] workers that were picked for it. It is a hint: who is named may have forgotten, and may be full.

use std::collections::BTreeMap;

use crate::ledger::NodeId;

/// Beginnings that one table remembers: those of some hundred conversations of the longest kind, in about two mebibytes.
const PREFIXES_KEPT: usize = 8192;

/// Workers that are remembered for one beginning. A beginning that all prompts share soon names the most of a small
/// fleet, and so decides nothing.
const WORKERS_KEPT: usize = 4;

/// Least part of a prompt's beginnings that must have been served somewhere for that to decide: less of it saves less work
/// than an even spread does.
const LEAST_MATCH: f64 = 0.5;

/// The memory of one table.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    prefixes: BTreeMap<u64, Served>,
    /// The prefixes by when they were used, the oldest first.
    order: BTreeMap<u64, u64>,
    clock: u64,
}

#[derive(Debug)]
struct Served {
    /// The newest first.
    by: [Option<NodeId>; WORKERS_KEPT],
    used: u64,
}

impl Affinity {
    /// `node` was picked for a prompt with these beginnings.
    pub(super) fn learn(&mut self, prefixes: &[u64], node: NodeId) {
        // The shortest last: as the one that most prompts share it is to be forgotten last.
        for prefix in prefixes.iter().rev() {
            self.clock += 1;
            let clock = self.clock;
            let served = self.prefixes.entry(*prefix).or_insert(Served { by: [None; WORKERS_KEPT], used: 0 });
            let place = served.by.iter().position(|by| *by == Some(node)).unwrap_or(WORKERS_KEPT - 1);
            if let Some(newest) = served.by.get_mut(..=place) {
                newest.rotate_right(1);
                newest[0] = Some(node);
            }
            self.order.remove(&std::mem::replace(&mut served.used, clock));
            self.order.insert(clock, *prefix);
            if self.prefixes.len() > PREFIXES_KEPT
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.prefixes.remove(&oldest);
            }
        }
        debug_assert!(self.prefixes.len() == self.order.len() && self.prefixes.len() <= PREFIXES_KEPT);
    }

    /// Who served the longest of these beginnings for which `suits` takes somebody; nobody if that is too little of it.
    pub(super) fn longest(&self, prefixes: &[u64], suits: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let least = (prefixes.len() as f64 * LEAST_MATCH).ceil() as usize;
        for prefix in prefixes.iter().skip(least.saturating_sub(1)).rev() {
            let served = self.prefixes.get(prefix).into_iter().flat_map(|served| served.by.iter().flatten().copied());
            let suiting: Vec<_> = served.filter(|node| suits(*node)).collect();
            if !suiting.is_empty() {
                return suiting;
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u8) -> NodeId {
        NodeId::from_bytes([id; 32])
    }

    fn anybody(_: NodeId) -> bool {
        true
    }

    #[test]
    fn the_longest_beginning_decides() {
        let mut affinity = Affinity::default();
        affinity.learn(&[1, 2], node(1));
        affinity.learn(&[1, 2, 3], node(2));
        assert_eq!(affinity.longest(&[1, 2, 3, 4], anybody), [node(2)]);
        assert_eq!(affinity.longest(&[1, 2, 9], anybody), [node(2), node(1)], "the newest first");
        assert_eq!(affinity.longest(&[1, 2, 3], |n| n != node(2)), [node(1)], "who can't have it gives way");
    }

    #[test]
    fn a_small_part_of_a_prompt_decides_nothing() {
        let mut affinity = Affinity::default();
        affinity.learn(&[1], node(1));
        assert_eq!(affinity.longest(&[1, 2], anybody), [node(1)]);
        assert!(affinity.longest(&[1, 2, 3], anybody).is_empty());
        assert!(affinity.longest(&[], anybody).is_empty());
    }

    #[test]
    fn what_was_not_used_for_long_is_forgotten() {
        let mut affinity = Affinity::default();
        affinity.learn(&[0], node(1));
        for prefix in 1..PREFIXES_KEPT as u64 {
            affinity.learn(&[prefix], node(2));
        }
        affinity.learn(&[0], node(3));
        affinity.learn(&[u64::MAX], node(4));
        assert_eq!(affinity.prefixes.len(), PREFIXES_KEPT);
        assert_eq!(affinity.longest(&[0], anybody), [node(3), node(1)]);
        assert!(affinity.longest(&[1], anybody).is_empty(), "the oldest");
        (10..20).for_each(|id| affinity.learn(&[0], node(id)));
        assert_eq!(affinity.longest(&[0], anybody), [node(19), node(18), node(17), node(16)]);
    }
}
