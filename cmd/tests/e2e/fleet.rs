//! Three workers in front of three different servers, and a front: six processes, and one server in the test itself.

use std::net::SocketAddr;

use crate::{
    backend::Backend,
    network::Network,
    nginx::Nginx,
    node::{Join, Node, Plan},
    python::FileServer,
};

/// The names of the workers, which are those of their servers, sorted.
pub const NAMES: [&str; 3] = ["hyper", "nginx", "python"];

pub struct Fleet {
    pub front: Node,
    /// Where it listens.
    pub address: SocketAddr,
    /// In the order of [`NAMES`].
    pub workers: Vec<Node>,
    _hyper: Backend,
    _nginx: Nginx,
    _python: FileServer,
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
        let (nginx, nginx_address) = Nginx::on_port().await;
        let mut workers = Vec::new();
        for (name, address) in NAMES.into_iter().zip([hyper.address, nginx_address, python.address]) {
            workers.push(network.start(Plan::expose(name, address).join(join.clone())).await);
        }
        front.has_ready(&NAMES).await;
        let address = front.front().await;
        Self { front, address, workers, _hyper: hyper, _nginx: nginx, _python: python }
    }

    /// The worker of this name, for the test to do away with.
    pub fn take(&mut self, name: &str) -> Node {
        let index = self.workers.iter().position(|worker| worker.name == name).unwrap();
        self.workers.remove(index)
    }
}
