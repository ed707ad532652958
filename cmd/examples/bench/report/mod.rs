//! What a run found: as tables and bars for people, and as JSON.

mod bars;
mod json;
mod number;
mod table;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;

use super::{
    figure::Figure,
    lab::Transport,
    path::Path,
    samples::{Summary, pairwise},
    taken::{Errors, Taken},
};

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    run: Run,
    paths: Vec<Path>,
    /// In the order in which they are shown.
    figures: Vec<Figure>,
    /// One value per round; none where an error prevented it.
    rounds: BTreeMap<(&'static str, Path), Vec<Option<f64>>>,
    /// By the first figure of what was measured.
    errors: BTreeMap<(&'static str, Path), Errors>,
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
}

impl Report {
    pub(super) fn new(
        transport: Transport,
        (rounds, seconds_each): (usize, f64),
        paths: Vec<Path>,
        figures: Vec<Figure>,
    ) -> Self {
        let run = Run {
            version: env!("CARGO_PKG_VERSION"),
            transport: transport.name(),
            rounds,
            seconds_each,
            seconds_in_all: 0.0,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load(),
        };
        Self { run, paths, figures, rounds: BTreeMap::new(), errors: BTreeMap::new() }
    }

    /// Takes what was measured once.
    pub(super) fn record(&mut self, figures: &[Figure], path: Path, taken: Taken) {
        for (number, figure) in figures.iter().enumerate() {
            self.rounds.entry((figure.key, path)).or_default().push(taken.values.get(number).copied().flatten());
        }
        if let Some(figure) = figures.first() {
            self.errors.entry((figure.key, path)).or_default().add(taken.errors);
        }
    }

    /// How long all of it took.
    pub(super) fn took(&mut self, took: Duration) {
        self.run.seconds_in_all = took.as_secs_f64();
    }

    /// What went wrong over a path.
    pub(super) fn errors(&self, path: Path) -> u64 {
        self.errors.iter().filter(|((_, over), _)| *over == path).map(|(_, errors)| errors.count).sum()
    }

    /// All that people read.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Run { version, transport, rounds, seconds_each, seconds_in_all, cores, load_before } = &self.run;
        writeln!(out, "p2p-fed {version} over {transport} on loopback; {cores} cores shared with client and backend")?;
        writeln!(out, "{rounds} rounds of {seconds_each} s each, {seconds_in_all:.0} s in all; median (min–max)")?;
        if let Some(load) = load_before {
            let busy = if load * 2.0 > *cores as f64 { ", busy: only the ratios mean something" } else { "" };
            writeln!(out, "load average before: {load}{busy}")?;
        }
        self.print_values(out)?;
        self.print_ratios(out)?;
        self.print_bars(out)?;
        self.print_errors(out)
    }

    fn print_errors(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nerrors: {}", self.errors.values().map(|errors| errors.count).sum::<u64>())?;
        for ((key, path), errors) in &self.errors {
            if let Some(first) = &errors.first {
                writeln!(out, "  {key} over {}: {}, the first: {first}", path.name(), errors.count)?;
            }
        }
        Ok(())
    }

    fn measured(&self, key: &'static str, path: Path) -> Option<Summary> {
        let values: Vec<_> = self.rounds.get(&(key, path))?.iter().flatten().copied().collect();
        Summary::of(&values)
    }

    /// What a path takes more than the direct one, round by round.
    fn added(&self, key: &'static str, path: Path) -> Option<Summary> {
        self.compared(key, path, Path::Direct, |value, direct| value - direct)
    }

    /// One path of another, round by round.
    fn ratio(&self, key: &'static str, path: Path, other: Path) -> Option<Summary> {
        self.compared(key, path, other, |value, other| value / other).filter(|ratio| ratio.median.is_finite())
    }

    /// What one path adds, of what another one adds. Of the medians, and only where both are something: on a busy machine
    /// noise may be more than what is added.
    fn ratio_of_added(&self, key: &'static str, path: Path, other: Path) -> Option<f64> {
        let (own, other) = (self.added(key, path)?.median, self.added(key, other)?.median);
        (own > 0.0 && other > 0.0).then_some(own / other)
    }

    fn compared(&self, key: &'static str, path: Path, other: Path, combine: fn(f64, f64) -> f64) -> Option<Summary> {
        let (values, others) = (self.rounds.get(&(key, path))?, self.rounds.get(&(key, other))?);
        Summary::of(&pairwise(values, others, combine))
    }

    /// Something went wrong when this was measured.
    fn has_errors(&self, key: &'static str, path: Path) -> bool {
        self.errors.get(&(key, path)).is_some_and(|errors| errors.count > 0)
    }
}

/// The load average of the last minute, on Linux.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Figure = Figure::higher("rate", "rate", "1/s");
    const TIME: Figure = Figure::added("time", "time");

    /// Two rounds in which p2p-fed was half as fast as haproxy, and added twice of what it added.
    pub(super) fn two_rounds() -> Report {
        let paths = vec![Path::Direct, Path::Haproxy, Path::P2pFed];
        let mut report = Report::new(Transport::Tcp, (2, 1.0), paths, vec![RATE, TIME]);
        let taken = |value| Taken { values: vec![Some(value)], ..Taken::default() };
        for scale in [1.0, 10.0] {
            for (path, rate, time) in [(Path::Direct, 8.0, 10.0), (Path::Haproxy, 4.0, 15.0), (Path::P2pFed, 2.0, 20.0)]
            {
                report.record(&[RATE], path, taken(rate * scale));
                report.record(&[TIME], path, taken(time));
            }
        }
        report
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let report = two_rounds();
        let half = Some(Summary { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(report.ratio("rate", Path::P2pFed, Path::Haproxy), half);
        assert_eq!(report.ratio_of_added("time", Path::P2pFed, Path::Haproxy), Some(2.0));
        assert_eq!(report.ratio("rate", Path::P2pFed, Path::Ssh), None);
    }

    #[test]
    fn errors_belong_to_a_path() {
        let mut report = two_rounds();
        let mut failed = Taken::default();
        failed.errors.note(&anyhow::anyhow!("reset"));
        report.record(&[RATE], Path::Haproxy, failed);
        assert_eq!((report.errors(Path::Haproxy), report.errors(Path::P2pFed)), (1, 0));
        assert!(report.has_errors("rate", Path::Haproxy));
    }

    #[test]
    fn all_of_it_fits_160_columns() {
        let mut text = Vec::new();
        two_rounds().print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
        assert!(text.contains("0.50"), "{text}");
    }
}
