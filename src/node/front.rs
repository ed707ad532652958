//! A front in its node: its table follows the ledger and the connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::path::Path;
use crate::{
    api,
    balance::{self, Balancer, Connected, EndpointStatus, Pin, Policy, State},
    front::{self, End},
    gossip::Gossip,
    ledger::NodeId,
    net::{Net, Peers},
};

/// One listener and how it picks.
#[derive(Clone, Debug)]
pub struct Front {
    /// The listener.
    pub front: front::Config,
    /// How it picks.
    pub policy: Policy,
    /// The only worker it may use.
    pub pin: Option<Pin>,
}

/// A front that serves.
#[derive(Debug)]
pub(super) struct Running {
    front: front::Front,
    balancer: Balancer,
}

impl Running {
    /// Binds the listener and starts to serve.
    pub(super) async fn start(
        config: Front,
        path: Arc<Path>,
        net: &Net,
        gossip: &Gossip,
        tasks: &mut JoinSet<&'static str>,
        stop: &CancellationToken,
    ) -> Result<Self, front::Error> {
        let table =
            balance::Config { service: config.front.service.clone(), policy: config.policy, pin: config.pin };
        let balancer = Balancer::new(table, rand::random());
        let front = front::Front::bind(config.front, path, balancer.clone()).await?;
        tasks.spawn(follow(front.clone(), balancer.clone(), net.clone(), gossip.clone(), stop.clone()));
        let (serving, stop) = (front.clone(), stop.clone());
        tasks.spawn(async move {
            serving.run(stop.clone()).await;
            // It ends early when it was drained; that is no failure.
            stop.cancelled().await;
            "front"
        });
        Ok(Self { front, balancer })
    }

    pub(super) fn service(&self) -> &str {
        &self.balancer.config().service
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.front.local_addr()
    }

    pub(super) fn endpoints(&self) -> Vec<EndpointStatus> {
        self.balancer.endpoints(self.front.now())
    }

    pub(super) fn report(&self) -> api::Front {
        api::Front {
            service: self.service().to_owned(),
            listen: self.local_addr().to_string(),
            policy: self.balancer.config().policy.to_string(),
            mode: self.front.config().mode.to_string(),
            requests_total: self.front.requests_total(),
            in_flight: self.front.in_flight(),
        }
    }

    /// Returns once there is a worker to pick.
    pub(super) async fn available(&self) {
        // An error means that the balancer is gone, and the node with it.
        let _ = self.balancer.watch().wait_for(|available| *available).await;
    }

    /// Takes no new work and waits for what is in flight; returns how many were cut off.
    pub(super) async fn drain(&self, deadline: Duration) -> usize {
        match self.front.drain(deadline).await {
            End::Drained => 0,
            End::CutOff { connections } => connections,
        }
    }
}

/// Hands each new view and each change of the connections to the balancer, and tells of workers that come and go.
async fn follow(
    front: front::Front,
    balancer: Balancer,
    net: Net,
    gossip: Gossip,
    stop: CancellationToken,
) -> &'static str {
    let (mut views, mut peers) = (gossip.views(), net.peers());
    let mut told = Vec::new();
    loop {
        let view = views.borrow_and_update().clone();
        let now = peers.borrow_and_update().clone();
        balancer.reconcile(front.now(), &view, &connected(net.node(), &now));
        tell(&balancer, &front, &now, &mut told);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = views.changed() => {}
            Ok(()) = peers.changed() => {}
            else => {
                // Ledger and network end when the node stops.
                stop.cancelled().await;
                break;
            }
        }
    }
    "table"
}

/// Nodes that answer, this one included: its own number never changes.
fn connected(own: NodeId, peers: &Peers) -> Connected {
    let answering = peers.connected.iter().filter(|(_, peer)| peer.responsive);
    answering.map(|(node, peer)| (*node, peer.number)).chain([(own, 0)]).collect()
}

/// Says which workers came and which went.
fn tell(balancer: &Balancer, front: &front::Front, peers: &Peers, told: &mut Vec<(NodeId, String)>) {
    let service = &balancer.config().service;
    let usable: Vec<(NodeId, String)> = balancer
        .endpoints(front.now())
        .into_iter()
        .filter(|endpoint| endpoint.connected && endpoint.state != State::Draining)
        .map(|endpoint| (endpoint.node, endpoint.name))
        .collect();
    for (node, worker) in usable.iter().filter(|endpoint| !told.contains(endpoint)) {
        let rtt = peers.connected.get(node).and_then(|peer| peer.rtt());
        let rtt = rtt.map(|rtt| format!("{:.1}ms", rtt.as_secs_f64() * 1000.0));
        tracing::info!(service, worker, path = "direct", rtt, "worker up");
    }
    for (_, worker) in told.iter().filter(|endpoint| !usable.contains(endpoint)) {
        tracing::warn!(service, worker, "worker down");
    }
    *told = usable;
}
