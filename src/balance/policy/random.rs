//! At random, in proportion to the weights.

use rand::{Rng, RngExt};

use crate::balance::contender::Contender;

/// Nobody is better than anybody.
pub(super) fn score(field: &mut [Contender<'_>]) {
    field.iter_mut().for_each(|contender| contender.score = 0.0);
}

pub(super) fn choose(field: &[Contender<'_>], rng: &mut impl Rng) -> usize {
    let all: f64 = field.iter().map(|contender| contender.weight).sum();
    let mut left = rng.random::<f64>() * all;
    for (place, contender) in field.iter().enumerate() {
        left -= contender.weight;
        if left < 0.0 {
            return place;
        }
    }
    // What rounding left over belongs to the last.
    field.len().saturating_sub(1)
}
