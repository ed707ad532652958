//! What the ledger costs a fleet of real processes, and how fast news is everywhere.
//!
//! So many nodes on this host, each a process of its own, joined by `--peer` alone. They offer nothing, so what they send
//! is the ledger and what keeps their connections alive. Read are the nodes' own counters and the kernel's: those of the
//! loopback interface, headers of TCP and IP and bare acknowledgements included. So that the latter are the fleet's alone,
//! the run has to take place in a network namespace of its own, as `make fleet` sees to.
//!
//! * **Idle**: bytes per second and node, after everything has settled.
//! * **Change**: one node offers one more service, and withdraws it the next time; how long until the half, 99 % and all
//!   nodes show it, and what it costs a node beyond idling.
//! * **Joiner**: one node more; how long until it knows all, and what came to it by then.
//!
//! All nodes share this machine's cores, and a change is looked for on all control sockets every few milliseconds: times
//! are upper bounds.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use p2p_fed::api::{Client, Ledger};
use rustix::process::{Signal, kill_process};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Common,
    lab::{self, Nodes, Process, START},
    samples::Summary,
};

/// Between two looks at all nodes.
const GLANCE: Duration = Duration::from_millis(10);

/// After the last node knows all, what starting caused still travels.
const SETTLE: Duration = Duration::from_secs(15);

/// What may pass until a change is everywhere. The bar is one second.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// Between two changes of one node: what it keeps to by itself.
const PACE: Duration = Duration::from_secs(8);

/// Nodes started at once. They all dial the first one, which admits sixteen at a time from one host.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Fleet {
    /// Nodes
    #[arg(long, default_value_t = 10)]
    nodes: usize,
    /// How long nothing is done, in seconds
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// How often a node changes
    #[arg(long, default_value_t = 10)]
    changes: u32,
}

/// One node, and where it answers.
struct Member {
    process: Process,
    client: Client,
}

/// Bytes up to now.
#[derive(Clone, Debug, Default)]
struct Counted {
    /// By each node's count: gossip sent, sync sent, all that it gave to TCP.
    nodes: Vec<[u64; 3]>,
    /// By the kernel's, of all.
    loopback: u64,
}

impl Fleet {
    /// Runs it and tells; returns whether all went well.
    pub(super) async fn run(&self, common: &Common) -> anyhow::Result<bool> {
        ensure!((2..=200).contains(&self.nodes), "--nodes is a number from 2 to 200");
        let folder = lab::folder()?;
        let nodes = Nodes::mint(&common.bin()?, common.transport, folder.path()).await?;
        let config = folder.path().join("changer.yaml");
        offer(&config, false)?;
        let (first, address) = nodes.configured("node-0", &config).await?;
        let mut fleet = vec![Member { process: first, client: nodes.client("node-0") }];
        for number in 1..self.nodes {
            if number % AT_ONCE == 0 {
                know(&fleet, number).await?;
            }
            fleet.push(join(&nodes, number, &address).await?);
        }
        let started = Instant::now();
        know(&fleet, self.nodes).await?;
        let agreed = started.elapsed();
        sleep(SETTLE).await;

        let mut out = String::new();
        writeln!(out, "{} nodes, agreed {:.2} s after the last one was ready", self.nodes, agreed.as_secs_f64())?;
        let (before, begun) = (count(&fleet).await?, Instant::now());
        sleep(Duration::from_secs(self.idle)).await;
        let (after, idle_s) = (count(&fleet).await?, begun.elapsed().as_secs_f64());
        let rate = after.loopback_since(&before) as f64 / idle_s;
        out.push_str(&idle(&before, &after, idle_s));

        let (mut times, mut told_bytes, mut costs) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new(), Vec::new());
        for change in 0..self.changes {
            let (before, begun) = (count(&fleet).await?, Instant::now());
            offer(&config, change % 2 == 0)?;
            kill_process(fleet[0].process.pid(), Signal::HUP)?;
            let seen = spread(&fleet, change % 2 == 0).await?;
            for (samples, share) in times.iter_mut().zip([0.5, 0.99, 1.0]) {
                let at = ((seen.len() as f64 * share).ceil() as usize).clamp(1, seen.len());
                samples.push(seen[at - 1].as_secs_f64() * 1e3);
            }
            sleep(PACE.saturating_sub(begun.elapsed())).await;
            let idling = rate * begun.elapsed().as_secs_f64();
            let after = count(&fleet).await?;
            told_bytes.push((after.gossip() - before.gossip()) as f64 / self.nodes as f64);
            costs.push((after.loopback_since(&before) as f64 - idling) / self.nodes as f64);
        }
        if self.changes > 0 {
            let [half, most, all] = times.map(|times| told(&times));
            writeln!(out, "change: half {half} ms, 99 % {most} ms, all {all} ms")?;
            let (payloads, costs) = (told(&told_bytes), told(&costs));
            writeln!(
                out,
                "  it costs a node {payloads} B of rumours; all that the kernel sent beyond idling {costs} B"
            )?;
        }

