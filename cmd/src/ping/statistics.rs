//! What came of all round trips. Pure.

use std::{collections::VecDeque, fmt};

use p2p_fed::api::{Trip, Way};
use serde::Serialize;

use super::line::{Line, time};
use crate::{
    status::short,
    table::{Table, or_dash},
};

/// The newest round trips of a node that percentiles are taken of. A ping for days stays within half a megabyte, and tells how
/// it was in the last hours.
const REMEMBERED: usize = 65_536;

/// Nodes that are summed up. Workers of a service that come later are shown and no more.
const NODES: usize = 1024;

/// All that were asked, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Statistics(Vec<One>);

#[derive(Debug)]
struct One {
    node: String,
    name: String,
    way: Option<Way>,
    sent: u64,
    times: Times,
}

/// Times in milliseconds.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    sum: f64,
    least: Option<f64>,
    most: Option<f64>,
    newest: VecDeque<f64>,
}

/// What stands at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) loss_percent: f64,
    pub(super) peers: Vec<PeerSummary>,
}

/// The same of one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PeerSummary {
    node: String,
    name: String,
    sent: u64,
    answered: u64,
    loss_percent: f64,
    min_ms: Option<f64>,
    avg_ms: Option<f64>,
    max_ms: Option<f64>,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// The last one.
    path: Option<String>,
    transport: Option<String>,
}

impl Statistics {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts one, and says what is to be told of it.
    pub(super) fn add(&mut self, seq: u64, trip: Trip) -> Vec<Line> {
        let Trip { node, name, way, time_ms, fault } = trip;
        let known = self.0.iter().position(|one| one.node == node);
        let before = known.and_then(|index| self.0.get(index)).map(|one| (one.name.clone(), one.way.clone()));
        let name = name.or_else(|| before.as_ref().map(|(name, _)| name.clone())).unwrap_or_else(|| short(&node));
        let mut lines = Vec::new();
        // The first way is told with the first answer.
        if let Some((_, before)) = before.filter(|(_, before)| *before != way) {
            let (node, name, now) = (node.clone(), name.clone(), way.clone());
            lines.push(Line::Path { seq, node, name, before, now });
        }
        let (path, transport) = way.clone().map_or_else(Default::default, |way| (way.path, way.transport));
        lines.push(match time_ms {
            Some(time_ms) => Line::Answer { seq, node: node.clone(), name: name.clone(), path, transport, time_ms },
            None => {
                let reason = fault.unwrap_or_else(|| "no answer".to_owned());
                Line::NoAnswer { seq, node: node.clone(), name: name.clone(), reason }
            }
        });
        let index = known.unwrap_or(self.0.len());
        if index == self.0.len() && index < NODES {
            self.0.push(One { node, name, way: None, sent: 0, times: Times::default() });
        }
        if let Some(one) = self.0.get_mut(index) {
            one.way = way;
            one.sent += 1;
            time_ms.into_iter().for_each(|time| one.times.add(time));
        }
        lines
    }

    pub(super) fn summary(&self) -> Summary {
        let (sent, answered) =
            self.0.iter().fold((0, 0), |(sent, answered), one| (sent + one.sent, answered + one.times.count));
        Summary { sent, answered, loss_percent: loss(sent, answered), peers: self.0.iter().map(One::summary).collect() }
    }
}

impl One {
    fn summary(&self) -> PeerSummary {
        let Self { node, name, way, sent, times } = self;
        let mut sorted: Vec<f64> = times.newest.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        PeerSummary {
            node: node.clone(),
            name: name.clone(),
            sent: *sent,
            answered: times.count,
            loss_percent: loss(*sent, times.count),
            min_ms: times.least,
            avg_ms: (times.count > 0).then(|| times.sum / times.count as f64),
            max_ms: times.most,
            p50_ms: percentile(&sorted, 50),
            p90_ms: percentile(&sorted, 90),
            p99_ms: percentile(&sorted, 99),
            path: way.as_ref().map(|way| way.path.clone()),
            transport: way.as_ref().map(|way| way.transport.clone()),
        }
    }
}

impl Times {
    fn add(&mut self, time: f64) {
        self.count += 1;
        self.sum += time;
        self.least = Some(self.least.map_or(time, |least| least.min(time)));
        self.most = Some(self.most.map_or(time, |most| most.max(time)));
        if self.newest.len() == REMEMBERED {
            self.newest.pop_front();
        }
        self.newest.push_back(time);
    }
}

/// Of a hundred.
fn loss(sent: u64, answered: u64) -> f64 {
    match sent {
        0 => 0.0,
        sent => sent.saturating_sub(answered) as f64 * 100.0 / sent as f64,
    }
}

