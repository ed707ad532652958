//! The demo's nodes: one with a front, the others with a backend each, all in this process and joined over loopback.
//!
//! Nothing is shared between them but the process: each has its own identity, state and control socket, and everything
//! they know of each other came through a connection. Their folders are their own too, so that a demo meets no other
//! node of the host, nor another demo.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::future::{join_all, select_all};
use p2p_fed::{
    balance::Policy,
    edgevpn, front, identity,
    net::{self, Dht},
    node::{self, Node},
    token::{Mint, Token},
    worker::{DEFAULT_SERVICE, Export},
};
use tempfile::TempDir;

use super::{backend::Backend, event::Member};

/// The node in front.
const FRONT: &str = "demo-front";

/// The workers. One will be killed; the other two still have something to balance.
const WORKERS: [&str; 3] = ["demo-1", "demo-2", "demo-3"];

/// Where newcomers expect a web server. If it is taken, the system chooses.
const USUAL_PORT: u16 = 8080;

/// Where the nodes listen for each other: both transports, seen by this host alone.
const LISTEN: [&str; 2] = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];

/// Loopback, and milliseconds: whatever is not there after this does not come.
const LIMIT: Duration = Duration::from_secs(15);

/// How often the front is asked what it thinks of a worker, and the kernel for a lock: finer than what is shown.
const GLANCE: Duration = Duration::from_millis(5);

/// The nodes. Dropped, they are gone at once, and their folder with them.
#[derive(Debug)]
pub(super) struct Network {
    front: Node,
    workers: Vec<Worker>,
    token: Token,
    /// Last, so that it outlives the nodes.
    folder: TempDir,
}

#[derive(Debug)]
struct Worker {
    name: &'static str,
    /// None while it is dead.
    running: Option<(Node, Backend)>,
}

