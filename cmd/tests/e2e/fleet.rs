//! Three workers in front of three different servers, and a front: six processes, and one server in the test itself.

use std::{collections::BTreeMap, net::SocketAddr};

use futures::future::join_all;

use crate::{
    backend::Backend,
    client,
    network::Network,
    nginx::Nginx,
    node::{Join, Node, Plan},
    python::FileServer,
    soon, until,
};

/// The names of the workers, which are those of their servers, sorted.
pub const NAMES: [&str; 3] = ["hyper", "nginx", "python"];

pub struct Fleet {
    pub front: Node,
    /// Where it listens.
    pub address: SocketAddr,
    /// In the order of [`NAMES`].
    pub workers: Vec<Node>,
    hyper: Backend,
    _nginx: Nginx,
    python: FileServer,
}

impl Fleet {
    /// Joined by the addresses of the front.
    pub async fn start(network: &Network) -> Self {
        Self::start_as(network, Plan::serve("front"), None).await
    }

    /// With another front than the usual one, or joined otherwise.
    pub async fn start_as(network: &Network, front: Plan, join: Option<Join>) -> Self {
        let front = match &join {
            Some(join) => front.join(join.clone()),
            None => front,
        };
        let front = network.start(front).await;
        let join = join.unwrap_or_else(|| front.peer());
        let (hyper, python) = (Backend::start("hyper").await, FileServer::start().await);
        let (nginx, nginx_address) = Nginx::on_port(hyper.address).await;
        let mut workers = Vec::new();
        for (name, address) in NAMES.into_iter().zip([hyper.address, nginx_address, python.address]) {
            workers.push(network.start(Plan::expose(name, address).join(join.clone())).await);
        }
        front.has_ready(&NAMES).await;
        let address = front.front().await;
        Self { front, address, workers, hyper, _nginx: nginx, python }
    }

    /// Who answers `count` requests when all of them are under way before the first is answered.
    pub async fn at_once(&self, count: usize) -> BTreeMap<String, u64> {
        let address = self.address;
        let requests: Vec<_> = (0..count).map(|_| tokio::spawn(client::held(address))).collect();
        // At their backends, not merely picked.
        let arrived = async || (self.tunnels().await == count as u64).then_some(());
        until(&format!("{count} requests to be under way"), arrived).await;
        let workers = self.front.workers("federated").await;
        let under_way: BTreeMap<_, _> = workers.into_iter().map(|worker| (worker.name, worker.in_flight)).collect();

        self.hyper.release();
        let _released = self.python.release();
        let mut answers = BTreeMap::new();
        for answer in soon("all answers", join_all(requests)).await {
            *answers.entry(answer.unwrap().unwrap()).or_default() += 1;
        }
        assert_eq!(answers, under_way, "the front's own count differs");
        answers
    }

    /// Connections that the workers have to their backends.
    async fn tunnels(&self) -> u64 {
        let statuses = join_all(self.workers.iter().map(Node::status)).await;
        statuses.iter().flat_map(|status| &status.exports).map(|export| export.in_flight).sum()
    }

    /// The worker of this name, for the test to do away with.
    pub fn take(&mut self, name: &str) -> Node {
        let index = self.workers.iter().position(|worker| worker.name == name).unwrap();
        self.workers.remove(index)
    }
}
