//! Whether a scorer is asked at all. Pure: it is told what time it is.

use std::time::Duration;

/// Failures in a row after which it is left alone: one may be a restart, and each costs a request the deadline.
const FAILURES: u32 = 5;

/// First and longest time for which it is left alone. Half a minute after it is well again it is used again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Keeps requests from a scorer that fails.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures since it last answered.
    streak: u32,
    open: Option<Open>,
}

/// It is left alone.
#[derive(Debug)]
struct Open {
    pause: Duration,
    until: Duration,
    /// How it failed last.
    reason: String,
}

/// The right to ask it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// All may.
    Usual,
    /// One may, to see whether it is well again.
    Probe,
}

impl Breaker {
    /// Whether it may be asked now.
    pub(super) fn pass(&mut self, now: Duration) -> Option<Pass> {
        match &mut self.open {
            None => Some(Pass::Usual),
            Some(open) if now < open.until => None,
            Some(open) => {
                // Nobody else until it is known what came of this one; or, if its client leaves, for as long again.
                open.until = now + open.pause;
                Some(Pass::Probe)
            }
        }
    }

    /// It answered. True if it is used again from now on.
    pub(super) fn answered(&mut self) -> bool {
        self.streak = 0;
        self.open.take().is_some()
    }

    /// It failed. True if it is left alone from now on.
    pub(super) fn failed(&mut self, now: Duration, pass: Pass, reason: String) -> bool {
        match (&mut self.open, pass) {
            (None, _) => {
                self.streak += 1;
                if self.streak >= FAILURES {
                    self.open = Some(Open { pause: PAUSE.0, until: now + PAUSE.0, reason });
                }
                self.open.is_some()
            }
            (Some(open), Pass::Probe) => {
                let pause = (open.pause * 2).min(PAUSE.1);
                *open = Open { pause, until: now + pause, reason };
                false
            }
            // It was asked before it was known to fail, and says nothing new.
            (Some(_), Pass::Usual) => false,
        }
    }

    /// How it failed last, while it is left alone.
    pub(super) fn reason(&self) -> Option<&str> {
        self.open.as_ref().map(|open| open.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn broken() -> Breaker {
        let mut breaker = Breaker::default();
        let opened: Vec<_> = (0..FAILURES).map(|_| breaker.failed(ms(0), Pass::Usual, "dead".into())).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_alone() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                assert!(!breaker.failed(ms(0), Pass::Usual, "dead".into()));
            }
            assert!(!breaker.answered(), "it was never left alone");
        }
        assert_eq!((breaker.pass(ms(0)), breaker.reason()), (Some(Pass::Usual), None));
    }

    #[test]
    fn one_probe_at_a_time_and_each_that_fails_doubles_the_pause() {
        let mut breaker = broken();
        assert_eq!(breaker.reason(), Some("dead"));
        let mut now = ms(0);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(breaker.pass(now + ms(pause * 1000 - 1)), None);
            now += ms(pause * 1000);
            assert_eq!((breaker.pass(now), breaker.pass(now)), (Some(Pass::Probe), None));
            assert!(!breaker.failed(now, Pass::Probe, "still dead".into()), "it is told once");
        }
        now += ms(30_000);
        assert_eq!((breaker.pass(now), breaker.reason()), (Some(Pass::Probe), Some("still dead")));
        assert!(breaker.answered());
        assert_eq!(breaker.pass(now), Some(Pass::Usual));
    }

    #[test]
    fn those_that_were_under_way_when_it_opened_change_nothing() {
        let mut breaker = broken();
        for _ in 0..100 {
            assert!(!breaker.failed(ms(10), Pass::Usual, "dead".into()));
        }
        assert_eq!(breaker.pass(ms(1000)), Some(Pass::Probe));
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_followed_by_another() {
        let mut breaker = broken();
        assert_eq!(breaker.pass(ms(1000)), Some(Pass::Probe));
        assert_eq!(breaker.pass(ms(1999)), None);
        assert_eq!(breaker.pass(ms(2000)), Some(Pass::Probe));
    }
}