        let begun = Instant::now();
        let joiner = join(&nodes, self.nodes, &address).await?;
        let (known, ledger) = timeout(START, knows(&joiner, self.nodes + 1, begun)).await.context("the joiner")??;
        let came = ledger.traffic.tcp_received_bytes;
        writeln!(out, "joiner: knows all {:.2} s after its start; {came} B came to it", known.as_secs_f64())?;
        write!(std::io::stdout(), "{out}")?;
        fleet.push(joiner);
        for Member { process, .. } in fleet {
            process.stop().await;
        }
        Ok(true)
    }
}

async fn join(nodes: &Nodes, number: usize, address: &str) -> anyhow::Result<Member> {
    let name = format!("node-{number}");
    // Nothing listens there, and nobody looks: a node has to offer something to be started.
    let exports = ["nothing=tcp://127.0.0.1:1".to_owned(), "--health".to_owned(), "off".to_owned()];
    let client = nodes.client(&name);
    let (process, _) = nodes.worker(name, &exports, Some(address)).await?;
    Ok(Member { process, client })
}

/// Makes the first node's configuration offer one service more, or not.
fn offer(config: &Path, more: bool) -> anyhow::Result<()> {
    let mut text = String::from("exports:\n  - {name: nothing, target: tcp://127.0.0.1:1, health: \"off\"}\n");
    if more {
        text.push_str("  - {name: more, target: tcp://127.0.0.1:1, health: \"off\"}\n");
    }
    let draft: PathBuf = config.with_extension("draft");
    std::fs::write(&draft, text)?;
    Ok(std::fs::rename(draft, config)?)
}

/// Returns when every node knows so many.
async fn know(fleet: &[Member], nodes: usize) -> anyhow::Result<()> {
    for member in fleet {
        timeout(START, knows(member, nodes, Instant::now())).await.context("nodes that do not find each other")??;
    }
    Ok(())
}

/// When, since `begun`, a node knows so many, and its ledger then.
async fn knows(member: &Member, nodes: usize, begun: Instant) -> anyhow::Result<(Duration, Ledger)> {
    loop {
        let ledger = member.client.ledger().await?;
        if ledger.records.len() >= nodes {
            return Ok((begun.elapsed(), ledger));
        }
        sleep(GLANCE).await;
    }
}

/// When each node shows the change, in order.
async fn spread(fleet: &[Member], more: bool) -> anyhow::Result<Vec<Duration>> {
    let begun = Instant::now();
    let mut waiting: Vec<_> = fleet.iter().collect();
    let mut seen = Vec::new();
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for member in waiting {
            let ledger = member.client.ledger().await?;
            match ledger.records.iter().any(|record| record.services.iter().any(|name| name == "more")) == more {
                true => seen.push(begun.elapsed()),
                false => still.push(member),
            }
        }
        waiting = still;
        if begun.elapsed() > CHANGE_LIMIT {
            bail!("{} nodes do not see a change after {} s", waiting.len(), CHANGE_LIMIT.as_secs());
        }
        sleep(GLANCE).await;
    }
    Ok(seen)
}

async fn count(fleet: &[Member]) -> anyhow::Result<Counted> {
    let mut nodes = Vec::new();
    for member in fleet {
        let traffic = member.client.ledger().await?.traffic;
        let gossip = traffic.gossip_published.bytes + traffic.gossip_passed_on.bytes;
        nodes.push([gossip, traffic.sync_sent.bytes, traffic.tcp_sent_bytes]);
    }
    Ok(Counted { nodes, loopback: loopback()? })
}

impl Counted {
    /// Rumours sent by all.
    fn gossip(&self) -> u64 {
        self.nodes.iter().map(|[gossip, ..]| gossip).sum()
    }

    fn loopback_since(&self, before: &Self) -> u64 {
        self.loopback - before.loopback
    }
}

fn idle(before: &Counted, after: &Counted, seconds: f64) -> String {
    let mut kinds = [Vec::new(), Vec::new(), Vec::new()];
    for (before, after) in before.nodes.iter().zip(&after.nodes) {
        for (samples, (before, after)) in kinds.iter_mut().zip(before.iter().zip(after)) {
            samples.push((after - before) as f64 / seconds);
        }
    }
    let [gossip, sync, tcp] = kinds.map(|values: Vec<f64>| told(&values));
    let kernel = after.loopback_since(before) as f64 / seconds / before.nodes.len() as f64;
    format!(
        "idle, B/s sent per node: gossip {gossip}, sync {sync}, given to TCP {tcp}; by the kernel {kernel:.0} with all headers\n"
    )
}

/// `median (smallest to largest)`.
fn told(values: &[f64]) -> String {
    Summary::of(values)
        .map_or_else(String::new, |Summary { median, min, max }| format!("{median:.0} ({min:.0} to {max:.0})"))
}

/// Bytes that the loopback interface carried.
fn loopback() -> anyhow::Result<u64> {
    let table = std::fs::read_to_string("/proc/self/net/dev")?;
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("lo:")).context("no loopback interface")?;
    line.split_whitespace().nth(8).context("no count of bytes sent")?.parse().context("no count of bytes sent")
}
