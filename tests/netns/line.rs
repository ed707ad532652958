//! What becomes of packets on the way from one end to another. Pure: time is an argument, chance is seeded.
//!
//! ```text
//!  send ─▶ cut? lost? ─▶ wire (rate, a queue before it) ─▶ delay, in order but for those that stray ─▶ once or twice
//! ```
//!
//! The delay drifts: it is drawn anew twice a second, as queues elsewhere fill and empty, and what is sent earlier arrives earlier.
//! A share of the packets *strays*: each of those has a delay of its own, and overtakes or is overtaken. No packet is faster than
//! the least delay, and none slower than the greatest, but for its time in the queue.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How long the delay stays what it is.
const DRIFT: Duration = Duration::from_millis(500);

/// What waits for the wire at most; with a full queue a packet is dropped. That of a small home router.
const QUEUE: u64 = 128 << 10;

/// How well a line carries, in one direction. The usual one is perfect.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The least and the greatest delay.
    pub delay: (Duration, Duration),
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// The share of packets that arrive twice.
    pub doubled: f64,
    /// The share of packets that leave the order.
    pub strays: f64,
    /// Bytes per second, not 0; as many as there are without it.
    pub rate: Option<u64>,
    /// Nothing passes.
    pub cut: bool,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Of those: lost by chance, or to a cut.
    pub lost: u64,
    /// Of those: dropped because a queue was full.
    pub dropped: u64,
    /// Of those: delivered twice.
    pub doubled: u64,
}

/// One direction between two ends.
#[derive(Debug)]
pub struct Line {
    quality: Quality,
    chance: StdRng,
    /// When the wire has sent what is in the queue.
    free: Duration,
    /// The delay of those in order, and until when.
    delay: Duration,
    until: Duration,
    /// When the last of those in order arrives.
    last: Duration,
    counts: Counts,
}

impl Line {
    /// A line whose chance follows from the seed.
    pub fn new(quality: Quality, seed: u64) -> Self {
        let (free, delay, until, last) = Default::default();
        Self { quality, chance: StdRng::seed_from_u64(seed), free, delay, until, last, counts: Counts::default() }
    }

    /// From now on it carries that well. What is on its way arrives as it would have.
    pub fn set(&mut self, quality: Quality) {
        self.quality = quality;
        self.until = Duration::ZERO;
    }

    /// When a packet of that many bytes arrives: never, once, or twice.
    pub fn send(&mut self, now: Duration, bytes: usize) -> Vec<Duration> {
        self.counts.sent += 1;
        if self.quality.cut || self.chance.random_bool(self.quality.loss) {
            self.counts.lost += 1;
            return Vec::new();
        }
        let Some(sent) = self.wire(now, bytes as u64) else {
            self.counts.dropped += 1;
            return Vec::new();
        };
        let arrives = if self.chance.random_bool(self.quality.strays) {
            sent + self.draw()
        } else {
            if now >= self.until {
                (self.delay, self.until) = (self.draw(), now + DRIFT);
            }
            self.last = self.last.max(sent + self.delay);
            self.last
        };
        if !self.chance.random_bool(self.quality.doubled) {
            return vec![arrives];
        }
        self.counts.doubled += 1;
        vec![arrives, sent + self.draw()]
    }

    /// What became of all packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the last byte has left; none with a full queue.
    fn wire(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        let Some(rate) = self.quality.rate else { return Some(now) };
        let lasts = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
        if self.free.saturating_sub(now) > lasts(QUEUE) {
            return None;
        }
        self.free = self.free.max(now) + lasts(bytes);
        Some(self.free)
    }

