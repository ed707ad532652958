//! Latency times load (Finagle's peak EWMA), over all of the field instead of two.

use std::time::Duration;

use crate::balance::contender::Contender;

pub(super) fn score(now: Duration, field: &mut [Contender<'_>]) {
    let mut known: Vec<f64> = field.iter().filter_map(|contender| contender.endpoint.estimate.last()).collect();
    let middle = known.len() / 2;
    // With no answer from anybody all are alike, and what is in flight decides.
    let usual = if known.is_empty() { 1.0 } else { *known.select_nth_unstable_by(middle, f64::total_cmp).1 };
    for contender in field {
        let endpoint = contender.endpoint;
        let latency = endpoint.estimate.ms(now, endpoint.in_flight, usual);
        contender.score = latency * (endpoint.in_flight as f64 + 1.0) / contender.weight;
    }
}
