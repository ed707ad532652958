//! How peers behave: what each did against the rules, and when that is enough.
//!
//! One broken message may be a bug or an old version; several within a minute are a peer that had better go. Every offence
//! is counted for people to see. Each takes a token from the peer's bucket, but for those of which others may be guilty:
//! the network, of [`Offence::Stalled`], and everybody who said something at once, when a partition heals, of an honest
//! messenger's [`Offence::Flood`]. What is too much is dropped all the same. Who finds the bucket empty is to be
//! **expelled**.
//!
//! What is remembered outlives the connection: a peer that comes back finds its bucket as it left it.

use std::{collections::BTreeMap, time::Duration};

use crate::{NodeId, Offence, bucket::Bucket};

/// The fifth offence is too many, unless they are a quarter of a minute apart.
const PATIENCE: Bucket = Bucket::new(Duration::from_secs(15), 4);
/// Peers remembered: as many as are up at once. The one whose last offence is oldest makes room.
const REMEMBERED: usize = 4096;

/// What one peer did.
#[derive(Clone, Debug)]
struct Sheet {
    patience: Bucket,
    counts: BTreeMap<Offence, u64>,
    last: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Conduct {
    sheets: BTreeMap<NodeId, Sheet>,
}

impl Conduct {
    /// Notes an offence. Whether it is one too many.
    pub(crate) fn note(&mut self, now: Duration, peer: NodeId, offence: Offence) -> bool {
        if !self.sheets.contains_key(&peer) && self.sheets.len() >= REMEMBERED {
            let oldest = self.sheets.iter().min_by_key(|(_, sheet)| sheet.last).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.sheets.remove(&oldest));
        }
        let sheet =
            self.sheets.entry(peer).or_insert_with(|| Sheet { patience: PATIENCE, counts: BTreeMap::new(), last: now });
        *sheet.counts.entry(offence).or_default() += 1;
        sheet.last = now;
        let others_may_be_guilty = matches!(offence, Offence::Stalled | Offence::Flood);
        !others_may_be_guilty && !sheet.patience.take(now)
    }

    /// What each peer did, and how often.
    pub(crate) fn sheets(&self) -> impl Iterator<Item = (NodeId, &BTreeMap<Offence, u64>)> {
        self.sheets.iter().map(|(peer, sheet)| (*peer, &sheet.counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_fifth_offence_in_a_minute_is_too_many() {
        let mut conduct = Conduct::default();
        let told: Vec<_> = (0..6).map(|n| conduct.note(s(n), node(1), Offence::Forged)).collect();
        assert_eq!(told, [false, false, false, false, true, true]);
        assert!(!conduct.note(s(9), node(2), Offence::Forged), "another one's sheet is another");
        let rare: Vec<_> = (0..50).map(|n| conduct.note(s(100 + 15 * n), node(3), Offence::Malformed)).collect();
        assert!(rare.iter().all(|enough| !enough));
    }

    #[test]
    fn what_others_may_be_guilty_of_is_counted_and_forgiven() {
        let mut conduct = Conduct::default();
        assert!((0..50).all(|_| !conduct.note(s(1), node(1), Offence::Stalled)));
        assert!((0..50).all(|_| !conduct.note(s(1), node(1), Offence::Flood)));
        assert!(!conduct.note(s(1), node(1), Offence::Excess));
        let counts = conduct.sheets().next().unwrap().1;
        assert_eq!((counts[&Offence::Stalled], counts[&Offence::Excess]), (50, 1));
    }

    #[test]
    fn it_remembers_the_last_ones() {
        let mut conduct = Conduct::default();
        for n in 0..5000 {
            conduct.note(s(n.into()), node(n), Offence::Forged);
        }
        assert_eq!(conduct.sheets().count(), REMEMBERED);
        assert!(conduct.sheets().all(|(peer, _)| peer >= node(5000 - 4096)));
    }
}
