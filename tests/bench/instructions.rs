//! How many instructions the hot cores take, compared with a baseline.
//!
//! On a busy machine time says little. The instructions of a fixed workload are almost the same at each run, so what
//! costs a twentieth more shows, whatever else the machine does. They are no time: waiting for memory or for the kernel
//! takes none. `make micro` and `make bench` measure time.
//!
//! `make instructions` compares, `make instructions-record` writes a new baseline to `instructions.txt`.

mod baseline;
mod callgrind;
mod cores;

use std::{
    fs,
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use baseline::{Baseline, Comparison};
use clap::Parser;
use cores::WORKLOADS;

#[derive(Debug, Parser)]
#[command(about = "How many instructions the hot cores take, compared with a baseline")]
struct Args {
    /// The baseline
    #[arg(long, value_name = "FILE", default_value = "tests/bench/instructions.txt")]
    baseline: PathBuf,
    /// Write what is counted as the new baseline
    #[arg(long)]
    record: bool,
    /// Run one workload, to be counted
    #[arg(long, hide = true, value_name = "WORKLOAD")]
    run: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let Args { baseline: file, record, run } = Args::parse();
    if let Some(name) = run {
        let workload = WORKLOADS.iter().find(|workload| workload.name == name);
        callgrind::run(workload.with_context(|| format!("there is no workload {name}"))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let counted = count()?;
    if record {
        fs::write(&file, counted.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        write!(stdout(), "{counted}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let baseline: Baseline = text.parse().with_context(|| format!("in {}", file.display()))?;
    let comparison = Comparison::of(&baseline, &counted);
    write!(stdout(), "{comparison}")?;
    Ok(if comparison.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts every workload, one after the other, and says how far it is.
fn count() -> anyhow::Result<Baseline> {
    let c_library = callgrind::c_library()?;
    let mut counted = Baseline::default();
    for workload in &WORKLOADS {
        let (processor, instructions) = callgrind::count(workload)?;
        let each = instructions / u64::from(workload.times);
        writeln!(stderr(), "{}: {} × {each} instructions", workload.name, workload.times)?;
        counted.platform = format!("{processor}, {c_library}");
        counted.counts.push((workload.name.to_owned(), instructions));
    }
    Ok(counted)
}
