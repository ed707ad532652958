//! What is still to happen, in the order in which it will.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

struct Scheduled<E> {
    at: Duration,
    /// Of what happens at the same time, what was scheduled first is first.
    order: u64,
    event: E,
}

pub(crate) struct Queue<E> {
    heap: BinaryHeap<Scheduled<E>>,
    order: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), order: 0 }
    }
}

impl<E> Queue<E> {
    pub(crate) fn push(&mut self, at: Duration, event: E) {
        self.order += 1;
        self.heap.push(Scheduled { at, order: self.order, event });
    }

    /// The next event, if it happens until then.
    pub(crate) fn pop(&mut self, until: Duration) -> Option<(Duration, E)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }
}

impl<E> Scheduled<E> {
    /// A heap gives out its greatest element.
    fn key(&self) -> (std::cmp::Reverse<Duration>, std::cmp::Reverse<u64>) {
        (std::cmp::Reverse(self.at), std::cmp::Reverse(self.order))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
