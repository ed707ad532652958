//! A running node, and how it is started.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, sync::Arc};

use p2p_fed::api::{Ledger, Status, Worker};
use rustix::process::Signal;

use crate::{
    client,
    host::Host,
    process::{Exit, Process},
    until,
};

/// How a node finds others. Whatever it is, nothing else works at the same time.
#[derive(Clone)]
pub enum Join {
    /// By nothing.
    Alone,
    /// By mDNS.
    Mdns,
    /// By these addresses.
    Peers(Vec<String>),
    /// By the DHT that the server at this address belongs to.
    Dht(String),
}

/// A node to start.
#[derive(Clone)]
pub struct Plan {
    name: String,
    join: Join,
    args: Vec<String>,
    by_web: bool,
}

impl Plan {
    fn new(command: &str, name: &str) -> Self {
        Self { name: name.to_owned(), join: Join::Alone, args: vec![command.to_owned()], by_web: false }
    }

    /// A node that offers `target`.
    pub fn expose(name: &str, target: impl Display) -> Self {
        Self::new("expose", name).arg(target)
    }

    /// A node that balances the default service, at a port of the system's choice.
    pub fn serve(name: &str) -> Self {
        Self::new("serve", name).arg("federated@127.0.0.1:0")
    }

    /// A node that does what its configuration file says.
    pub fn run(name: &str, config: impl Display) -> Self {
        Self::new("run", name).arg("--config").arg(config)
    }

    pub fn join(mut self, join: Join) -> Self {
        self.join = join;
        self
    }

    /// By WebSocket alone.
    pub fn by_web(mut self) -> Self {
        self.by_web = true;
        self
    }

    pub fn arg(mut self, arg: impl Display) -> Self {
        self.args.push(arg.to_string());
        self
    }

    /// All of the command line.
    pub fn args(&self, host: &Host) -> Vec<String> {
        let mut args = self.args.clone();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|&arg| arg.to_owned()));
        add(&["--name", &self.name, "--token-file", &host.path("token").display().to_string()]);
        match self.by_web {
            true => add(&["--transports", "ws", "--listen-addr", "/ip4/127.0.0.1/tcp/0/ws"]),
            false => add(&["--listen-addr", "/ip4/127.0.0.1/tcp/0", "--listen-addr", "/ip4/127.0.0.1/udp/0/quic-v1"]),
        }
        match &self.join {
            Join::Alone => add(&["--no-mdns", "--no-dht"]),
            Join::Mdns => add(&["--no-dht"]),
            Join::Peers(peers) => {
                add(&["--no-mdns", "--no-dht"]);
                peers.iter().for_each(|peer| add(&["--peer", peer]));
            }
            Join::Dht(server) => add(&["--no-mdns", "--dht", "private", "--peer", server]),
        }
        args
    }
}

pub struct Node {
    pub process: Process,
    pub name: String,
    pub host: Arc<Host>,
    addresses: Vec<String>,
    plan: Plan,
}

impl Node {
    /// Starts it and waits for its `ready` line.
    pub async fn start(host: Arc<Host>, plan: Plan) -> Self {
        let process = host.start(plan.args(&host));
        let ready = process.says("ready ").await;
        let field = |name: &str| ready.split(' ').find_map(|word| word.strip_prefix(name)).unwrap().to_owned();
        let addresses = field("addresses=").split(',').map(str::to_owned).collect();
        Self { process, name: field("name="), host, addresses, plan }
    }

    /// Starts it again where it was, after its process has gone.
    pub async fn again(host: &Arc<Host>, plan: &Plan) -> Self {
        Self::start(Arc::clone(host), plan.clone()).await
    }

    /// How others are told to find it.
    pub fn peer(&self) -> Join {
        Join::Peers(self.addresses.clone())
    }

    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub fn socket(&self) -> PathBuf {
        self.host.path("run").join("p2p-fed").join(format!("{}.sock", self.name))
    }

    /// Asked at the control socket itself, which costs no process.
    pub async fn status(&self) -> Status {
        client::ask(&self.socket(), "/v1/status").await
    }

    pub async fn ledger(&self) -> Ledger {
        client::ask(&self.socket(), "/v1/ledger").await
    }

    /// Where its only front listens.
    pub async fn front(&self) -> SocketAddr {
        self.status().await.fronts.first().unwrap().listen.parse().unwrap()
    }

    /// The workers of a service, as this node sees them.
    pub async fn workers(&self, service: &str) -> Vec<Worker> {
        let services = self.status().await.services;
        services.into_iter().find(|known| known.name == service).map(|known| known.workers).unwrap_or_default()
    }

    /// Waits until exactly these workers of the default service are ready, warmed up.
    pub async fn has_ready(&self, names: &[&str]) {
        until(&format!("{} to have {names:?} ready", self.name), async || {
            let mut ready = self.in_state("ready").await;
            ready.sort();
            (ready == names).then_some(())
        })
        .await;
    }

    /// Waits until this worker of the default service takes requests, be it few at first.
    pub async fn has_available(&self, name: &str) {
        until(&format!("{} to have {name}", self.name), async || self.is_available(name).await.then_some(())).await;
    }

    /// Waits until this worker of the default service takes no requests.
    pub async fn lacks(&self, name: &str) {
        until(&format!("{} to drop {name}", self.name), async || (!self.is_available(name).await).then_some(())).await;
    }

    async fn is_available(&self, name: &str) -> bool {
        self.in_state("ready").await.iter().chain(&self.in_state("warming").await).any(|known| known == name)
    }

    async fn in_state(&self, state: &str) -> Vec<String> {
        let workers = self.workers("federated").await;
        workers.into_iter().filter(|worker| worker.state == state).map(|worker| worker.name).collect()
    }

    /// Ends it as a crash would, and tells how to start it again.
    pub async fn kill(self) -> (Arc<Host>, Plan) {
        self.process.kill().await;
        (self.host, self.plan)
    }

    /// How to start it again, once it has gone.
    pub fn plan(&self) -> (Arc<Host>, Plan) {
        (Arc::clone(&self.host), self.plan.clone())
    }

    /// Asks it to end, and waits for that.
    pub async fn terminate(self) -> Exit {
        self.process.signal(Signal::TERM);
        self.process.exit().await
    }
}
