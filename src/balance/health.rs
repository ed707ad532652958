//! What a front holds against an endpoint: its own evidence, and how long it leaves the endpoint out for it.
//!
//! Two ladders, because the two kinds of evidence heal differently. An endpoint that could not be *reached* is left out
//! briefly and returns as soon as its node reconnects. One that was reached and *failed* (five in a row, or less than
//! half of at least ten within ten seconds) is left out longer. Each further ejection doubles the time; a quiet spell of
//! the same length forgives. After an ejection the endpoint is *proving*: one request at a time until one is answered,
//! and the first failure ejects it again.

use std::time::Duration;

/// Failures in a row that eject: one is an accident, five within one burst are a pattern.
const FAILURES_IN_A_ROW: u32 = 5;

/// How far back the success rate looks.
const WINDOW: Duration = Duration::from_secs(10);

/// Outcomes that a success rate needs before it means something.
const RATE_MIN_OUTCOMES: u32 = 10;

/// First ejection of an endpoint that could not be reached. Short: a dial that fails costs little, and its node may be
/// back at once.
const UNREACHABLE_BASE: Duration = Duration::from_millis(250);

/// Longest ejection of an endpoint that can't be reached: then one request in half a minute pays for one more dial.
const UNREACHABLE_CAP: Duration = Duration::from_secs(30);

/// First ejection of an endpoint that fails requests.
const FAILING_BASE: Duration = Duration::from_secs(5);

/// Longest ejection of an endpoint that fails requests.
const FAILING_CAP: Duration = Duration::from_secs(300);

/// Why an endpoint is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Unreachable,
    Failing,
}

/// One endpoint's record at this front.
#[derive(Debug)]
pub(super) struct Health {
    in_a_row: u32,
    window: Window,
    unreachable: Ladder,
    failing: Ladder,
    proving: bool,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            in_a_row: 0,
            window: Window::default(),
            unreachable: Ladder::new(UNREACHABLE_BASE, UNREACHABLE_CAP),
            failing: Ladder::new(FAILING_BASE, FAILING_CAP),
            proving: false,
        }
    }

    /// The endpoint answered a request well.
    pub(super) fn answered(&mut self, now: Duration) {
        self.in_a_row = 0;
        self.window.count(now, true);
        self.unreachable.release();
        if !self.failing.holds(now) {
            self.proving = false;
        }
    }

    /// A request that was picked at `picked` reached the endpoint and failed.
    pub(super) fn failed(&mut self, now: Duration, picked: Duration) {
        if self.failing.covers(now, picked) {
            return;
        }
        self.in_a_row += 1;
        self.window.count(now, false);
        if self.proving || self.in_a_row >= FAILURES_IN_A_ROW || self.window.is_bad(now) {
            self.in_a_row = 0;
            self.window = Window::default();
            self.failing.eject(now);
            self.proving = true;
        }
    }

    /// A request that was picked at `picked` found no path to the endpoint.
    pub(super) fn unreachable(&mut self, now: Duration, picked: Duration) {
        if !self.unreachable.covers(now, picked) {
            self.unreachable.eject(now);
            self.proving = true;
        }
    }

    /// The node is there again on a new connection: what was held against the old one is void.
    pub(super) fn reconnected(&mut self, now: Duration) {
        self.unreachable.clear();
        self.proving = self.failing.holds(now);
    }

    /// Why the endpoint is left out now, and until when.
    pub(super) fn ejected(&self, now: Duration) -> Option<(Cause, Duration)> {
        // The longer of the two, should both hold.
        let unreachable = self.unreachable.holds(now).then_some((Cause::Unreachable, self.unreachable.until));
        let failing = self.failing.holds(now).then_some((Cause::Failing, self.failing.until));
        unreachable.into_iter().chain(failing).max_by_key(|(_, until)| *until)
    }

    /// Back from an ejection and not yet answered a request since.
    pub(super) fn is_proving(&self) -> bool {
        self.proving
    }
}

/// Ejections of one kind, each twice as long as the one before.
#[derive(Debug)]
struct Ladder {
    base: Duration,
    cap: Duration,
    rungs: u32,
    began: Duration,
    until: Duration,
}

impl Ladder {
    fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, rungs: 0, began: Duration::ZERO, until: Duration::ZERO }
    }

    fn eject(&mut self, now: Duration) {
        let quiet = self.until.saturating_sub(self.began).max(WINDOW);
        if now > self.until + quiet {
            self.rungs = 0;
        }
        let length = self.base.saturating_mul(2u32.saturating_pow(self.rungs)).min(self.cap);
        self.rungs = self.rungs.saturating_add(1);
        self.began = now;
        self.until = now + length;
    }

    fn holds(&self, now: Duration) -> bool {
        now < self.until
    }

    /// Evidence from a request that began before the newest ejection says nothing new: a burst that fails together climbs
    /// one rung, not one rung each.
    fn covers(&self, now: Duration, picked: Duration) -> bool {
        self.holds(now) || (self.rungs > 0 && picked < self.began)
    }

    fn release(&mut self) {
        self.until = self.until.min(self.began);
    }

    fn clear(&mut self) {
        self.release();
        self.rungs = 0;
    }
}

/// One second of outcomes.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    good: u32,
    bad: u32,
}

