//! How unix time is cut into the windows in which a derived value is used.

use std::num::NonZeroU64;

/// Windows of equal length, counted from 1970 (the TOTP step of RFC 6238 §4.2).
///
/// All nodes change at the same instant of unix time; a node whose clock is off by less than one window is still
/// understood, because receivers accept the neighbouring windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    interval: NonZeroU64,
}

impl Epochs {
    pub(super) fn new(interval: NonZeroU64) -> Self {
        Self { interval }
    }

    /// How long one window lasts, in seconds.
    pub fn interval_s(&self) -> u64 {
        self.interval.get()
    }

    /// The numbers of the windows around this instant.
    pub fn at(&self, unix_s: u64) -> Windows<u64> {
        let current = unix_s / self.interval;
        Windows { previous: current.saturating_sub(1), current, next: current.saturating_add(1) }
    }

    /// The first second of the window after this instant's: when [`Self::at`] changes.
    pub fn next_change(&self, unix_s: u64) -> u64 {
        self.at(unix_s).next.saturating_mul(self.interval.get())
    }
}

/// One value per window: accept all three, publish under the current one.
///
/// In the very first window of time the previous one equals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows<T> {
    /// Still in use by nodes whose clock is behind.
    pub previous: T,
    /// What this node publishes under.
    pub current: T,
    /// Already in use by nodes whose clock is ahead.
    pub next: T,
}

impl<T> Windows<T> {
    /// Each value turned into another.
    pub fn map<U>(self, mut turn: impl FnMut(T) -> U) -> Windows<U> {
        Windows { previous: turn(self.previous), current: turn(self.current), next: turn(self.next) }
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.previous, &self.current, &self.next].into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epochs(interval: u64) -> Epochs {
        Epochs::new(NonZeroU64::new(interval).unwrap())
    }

    #[test]
    fn counts_windows() {
        assert_eq!(epochs(360).at(1_767_225_600), Windows { previous: 4_908_959, current: 4_908_960, next: 4_908_961 });
        assert_eq!(epochs(360).next_change(1_767_225_600), 1_767_225_960);
        assert_eq!(epochs(360).next_change(1_767_225_959), 1_767_225_960);
    }

    #[test]
    fn saturates_at_both_ends_of_time() {
        assert_eq!(epochs(10).at(9), Windows { previous: 0, current: 0, next: 1 });
        assert_eq!(epochs(1).at(u64::MAX).next, u64::MAX);
        assert_eq!(epochs(u64::MAX).next_change(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn the_next_change_is_the_first_second_with_another_number(interval in 1u64..100_000, now in 0u64..1 << 40) {
            let epochs = epochs(interval);
            let change = epochs.next_change(now);
            prop_assert!(change > now);
            prop_assert_eq!(epochs.at(change).current, epochs.at(now).next);
            prop_assert_eq!(epochs.at(change - 1), epochs.at(now));
            prop_assert_eq!(epochs.at(change).previous, epochs.at(now).current);
        }
    }
}
