//! What the tunnel costs, measured against no tunnel and against a plain one.
//!
//! # Method
//!
//! One client measures three **paths** to one backend, all over loopback, every hop a process of its own:
//!
//! ```text
//! direct    client ──────────────────────────────────────────▶ backend
//! relay     client ──▶ relay ─────────────────────▶ relay ───▶ backend     plain TCP, copies 64 KiB at a time
//! p2p-fed   client ──▶ serve ════════ tunnel ═════▶ expose ──▶ backend     encrypted, admitted, balanced
//! ```
//!
//! The relay has as many hops as p2p-fed and does nothing but copy: what p2p-fed costs beyond it is the price of what
//! p2p-fed does; what the relay costs beyond a direct connection is the price of two more processes.
//!
//! A **round** takes every measurement on each path, all paths for one measurement before the next one begins, so that
//! what disturbs the machine meets all paths alike; each round begins with another path. Shown is the median of the rounds
//! with the smallest and the largest value. **Ratios are taken within a round**, and their median is shown. Absolute
//! values say much about the machine, on which client and backend run too; ratios say more about the program.
//!
//! * **Throughput**, 1 and 16 streams at once, each a connection of its own. Down: the backend sends for the set time and
//!   then says how much it was; the client counts what arrives to the end and compares. Up: the client sends for the set
//!   time and closes its half; the backend answers with what it counted to the end. The clock runs until the count is in,
//!   so what waits in buffers is no gain. A stream whose counts differ is an error.
//! * **Requests per second**, 16 clients at once that send the next request when the last answer (128 bytes) is complete:
//!   on one connection each, and with a connection per request.
//! * **Latency**, one client: 64 bytes there and back on one TCP connection, and requests on one HTTP connection. *Added*
//!   is what a path takes more than the direct one in the same round.
//!
//! p2p-fed's nodes speak `--transport` alone (TCP unless told otherwise) and are joined by `--peer`, mDNS and DHT off; the
//! fronts are in the mode that fits (`--mode tcp`, `--mode http`). Every path is warmed up before the first round. Any
//! error fails the run: a fast path that loses requests is none.
//!
//! Not measured: the cost of idle connections, CPU time, and links that lose or delay.

mod backend;
mod lab;
mod latency;
mod measurement;
mod relay;
mod report;
mod requests;
mod samples;
mod throughput;

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use lab::{Lab, Path, Transport};
use measurement::Measurement;
use report::Report;

#[derive(Debug, Parser)]
#[command(about = "What the tunnel costs, against a direct connection and a plain two-hop relay")]
struct Args {
    /// The binary to measure
    #[arg(long, default_value = "target/release/p2p-fed")]
    bin: PathBuf,
    /// What the nodes speak with each other
    #[arg(long, default_value = "tcp")]
    transport: Transport,
    /// How often everything is measured [default: 5, with --quick 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each measurement takes [default: 1, with --quick 0.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Half a minute instead of two and a half, for a first look
    #[arg(long)]
    quick: bool,
    /// Where to write every value as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it was started by itself.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Backend,
    #[command(hide = true)]
    Relay { to: Vec<SocketAddr> },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    match &args.role {
        Some(Role::Backend) => backend::run().await?,
        Some(Role::Relay { to }) => relay::run(to).await?,
        None => {
            let errors = tokio::select! {
                errors = Box::pin(measure(&args)) => errors?,
                // Dropping the lab ends its processes.
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
            };
            return Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures and reports; returns the number of errors.
async fn measure(args: &Args) -> anyhow::Result<u64> {
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    let seconds = args.seconds.unwrap_or(if args.quick { 0.5 } else { 1.0 });
    ensure!((1..=1000).contains(&rounds), "--rounds is a number from 1 to 1000");
    ensure!((0.1..=60.0).contains(&seconds), "--seconds is a number from 0.1 to 60");
    let period = Duration::from_secs_f64(seconds);
    let bin = args.bin.canonicalize().with_context(|| format!("no binary at {}; `make build`", args.bin.display()))?;
    if let Some(file) = &args.json {
        // Rather now than after minutes.
        std::fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }

    let (mut progress, started) = (std::io::stderr(), Instant::now());
    let mut report = Report::new(args.transport, rounds, seconds);
    let lab = Lab::start(&bin, args.transport).await?;
    for measurement in Measurement::ALL {
        for path in Path::ALL {
            measurement.take(lab.address(path), period / 10).await;
        }
    }
    for round in 1..=rounds {
        writeln!(progress, "round {round} of {rounds}, {:.0} s so far", started.elapsed().as_secs_f64())?;
        let mut paths = Path::ALL;
        paths.rotate_left(round % Path::ALL.len());
        for measurement in Measurement::ALL {
            for path in paths {
                report.record(measurement, path, measurement.take(lab.address(path), period).await);
            }
        }
    }
    lab.stop().await;
    report.took(started.elapsed());
    report.print(&mut std::io::stdout().lock())?;
    if let Some(file) = &args.json {
        std::fs::write(file, report.json()?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report.errors())
}