/// Outcomes of the last ten seconds.
#[derive(Debug, Default)]
struct Window {
    seconds: [Second; WINDOW.as_secs() as usize],
    newest: u64,
}

impl Window {
    fn count(&mut self, now: Duration, good: bool) {
        self.advance(now);
        let width = self.seconds.len() as u64;
        if let Some(second) = self.seconds.get_mut((self.newest % width) as usize) {
            let count = if good { &mut second.good } else { &mut second.bad };
            *count = count.saturating_add(1);
        }
    }

    fn is_bad(&mut self, now: Duration) -> bool {
        self.advance(now);
        let sum = |count: fn(&Second) -> u32| self.seconds.iter().map(count).fold(0u32, u32::saturating_add);
        let (good, bad) = (sum(|second| second.good), sum(|second| second.bad));
        good.saturating_add(bad) >= RATE_MIN_OUTCOMES && good < bad
    }

    fn advance(&mut self, now: Duration) {
        let width = self.seconds.len() as u64;
        let gone = now.as_secs().saturating_sub(self.newest);
        // A gap longer than the window clears every slot, whatever second it stood for.
        for second in self.newest + 1..=self.newest + gone.min(width) {
            if let Some(stale) = self.seconds.get_mut((second % width) as usize) {
                *stale = Second::default();
            }
        }
        self.newest += gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn five_failures_in_a_row_eject_for_five_seconds() {
        let mut health = Health::new();
        for i in 0..4 {
            health.failed(ms(i), ms(i));
        }
        assert_eq!(health.ejected(ms(4)), None);
        health.failed(ms(4), ms(4));
        assert_eq!(health.ejected(ms(4)), Some((Cause::Failing, ms(5004))));
        assert_eq!(health.ejected(ms(5004)), None, "it comes back by itself");
        assert!(health.is_proving());
    }

    #[test]
    fn an_answer_in_between_starts_the_row_again() {
        let mut health = Health::new();
        for i in 0..40 {
            health.answered(ms(i));
            health.failed(ms(i), ms(i));
        }
        assert_eq!(health.ejected(ms(40)), None, "half of the requests answered is not less than half");
    }

    #[test]
    fn less_than_half_of_ten_within_ten_seconds_ejects() {
        let mut health = Health::new();
        let outcomes = [true, false, true, false, false, true, false, true, false, false];
        for (i, good) in outcomes.into_iter().enumerate() {
            assert_eq!(health.ejected(ms(900 * i as u64)), None);
            let now = ms(900 * i as u64);
            if good { health.answered(now) } else { health.failed(now, now) }
        }
        assert!(health.ejected(ms(8100)).is_some());
    }

    #[test]
    fn failures_older_than_the_window_are_forgotten() {
        let mut health = Health::new();
        for i in 0..40u64 {
            let now = Duration::from_secs(5 * i);
            // Two bad ones and one good: never ten within ten seconds.
            if i % 3 == 0 {
                health.answered(now)
            } else {
                health.failed(now, now)
            }
            assert_eq!(health.ejected(now), None);
        }
    }

    #[test]
    fn each_further_ejection_doubles_up_to_the_cap_and_quiet_forgives() {
        let mut health = Health::new();
        let mut now = Duration::ZERO;
        let mut lengths = Vec::new();
        for _ in 0..9 {
            health.unreachable(now, now);
            let (cause, until) = health.ejected(now).unwrap();
            assert_eq!(cause, Cause::Unreachable);
            lengths.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(lengths, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        now += ms(30_001);
        health.unreachable(now, now);
        assert_eq!(health.ejected(now), Some((Cause::Unreachable, now + ms(250))));
    }

    #[test]
    fn a_burst_that_fails_together_is_one_ejection() {
        let mut health = Health::new();
        for _ in 0..100 {
            health.unreachable(ms(10), ms(5));
        }
        // Stragglers that began before the ejection don't count after it either.
        health.unreachable(ms(300), ms(9));
        assert_eq!(health.ejected(ms(10)), Some((Cause::Unreachable, ms(260))));
        assert_eq!(health.ejected(ms(300)), None);
    }

    #[test]
    fn while_proving_one_failure_is_enough_and_one_answer_ends_it() {
        let mut health = Health::new();
        (0..5).for_each(|_| health.failed(ms(0), ms(0)));
        health.failed(ms(6000), ms(6000));
        assert_eq!(health.ejected(ms(6000)), Some((Cause::Failing, ms(16_000))));
        health.answered(ms(17_000));
        assert!(!health.is_proving());
        health.failed(ms(17_001), ms(17_001));
        assert_eq!(health.ejected(ms(17_001)), None);
    }

    #[test]
    fn a_new_connection_clears_unreachability_but_not_failure() {
        let mut health = Health::new();
        health.unreachable(ms(0), ms(0));
        health.reconnected(ms(1));
        assert_eq!(health.ejected(ms(1)), None);
        assert!(!health.is_proving());
        (0..5).for_each(|_| health.failed(ms(2), ms(2)));
        health.reconnected(ms(3));
        assert_eq!(health.ejected(ms(3)).map(|(cause, _)| cause), Some(Cause::Failing));
        assert!(health.is_proving());
    }
}