    fn draw(&mut self) -> Duration {
        let (least, greatest) = self.quality.delay;
        least + (greatest.saturating_sub(least)).mul_f64(self.chance.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A packet of 1000 bytes each millisecond; when each was sent and arrives.
    fn sent(line: &mut Line, packets: u32) -> Vec<(Duration, Vec<Duration>)> {
        (0..packets).map(|number| (number * MS, line.send(number * MS, 1000))).collect()
    }

    fn share(part: u64, whole: u64) -> f64 {
        part as f64 / whole as f64
    }

    const BAD: Quality = Quality {
        delay: (Duration::from_millis(100), Duration::from_millis(300)),
        loss: 0.1,
        doubled: 0.05,
        strays: 0.02,
        rate: None,
        cut: false,
    };

    #[test]
    fn a_perfect_line_carries_all_at_once_and_once() {
        let mut line = Line::new(Quality::default(), 1);
        assert!(sent(&mut line, 1000).iter().all(|(at, arrivals)| *arrivals == [*at]));
        assert_eq!(line.counts(), Counts { sent: 1000, ..Counts::default() });
    }

    #[test]
    fn the_same_seed_decides_the_same_and_another_one_else() {
        let run = |seed| sent(&mut Line::new(BAD, seed), 1000);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn as_many_are_lost_and_doubled_as_were_asked_for() {
        for seed in 0..20 {
            let mut line = Line::new(BAD, seed);
            let arrived = sent(&mut line, 20_000).iter().filter(|(_, arrivals)| !arrivals.is_empty()).count() as u64;
            let counts = line.counts();
            assert_eq!(arrived, counts.sent - counts.lost);
            // Five standard deviations.
            assert!((share(counts.lost, counts.sent) - 0.1).abs() < 0.011, "{counts:?}");
            assert!((share(counts.doubled, arrived) - 0.05).abs() < 0.009, "{counts:?}");
        }
    }

    #[test]
    fn none_is_faster_or_slower_than_the_bounds_and_both_are_used() {
        for seed in 0..20 {
            let runs = sent(&mut Line::new(BAD, seed), 20_000);
            let delays = runs.iter().flat_map(|(at, arrivals)| arrivals.iter().map(move |arrives| *arrives - *at));
            let (mut least, mut greatest) = (Duration::MAX, Duration::ZERO);
            for delay in delays {
                (least, greatest) = (least.min(delay), greatest.max(delay));
            }
            assert!(least >= 100 * MS && least < 120 * MS, "{least:?}");
            assert!(greatest <= 300 * MS && greatest > 280 * MS, "{greatest:?}");
        }
    }

    #[test]
    fn all_that_do_not_stray_stay_in_order_and_some_that_do_are_out_of_it() {
        let overtaken = |quality: Quality| {
            let runs = sent(&mut Line::new(quality, 3), 20_000);
            let arrivals: Vec<_> = runs.iter().filter_map(|(_, arrivals)| arrivals.first()).collect();
            arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count()
        };
        assert_eq!(overtaken(Quality { strays: 0.0, ..BAD }), 0);
        // 2 % of 18 000 stray; where the delay is the least just then, they are late and the next one overtakes them, else they
        // are early. Few have the delay of those in order.
        let strays = overtaken(BAD);
        assert!((200..=500).contains(&strays), "{strays}");
        let steady = Quality { delay: (100 * MS, 100 * MS), ..BAD };
        assert_eq!(overtaken(steady), 0, "without a spread nobody is faster");
    }

    #[test]
    fn the_wire_is_as_fast_as_asked_for_and_its_queue_ends() {
        // A tenth of what is sent.
        let mut line = Line::new(Quality { rate: Some(100_000), ..Quality::default() }, 1);
        let runs = sent(&mut line, 20_000);
        let arrivals: Vec<_> = runs.iter().flat_map(|(_, arrivals)| arrivals).collect();
        let seconds = arrivals.last().unwrap().as_secs_f64();
        let rate = arrivals.len() as f64 * 1000.0 / seconds;
        assert!((99_000.0..=101_000.0).contains(&rate), "{rate}");
        let longest = runs.iter().flat_map(|(at, arrivals)| arrivals.iter().map(move |it| *it - *at)).max().unwrap();
        assert!(longest <= Duration::from_secs_f64((QUEUE + 1000) as f64 / 100_000.0), "{longest:?}");
        assert_eq!(line.counts().dropped + arrivals.len() as u64, 20_000);
    }

    #[test]
    fn a_cut_lets_nothing_pass_and_is_mended() {
        let mut line = Line::new(BAD, 1);
        line.set(Quality { cut: true, ..BAD });
        assert!(sent(&mut line, 100).iter().all(|(_, arrivals)| arrivals.is_empty()));
        line.set(Quality::default());
        assert_eq!(line.send(Duration::from_secs(1), 1000), [Duration::from_secs(1)]);
    }
}
