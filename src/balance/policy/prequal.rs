//! Hot and cold (Prequal: Wydrowski et al., *Load is not what you should balance*, NSDI 2024).
//!
//! Of those that are not among the most loaded the one with the least latency; if all are, the least loaded. The paper probes
//! a few of many replicas and reuses what it learns. Here the newest report of each is what a probe would say, and there
//! are few enough to look at all.

use crate::balance::contender::Contender;

/// The quantile of requests in flight above which a worker is hot: 2^-0.25, the paper's.
const HOT: f64 = 0.84;

/// What puts a hot one behind all that are cold: more milliseconds than any latency has.
const BEHIND: f64 = 1e12;

pub(super) fn score(field: &mut [Contender<'_>]) {
    let mut loads: Vec<f64> = field.iter().map(load).collect();
    loads.sort_unstable_by(f64::total_cmp);
    let hot = quantile(&loads, HOT);
    let mut latencies: Vec<f64> = field.iter().filter_map(latency).collect();
    let middle = latencies.len() / 2;
    // Who has not answered yet is taken for a usual one.
    let usual = if latencies.is_empty() { 0.0 } else { *latencies.select_nth_unstable_by(middle, f64::total_cmp).1 };
    for contender in field {
        let load = load(contender);
        contender.score = if load > hot { BEHIND * (1.0 + load) } else { latency(contender).unwrap_or(usual) };
    }
}

/// Requests there, where a usual weight is one share.
fn load(contender: &Contender<'_>) -> f64 {
    f64::from(contender.load) / contender.weight
}

fn latency(contender: &Contender<'_>) -> Option<f64> {
    contender.endpoint.latencies.median_ms()
}

/// Of sorted values, between the two that are next to it.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_loaded_of_few_is_hot_and_equals_are_not() {
        assert!(quantile(&[0.0, 1.0, 2.0], HOT) < 2.0);
        assert_eq!(quantile(&[3.0, 3.0, 3.0], HOT), 3.0);
        assert_eq!(quantile(&[5.0], HOT), 5.0);
        assert_eq!(quantile(&[], HOT), 0.0);
    }
}
