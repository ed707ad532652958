//! How often something may happen.

use std::time::Duration;

/// A token bucket in the form of the generic cell rate algorithm (ITU-T I.371): one time stamp and no rounding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// When the bucket will be full again.
    full_at: Duration,
    /// One token returns in this time.
    period: Duration,
    /// Tokens in a full bucket.
    burst: u32,
}

impl Bucket {
    /// A full bucket.
    pub(crate) const fn new(period: Duration, burst: u32) -> Self {
        Self { full_at: Duration::ZERO, period, burst }
    }

    /// When the next token can be taken; not later than `now` if there is one.
    pub(crate) fn ready_at(&self) -> Duration {
        self.full_at.saturating_sub(self.period * self.burst.saturating_sub(1))
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        if self.ready_at() > now {
            return false;
        }
        self.full_at = self.full_at.max(now) + self.period;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_burst_then_the_rate() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(second, 3);
        let start = Duration::from_secs(100);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert!(!bucket.take(start + second - Duration::from_nanos(1)));
        assert!(bucket.ready_at() <= start + second);
        assert!(bucket.take(start + second));
        assert!(!bucket.take(start + second));
        assert_eq!((0..9).filter(|_| bucket.take(start + 60 * second)).count(), 3, "it holds no more than the burst");
    }
}
