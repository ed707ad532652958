//! Messages that are said again after they were forgotten. Pure: time is an argument.
//!
//! An author counts its messages upwards. One whose number is not above what its author had reached when the oldest message that
//! is still remembered was heard, is either late beyond measure, or collected by somebody and sent once more.

use std::{collections::HashMap, time::Duration};

use libp2p::PeerId;

/// Authors remembered. Beyond, all are forgotten, which lets what they said before be said once more.
const AUTHORS: usize = 4096;

/// An author that has said nothing for so long may begin anew, perhaps with a clock that was set back.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// What each author has counted to.
#[derive(Debug, Default)]
pub(in crate::edgevpn) struct Replays {
    authors: HashMap<PeerId, Counted>,
}

#[derive(Debug)]
struct Counted {
    /// No message is above this that was not heard within the time that messages are remembered.
    floor: u64,
    highest: u64,
    /// When the floor was raised, and when the author was heard last.
    raised: Duration,
    heard: Duration,
}

impl Replays {
    /// Whether that message was surely said long ago.
    pub(in crate::edgevpn) fn is_one(&self, now: Duration, author: &PeerId, seqno: u64) -> bool {
        let counted = self.authors.get(author).filter(|counted| now < counted.heard + FORGOTTEN);
        counted.is_some_and(|counted| seqno <= counted.floor)
    }

    /// A message of `author` was verified; such are remembered for `remembered`.
    pub(in crate::edgevpn) fn learn(&mut self, now: Duration, author: PeerId, seqno: u64, remembered: Duration) {
        if self.authors.len() >= AUTHORS && !self.authors.contains_key(&author) {
            self.authors.retain(|_, counted| now < counted.heard + remembered);
            if self.authors.len() >= AUTHORS {
                self.authors.clear();
            }
        }
        let fresh = Counted { floor: 0, highest: seqno, raised: now, heard: now };
        let counted = self.authors.entry(author).or_insert(fresh);
        if now >= counted.heard + FORGOTTEN {
            *counted = Counted { floor: 0, highest: seqno, raised: now, heard: now };
        }
        if now >= counted.raised + remembered {
            (counted.floor, counted.raised) = (counted.highest, now);
        }
        counted.highest = counted.highest.max(seqno);
        counted.heard = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_said_long_ago_is_refused_and_what_is_merely_late_is_not() {
        let (mut replays, author) = (Replays::default(), PeerId::random());
        for n in 0..10 {
            replays.learn(10 * S * n, author, 100 + u64::from(n), MINUTE);
        }
        // Now 90 s; the floor was raised at 60 s, to what had been heard before.
        assert!(replays.is_one(90 * S, &author, 105));
        assert!(!replays.is_one(90 * S, &author, 106));
        assert!(!replays.is_one(90 * S, &author, 200));
        assert!(!replays.is_one(90 * S, &PeerId::random(), 1));
    }

    #[test]
    fn an_author_may_begin_anew_after_a_while() {
        let (mut replays, author) = (Replays::default(), PeerId::random());
        replays.learn(S, author, 100, MINUTE);
        replays.learn(S + MINUTE, author, 101, MINUTE);
        assert!(replays.is_one(S + MINUTE, &author, 7));
        let later = S + MINUTE + FORGOTTEN;
        assert!(!replays.is_one(later, &author, 7));
        replays.learn(later, author, 7, MINUTE);
        assert!(!replays.is_one(later, &author, 8));
    }

    #[test]
    fn authors_are_bounded() {
        let mut replays = Replays::default();
        for _ in 0..2 * AUTHORS {
            replays.learn(S, PeerId::random(), 1, MINUTE);
        }
        assert!(replays.authors.len() <= AUTHORS);
    }
}
