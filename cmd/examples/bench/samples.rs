//! Numbers out of numbers.

use serde::Serialize;

/// The smallest value that `percent` of the values, in ascending order, do not exceed (nearest rank).
pub(super) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// What the rounds say together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// The middle one, or the mean of the middle two.
    pub(super) median: f64,
    /// The smallest.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Summary {
    /// None of no values.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted.get((sorted.len() - 1) / 2)?, sorted.get(sorted.len() / 2)?);
        Some(Self { median: f64::midpoint(*below, *above), min, max })
    }
}

/// Each of `values` with its counterpart in `others`, combined; rounds that lack one are left out.
pub(super) fn pairwise(values: &[Option<f64>], others: &[Option<f64>], combine: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    values.iter().zip(others).filter_map(|(value, other)| Some(combine((*value)?, (*other)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (Some(50.0), Some(99.0)));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]), Some(Summary { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Summary::of(&[4.0, 1.0]), Some(Summary { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn only_what_one_round_measured_is_compared() {
        let (values, others) = ([Some(6.0), None, Some(9.0)], [Some(2.0), Some(1.0), Some(3.0)]);
        assert_eq!(pairwise(&values, &others, |a, b| a / b), [3.0, 3.0]);
    }
}
