//! How p2p-fed fares with many idle tunnels, and with many new connections for a long time.
//!
//! One front in TCP mode, one worker, one backend. First `--idle` connections are opened, a byte is echoed on each, and
//! nothing is done for `--minutes`; what front and worker use in the meantime is read, and then every connection must
//! still echo. After that `--rate` connections per second are opened for as long, each for one byte there and back.
//!
//! A client's address, and a port to connect to, leave it some 28 000 ports of its own, and a port rests for a minute after
//! a connection. So there are as many services, each with its listener and its backend's port, as make the ports suffice.

mod idle;
mod rate;

use std::{io::Write, net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;

use super::{
    Common,
    lab::{self, Nodes, Process},
    nofile,
};

/// Connections to one port, open or resting.
const PER_PORT: usize = 20_000;

/// How long a port rests after a connection, in seconds.
const REST: usize = 60;

/// Services of one node at most.
const SERVICES: usize = 64;

/// Files and sockets for everything but the idle connections.
const FILES: u64 = 2048;

/// How often it is said that the run is still on its way.
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Scale {
    /// Connections that do nothing, 0 for none
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// New connections per second, 0 for none
    #[arg(long, default_value_t = 1000)]
    rate: usize,
    /// How long each of the two takes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

/// The two ends of the tunnels, and where clients connect.
struct Tunnels {
    front: Process,
    worker: Process,
    listeners: Vec<SocketAddr>,
}

impl Scale {
    /// Runs both and tells; returns whether nothing failed.
    pub(super) async fn run(&self, common: &Common) -> anyhow::Result<bool> {
        ensure!((0.01..=1440.0).contains(&self.minutes), "--minutes is a number from 0.01 to 1440");
        let services = self.idle.max(self.rate * REST).div_ceil(PER_PORT).max(1);
        ensure!(
            services <= SERVICES,
            "at most {} connections, and {} per second",
            SERVICES * PER_PORT,
            SERVICES * PER_PORT / REST
        );
        // The client needs one for each connection; front and worker, which inherit the limit, perhaps two.
        let (needed, wanted) = (self.idle as u64 + FILES, self.idle as u64 * 2 + FILES);
        let allowed = nofile::raise(wanted);
        ensure!(
            allowed >= needed,
            "{needed} open files are needed and {allowed} allowed: `ulimit -n`, or a smaller --idle"
        );
        if allowed < wanted {
            writeln!(std::io::stderr(), "{allowed} open files are allowed; front and worker may need {wanted}")?;
        }
        let period = Duration::from_secs_f64(self.minutes * 60.0);

        let folder = lab::folder()?;
        let mut command = lab::role("backend")?;
        command.arg(services.to_string());
        let (backend, mut targets) =
            Process::announced::<Vec<SocketAddr>>("backend", &mut command, folder.path()).await?;
        // The last one speaks HTTP.
        targets.pop().context("the backend listens nowhere")?;
        let nodes = Nodes::mint(&common.bin()?, common.transport, folder.path()).await?;
        let name = |number: usize| format!("bench-{number}");
        let exports: Vec<_> =
            targets.iter().enumerate().map(|(number, target)| format!("{}=tcp://{target}", name(number))).collect();
        let (worker, peer) = nodes.worker("worker", &exports, None).await?;
        let served: Vec<_> = (0..services).map(|number| format!("{}@127.0.0.1:0", name(number))).collect();
        let (front, listeners) = nodes.front("front", "tcp", &peer, &served).await?;
        let tunnels = Tunnels { front, worker, listeners };

        let mut out = std::io::stdout();
        let mut well = true;
        if self.idle > 0 {
            let outcome = idle::run(&tunnels, self.idle, period).await?;
            write!(out, "{outcome}")?;
            well &= outcome.is_well();
        }
        if self.rate > 0 {
            let outcome = rate::run(&tunnels, self.rate, period).await?;
            write!(out, "{outcome}")?;
            well &= outcome.is_well();
        }
        for process in [tunnels.front, tunnels.worker, backend] {
            process.stop().await;
        }
        Ok(well)
    }
}

/// What the two ends use.
#[derive(Clone, Copy, Debug)]
struct Usage {
    front: Side,
    worker: Side,
}

/// What one end uses.
#[derive(Clone, Copy, Debug)]
struct Side {
    /// MiB in memory.
    resident_mib: f64,
    /// Seconds on a core since its start.
    cpu_seconds: f64,
}

impl Tunnels {
    fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage { front: Side::of(&self.front)?, worker: Side::of(&self.worker)? })
    }
}

impl Side {
    fn of(process: &Process) -> anyhow::Result<Self> {
        let pid = process.pid();
        let resident_mib = lab::resident(pid)? as f64 / f64::from(1 << 20);
        Ok(Self { resident_mib, cpu_seconds: lab::cpu_seconds(pid)? })
    }
}

/// Lets time pass, and says so each minute.
async fn wait(what: &str, period: Duration) -> anyhow::Result<()> {
    let started = tokio::time::Instant::now();
    while let Some(left) = period.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        writeln!(std::io::stderr(), "{what}, {:.0} s to go", left.as_secs_f64())?;
        tokio::time::sleep(left.min(MINUTE)).await;
    }
    Ok(())
}
