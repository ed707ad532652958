//! The randomness that was given: a seeded generator for jitter and for picking peers.
//!
//! Nothing secret depends on it, so it is the smallest generator that is good enough: SplitMix64 (Steele, Lea, Flood,
//! "Fast Splittable Pseudorandom Number Generators", 2014). The same seed gives the same throws.

use std::time::Duration;

/// A seeded generator.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A part of one: more than 0, at most 1, in steps of 2^-53.
    pub(crate) fn part(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let steps = ((self.next() >> 11) + 1) as f64;
        steps / (1_u64 << 53) as f64
    }

    /// A duration from zero to `max`, `max` excluded unless it is zero.
    pub(crate) fn up_to(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.next().checked_rem(nanos).unwrap_or(0))
    }

    /// `period` ± 20 %, so that nodes started together do not stay in step.
    pub(crate) fn around(&mut self, period: Duration) -> Duration {
        let fifth = period / 5;
        period - fifth + self.up_to(fifth * 2)
    }

    /// One of `len` places; 0 when there is none.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.next().checked_rem(len).unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_a_fifth_of_the_period() {
        let mut dice = Dice::new(7);
        let period = Duration::from_secs(5);
        let throws: Vec<_> = (0..1000).map(|_| dice.around(period)).collect();
        assert!(throws.iter().all(|t| (Duration::from_secs(4)..Duration::from_secs(6)).contains(t)));
        assert!(throws.iter().any(|t| *t < period) && throws.iter().any(|t| *t > period));
    }

    #[test]
    fn every_place_is_reached_and_none_beyond() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[dice.place(5)] = true);
        assert_eq!(seen, [true; 5]);
        assert_eq!(dice.place(0), 0);
        assert_eq!(dice.up_to(Duration::ZERO), Duration::ZERO);
    }
}
