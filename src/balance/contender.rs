//! An endpoint as one pick sees it.

use std::{cmp::Ordering, time::Duration};

use super::{
    Ask, Candidate,
    endpoint::{Endpoint, Fit, Fleet},
    standing::{Bar, Standing},
};
use crate::ledger::NodeId;

/// Most that a worker's reported rate counts above or below the fleet's median. A rate beyond is a mistake, or a boast that
/// would draw everything.
const SPEED_MAX: f64 = 8.0;

/// The exponent's bits (IEEE 754 binary64).
const EXPONENT: u64 = 0x7ff << 52;

/// An endpoint, and what matters of it now.
#[derive(Debug)]
pub(super) struct Contender<'a> {
    pub(super) node: NodeId,
    pub(super) endpoint: &'a Endpoint,
    pub(super) standing: Standing,
    /// There is a connection to it, or to nobody.
    pub(super) connected: bool,
    pub(super) fit: Fit,
    /// Requests there, of all fronts as far as is known.
    pub(super) load: u32,
    /// How many it works on at once; 0 where nobody knows.
    pub(super) slots: u32,
    /// Its weight, 1 where it is usual; less while it is warming.
    pub(super) weight: f64,
    /// How fast one of its slots is, as it reports, where the fleet's median is 1.
    pub(super) speed: f64,
    /// Its place before the policy is asked; the least of them are the field. `None` if it can't have the request.
    pub(super) place: Option<Place>,
    /// By the policy's measure; the least wins. Of those in the field alone.
    pub(super) score: f64,
}

impl<'a> Contender<'a> {
    pub(super) fn new(
        now: Duration,
        (node, endpoint): (&NodeId, &'a Endpoint),
        fleet: &Fleet,
        median_rate: f32,
        ask: &Ask,
    ) -> Self {
        let standing = endpoint.standing(now, *node, fleet, ask);
        let connected = endpoint.connection.is_some() || fleet.cut_off;
        let bar = standing.bar();
        Self {
            node: *node,
            endpoint,
            standing,
            connected,
            place: (bar < Bar::Barred).then_some((bar, !connected, endpoint.tier)),
            fit: ask.model.as_deref().map_or(Fit::Loaded, |model| endpoint.fit(model).unwrap_or(Fit::Unknown)),
            load: endpoint.load(now),
            slots: endpoint.slots(),
            weight: endpoint.capacity(now),
            speed: speed(endpoint.reports.rate(), median_rate),
            score: 0.0,
        }
    }

    /// Before whom the policy would choose it: the less score, then the less of the work so far.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(self.endpoint.share.total_cmp(&other.endpoint.share))
    }

    /// For people and for other scorers; `score` if it is in the field.
    pub(super) fn candidate(&self, score: Option<f64>) -> Candidate {
        Candidate {
            node: self.node,
            name: self.endpoint.name.clone(),
            score,
            standing: match self.standing {
                Standing::Available if !self.connected => "not connected",
                standing => standing.name(),
            },
            in_flight: self.load,
            slots: self.slots,
            rate: self.endpoint.reports.rate(),
            latency_ms: self.endpoint.latencies.median_ms(),
        }
    }
}

/// What is in the way, whether a connection is missing, and the tier.
pub(super) type Place = (Bar, bool, u8);

/// A rate relative to the fleet's median, to the next power of two: rates of equal machines differ by chance, and a
/// difference that is none must not send everything to one of them.
fn speed(rate: f32, median: f32) -> f64 {
    if rate <= 0.0 || median <= 0.0 {
        return 1.0;
    }
    // To the nearest power on a scale of logarithms is down to one from √2 times as much; what is left without its mantissa.
    let power = f64::from_bits((f64::from(rate / median) * std::f64::consts::SQRT_2).to_bits() & EXPONENT);
    power.clamp(1.0 / SPEED_MAX, SPEED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_in_powers_of_two_and_within_bounds() {
        let of = |rate| speed(rate, 100.0);
        assert_eq!([of(0.0), of(100.0), of(75.0), of(138.0)], [1.0; 4], "unknown, or about the same");
        assert_eq!([of(200.0), of(45.0), of(1e30), of(1e-30), of(f32::INFINITY)], [2.0, 0.5, 8.0, 0.125, 8.0]);
        assert_eq!(speed(5.0, 0.0), 1.0);
    }
}
