//! Whom this node refuses, and for how long.
//!
//! A member that broke the rules too often is *barred* for a while; one that the network's issuer excluded is *banned* until
//! the issuer says otherwise. Either is disconnected, turned away by admission, and not dialled.
//!
//! **Invariant.** There is one table and one writer, the network's task; everybody else reads snapshots.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::ledger::NodeId;

/// Members barred at once. A thousand that misbehave within minutes are an attack with fresh identities, which is not met
/// by remembering more of them; the one whose bar ends first goes.
const BARRED: usize = 1024;

/// Members banned at once; a decree has room for half as many.
const BANNED: usize = 4096;

/// A bar is never longer: processes come and go, and who is to stay out is banned.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Those whom this node refuses.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// For a while.
    pub barred: BTreeMap<NodeId, Bar>,
    /// By the issuer.
    pub banned: Arc<BTreeSet<NodeId>>,
}

/// Until when a member is refused, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// It is let in again then.
    pub until: Instant,
    /// What it did, in a few words.
    pub why: String,
}

impl Refused {
    /// Whether `node` is refused at `now`.
    pub fn refuses(&self, node: &NodeId, now: Instant) -> bool {
        self.banned.contains(node) || self.barred.get(node).is_some_and(|bar| now < bar.until)
    }
}

/// The table. Clones share; see the invariant for who may write.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    refused: watch::Sender<Arc<Refused>>,
}

impl Default for Bars {
    fn default() -> Self {
        Self { refused: watch::Sender::new(Arc::default()) }
    }
}

impl Bars {
    /// The table as it changes.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Refused>> {
        self.refused.subscribe()
    }

    /// Whether `node` is refused now.
    pub(super) fn refuses(&self, node: &NodeId) -> bool {
        self.refused.borrow().refuses(node, Instant::now())
    }

    /// Refuses `node` for `length` from `now` on; a bar that ends later stays.
    pub(super) fn bar(&self, now: Instant, node: NodeId, length: Duration, why: String) {
        let until = now + length.min(LONGEST);
        self.change(|refused| {
            refused.barred.retain(|_, bar| now < bar.until);
            let bar = refused.barred.entry(node).or_insert_with(|| Bar { until, why: String::new() });
            if bar.until <= until {
                *bar = Bar { until, why };
            }
            if refused.barred.len() > BARRED {
                let first = refused.barred.iter().min_by_key(|(_, bar)| bar.until).map(|(node, _)| *node);
                first.and_then(|node| refused.barred.remove(&node));
            }
        });
    }

    /// Refuses `nodes`, and no longer those banned before; returns who is banned newly.
    pub(super) fn ban(&self, mut nodes: BTreeSet<NodeId>) -> Vec<NodeId> {
        while nodes.len() > BANNED {
            nodes.pop_last();
        }
        let before = Arc::clone(&self.refused.borrow().banned);
        let newly = nodes.difference(&before).copied().collect();
        if *before != nodes {
            self.change(|refused| refused.banned = Arc::new(nodes));
        }
        newly
    }

    fn change(&self, change: impl FnOnce(&mut Refused)) {
        self.refused.send_modify(|refused| change(Arc::make_mut(refused)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn node(n: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn a_bar_ends_by_itself_and_is_never_cut_short_by_another() {
        let (bars, now) = (Bars::default(), Instant::now());
        bars.bar(now, node(1), 10 * MINUTE, "forged".into());
        bars.bar(now, node(1), MINUTE, "flood".into());
        let refused = bars.watch().borrow().clone();
        assert!(refused.refuses(&node(1), now + 9 * MINUTE) && !refused.refuses(&node(1), now + 10 * MINUTE));
        assert_eq!(refused.barred[&node(1)].why, "forged");
        assert!(!refused.refuses(&node(2), now));
    }

    #[test]
    fn the_table_is_bounded_and_what_ends_first_goes() {
        let (bars, now) = (Bars::default(), Instant::now());
        bars.bar(now, node(0), MINUTE, String::new());
        for n in 1..=BARRED as u16 {
            bars.bar(now, node(n), 2 * MINUTE, String::new());
        }
        let refused = bars.watch().borrow().clone();
        assert_eq!(refused.barred.len(), BARRED);
        assert!(!refused.refuses(&node(0), now));
        bars.bar(now + 3 * MINUTE, node(0), MINUTE, String::new());
        assert_eq!(bars.watch().borrow().barred.len(), 1, "what has ended is forgotten");
    }

    #[test]
    fn bans_are_replaced_as_a_whole_and_only_new_ones_are_told() {
        let bars = Bars::default();
        let set = |nodes: &[u16]| nodes.iter().map(|n| node(*n)).collect();
        assert_eq!(bars.ban(set(&[1, 2])), [node(1), node(2)]);
        let mut seen = bars.watch();
        seen.mark_unchanged();
        assert_eq!(bars.ban(set(&[1, 2])), []);
        assert!(!seen.has_changed().unwrap(), "nobody is woken for nothing");
        assert_eq!(bars.ban(set(&[2, 3])), [node(3)]);
        assert!(!bars.refuses(&node(1)) && bars.refuses(&node(2)));
    }
}
