//! Three workers, each with a backend of the test's choice, and two fronts: five processes.

use std::{fmt::Display, net::SocketAddr};

use crate::{
    network::Network,
    node::{Node, Plan},
};

/// The names of the workers.
pub const NAMES: [&str; 3] = ["w1", "w2", "w3"];

pub struct Three {
    pub fronts: [Node; 2],
    /// Where they listen.
    pub addresses: [SocketAddr; 2],
    pub workers: Vec<Node>,
    network: Network,
}

impl Three {
    pub async fn start<T: Display>(targets: [T; 3]) -> Self {
        Self::start_with(targets, &[], &[]).await
    }

    /// With these arguments for each worker and for each front.
    pub async fn start_with<T: Display>(targets: [T; 3], to_workers: &[&str], to_fronts: &[&str]) -> Self {
        let network = Network::new().await;
        let with = |plan: Plan, more: &[&str]| more.iter().fold(plan, |plan, arg| plan.arg(arg));
        let first = network.start(with(Plan::serve("front1"), to_fronts)).await;
        let second = network.start(with(Plan::serve("front2"), to_fronts).join(first.peer())).await;
        let mut workers = Vec::new();
        for (name, target) in NAMES.into_iter().zip(targets) {
            workers.push(network.start(with(Plan::expose(name, target), to_workers).join(first.peer())).await);
        }
        for front in [&first, &second] {
            front.has_ready(&NAMES).await;
        }
        let addresses = [first.front().await, second.front().await];
        Self { fronts: [first, second], addresses, workers, network }
    }

    /// Where more nodes may join.
    pub fn network(&self) -> &Network {
        &self.network
    }
}
