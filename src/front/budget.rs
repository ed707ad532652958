//! How many requests may be sent a second time.
//!
//! Retries mend what single workers break. When all of them break, they multiply the load of a fleet that can't bear the
//! load it has. So a front sends at most one request in five again, counted over the last seconds, and a few more so that
//! a quiet front may retry at all. What never reached a backend (a dial that failed, a worker that declined) costs no
//! backend anything and is not counted.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// One retry is granted for so many recent requests: a fifth, as in Envoy and linkerd.
const REQUESTS_PER_RETRY: u64 = 5;

/// Granted in any case: a small fleet's dozen of requests at a worker that is killed are all sent again.
const AT_LEAST: u64 = 30;

/// Requests and retries of the current and the last period count as recent: five to ten seconds.
const PERIOD: Duration = Duration::from_secs(5);

/// The retries of one front.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Held for a few additions.
    periods: Mutex<Periods>,
    granted_total: AtomicU64,
    refused_total: AtomicU64,
}

#[derive(Debug, Default)]
struct Periods {
    began: Duration,
    current: Period,
    last: Period,
}

#[derive(Clone, Copy, Debug, Default)]
struct Period {
    /// Requests of the front when it began.
    requests_before: u64,
    retries: u64,
}

impl Budget {
    /// Takes one retry, if there is one left. `requests` is how many there were so far, `in_flight` how many there are now:
    /// those that take long count as long as they last.
    pub(super) fn withdraw(&self, now: Duration, requests: u64, in_flight: u64) -> bool {
        let mut periods = self.periods();
        periods.roll(now, requests);
        let recent = requests.saturating_sub(periods.last.requests_before).max(in_flight);
        let is_granted = periods.last.retries + periods.current.retries < AT_LEAST + recent / REQUESTS_PER_RETRY;
        periods.current.retries += u64::from(is_granted);
        drop(periods);
        let total = if is_granted { &self.granted_total } else { &self.refused_total };
        total.fetch_add(1, Ordering::Relaxed);
        is_granted
    }

    /// Lets time pass. Called once a period, so that requests are counted that nobody had to repeat.
    pub(super) fn pass(&self, now: Duration, requests: u64) {
        self.periods().roll(now, requests);
    }

    /// Retries so far.
    pub(super) fn granted_total(&self) -> u64 {
        self.granted_total.load(Ordering::Relaxed)
    }

    /// Retries that were not granted so far.
    pub(super) fn refused_total(&self) -> u64 {
        self.refused_total.load(Ordering::Relaxed)
    }

    fn periods(&self) -> MutexGuard<'_, Periods> {
        // Nothing in here panics half way.
        self.periods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Periods {
    fn roll(&mut self, now: Duration, requests: u64) {
        let elapsed = now.saturating_sub(self.began);
        if elapsed < PERIOD {
            return;
        }
        let fresh = Period { requests_before: requests, retries: 0 };
        // After a longer silence of whoever calls, nothing is recent.
        self.last = if elapsed < PERIOD * 2 { self.current } else { fresh };
        self.current = fresh;
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_quiet_front_may_retry_a_little_and_a_busy_one_a_fifth() {
        let budget = Budget::default();
        let granted = (0..1000).filter(|_| budget.withdraw(at(1), 10, 1)).count();
        assert_eq!(granted as u64, AT_LEAST + 2);
        let budget = Budget::default();
        let granted = (0..5000).filter(|_| budget.withdraw(at(1), 10_000, 1)).count();
        assert_eq!(granted as u64, AT_LEAST + 2000);
        assert_eq!((budget.granted_total(), budget.refused_total()), (2030, 2970));
    }

    #[test]
    fn requests_that_take_long_count_as_long_as_they_last() {
        let budget = Budget::default();
        budget.pass(at(60_000), 1000);
        budget.pass(at(65_000), 1000);
        let granted = (0..1000).filter(|_| budget.withdraw(at(66_000), 1000, 1000)).count();
        assert_eq!(granted as u64, AT_LEAST + 200);
    }

    #[test]
    fn what_was_spent_comes_back_with_time() {
        let budget = Budget::default();
        while budget.withdraw(at(0), 0, 0) {}
        assert!(!budget.withdraw(at(5_000), 0, 0), "the last period counts");
        assert!(budget.withdraw(at(10_001), 0, 0));
    }

    proptest! {
        #[test]
        fn no_two_periods_grant_more_than_they_may(steps in prop::collection::vec((0u64..3000, 0u64..50, 0u64..100), 1..200)) {
            let budget = Budget::default();
            let (mut now, mut requests) = (0, 0);
            let mut granted: Vec<(u64, u64)> = Vec::new();
            for (wait, more, wanted) in steps {
                now += wait;
                requests += more;
                for _ in 0..wanted {
                    if budget.withdraw(at(now), requests, 0) {
                        granted.push((now, requests));
                    }
                }
            }
            for (began, before) in &granted {
                let within = granted.iter().filter(|(when, _)| (*began..*began + 5_000).contains(when));
                // Half of the requests before may be recent, too: ten seconds of them.
                let last = granted.iter().rfind(|(when, _)| *when < began + 5_000).map_or(*before, |(_, requests)| *requests);
                prop_assert!(within.count() as u64 <= 2 * AT_LEAST + last / 5);
            }
        }
    }
}
