//! One run: every measurement on every path, round by round, and then the checks.

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;

use super::{
    Common,
    check::Check,
    lab::{Lab, Programs},
    measurement::Measurement,
    nofile,
    path::Path,
    report::Report,
};

/// Files and sockets that a path with 1000 idle connections may need, twice over.
const FILES: u64 = 8192;

/// A short measurement before the first round is this part of a long one.
const WARM_UP: u32 = 10;

#[derive(Debug, Args)]
pub(super) struct Comparison {
    /// What is compared [default: all]
    #[arg(long, value_delimiter = ',', value_name = "PATH,…")]
    paths: Vec<Path>,
    /// How often everything is measured [default: 5, with --quick 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each measurement takes [default: 1, with --quick 0.25]
    #[arg(long)]
    seconds: Option<f64>,
    /// About a minute instead of seven, for a first look
    #[arg(long)]
    quick: bool,
    /// Where to write every value as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the tools are that are not in PATH
    #[arg(long, value_name = "DIR", default_value = "target/tools/bin")]
    tools: PathBuf,
}

impl Comparison {
    /// Measures and reports; returns whether p2p-fed made no error.
    pub(super) async fn run(&self, common: &Common) -> anyhow::Result<bool> {
        let rounds = self.rounds.unwrap_or(if self.quick { 2 } else { 5 });
        let seconds = self.seconds.unwrap_or(if self.quick { 0.25 } else { 1.0 });
        ensure!((1..=1000).contains(&rounds), "--rounds is a number from 1 to 1000");
        ensure!((0.1..=60.0).contains(&seconds), "--seconds is a number from 0.1 to 60");
        let period = Duration::from_secs_f64(seconds);
        let bin = common.bin()?;
        if let Some(file) = &self.json {
            // Rather now than after minutes.
            std::fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
        }
        let paths = self.chosen();
        let figures = Measurement::ALL.into_iter().flat_map(Measurement::figures);
        let figures = figures.chain(Check::ALL.into_iter().flat_map(Check::figures)).copied().collect();
        let mut report = Report::new(common.transport, (rounds, seconds), paths.clone(), figures);

        nofile::raise(FILES);
        let (mut progress, started) = (std::io::stderr(), Instant::now());
        let programs = Programs { bin: &bin, tools: &self.tools };
        let mut lab = Lab::start(programs, common.transport, &paths).await?;
        for check in Check::BEFORE {
            for &path in &paths {
                make(check, &mut lab, path, &mut report).await?;
            }
        }
        for measurement in Measurement::ALL {
            for &path in &paths {
                measurement.take(lab.chain(path)?, period / WARM_UP).await;
            }
        }
        for round in 1..=rounds {
            writeln!(progress, "round {round} of {rounds}, {:.0} s so far", started.elapsed().as_secs_f64())?;
            let mut turn = paths.clone();
            turn.rotate_left(round % paths.len());
            for measurement in Measurement::ALL {
                for &path in &turn {
                    if let Some(taken) = measurement.take(lab.chain(path)?, period).await {
                        report.record(measurement.figures(), path, taken);
                    }
                }
            }
        }
        for check in Check::AFTER {
            for &path in &paths {
                make(check, &mut lab, path, &mut report).await?;
            }
        }
        lab.stop().await;
        report.took(started.elapsed());
        report.print(&mut std::io::stdout().lock())?;
        if let Some(file) = &self.json {
            std::fs::write(file, report.json()?).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(report.errors(Path::P2pFed) == 0)
    }

    /// In the usual order, each once.
    fn chosen(&self) -> Vec<Path> {
        Path::ALL.into_iter().filter(|path| self.paths.is_empty() || self.paths.contains(path)).collect()
    }
}

async fn make(check: Check, lab: &mut Lab, path: Path, report: &mut Report) -> anyhow::Result<()> {
    for _ in 0..check.times() {
        if let Some(taken) = check.make(lab, path).await? {
            report.record(check.figures(), path, taken);
        }
    }
    Ok(())
}
