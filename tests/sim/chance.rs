//! All randomness of a run: one seed, one sequence.

use std::{ops::Range, time::Duration};

use ed25519_dalek::SigningKey;

/// A seeded generator (SplitMix64).
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5eed)
    }

    /// The generator with this state, as a format on the wire has it.
    pub(crate) fn seeded(state: u64) -> Self {
        Self(state)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn between(&mut self, range: &Range<Duration>) -> Duration {
        let span = (range.end.saturating_sub(range.start)).as_nanos().max(1) as u64;
        range.start + Duration::from_nanos(self.next() % span)
    }

    /// True with probability `p`.
    pub(crate) fn hits(&mut self, p: f64) -> bool {
        ((self.next() >> 11) as f64) < p * (1_u64 << 53) as f64
    }

    /// Some number from `-max` to `max`.
    pub(crate) fn around_zero(&mut self, max: i64) -> i64 {
        (self.next() % (2 * max.unsigned_abs() + 1)) as i64 - max
    }

    pub(crate) fn key(&mut self) -> SigningKey {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&self.next().to_be_bytes());
        SigningKey::from_bytes(&secret)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Does some damage.
    pub(crate) fn garble(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << self.below(8),
            _ => bytes.extend_from_within(..at.max(1)),
        }
    }

    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}
