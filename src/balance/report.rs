//! What a worker reported last, and how long it is believed.
//!
//! A report says what all fronts have in flight there, and how much of it is ours. Ours we count ourselves, and better: what
//! is on its way there is among it. So a report is used for what the *others* have there, and that ages: it is believed
//! while reports may be expected, and then fades, since a worker of which we want nothing need not tell us anything.

use std::time::Duration;

use crate::tunnel::Load;

/// Silence after which a worker counts as full, if ours are in flight there: it reports each second, so three are missing.
pub(super) const HOLD: Duration = Duration::from_secs(3);

/// Silence after which such a worker is left out like one that fails.
pub(super) const LOST: Duration = Duration::from_secs(10);

/// Slots that are believed at most. More is a mistake or a boast, and would draw everything.
const SLOTS_MAX: u32 = 4096;

/// The reports of one worker.
#[derive(Debug, Default)]
pub(super) struct Reports {
    newest: Option<Load>,
    at: Duration,
    /// The worker is on another connection than when it reported: how busy it was says nothing now.
    stale: bool,
}

impl Reports {
    /// Takes a report, unless it is not newer than one that is believed. True if it was taken. Once the last one is not, because
    /// the worker came on another connection or was silent, any number counts: it may have started anew with its clock set back.
    pub(super) fn take(&mut self, now: Duration, load: Load) -> bool {
        let newer = self.fresh(now).is_none_or(|newest| load.number > newest.number);
        if newer {
            *self = Self { newest: Some(load), at: now, stale: false };
        }
        newer
    }

    /// The worker came on another connection.
    pub(super) fn reconnected(&mut self) {
        self.stale = true;
    }

    /// When the newest came.
    pub(super) fn at(&self) -> Option<Duration> {
        self.newest.map(|_| self.at)
    }

    /// What the other fronts have in flight there.
    pub(super) fn others(&self, now: Duration) -> u32 {
        let Some(load) = self.fresh(now) else { return 0 };
        let others = load.in_flight.saturating_sub(load.yours);
        let age = now.saturating_sub(self.at);
        if age <= HOLD {
            return others;
        }
        let left = LOST.saturating_sub(age).as_secs_f64() / (LOST - HOLD).as_secs_f64();
        (f64::from(others) * left).round() as u32
    }

    /// How many it works on at once; 0 where it never said.
    pub(super) fn slots(&self) -> u32 {
        self.newest.map_or(0, |load| load.slots.min(SLOTS_MAX))
    }

    /// Bytes per second and busy slot; 0 where it never said.
    pub(super) fn rate(&self) -> f32 {
        self.newest.map_or(0.0, |load| if load.rate.is_finite() { load.rate.max(0.0) } else { 0.0 })
    }

    /// Requests wait inside of its backend.
    pub(super) fn is_queueing(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) <= HOLD && self.fresh(now).is_some_and(|load| load.queued > 0)
    }

    /// It takes no new work.
    pub(super) fn is_draining(&self, now: Duration) -> bool {
        self.fresh(now).is_some_and(|load| load.draining)
    }

    /// How long it has been silent although `busy_since` something of ours is there. Zero if it never reported.
    pub(super) fn silence(&self, now: Duration, busy_since: Option<Duration>) -> Duration {
        match (self.newest, busy_since) {
            (Some(_), Some(since)) => now.saturating_sub(self.at.max(since)),
            _ => Duration::ZERO,
        }
    }

    fn fresh(&self, now: Duration) -> Option<Load> {
        self.newest.filter(|_| !self.stale && now.saturating_sub(self.at) < LOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn load(number: u64) -> Load {
        Load { in_flight: 9, yours: 2, slots: 4, number, rate: 50.0, ..Load::default() }
    }

    #[test]
    fn an_older_report_changes_nothing() {
        let mut reports = Reports::default();
        assert!(reports.take(secs(1), load(5)));
        for number in [5, 4, 0] {
            assert!(!reports.take(secs(2), Load { slots: 99, ..load(number) }));
        }
        assert_eq!((reports.slots(), reports.at()), (4, Some(secs(1))));
        assert!(reports.take(secs(2), Load { slots: u32::MAX, ..load(6) }));
        assert_eq!(reports.slots(), SLOTS_MAX);
    }

    #[test]
    fn what_others_have_there_is_believed_and_then_fades() {
        let mut reports = Reports::default();
        assert_eq!(reports.others(secs(0)), 0);
        reports.take(secs(10), load(1));
        let at = |now| reports.others(secs(now));
        assert_eq!([at(10), at(13), at(15), at(19), at(20)], [7, 7, 5, 1, 0]);
        reports.reconnected();
        assert_eq!(reports.others(secs(10)), 0);
        assert_eq!(reports.rate(), 50.0, "the machine is the same");
    }

    #[test]
    fn a_worker_that_started_anew_with_its_clock_set_back_is_heard() {
        let mut reports = Reports::default();
        reports.take(secs(1), load(1000));
        assert!(!reports.take(secs(2), load(5)));
        reports.reconnected();
        assert!(reports.take(secs(3), Load { slots: 7, ..load(5) }));
        assert_eq!(reports.slots(), 7);
        assert!(!reports.take(secs(4), load(4)));
        assert!(reports.take(secs(4) + LOST, load(3)), "nor does a late one of the old run keep it unheard for ever");
    }

    #[test]
    fn silence_counts_from_the_report_or_from_our_first_request_after_it() {
        let mut reports = Reports::default();
        assert_eq!(reports.silence(secs(99), Some(secs(1))), Duration::ZERO, "it never reported");
        reports.take(secs(10), load(1));
        assert_eq!(reports.silence(secs(15), Some(secs(1))), secs(5));
        assert_eq!(reports.silence(secs(15), Some(secs(14))), secs(1));
        assert_eq!(reports.silence(secs(15), None), Duration::ZERO, "it owes us nothing");
    }
}
