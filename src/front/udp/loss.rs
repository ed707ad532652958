//! Datagrams that a front dropped, counted by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// As many bytes waited in all sessions together as may.
    Memory,
    /// As many datagrams of its client waited as may.
    Queue,
    /// As many clients had a session as may, and none could give way.
    Sessions,
    /// Its client had as many sessions as one may have.
    Client,
    /// It was longer than a tunnel carries.
    Large,
    /// No worker took its session.
    Worker,
    /// Its session ended before it was its turn, or gave way to another one.
    Ended,
    /// It would have begun a session, and the front drained.
    Draining,
    /// The system did not send the answer.
    Unsent,
}

impl Loss {
    /// All there are, in the order in which they are counted.
    const ALL: [Self; 9] = [
        Self::Memory,
        Self::Queue,
        Self::Sessions,
        Self::Client,
        Self::Large,
        Self::Worker,
        Self::Ended,
        Self::Draining,
        Self::Unsent,
    ];

    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::Sessions => "sessions",
            Self::Client => "client",
            Self::Large => "large",
            Self::Worker => "worker",
            Self::Ended => "ended",
            Self::Draining => "draining",
            Self::Unsent => "unsent",
        }
    }
}

/// How many were dropped for each reason.
#[derive(Debug, Default)]
pub(in crate::front) struct Losses([AtomicU64; Loss::ALL.len()]);

impl Losses {
    pub(super) fn count(&self, why: Loss) {
        self.add(why, 1);
    }

    pub(super) fn add(&self, why: Loss, datagrams: u64) {
        if let Some(count) = self.0.get(why as usize) {
            count.fetch_add(datagrams, Ordering::Relaxed);
        }
    }

    pub(in crate::front) fn total(&self) -> u64 {
        self.counted().map(|(_, count)| count).sum()
    }

    /// Every reason, with how often it was one.
    pub(in crate::front) fn counted(&self) -> impl Iterator<Item = (Loss, u64)> {
        Loss::ALL.into_iter().zip(&self.0).map(|(why, count)| (why, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_word_of_its_own() {
        let losses = Losses::default();
        for (why, times) in Loss::ALL.into_iter().zip(1..) {
            losses.add(why, times);
        }
        let expected: Vec<_> = Loss::ALL.into_iter().zip(1..).collect();
        assert_eq!(losses.counted().collect::<Vec<_>>(), expected);
        assert_eq!(losses.total(), 45);
        let words: std::collections::BTreeSet<_> = Loss::ALL.map(Loss::as_str).into();
        assert_eq!(words.len(), Loss::ALL.len());
    }
}
