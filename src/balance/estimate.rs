//! An endpoint's latency as `peak-ewma` estimates it: quick to believe the worse, slow to believe the better.
//!
//! Textbooks let the estimate decay to nothing with time. While a long generation runs and nobody answers, it would then
//! fall to nothing and draw everything. So it holds still while something is in flight, and relaxes towards what the fleet
//! usually takes while nothing is.

use std::time::Duration;

/// Time in which what is believed loses two thirds of its weight, as in Finagle and linkerd.
const DECAY: Duration = Duration::from_secs(10);

/// The estimate.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    /// In milliseconds, as it was at `at`; `None` until the first answer.
    ms: Option<f64>,
    at: Duration,
    idle_since: Duration,
}

impl Estimate {
    /// An answer took `sample`.
    pub(super) fn observe(&mut self, now: Duration, sample: Duration) {
        let sample = sample.as_secs_f64() * 1000.0;
        let kept = kept(now.saturating_sub(self.at));
        self.ms =
            Some(self.ms.map_or(sample, |ms| if sample > ms { sample } else { ms * kept + sample * (1.0 - kept) }));
        self.at = now;
    }

    /// Nothing is in flight there from now on.
    pub(super) fn idle(&mut self, now: Duration) {
        self.idle_since = now;
    }

    /// Milliseconds that an answer would take; `usual` is what the fleet takes.
    pub(super) fn ms(&self, now: Duration, in_flight: usize, usual: f64) -> f64 {
        match self.ms {
            None => usual,
            Some(ms) if in_flight > 0 => ms,
            Some(ms) => {
                let kept = kept(now.saturating_sub(self.idle_since.max(self.at)));
                ms * kept + usual * (1.0 - kept)
            }
        }
    }

    /// What was last believed.
    pub(super) fn last(&self) -> Option<f64> {
        self.ms
    }
}

fn kept(age: Duration) -> f64 {
    (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_worse_answer_is_believed_at_once_and_a_better_one_slowly() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.ms(secs(0), 0, 7.0), 7.0, "what is usual, until it is known");
        estimate.observe(secs(10), secs(1));
        estimate.observe(secs(10), secs(9));
        assert_eq!(estimate.ms(secs(10), 1, 7.0), 9000.0);
        estimate.observe(secs(11), secs(1));
        assert!((8000.0..9000.0).contains(&estimate.ms(secs(11), 1, 7.0)));
    }

    #[test]
    fn it_holds_still_while_something_is_in_flight_and_relaxes_when_idle() {
        let mut estimate = Estimate::default();
        estimate.observe(secs(10), secs(8));
        assert_eq!(estimate.ms(secs(100), 1, 1000.0), 8000.0, "a long stream is no good news");
        estimate.idle(secs(100));
        assert_eq!(estimate.ms(secs(100), 0, 1000.0), 8000.0);
        assert!((3000.0..4000.0).contains(&estimate.ms(secs(110), 0, 1000.0)));
        assert!((estimate.ms(secs(200), 0, 1000.0) - 1000.0).abs() < 1.0);
    }
}
