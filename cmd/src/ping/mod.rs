//! `p2p-fed ping`: round trips to a peer, or to the workers of a service.
//!
//! The node that runs here makes them, one round each time that it is asked. A round ends when all have answered or the wait is
//! over, and only then the next one may begin: on one connection a second question would wait behind the first anyway.

mod line;
mod statistics;

use std::{num::NonZeroU64, str::FromStr, time::Duration};

use clap::Args;
use p2p_fed::{
    api::{self, Client, PATIENCE_MS_MAX},
    config::Span,
    identity::RuntimeDir,
    telemetry,
};
use tokio::time::MissedTickBehavior;

use self::{
    line::Line,
    statistics::{Statistics, Summary},
};
use crate::{cli::LogFlags, exit::Failure, output::OutputFlags, signals::Signals};

/// How long there can be between two rounds. The shortest is half of what others answer.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60 * 60));

/// How long one can wait for an answer.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(PATIENCE_MS_MAX));

/// Measure round trips to a peer, or to the workers of a service
///
/// They go the way that the next tunnel would take: directly, through NATs, or by a relay; a line tells when that changes. The
/// node that runs here makes them. Exit code 1 where nobody answered, 130 after Ctrl-C, which ends with the summary as well.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed ping gpu1\n  p2p-fed ping federated -c 5              # each worker of the service\n  p2p-fed ping gpu1 -i 0.2 -c 50 -o json | jq 'select(.type == \"summary\")'"
)]
pub(crate) struct Ping {
    /// A node, by its name or its id as `p2p-fed peers` shows them, or a service
    #[arg(value_name = "PEER|SERVICE")]
    whom: String,

    /// So many round trips [default: until interrupted]
    #[arg(short, long, value_name = "COUNT")]
    count: Option<NonZeroU64>,

    /// Between two of them, in seconds or as a span of time
    #[arg(short, long, value_name = "TIME", default_value = "1")]
    interval: Interval,

    /// How long to wait for an answer, likewise; up to 4 s
    #[arg(short = 'W', long, value_name = "TIME", default_value = "2")]
    timeout: Timeout,

    /// Take the name for a service's, where a node has it as well
    #[arg(long)]
    service: bool,

    /// The node to ask, by its name or its control socket; not needed where only one is running
    #[arg(long, value_name = "NAME|SOCKET")]
    node: Option<String>,

    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval(Duration);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timeout(Duration);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        time_within(text, INTERVAL).map(Self)
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        time_within(text, TIMEOUT).map(Self)
    }
}

/// Seconds, as `ping` takes them, or a span with units.
fn time_within(text: &str, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().map(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = seconds.unwrap_or_else(|| text.parse::<Span>().ok().map(|span| span.0));
    time.filter(|time| (least..=most).contains(time))
        .ok_or_else(|| format!("{text:?} is no time from {least:?} to {most:?}, as 0.5 (seconds) or 500ms"))
}

impl Ping {
    /// Pings until all is counted, or until interrupted, and sums up.
    pub(crate) async fn perform(&self, log: &LogFlags) -> Result<(), Failure> {
        telemetry::init(&log.settings().resolve())?;
        let runtime = RuntimeDir::open().map_err(Failure::run)?;
        let client = Client::find(runtime.path(), self.node.as_deref()).await?;
        let mut signals =
            Signals::listen().map_err(|error| Failure::run(format_args!("cannot listen to signals: {error}")))?;
        let mut statistics = Statistics::default();
        let ended = tokio::select! {
            ended = self.rounds(&client, &mut statistics) => ended,
            () = signals.stop() => Err(Failure::Told(130)),
        };
        if statistics.is_empty() || matches!(ended, Err(Failure::Closed)) {
            return ended;
        }
        let summary = statistics.summary();
        self.tell(&Line::Summary(summary.clone()))?;
        ended?;
        match summary.answered {
            0 => Err(Failure::run(format_args!("no answer from {}", self.whom))),
            _ => Ok(()),
        }
    }

    async fn rounds(&self, client: &Client, statistics: &mut Statistics) -> Result<(), Failure> {
        let mut rounds = tokio::time::interval(self.interval.0);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = api::Ping {
            whom: self.whom.clone(),
            service: self.service,
            patience_ms: u64::try_from(self.timeout.0.as_millis()).unwrap_or(PATIENCE_MS_MAX),
        };
        let mut seq = 0;
        while self.count.is_none_or(|count| seq < count.get()) {
            rounds.tick().await;
            seq += 1;
            let round = client.ping(&ping).await?;
            if seq == 1 {
                self.check(&round)?;
            }
            if !self.is_service(&round) {
                // From now on the same node, also when it has gone, or another one takes its name.
                ping.whom = round.trips.first().map_or(ping.whom, |trip| trip.node.clone());
            }
            for trip in round.trips {
                for line in statistics.add(seq, trip) {
                    self.tell(&line)?;
                }
            }
        }
        Ok(())
    }

    /// Nobody waits for a peer that is not there.
    fn check(&self, round: &api::Round) -> Result<(), Failure> {
        match round.trips.iter().any(|trip| trip.way.is_some()) {
            true => Ok(()),
            false => Err(Failure::run(format_args!(
                "{} is not connected to the node that runs here: `p2p-fed peers` shows who is, `p2p-fed doctor` why others are not",
                self.whom
            ))),
        }
    }

    /// Whether workers were asked: a node is asked by its name, or its id.
    fn is_service(&self, round: &api::Round) -> bool {
        let is_node = |trip: &api::Trip| {
            trip.name.as_ref() == Some(&self.whom)
                || trip.node == self.whom
                || crate::status::short(&trip.node) == self.whom
        };
        self.service || !matches!(&*round.trips, [trip] if is_node(trip))
    }

    fn tell(&self, line: &Line) -> Result<(), Failure> {
        self.output.output.show_next(line, || line.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_spans_and_have_bounds() {
        let interval = |text: &str| text.parse::<Interval>().map(|Interval(time)| time.as_millis());
        assert_eq!(["1", "0.2", ".05", "500ms", "1m30s"].map(interval), [1000, 200, 50, 500, 90_000].map(Ok));
        for text in ["", "0", "-1", "0.001", "nan", "inf", "1e300", "2h", "fast"] {
            assert!(interval(text).unwrap_err().contains("10ms to 3600s"), "{text}");
        }
        assert!("5".parse::<Timeout>().is_err());
        assert_eq!("4".parse(), Ok(Timeout(Duration::from_secs(4))));
    }
}
