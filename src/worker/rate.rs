//! How fast a backend answers.
//!
//! The **rate** is bytes of responses per second and busy slot, as one sum over another: what a response brought, over the
//! time that it took from the end of its request. The time is charged when the bytes come, not before: a model that thinks
//! for a minute and then says everything at once is as fast as one that says the same bit by bit, and while it thinks
//! nothing is held against it. Time in which the front took no bytes is not charged at all, because then it is a client
//! that is slow.
//!
//! Both sums forget with each second of work, twice over: one soon, so that a backend that slows down is seen to, and one
//! late. After a rest the late one speaks: what the last few seconds of work happened to be says little by then.

use std::time::Duration;

use tokio::time::Instant;

/// Work after which the recent sums keep a third: several hundred tokens of one answer, and no longer than a change of pace
/// may stay unseen.
const RECENT: Duration = Duration::from_secs(10);

/// The same for the usual sums: several whole answers.
const USUAL: Duration = Duration::from_secs(120);

/// Rest after which the usual sums speak.
const REST: Duration = Duration::from_secs(30);

/// Work below which nothing is known: one answer from a cache would be taken for the rate of all.
const EVIDENCE: Duration = Duration::from_secs(1);

/// What takes less says nothing: then the scheduler and the network are measured as much as the backend, and where all
/// answer at once it makes no difference who does. (Longer answers are charged in pieces that are longer than this.)
const INSTANT: Duration = Duration::from_millis(50);

/// The rate of one service.
#[derive(Debug)]
pub(super) struct Rate {
    recent: Sums,
    usual: Sums,
    /// The last charge.
    at: Option<Instant>,
}

#[derive(Debug)]
struct Sums {
    memory: Duration,
    bytes: f64,
    seconds: f64,
}

impl Rate {
    pub(super) fn new() -> Self {
        let sums = |memory| Sums { memory, bytes: 0.0, seconds: 0.0 };
        Self { recent: sums(RECENT), usual: sums(USUAL), at: None }
    }

    /// A response brought `bytes` in `time` of one slot, while `busy` slots worked.
    pub(super) fn charge(&mut self, now: Instant, bytes: u64, time: Duration, busy: u32) {
        if time < INSTANT {
            return;
        }
        self.at = Some(now);
        for sums in [&mut self.recent, &mut self.usual] {
            sums.charge(bytes as f64, time.as_secs_f64(), f64::from(busy.max(1)));
        }
    }

    /// Bytes per second and slot; 0 while nothing is known.
    pub(super) fn get(&self, now: Instant) -> f32 {
        let rested = self.at.is_none_or(|at| now.saturating_duration_since(at) > REST);
        let sums = if rested || !self.recent.is_evidence() { &self.usual } else { &self.recent };
        if sums.is_evidence() { (sums.bytes / sums.seconds) as f32 } else { 0.0 }
    }
}

impl Sums {
    fn charge(&mut self, bytes: f64, seconds: f64, busy: f64) {
        // Slots that work side by side pass the same second.
        let kept = (-seconds / busy / self.memory.as_secs_f64()).exp();
        self.bytes = self.bytes * kept + bytes;
        self.seconds = self.seconds * kept + seconds;
    }

    fn is_evidence(&self) -> bool {
        self.seconds >= EVIDENCE.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn thinking_first_or_talking_throughout_is_the_same_rate() {
        let now = Instant::now();
        let (mut thinker, mut talker) = (Rate::new(), Rate::new());
        thinker.charge(now, 6000, 60 * SECOND, 1);
        for _ in 0..60 {
            talker.charge(now, 100, SECOND, 1);
        }
        assert_eq!(thinker.get(now), 100.0);
        assert!((talker.get(now) - 100.0).abs() < 0.01);
    }

    #[test]
    fn a_backend_that_slows_down_is_seen_to_and_after_a_rest_its_past_counts_again() {
        let now = Instant::now();
        let mut rate = Rate::new();
        (0..600).for_each(|_| rate.charge(now, 1000, SECOND, 1));
        (0..30).for_each(|_| rate.charge(now, 100, SECOND, 1));
        assert!((90.0..200.0).contains(&rate.get(now)), "{}", rate.get(now));
        let rested = rate.get(now + REST + SECOND);
        assert!((700.0..900.0).contains(&rested), "{rested}");
        assert_eq!(rate.get(now + 3600 * SECOND), rested, "it is not forgotten while nothing happens");
    }

    #[test]
    fn slots_side_by_side_forget_no_faster() {
        let now = Instant::now();
        let (mut alone, mut together) = (Rate::new(), Rate::new());
        let work = |rate: &mut Rate, slots: u32, seconds: u32, bytes: u64| {
            (0..seconds * slots).for_each(|_| rate.charge(now, bytes, SECOND, slots));
        };
        work(&mut alone, 1, 100, 1000);
        work(&mut together, 8, 100, 1000);
        work(&mut alone, 1, 5, 100);
        work(&mut together, 8, 5, 100);
        assert!((alone.get(now) / together.get(now) - 1.0).abs() < 0.05, "{alone:?} {together:?}");
    }

    #[test]
    fn a_moment_of_work_is_no_evidence() {
        let now = Instant::now();
        let mut rate = Rate::new();
        assert_eq!(rate.get(now), 0.0);
        rate.charge(now, 1 << 20, EVIDENCE / 2, 1);
        assert_eq!(rate.get(now), 0.0);
        rate.charge(now, 1 << 20, EVIDENCE, 1);
        assert!(rate.get(now) > 1e6);
    }

    #[test]
    fn backends_that_answer_at_once_have_no_rate() {
        let now = Instant::now();
        let mut rate = Rate::new();
        (0..10_000).for_each(|_| rate.charge(now, 1000, INSTANT / 2, 4));
        assert_eq!(rate.get(now), 0.0);
    }

    proptest! {
        #[test]
        fn the_rate_is_between_the_slowest_and_the_fastest(
            charges in prop::collection::vec((1..1_000_000u64, 1000..60_000u64, 1..64u32), 1..50),
        ) {
            let now = Instant::now();
            let mut rate = Rate::new();
            let (mut least, mut most) = (f64::MAX, 0.0f64);
            for (bytes, milliseconds, busy) in charges {
                rate.charge(now, bytes, Duration::from_millis(milliseconds), busy);
                let one = bytes as f64 / milliseconds as f64 * 1000.0;
                (least, most) = (least.min(one), most.max(one));
                let told = f64::from(rate.get(now));
                prop_assert!(told >= least * 0.999 && told <= most * 1.001, "{least} {told} {most}");
            }
        }
    }
}
