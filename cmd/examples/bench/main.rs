//! What the tunnel costs, measured against no tunnel and against a plain one.
//!
//! # Method
//!
//! One client measures several **paths** to one backend, all over loopback, every hop a process of its own:
//!
//! ```text
//! direct    client ──────────────────────────────────────────▶ backend
//! relay     client ──▶ relay ─────────────────────▶ relay ───▶ backend     plain TCP, copies 64 KiB at a time
//! haproxy   client ──▶ haproxy ═══════ TLS 1.3 ═══▶ haproxy ─▶ backend     two threads each; in TCP and in HTTP mode
//! stunnel   client ──▶ stunnel ═══════ TLS 1.3 ═══▶ stunnel ─▶ backend
//! ssh       client ──▶ ssh -L ════ aes128-gcm ════▶ sshd ────▶ backend     one connection carries all
//! rathole   client ──▶ rathole -s ────────────────▶ rathole -c ▶ backend   plain TCP
//! p2p-fed   client ──▶ serve ════════ tunnel ═════▶ expose ──▶ backend     encrypted, admitted, balanced
//! ```
//!
//! The relay has as many hops as p2p-fed and does nothing but copy: what p2p-fed costs beyond it is the price of what
//! p2p-fed does; what the relay costs beyond a direct connection is the price of two more processes. The others are what
//! one might take instead; they are installed by `make bench-peers` and run with their defaults but for what is said here.
//! Ports are free ones; a program that lost the race for one is started a second time. (bore is not among them: the port
//! on which its server is reached, 7835, is fixed, and a benchmark that takes fixed ports cannot run twice.)
//!
//! A **round** takes every measurement on each path, all paths for one measurement before the next one begins, so that
//! what disturbs the machine meets all paths alike; each round begins with another path. Shown is the median of the rounds
//! with the smallest and the largest value. **Ratios are taken within a round**, and their median is shown. Absolute
//! values say much about the machine, on which client and backend run too; ratios say more about the program.
//!
//! * **Throughput**, 1 and 16 streams at once, each a connection of its own. Down: the backend sends for the set time and
//!   then says how much it was; the client counts what arrives to the end and compares. Up: the client sends for the set
//!   time and closes its half; the backend answers with what it counted to the end. The clock runs until the count is in,
//!   so what waits in buffers is no gain. A stream whose counts differ is an error. *CPU* is what the path's own
//!   processes used in that time, user and system, with all their threads and children, never the client's or the
//!   backend's.
//! * **Echo**: 64 bytes there and back on an open connection, 1 and 32 clients at once. *Added* is what a path takes more
//!   than the direct one in the same round.
//! * **New connections**, 16 clients at once: connect, one byte there and back, close.
//! * **Requests per second**, 16 clients at once that send the next request when the last answer (128 bytes) is complete:
//!   on one connection each, and with a connection per request that the client closes. *tcp mode*: carried as bytes (p2p-fed: `--mode tcp`).
//!   *http mode*: by who understands HTTP (p2p-fed: `--mode http`; haproxy: `mode http`, connections reused).
//! * **Inferences per second**: the same with a POST of 2 KiB to `/v1/chat/completions`, which p2p-fed looks into.
//! * **HTTP/2**: the same GETs by clients that begin with HTTP/2, in http mode, to a backend that speaks HTTP/1.
//! * **Get**: requests of one client on one connection, in http mode.
//!
//! Once for each path:
//!
//! * **Idle**: what 1000 connections that have echoed one byte add to the memory of the path's processes, and how many
//!   echo one more. This comes before all else: a process keeps memory that it once used, and then seems to need none.
//! * **Half-close**: whether a client that has ended its half gets the answer that the backend gives only then.
//! * **First byte** (p2p-fed, five times): from the start of a front that joins by `--peer` to the first byte through it.
//! * **Kill**: the backend's side is killed (SIGKILL); how long until a live connection ends and, for p2p-fed with a
//!   second worker, until a new connection was served by that one.
//!
//! p2p-fed's nodes speak `--transport` alone (TCP unless told otherwise) and are joined by `--peer`, mDNS and DHT off.
//! Every path is warmed up before the first round. **Any error of p2p-fed fails the run**: a fast path that loses requests
//! is none. Errors of others are told. The *bars* say what p2p-fed is meant to reach; they fail nothing.
//!
//! `scale`, `fleet` and `contest` are other runs, of p2p-fed alone ([`scale`], [`fleet`], [`contest`]).
//!
//! Not measured: links that lose or delay.

mod backend;
mod check;
mod comparison;
mod connects;
mod contest;
mod crowd;
mod exchange;
mod figure;
mod first_byte;
mod fleet;
mod half_close;
mod herd;
mod lab;
mod latency;
mod measurement;
mod model_server;
mod nofile;
mod path;
mod recovery;
mod relay;
mod report;
mod requests;
mod samples;
mod scale;
mod taken;
mod throughput;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use comparison::Comparison;
use contest::Contest;
use fleet::Fleet;
use lab::Transport;
use scale::Scale;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(about = "What the tunnel costs, against a direct connection, a plain two-hop relay and other tunnels")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    comparison: Comparison,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What every run needs.
#[derive(Debug, clap::Args)]
struct Common {
    /// The binary to measure
    #[arg(long, default_value = "target/release/p2p-fed", global = true)]
    bin: PathBuf,
    /// What the nodes speak with each other
    #[arg(long, default_value = "tcp", global = true)]
    transport: Transport,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Many idle tunnels, and many new connections for a long time
    Scale(Scale),
    /// The policies, on the same work with real processes
    Contest(Contest),
    /// What the ledger costs many nodes, and how fast news is everywhere
    Fleet(Fleet),
    #[command(hide = true)]
    Backend {
        #[arg(default_value_t = 1)]
        tcp_ports: usize,
    },
    #[command(hide = true)]
    Relay { to: Vec<SocketAddr> },
}

impl Common {
    fn bin(&self) -> anyhow::Result<PathBuf> {
        self.bin.canonicalize().with_context(|| format!("no binary at {}; `make build`", self.bin.display()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli { common, comparison, role } = Cli::parse();
    let run = async {
        match role {
            // What this program is when it was started by itself.
            Some(Role::Backend { tcp_ports }) => backend::run(tcp_ports).await.map(|()| true),
            Some(Role::Relay { to }) => relay::run(&to).await.map(|()| true),
            Some(Role::Scale(scale)) => Box::pin(scale.run(&common)).await,
            Some(Role::Contest(contest)) => Box::pin(contest.run(&common)).await,
            Some(Role::Fleet(fleet)) => Box::pin(fleet.run(&common)).await,
            None => Box::pin(comparison.run(&common)).await,
        }
    };
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        well = run => Ok(if well? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        // Dropping a run ends its processes.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        _ = terminated.recv() => Ok(ExitCode::from(143)),
    }
}
