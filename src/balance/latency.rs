//! How long an endpoint took to answer, lately.

use std::time::Duration;

/// Answers remembered per endpoint. 256 give a p99 that rests on more than one sample, in 1 KiB.
const SAMPLES: usize = 256;

/// The median is found anew with each of so many first answers, and then with one of so many: it is of hundreds, and finding it
/// costs as much as a pick.
const MEDIAN_EACH: usize = 16;

/// Percentiles of the time from pick to answer over the last 256 answers, in milliseconds. The answer is the head of an
/// HTTP response, or the accepting verdict of a TCP tunnel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of the answers came within this time.
    pub p50_ms: f64,
    /// All but one in a hundred came within this time.
    pub p99_ms: f64,
}

/// A ring of the newest samples, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Samples {
    micros: Vec<u32>,
    next: usize,
    /// Kept, since each pick asks for it.
    median: Option<u32>,
}

impl Samples {
    pub(super) fn record(&mut self, latency: Duration) {
        let sample = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        match self.micros.get_mut(self.next) {
            Some(oldest) => *oldest = sample,
            None => self.micros.push(sample),
        }
        self.next = (self.next + 1) % SAMPLES;
        let count = self.micros.len();
        if count > MEDIAN_EACH && !self.next.is_multiple_of(MEDIAN_EACH) {
            return;
        }
        let mut copy = [0; SAMPLES];
        if let Some(copy) = copy.get_mut(..count) {
            copy.copy_from_slice(&self.micros);
            self.median = Some(*copy.select_nth_unstable(nearest_rank(count, 50)).1);
        }
    }

    /// In milliseconds; `None` until the first answer.
    pub(super) fn median_ms(&self) -> Option<f64> {
        self.median.map(millis)
    }

    /// `None` until the first answer.
    pub(super) fn percentiles(&self) -> Option<Latency> {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = |percent| sorted.get(nearest_rank(sorted.len(), percent)).copied();
        Some(Latency { p50_ms: millis(rank(50)?), p99_ms: millis(rank(99)?) })
    }
}

/// The place of the smallest sample that at least `percent` of all do not exceed.
fn nearest_rank(samples: usize, percent: usize) -> usize {
    (samples * percent).div_ceil(100).saturating_sub(1)
}

fn millis(micros: u32) -> f64 {
    f64::from(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_newest_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentiles(), None);
        samples.record(Duration::from_millis(3));
        assert_eq!(samples.percentiles(), Some(Latency { p50_ms: 3.0, p99_ms: 3.0 }));
        for ms in 1..=100 {
            samples.record(Duration::from_millis(ms));
        }
        let latency = samples.percentiles().unwrap();
        assert!((49.0..=51.0).contains(&latency.p50_ms) && latency.p99_ms >= 98.0, "{latency:?}");
        let off = (samples.median_ms().unwrap() - latency.p50_ms).abs();
        assert!(off <= MEDIAN_EACH as f64, "the median is of all but the last few: {off}");
        for _ in 0..SAMPLES {
            samples.record(Duration::from_secs(10_000));
        }
        assert_eq!(samples.micros.len(), SAMPLES);
        assert_eq!(samples.percentiles().unwrap().p50_ms, f64::from(u32::MAX) / 1000.0, "a huge sample saturates");
    }
}
