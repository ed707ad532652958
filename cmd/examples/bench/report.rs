//! What a run found, as a table for people and as JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;

use super::{
    lab::{Path, Transport},
    measurement::{Errors, Figure, Measurement, Taken},
    samples::{Summary, pairwise},
};

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    run: Run,
    /// One value per round; none where an error prevented it.
    rounds: BTreeMap<(&'static str, Path), Vec<Option<f64>>>,
    errors: BTreeMap<(Measurement, Path), Errors>,
}

/// How it was measured.
#[derive(Debug, Serialize)]
struct Run {
    version: &'static str,
    transport: &'static str,
    rounds: usize,
    seconds_each: f64,
    seconds_in_all: f64,
    cores: usize,
    /// What else the machine did before: processes that ran or wanted to, mean of a minute; where the system tells.
    load_before: Option<f64>,
    errors: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    run: &'a Run,
    figures: Vec<FigureJson>,
}

#[derive(Serialize)]
struct FigureJson {
    figure: &'static str,
    unit: &'static str,
    paths: BTreeMap<&'static str, PathJson>,
}

#[derive(Serialize)]
struct PathJson {
    #[serde(flatten)]
    value: Option<Summary>,
    rounds: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of_direct: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of_relay: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_to_direct: Option<Summary>,
    errors: Errors,
}

impl Report {
    pub(super) fn new(transport: Transport, rounds: usize, seconds_each: f64) -> Self {
        let run = Run {
            version: env!("CARGO_PKG_VERSION"),
            transport: transport.name(),
            rounds,
            seconds_each,
            seconds_in_all: 0.0,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load(),
            errors: 0,
        };
        Self { run, rounds: BTreeMap::new(), errors: BTreeMap::new() }
    }

    /// Takes what one measurement gave in one round.
    pub(super) fn record(&mut self, measurement: Measurement, path: Path, taken: Taken) {
        for (number, figure) in measurement.figures().iter().enumerate() {
            self.rounds.entry((figure.key, path)).or_default().push(taken.values.get(number).copied());
        }
        self.run.errors += taken.errors.count;
        self.errors.entry((measurement, path)).or_default().add(taken.errors);
    }

    /// How long all of it took.
    pub(super) fn took(&mut self, took: Duration) {
        self.run.seconds_in_all = took.as_secs_f64();
    }

    /// What went wrong, in all.
    pub(super) fn errors(&self) -> u64 {
        self.run.errors
    }

    /// The table.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Run { version, transport, rounds, seconds_each, seconds_in_all, cores, load_before, errors } = &self.run;
        writeln!(out, "p2p-fed {version} over {transport} on loopback; {cores} cores shared with client and backend")?;
        writeln!(out, "{rounds} rounds of {seconds_each} s each, {seconds_in_all:.0} s in all; median (min–max)")?;
        if let Some(load) = load_before {
            let busy = if load * 2.0 > *cores as f64 { ", busy: only the ratios mean something" } else { "" };
            writeln!(out, "load average before: {load}{busy}")?;
        }
        writeln!(
            out,
            "\n{:<24} {:>20} {:>20} {:>20}  {:>9} {:>8}",
            "", "direct", "relay, 2 hops", "p2p-fed", "of direct", "of relay"
        )?;
        for figure in Measurement::ALL.into_iter().flat_map(Measurement::figures) {
            self.print_values(out, &figure)?;
            if figure.is_latency {
                self.print_added(out, &figure)?;
            }
        }
        writeln!(out, "\nerrors: {errors}")?;
        for ((measurement, path), errors) in &self.errors {
            if let Some(first) = &errors.first {
                let title = measurement.figures().first().map_or("", |figure| figure.title);
                writeln!(out, "  {title} over {}: {}, the first: {first}", path.name(), errors.count)?;
            }
        }
        Ok(())
    }

    fn print_values(&self, out: &mut impl Write, figure: &Figure) -> io::Result<()> {
        write!(out, "{:<24}", format!("{}, {}", figure.title, figure.unit))?;
        for path in Path::ALL {
            write!(out, " {:>20}", cell(Summary::of(&self.measured(figure, path))))?;
        }
        let of = |other| ratio(self.compared(figure, Path::P2pFed, other, |value, other| value / other));
        writeln!(out, "  {:>9} {:>8}", of(Path::Direct), of(Path::Relay))
    }

    fn print_added(&self, out: &mut impl Write, figure: &Figure) -> io::Result<()> {
        write!(out, "{:<24} {:>20}", "  added", "")?;
        for path in [Path::Relay, Path::P2pFed] {
            write!(out, " {:>20}", cell(self.added(figure, path)))?;
        }
        // Of the medians: what a relay adds in one round may be nothing, or less.
        let of_relay = self.added(figure, Path::P2pFed).zip(self.added(figure, Path::Relay));
        let of_relay = of_relay.map(|(own, relay)| own.median / relay.median).filter(|ratio| *ratio > 0.0);
        writeln!(out, "  {:>9} {:>8}", "", of_relay.map_or_else(String::new, |ratio| format!("{ratio:.2}×")))
    }

    /// Everything, indented.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let mut figures = Vec::new();
        for measurement in Measurement::ALL {
            for figure in measurement.figures() {
                let paths = Path::ALL.map(|path| (path.name(), self.path_json(measurement, &figure, path)));
                figures.push(FigureJson { figure: figure.key, unit: figure.unit, paths: paths.into() });
            }
        }
        Ok(serde_json::to_string_pretty(&Document { run: &self.run, figures })? + "\n")
    }

    fn path_json(&self, measurement: Measurement, figure: &Figure, path: Path) -> PathJson {
        let of = |other: Path| match path > other {
            true => self.compared(figure, path, other, |value, other| value / other),
            false => None,
        };
        PathJson {
            value: Summary::of(&self.measured(figure, path)),
            rounds: self.rounds.get(&(figure.key, path)).cloned().unwrap_or_default(),
            of_direct: of(Path::Direct),
            of_relay: of(Path::Relay),
            added_to_direct: (figure.is_latency && path != Path::Direct).then(|| self.added(figure, path)).flatten(),
            errors: self.errors.get(&(measurement, path)).cloned().unwrap_or_default(),
        }
    }

    fn measured(&self, figure: &Figure, path: Path) -> Vec<f64> {
        self.rounds.get(&(figure.key, path)).into_iter().flatten().flatten().copied().collect()
    }

    fn added(&self, figure: &Figure, path: Path) -> Option<Summary> {
        self.compared(figure, path, Path::Direct, |value, direct| value - direct)
    }

    /// Round by round.
    fn compared(&self, figure: &Figure, path: Path, other: Path, combine: fn(f64, f64) -> f64) -> Option<Summary> {
        let (values, others) = (self.rounds.get(&(figure.key, path))?, self.rounds.get(&(figure.key, other))?);
        Summary::of(&pairwise(values, others, combine))
    }
}

fn cell(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".to_owned(), |Summary { median, min, max }| format!("{median:.0} ({min:.0}–{max:.0})"))
}

fn ratio(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".to_owned(), |ratio| format!("{:.2}×", ratio.median))
}

/// The load average of the last minute, on Linux.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
