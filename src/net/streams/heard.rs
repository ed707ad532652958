//! When the streams of a connection last brought bytes: whoever sends lives, though its answer to a ping may wait behind what it
//! sends.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// One connection's.
#[derive(Debug)]
pub(super) struct Heard {
    began: Instant,
    /// In milliseconds since then, and one more; zero before the first.
    at: AtomicU64,
}

impl Heard {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, at: AtomicU64::new(0) }
    }

    /// Bytes came.
    pub(super) fn note(&self, now: Instant) {
        self.at.store(self.millis(now) + 1, Ordering::Relaxed);
    }

    /// Some came within `limit`.
    pub(super) fn within(&self, now: Instant, limit: Duration) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && u128::from(self.millis(now).saturating_sub(at - 1)) < limit.as_millis()
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_count() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let heard = Heard::new(began);
        assert!(!heard.within(began, second), "nothing came yet");
        heard.note(began);
        assert!(heard.within(began + second / 2, second) && !heard.within(began + second, second));
        heard.note(began + 5 * second);
        assert!(heard.within(began + 5 * second, second) && !heard.within(began + 6 * second, second));
    }
}
