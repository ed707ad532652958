//! p2p-fed's nodes: how workers and fronts of one network are started.

use std::{
    borrow::Cow,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use p2p_fed::api::Client;
use serde::Deserialize;
use tokio::process::Command;

use super::process::{Process, START};

/// What p2p-fed's nodes speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    /// As shown.
    pub(crate) fn name(self) -> &'static str {
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

/// A network whose token lies in a folder, with its nodes' state and sockets.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    bin: PathBuf,
    transport: Transport,
    folder: PathBuf,
}

impl Nodes {
    pub(crate) async fn mint(bin: &Path, transport: Transport, folder: &Path) -> anyhow::Result<Self> {
        let minted = Command::new(bin).arg("token").output().await.context("cannot run p2p-fed token")?;
        ensure!(minted.status.success(), "p2p-fed token: {}", String::from_utf8_lossy(&minted.stderr).trim());
        let file = folder.join("token");
        std::fs::write(&file, &minted.stdout)?;
        // As p2p-fed wants its secrets kept.
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(Self { bin: bin.to_owned(), transport, folder: folder.to_owned() })
    }

    /// Offers `exports`; returns an address to join by.
    pub(crate) async fn worker(
        &self,
        name: impl Into<Cow<'static, str>>,
        exports: &[String],
        peer: Option<&str>,
    ) -> anyhow::Result<(Process, String)> {
        let name = name.into();
        let mut command = self.command("expose", &name);
        if let Some(peer) = peer {
            command.args(["--peer", peer]);
        }
        let (process, ready) = Process::announced::<Ready>(name, command.args(exports), &self.folder).await?;
        let address = ready.addresses.into_iter().next().context("expose has no address")?;
        Ok((process, address))
    }

    /// Does what its configuration says; returns an address to join by.
    pub(crate) async fn configured(&self, name: &'static str, config: &Path) -> anyhow::Result<(Process, String)> {
        let mut command = self.command("run", name);
        command.arg("--config").arg(config);
        let (process, ready) = Process::announced::<Ready>(name, &mut command, &self.folder).await?;
        let address = ready.addresses.into_iter().next().context("the node has no address")?;
        Ok((process, address))
    }

    /// Asks a node what it knows.
    pub(crate) fn client(&self, name: &str) -> Client {
        Client::at(self.folder.join("p2p-fed").join(format!("{name}.sock")))
    }

    /// Balances services, given as `NAME@ADDRESS:PORT`, in a mode; returns, when each has a worker, where clients connect.
    pub(crate) async fn front(
        &self,
        name: &'static str,
        mode: &str,
        peer: &str,
        services: &[String],
    ) -> anyhow::Result<(Process, Vec<SocketAddr>)> {
        self.front_with(name, mode, peer, services, &[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn front_with(
        &self,
        name: &'static str,
        mode: &str,
        peer: &str,
        services: &[String],
        more: &[String],
    ) -> anyhow::Result<(Process, Vec<SocketAddr>)> {
        let mut command = self.serve(name, mode, peer, services);
        command.args(more);
        command.arg("--wait").arg(START.as_secs().to_string());
        let (process, ready) = Process::announced::<Ready>(name, &mut command, &self.folder).await?;
        ensure!(ready.fronts.len() == services.len(), "serve has not as many fronts as services");
        Ok((process, ready.fronts.into_iter().map(|front| front.listen).collect()))
    }

    /// The same, without waiting for anything.
    pub(crate) fn front_at_once(
        &self,
        name: &'static str,
        mode: &str,
        peer: &str,
        services: &[String],
    ) -> anyhow::Result<Process> {
        Process::spawn(name, &mut self.serve(name, mode, peer, services), &self.folder)
    }

    /// How many workers of a service a front could pick now.
    pub(crate) async fn workers(&self, front: &str, service: &str) -> anyhow::Result<usize> {
        let mut command = Command::new(&self.bin);
        command.args(["status", "--node", front, "-o", "json"]).env("XDG_RUNTIME_DIR", &self.folder);
        let status = command.output().await.context("cannot run p2p-fed status")?;
        ensure!(status.status.success(), "p2p-fed status: {}", String::from_utf8_lossy(&status.stderr).trim());
        let status: Status = serde_json::from_slice(&status.stdout).context("status is not what it is said to be")?;
        let workers = status.services.into_iter().filter(|offered| offered.name == service);
        let states = workers.flat_map(|offered| offered.workers).map(|worker| worker.state);
        Ok(states.filter(|state| matches!(state.as_str(), "ready" | "warming")).count())
    }

    fn serve(&self, name: &str, mode: &str, peer: &str, services: &[String]) -> Command {
        let mut command = self.command("serve", name);
        command.args(["--peer", peer, "--mode", mode]).args(services);
        command
    }

    fn command(&self, role: &str, name: &str) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg(role).arg("--token-file").arg(self.folder.join("token"));
        command.arg("--state-dir").arg(self.folder.join("state")).args(["--name", name]);
        command.args(["--listen-addr", self.transport.listen_addr(), "--no-mdns", "--no-dht", "--lan"]);
        command.args(["--log-level", "warn", "-o", "json"]).env("XDG_RUNTIME_DIR", &self.folder);
        command
    }
}

/// What a node prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    addresses: Vec<String>,
    fronts: Vec<Front>,
}

#[derive(Deserialize)]
struct Front {
    listen: SocketAddr,
}

/// What it says of itself later.
#[derive(Deserialize)]
struct Status {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Worker {
    state: String,
}
