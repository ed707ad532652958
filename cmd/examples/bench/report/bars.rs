//! How high the bar is, and whether p2p-fed reaches it. They inform; none fails a run.

use std::io::{self, Write};

use serde::Serialize;

use super::{Report, number};
use crate::{figure::Better, path::Path};

/// What a figure of p2p-fed should reach, and what would be better still.
struct Bar {
    title: &'static str,
    /// Of the figure.
    key: &'static str,
    /// What it adds to the direct path, not the whole.
    is_added: bool,
    goal: Mark,
    stretch: Mark,
}

/// A limit, in multiples of another path, or in the figure's unit. Whether more or less reaches it, the figure says.
#[derive(Clone, Copy)]
struct Mark {
    limit: f64,
    of: Option<Path>,
}

/// How a mark was met.
#[derive(Debug, Serialize)]
pub(super) struct Met {
    limit: f64,
    of: Option<&'static str>,
    /// None where a path was left out, or gave no value.
    measured: Option<f64>,
    is_reached: Option<bool>,
}

/// How a bar was met.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    #[serde(skip)]
    title: &'static str,
    figure: &'static str,
    added: bool,
    at_least: bool,
    goal: Met,
    stretch: Met,
}

const fn times(limit: f64, of: Path) -> Mark {
    Mark { limit, of: Some(of) }
}

const fn bar(title: &'static str, key: &'static str, goal: Mark, stretch: Mark) -> Bar {
    Bar { title, key, is_added: false, goal, stretch }
}

const BARS: [Bar; 17] = [
    bar("down, 1 stream", "down_1_mib_s", times(1.4, Path::Haproxy), times(1.0, Path::Rathole)),
    bar("up, 1 stream", "up_1_mib_s", times(1.4, Path::Haproxy), times(1.0, Path::Rathole)),
    bar("down, 16 streams", "down_16_mib_s", times(1.2, Path::Haproxy), times(1.0, Path::Rathole)),
    bar("up, 16 streams", "up_16_mib_s", times(1.2, Path::Haproxy), times(1.0, Path::Rathole)),
    bar("CPU/GiB, down, 1 stream", "down_1_cpu_s_gib", times(0.85, Path::Haproxy), times(0.7, Path::Haproxy)),
    bar("CPU/GiB, up, 1 stream", "up_1_cpu_s_gib", times(0.85, Path::Haproxy), times(0.7, Path::Haproxy)),
    bar("CPU/GiB, down, 16 streams", "down_16_cpu_s_gib", times(0.85, Path::Haproxy), times(0.7, Path::Haproxy)),
    bar("CPU/GiB, up, 16 streams", "up_16_cpu_s_gib", times(0.85, Path::Haproxy), times(0.7, Path::Haproxy)),
    Bar {
        title: "echo, 1 client, p50, added",
        key: "tcp_p50_us",
        is_added: true,
        goal: times(1.0, Path::Stunnel),
        stretch: times(1.0, Path::Rathole),
    },
    bar("new connections/s", "connects_s", times(1.0, Path::Ssh), times(1.4, Path::Ssh)),
    bar("requests/s, closed, tcp mode", "requests_closed_tcp_mode_s", times(1.0, Path::Ssh), times(1.4, Path::Ssh)),
    bar(
        "requests/s, kept alive, tcp mode",
        "requests_kept_alive_tcp_mode_s",
        times(1.0, Path::Rathole),
        times(1.15, Path::Rathole),
    ),
    bar(
        "requests/s, kept alive, http mode",
        "requests_kept_alive_http_mode_s",
        times(1.2, Path::Haproxy),
        times(1.5, Path::Haproxy),
    ),
    bar("inferences/s, http mode", "chats_s", times(0.5, Path::Haproxy), times(1.0, Path::Haproxy)),
    bar("requests/s, HTTP/2, http mode", "http2_requests_s", times(0.5, Path::Haproxy), times(1.0, Path::Haproxy)),
    bar("1000 idle, added MiB", "idle_1000_mib", Mark { limit: 32.0, of: None }, Mark { limit: 16.0, of: None }),
    bar(
        "1000 idle, alive after",
        "idle_1000_alive",
        Mark { limit: 1000.0, of: None },
        Mark { limit: 1000.0, of: None },
    ),
];

impl Report {
    pub(super) fn print_bars(&self, out: &mut impl Write) -> io::Result<()> {
        let outcomes = self.outcomes();
        if !outcomes.is_empty() {
            writeln!(out, "\n{:<35}{:<46}stretch", "bars", "bar")?;
        }
        for outcome in outcomes {
            write!(out, "{:<35}", outcome.title)?;
            for (met, end) in [(&outcome.goal, "  "), (&outcome.stretch, "\n")] {
                let sign = if outcome.at_least { "≥" } else { "≤" };
                let mark =
                    met.of.map_or_else(|| format!("{sign} {}", met.limit), |of| format!("{sign} {}× {of}", met.limit));
                let measured = match met.of {
                    Some(_) => number::ratio(met.measured),
                    None => met.measured.map_or_else(|| "–".to_owned(), number::plain),
                };
                let reached = match met.is_reached {
                    Some(true) => "reached",
                    Some(false) => "not reached",
                    None => "not measured",
                };
                write!(out, "{mark:<20}{measured:>10}{reached:>14}{end}")?;
            }
        }
        Ok(())
    }

    /// How the bars of what was measured were met.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |bar: &Bar| {
            let figure = self.figures.iter().find(|figure| figure.key == bar.key)?;
            let at_least = figure.better != Better::Lower;
            Some(Outcome {
                title: bar.title,
                figure: bar.key,
                added: bar.is_added,
                at_least,
                goal: self.met(bar, bar.goal, at_least),
                stretch: self.met(bar, bar.stretch, at_least),
            })
        };
        BARS.iter().filter_map(outcome).collect()
    }

    fn met(&self, bar: &Bar, mark: Mark, at_least: bool) -> Met {
        let own = Path::P2pFed;
        let measured = match mark.of {
            Some(other) if bar.is_added => self.ratio_of_added(bar.key, own, other),
            Some(other) => self.ratio(bar.key, own, other).map(|ratio| ratio.median),
            None => self.measured(bar.key, own).map(|value| value.median),
        };
        let is_reached = measured.map(|value| if at_least { value >= mark.limit } else { value <= mark.limit });
        Met { limit: mark.limit, of: mark.of.map(Path::name), measured, is_reached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::Check, measurement::Measurement, report::tests::two_rounds};

    #[test]
    fn every_bar_is_for_a_figure_that_is_measured() {
        let measured = Measurement::ALL.into_iter().flat_map(Measurement::figures);
        let keys: Vec<_> =
            measured.chain(Check::ALL.into_iter().flat_map(Check::figures)).map(|figure| figure.key).collect();
        for bar in &BARS {
            assert!(keys.contains(&bar.key), "{}", bar.key);
        }
    }

    #[test]
    fn a_bar_is_met_from_the_side_that_is_good() {
        let report = two_rounds();
        let reached = |key, is_added, at_least, limit| {
            let mark = times(limit, Path::Haproxy);
            report.met(&Bar { title: "", key, is_added, goal: mark, stretch: mark }, mark, at_least).is_reached
        };
        // Half of the rate, and twice the time.
        assert_eq!((reached("rate", false, true, 0.5), reached("rate", false, true, 0.6)), (Some(true), Some(false)));
        assert_eq!((reached("time", true, false, 2.0), reached("time", true, false, 1.9)), (Some(true), Some(false)));
        assert_eq!(reached("else", false, true, 1.0), None);
    }
}
