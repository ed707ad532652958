//! The power of two choices (Mitzenmacher, 2001), by this front's own counts.
//!
//! The draws are in proportion to the weights, so that a pair of slow workers which say so is drawn seldom. With workers
//! that don't, the slowest pair gets more than it can take: see `docs/balancing.md`.

use rand::{Rng, RngExt};

use super::random;
use crate::balance::contender::Contender;

pub(super) fn score(field: &mut [Contender<'_>]) {
    for contender in field {
        contender.score = contender.endpoint.in_flight as f64 / contender.weight;
    }
}

pub(super) fn choose(field: &[Contender<'_>], rng: &mut impl Rng) -> usize {
    let one = random::choose(field, rng);
    let (before, after) = (field.get(..one).unwrap_or_default(), field.get(one + 1..).unwrap_or_default());
    // The other is drawn from the rest: from the part before or the part after, in proportion to their weights.
    let weight = |part: &[Contender<'_>]| part.iter().map(|contender| contender.weight).sum::<f64>();
    let is_before = after.is_empty() || rng.random::<f64>() * (weight(before) + weight(after)) < weight(before);
    let other = match (is_before, before.is_empty()) {
        (true, true) => return one,
        (true, false) => random::choose(before, rng),
        (false, _) => one + 1 + random::choose(after, rng),
    };
    match (field.get(one), field.get(other)) {
        (Some(a), Some(b)) if b.order(a).is_lt() => other,
        _ => one,
    }
}
