//! The processes that a run needs: a backend, and for each path those on the way.

mod certificate;
mod chain;
mod haproxy;
mod nodes;
mod p2p_fed;
mod ports;
mod process;
mod program;
mod rathole;
mod relay;
mod ssh;
mod stunnel;
mod usage;

use std::{collections::BTreeMap, net::SocketAddr, path::Path as FilePath};

use anyhow::Context;
pub(crate) use chain::{Chain, Entry};
pub(crate) use nodes::{Nodes, Transport};
pub(crate) use p2p_fed::P2pFed;
pub(crate) use process::{Process, START, role};
use tempfile::TempDir;
pub(crate) use usage::{cpu_seconds, resident};

use super::path::Path;

/// Everything that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Lab {
    chains: BTreeMap<Path, Chain>,
    p2p_fed: Option<P2pFed>,
    backend: Process,
    /// Keys, configurations, state, sockets. Last, so that it outlives the processes.
    _folder: TempDir,
}

/// Where the backend listens, or the next hop to it.
#[derive(Clone, Copy, Debug)]
struct Backend {
    tcp: SocketAddr,
    http: SocketAddr,
}

/// What starting a path takes.
#[derive(Clone, Copy, Debug)]
struct Site<'a> {
    backend: Backend,
    /// For keys, configurations, logs.
    folder: &'a FilePath,
    /// Where the programs of others may be, besides in `PATH`.
    tools: &'a FilePath,
}

/// Programs that a user may have elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Programs<'a> {
    /// p2p-fed.
    pub(super) bin: &'a FilePath,
    /// The folder of those of others.
    pub(super) tools: &'a FilePath,
}

impl Lab {
    /// Starts all processes; returns when bytes get through on all `paths`.
    pub(super) async fn start(programs: Programs<'_>, transport: Transport, paths: &[Path]) -> anyhow::Result<Self> {
        let folder = folder()?;
        let mut command = role("backend")?;
        let (backend, (tcp, http)) = Process::announced("backend", &mut command, folder.path()).await?;
        let backend_at = Backend { tcp, http };
        let (mut chains, mut p2p_fed) = (BTreeMap::new(), None);
        for &path in paths {
            // Of its own: two programs may call a file the same.
            let folder = folder.path().join(path.name());
            std::fs::create_dir(&folder)?;
            let site = Site { backend: backend_at, folder: &folder, tools: programs.tools };
            let started = match path {
                Path::Direct => {
                    Ok(Chain::new(Entry { tcp, http, http_mode: Some(http), http2: None }, Vec::new(), Vec::new()))
                }
                Path::Relay => relay::start(&site).await,
                Path::Haproxy => twice(async || haproxy::start(&site).await).await,
                Path::Stunnel => twice(async || stunnel::start(&site).await).await,
                Path::Ssh => twice(async || ssh::start(&site).await).await,
                Path::Rathole => twice(async || rathole::start(&site).await).await,
                Path::P2pFed => P2pFed::start(&site, programs.bin, transport).await.map(|(own, chain)| {
                    p2p_fed = Some(own);
                    chain
                }),
            };
            chains.insert(path, started.with_context(|| format!("cannot start {}", path.name()))?);
        }
        Ok(Self { chains, p2p_fed, backend, _folder: folder })
    }

    /// What runs for a path.
    pub(super) fn chain(&mut self, path: Path) -> anyhow::Result<&mut Chain> {
        self.chains.get_mut(&path).with_context(|| format!("{} does not run", path.name()))
    }

    /// p2p-fed's network, where it is among the paths.
    pub(super) fn p2p_fed(&self) -> Option<&P2pFed> {
        self.p2p_fed.as_ref()
    }

    /// Ends all processes, those first that depend on others.
    pub(super) async fn stop(self) {
        for chain in self.chains.into_values() {
            chain.stop().await;
        }
        self.backend.stop().await;
    }
}

/// Where a run keeps its files. Removed when dropped.
pub(super) fn folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("p2p-fed-bench-").tempdir()?)
}

/// Somebody else may have taken a port that was free a moment before; hardly twice.
async fn twice(start: impl AsyncFn() -> anyhow::Result<Chain>) -> anyhow::Result<Chain> {
    match start().await {
        Err(error) if error.is::<program::Missing>() => Err(error),
        Ok(chain) => Ok(chain),
        Err(first) => start().await.with_context(|| format!("after a first try: {first:#}")),
    }
}