impl Network {
    /// Starts all nodes and waits until the front has all workers.
    ///
    /// # Errors
    /// A node does not start, or the front does not see it.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let token = Token::mint(&Mint::default())?;
        let folder = tempfile::Builder::new().prefix("p2p-fed-demo-").tempdir().context("cannot make a folder")?;
        let front = start_front(&token, folder.path()).await?;
        let mut network = Self { front, workers: Vec::new(), token, folder };
        for name in WORKERS {
            let running = Some(network.start_worker(name).await?);
            network.workers.push(Worker { name, running });
        }
        for name in WORKERS {
            network.wait_until(name, true).await?;
        }
        Ok(network)
    }

    /// The network's short id.
    pub(super) fn id(&self) -> &str {
        self.front.network()
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        let fronts = self.front.fronts();
        Ok(fronts.first().context("the node has no front")?.1)
    }

    /// What the workers were told to dial, without the node's id.
    pub(super) fn meeting_place(&self) -> String {
        let address = self.front.addresses().first().map(ToString::to_string).unwrap_or_default();
        address.split("/p2p/").next().unwrap_or_default().to_owned()
    }

    /// The control socket of the node in front.
    pub(super) fn control_socket(&self) -> &Path {
        self.front.control_socket()
    }

    /// The node in front.
    pub(super) fn front(&self) -> anyhow::Result<Member> {
        Ok(member(&self.front, self.address()?))
    }

    /// The workers that live.
    pub(super) fn workers(&self) -> Vec<Member> {
        let running = self.workers.iter().filter_map(|worker| worker.running.as_ref());
        running.map(|(node, backend)| member(node, backend.address())).collect()
    }

    /// The workers' names, dead or alive.
    pub(super) fn worker_names() -> [&'static str; WORKERS.len()] {
        WORKERS
    }

    /// Ends a worker's backend and node as a crash would: nothing is drained, nobody is told.
    pub(super) async fn kill(&mut self, name: &str) {
        if let Some((node, backend)) =
            self.workers.iter_mut().find(|it| it.name == name).and_then(|it| it.running.take())
        {
            drop(node);
            backend.kill().await;
        }
    }

    /// Starts a worker again that was killed: the same node, with the state it left behind.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn revive(&mut self, name: &str) -> anyhow::Result<()> {
        let running = self.start_worker(name).await?;
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.name == name) {
            worker.running = Some(running);
        }
        Ok(())
    }

    /// Waits until the front counts a worker in, or out.
    ///
    /// # Errors
    /// It never does.
    pub(super) async fn wait_until(&self, name: &str, is_usable: bool) -> anyhow::Result<()> {
        let until = Instant::now() + LIMIT;
        loop {
            let state = self.state_of(name);
            if matches!(state.as_str(), "warming" | "ready") == is_usable {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("after {} s, {FRONT} still takes {name} for {state}", LIMIT.as_secs());
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Returns when one of the nodes has failed.
    pub(super) async fn failed(&self) -> node::Error {
        let workers = self.workers.iter().filter_map(|worker| worker.running.as_ref()).map(|(node, _)| node);
        select_all(workers.chain([&self.front]).map(|node| Box::pin(node.failed()))).await.0
    }

    /// Ends all nodes in good order.
    pub(super) async fn stop(self) {
        let (nodes, _backends): (Vec<_>, Vec<_>) = self.workers.into_iter().filter_map(|worker| worker.running).unzip();
        join_all(nodes.into_iter().chain([self.front]).map(Node::stop)).await;
    }

    async fn start_worker(&self, name: &str) -> anyhow::Result<(Node, Backend)> {
        let backend = Backend::bind(name).await.context("cannot start a backend")?;
        let export = Export::new(DEFAULT_SERVICE, format!("http://{}", backend.address()).parse()?);
        let mut config = config(name, self.folder.path())?;
        config.net.peers = self.front.addresses();
        config.exports = vec![export];
        Ok((start_node(config, &self.token).await?, backend))
    }

    fn state_of(&self, name: &str) -> String {
        let services = self.front.status().services;
        let mut workers = services.into_iter().flat_map(|service| service.workers);
        workers.find(|worker| worker.name == name).map_or_else(|| "unknown".to_owned(), |worker| worker.state)
    }
}

async fn start_front(token: &Token, folder: &Path) -> anyhow::Result<Node> {
    let mut config = config(FRONT, folder)?;
    let mut listen_at = |port| {
        let front = front::Config::new(DEFAULT_SERVICE, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        config.fronts = vec![node::Front { front, policy: Policy::LeastUsed, pin: None }];
        config.clone()
    };
    Ok(match start_node(listen_at(USUAL_PORT), token).await {
        Err(node::Error::Front(_)) => start_node(listen_at(0), token).await?,
        started => started?,
    })
}

/// Starts a node. What an earlier one of its name held is released when the last of its tasks has noticed the end, so this
/// may wait for a moment.
async fn start_node(config: node::Config, token: &Token) -> Result<Node, node::Error> {
    let until = Instant::now() + LIMIT;
    loop {
        match Node::start(config.clone(), token.clone()).await {
            Err(node::Error::Identity(identity::Error::InUse { .. })) if Instant::now() < until => {
                tokio::time::sleep(GLANCE).await;
            }
            started => return started,
        }
    }
}

/// A node that lives in `folder` and knows nobody.
fn config(name: &str, folder: &Path) -> anyhow::Result<node::Config> {
    let listen = LISTEN.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
    Ok(node::Config {
        name: Some(name.parse()?),
        state_dir: Some(folder.join("state")),
        runtime_dir: Some(folder.join("run")),
        identity: None,
        net: net::Config { listen, mdns: false, dht: Dht::Off, lan: true, ..net::Config::default() },
        exports: Vec::new(),
        fronts: Vec::new(),
        edgevpn: edgevpn::Config::default(),
    })
}

fn member(node: &Node, address: SocketAddr) -> Member {
    Member { name: node.name().to_owned(), node: node.id().short(), address: address.to_string() }
}