/// The least value that so many of a hundred do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            "NAME",
            "SENT",
            "ANSWERED",
            "LOSS",
            "MIN",
            "AVG",
            "MAX",
            "P50",
            "P90",
            "P99",
            "PATH",
            "TRANSPORT",
            "NODE",
        ]);
        for peer in &self.peers {
            table.row([
                peer.name.clone(),
                peer.sent.to_string(),
                peer.answered.to_string(),
                format!("{:.1}%", peer.loss_percent),
                or_dash(peer.min_ms.map(time)),
                or_dash(peer.avg_ms.map(time)),
                or_dash(peer.max_ms.map(time)),
                or_dash(peer.p50_ms.map(time)),
                or_dash(peer.p90_ms.map(time)),
                or_dash(peer.p99_ms.map(time)),
                or_dash(peer.path.as_ref()),
                or_dash(peer.transport.as_ref()),
                short(&peer.node),
            ]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(path: &str, connection: u64) -> Option<Way> {
        Some(Way { path: path.into(), transport: "quic".into(), address: "/ip4/192.0.2.7".into(), connection })
    }

    fn trip(name: Option<&str>, way: Option<Way>, time_ms: Option<f64>) -> Trip {
        let fault = time_ms.is_none().then(|| "no answer within 2000 ms".to_owned());
        Trip { node: "id".into(), name: name.map(str::to_owned), way, time_ms, fault }
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([50, 90, 99].map(|percent| percentile(&hundred, percent)), [Some(50.0), Some(90.0), Some(99.0)]);
        let few = [1.0, 2.0, 3.0];
        assert_eq!([50, 90, 99].map(|percent| percentile(&few, percent)), [Some(2.0), Some(3.0), Some(3.0)]);
        assert_eq!([50, 99].map(|percent| percentile(&[7.0], percent)), [Some(7.0), Some(7.0)]);
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn all_is_summed_up() {
        let mut statistics = Statistics::default();
        for time in [3.0, 1.0, 2.0] {
            statistics.add(1, trip(Some("gpu1"), way("direct", 1), Some(time)));
        }
        statistics.add(4, trip(Some("gpu1"), way("direct", 1), None));
        let summary = statistics.summary();
        assert_eq!((summary.sent, summary.answered, summary.loss_percent), (4, 3, 25.0));
        let page = "NAME  SENT  ANSWERED  LOSS   MIN     AVG     MAX     P50     P90     P99     PATH    TRANSPORT  NODE\n\
                    gpu1  4     3         25.0%  1.00ms  2.00ms  3.00ms  2.00ms  3.00ms  3.00ms  direct  quic       id\n";
        assert_eq!(summary.to_string(), page);
        let json = serde_json::to_value(Line::Summary(summary)).unwrap();
        assert_eq!((&json["type"], &json["peers"][0]["p50_ms"]), (&"summary".into(), &2.0.into()));
    }

    #[test]
    fn nobody_answered_and_nothing_is_divided_by_zero() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.summary(), Summary::default());
        statistics.add(1, trip(None, None, None));
        let summary = statistics.summary();
        assert_eq!((summary.loss_percent, summary.peers[0].avg_ms), (100.0, None));
        assert!(
            summary
                .to_string()
                .contains("id    1     0         100.0%  -    -    -    -    -    -    -     -          id"),
            "{summary}"
        );
    }

    #[test]
    fn a_change_of_the_way_is_told_before_the_answer_that_took_it() {
        let mut statistics = Statistics::default();
        let mut told = |seq, trip| statistics.add(seq, trip).len();
        assert_eq!(told(1, trip(Some("gpu1"), way("relayed", 1), Some(9.0))), 1, "the first is no change");
        assert_eq!(told(2, trip(Some("gpu1"), way("relayed", 1), Some(9.0))), 1);
        assert_eq!(told(3, trip(Some("gpu1"), way("punched", 2), Some(3.0))), 2);
        assert_eq!(told(4, trip(None, None, None)), 2, "it has gone");
        let lines = statistics.add(5, trip(None, way("direct", 3), Some(1.0)));
        let Line::Path { name, before: None, now: Some(now), .. } = &lines[0] else { panic!("{lines:?}") };
        assert_eq!((name.as_str(), now.path.as_str()), ("gpu1", "direct"), "its name is remembered");
        assert_eq!(statistics.summary().peers[0].path.as_deref(), Some("direct"));
    }

    #[test]
    fn a_long_ping_stays_small_and_a_crowd_too() {
        let mut statistics = Statistics::default();
        for seq in 1..=REMEMBERED as u64 + 10 {
            statistics.add(seq, trip(None, way("direct", 1), Some(seq as f64)));
        }
        assert_eq!(statistics.0[0].times.newest.len(), REMEMBERED);
        assert_eq!(statistics.summary().peers[0].min_ms, Some(1.0), "the least of all is known all the same");
        for node in 0..NODES + 10 {
            let stranger = Trip { node: node.to_string(), ..trip(None, way("direct", 1), Some(1.0)) };
            assert_eq!(statistics.add(1, stranger).len(), 1);
        }
        assert_eq!(statistics.0.len(), NODES);
    }
}
