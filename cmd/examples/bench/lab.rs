//! The processes that a run needs: a backend, a relay of two hops, and p2p-fed's nodes.

use std::{net::SocketAddr, path::Path as FilePath, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::measurement::Entry;

/// From the start of a process to its first line. Nodes that find each other by address take a fraction of a second.
const START: Duration = Duration::from_secs(30);

/// From the request to stop to the end of a process.
const STOP: Duration = Duration::from_secs(10);

/// How the client reaches the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    /// Without anything between.
    Direct,
    /// Through two processes that copy TCP.
    Relay,
    /// Through a front and a worker.
    P2pFed,
}

impl Path {
    /// All, the yardsticks first.
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Relay, Self::P2pFed];

    /// As shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::P2pFed => "p2p-fed",
        }
    }
}

/// What p2p-fed's nodes speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    /// As shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }

    fn listen_addr(self) -> &'static str {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

/// Everything that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Lab {
    direct: Entry,
    relay: Entry,
    p2p_fed: Entry,
    /// In the order in which they were started.
    processes: Vec<Process>,
    /// State, token, control sockets. Last, so that it outlives the processes.
    _folder: TempDir,
}

impl Lab {
    /// Starts all processes; returns when the fronts have their worker.
    pub(super) async fn start(bin: &FilePath, transport: Transport) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("p2p-fed-bench-").tempdir()?;
        let mut processes = Vec::new();

        let backend = Process::start("backend", &mut role("backend")?).await?;
        let direct = backend.entry()?;
        let exit =
            Process::start("relay", role("relay")?.args([direct.tcp.to_string(), direct.http.to_string()])).await?;
        let hop = exit.entry()?;
        let entry = Process::start("relay", role("relay")?.args([hop.tcp.to_string(), hop.http.to_string()])).await?;
        let relay = entry.entry()?;
        processes.extend([backend, exit, entry]);

        let nodes = Nodes { bin, transport, folder: folder.path() };
        nodes.mint().await?;
        let exports = [format!("bench-tcp=tcp://{}", direct.tcp), format!("bench-http=http://{}", direct.http)];
        let worker = Process::start("expose", nodes.command("expose", "bench-worker").args(exports)).await?;
        let peer = worker.ready()?.addresses.into_iter().next().context("expose has no address")?;
        let tcp = nodes.front("tcp", &peer).await?;
        let http = nodes.front("http", &peer).await?;
        let p2p_fed = Entry { tcp: tcp.1, http: http.1 };
        processes.extend([worker, tcp.0, http.0]);

        Ok(Self { direct, relay, p2p_fed, processes, _folder: folder })
    }

    /// Where a path begins.
    pub(super) fn address(&self, path: Path) -> Entry {
        match path {
            Path::Direct => self.direct,
            Path::Relay => self.relay,
            Path::P2pFed => self.p2p_fed,
        }
    }

    /// Ends all processes, those first that depend on others.
    pub(super) async fn stop(mut self) {
        while let Some(mut process) = self.processes.pop() {
            // Killed when dropped; waited for here, so that none is left when this returns.
            let _ = process.child.start_kill();
            let _ = tokio::time::timeout(STOP, process.child.wait()).await;
        }
    }
}

/// How p2p-fed's nodes are started.
struct Nodes<'a> {
    bin: &'a FilePath,
    transport: Transport,
    folder: &'a FilePath,
}

impl Nodes<'_> {
    async fn mint(&self) -> anyhow::Result<()> {
        let minted = Command::new(self.bin).arg("token").output().await.context("cannot run p2p-fed token")?;
        ensure!(minted.status.success(), "p2p-fed token: {}", said(&minted.stderr));
        let file = self.folder.join("token");
        std::fs::write(&file, &minted.stdout)?;
        // As p2p-fed wants its secrets kept.
        Ok(std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?)
    }

    /// Balances the service of a mode; returns where clients connect too.
    async fn front(&self, mode: &str, peer: &str) -> anyhow::Result<(Process, SocketAddr)> {
        let name = format!("bench-front-{mode}");
        let mut command = self.command("serve", &name);
        command.args(["--peer", peer, "--mode", mode, "--wait"]).arg(START.as_secs().to_string());
        let process = Process::start("serve", command.arg(format!("bench-{mode}@127.0.0.1:0"))).await?;

        let mut command = Command::new(self.bin);
        command.args(["status", "--node", &name, "-o", "json"]).env("XDG_RUNTIME_DIR", self.folder);
        let status = command.output().await.context("cannot run p2p-fed status")?;
        ensure!(status.status.success(), "p2p-fed status: {}", said(&status.stderr));
        let status: Status = serde_json::from_slice(&status.stdout).context("status is not what it is said to be")?;
        let front = status.fronts.first().context("the front is not in its status")?;
        Ok((process, front.listen))
    }

    fn command(&self, role: &str, name: &str) -> Command {
        let mut command = Command::new(self.bin);
        command.arg(role).arg("--token-file").arg(self.folder.join("token"));
        command.arg("--state-dir").arg(self.folder.join("state")).args(["--name", name]);
        command.args(["--listen-addr", self.transport.listen_addr(), "--no-mdns", "--no-dht", "--lan"]);
        command.args(["--log-level", "warn", "-o", "json"]).env("XDG_RUNTIME_DIR", self.folder);
        command
    }
}

/// What a node prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    addresses: Vec<String>,
}

/// What it says of itself.
#[derive(Deserialize)]
struct Status {
    fronts: Vec<Front>,
}

#[derive(Deserialize)]
struct Front {
    listen: SocketAddr,
}

/// A child that has printed its first line. Killed when dropped.
#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    first_line: String,
    /// Kept open: a closed one would end whoever prints more.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    async fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        // Roles of this program end with their standard input.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut first_line = String::new();
        match tokio::time::timeout(START, stdout.read_line(&mut first_line)).await {
            Err(_) => bail!("{name} said nothing within {} s", START.as_secs()),
            Ok(Err(error)) => Err(error).with_context(|| format!("cannot hear {name}")),
            Ok(Ok(0)) => bail!("{name} ended at once: {}", child.wait().await?),
            Ok(Ok(_)) => Ok(Self { name, child, first_line, _stdout: stdout }),
        }
    }

    fn ready(&self) -> anyhow::Result<Ready> {
        self.said()
    }

    fn entry(&self) -> anyhow::Result<Entry> {
        let (tcp, http) = self.said()?;
        Ok(Entry { tcp, http })
    }

    fn said<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let unexpected = || format!("{} said {:?}", self.name, self.first_line);
        serde_json::from_str(&self.first_line).with_context(unexpected)
    }
}

/// This program, as something else.
fn role(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    Ok(command)
}

fn said(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().to_owned()
}
