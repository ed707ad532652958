//! A front in its node: its table follows the ledger and the connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Seen, path::Path};
use crate::{
    api,
    balance::{self, Balancer, Connected, EndpointStatus, Pin, Policy, State},
    direct,
    front::{self, End, Misfit},
    ledger::{NodeId, View},
    net::{self, Peers},
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
}

impl Running {
    /// Binds the listener and starts to serve.
    pub(super) fn start(
        config: Front,
        path: Arc<Path>,
        seen: &Seen,
        tasks: &mut JoinSet<&'static str>,
        stop: &CancellationToken,
    ) -> Result<Self, front::Error> {
        let service = config.front.service.clone();
        let table = balance::Config { policy: config.policy, pin: config.pin, ..balance::Config::new(service) };
        let (direct, own) = (path.direct.clone(), path.net.node());
        let (front, listener) = front::Front::bind(config.front, path, Balancer::new(table, rand::random()))?;
        tasks.spawn(follow(front.clone(), own, seen.clone(), direct, stop.clone()));
        let stop = stop.clone();
        tasks.spawn(async move {
            // It ends by itself only when it was drained.
            stop.run_until_cancelled(listener.run()).await;
            stop.cancelled().await;
            "front"
        });
        Ok(Self { front })
    }

    /// What its table is for.
    pub(super) fn table(&self) -> balance::Config {
        self.front.balancer().config().clone()
    }

    pub(super) fn service(&self) -> &str {
        self.front.service()
    }

    /// Clients that it takes at once.
    pub(super) fn max_connections(&self) -> usize {
        self.front.config().max_connections
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.front.address()
    }

    pub(super) fn endpoints(&self) -> Vec<EndpointStatus> {
        self.front.endpoints()
    }

    /// The newest requests that ended, oldest first.
    pub(super) fn journal(&self, count: usize) -> Vec<Arc<front::Entry>> {
        self.front.journal(count)
    }

    pub(super) fn report(&self, view: &View) -> api::Front {
        let counters = self.front.counters();
        let dropped = self.front.datagrams_dropped().filter(|(_, count)| *count > 0);
        api::Front {
            service: self.service().to_owned(),
            listen: self.local_addr().to_string(),
            policy: match &self.front.config().scorer {
                Some(scorer) => format!("external:{}", scorer.url),
                None => self.front.balancer().config().policy.to_string(),
            },
            policy_fault: self.front.scorer_trouble(),
            mode: self.front.config().mode.to_string(),
            mode_fault: misfit(&self.front, view).map(|misfit| misfit.to_string()),
            requests_total: counters.requests_total,
            in_flight: counters.in_flight as u64,
            queued: self.front.balancer().queued() as u64,
            retries_total: counters.retries_total,
            tokens_read_total: counters.tokens_read_total,
            tokens_made_total: counters.tokens_made_total,
            tokens_estimated_total: counters.tokens_estimated_total,
            datagrams_dropped: dropped.map(|(why, count)| (why.as_str().to_owned(), count)).collect(),
        }
    }

    /// Returns once there is a worker to pick.
    pub(super) async fn available(&self) {
        self.front.available().await;
    }

    /// Takes no new work and waits for what is in flight; returns how many were cut off.
    pub(super) async fn drain(&self, deadline: Duration) -> usize {
        match self.front.drain(deadline).await {
            End::Drained => 0,
            End::CutOff { connections } => connections,
        }
    }
}

/// Hands each new view and each change of the connections to the front, tells of workers that come and go, and makes the
/// first direct connection to each before a client needs it.
async fn follow(
    front: front::Front,
    own: NodeId,
    Seen { mut views, mut peers }: Seen,
    direct: direct::Pool,
    stop: CancellationToken,
) -> &'static str {
    let (mut told, mut misfits) = (Vec::new(), None);
    loop {
        let view = views.borrow_and_update().clone();
        let now = peers.borrow_and_update().clone();
        front.reconcile(&view, &connected(own, &now));
        let before = std::mem::replace(&mut misfits, misfit(&front, &view));
        if let Some(why) = misfits.filter(|misfit| Some(*misfit) != before) {
            tracing::warn!(service = front.service(), on = %front.address(), %why, "nobody can be served");
        }
        for worker in tell(&front, &now, &mut told) {
            if worker != own && !view.nodes.get(&worker).is_some_and(|entry| entry.legacy) {
                direct.warm(worker);
            }
        }
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

/// Why none of those that offer its service takes what the front carries, if that is so.
fn misfit(front: &front::Front, view: &View) -> Option<Misfit> {
    let protocols = view.workers(front.service()).map(|(_, _, service)| service.protocol);
    Misfit::between(front.config().mode, protocols)
}

/// Nodes that answer, this one included: its own number never changes.
fn connected(own: NodeId, peers: &Peers) -> Connected {
    let answering = peers.connected.iter().filter(|(_, peer)| peer.responsive);
    answering.map(|(node, peer)| (*node, peer.number)).chain([(own, 0)]).collect()
}

/// Says which workers came and which went; returns those that came.
fn tell(front: &front::Front, peers: &Peers, told: &mut Vec<(NodeId, String)>) -> Vec<NodeId> {
    let service = front.service();
    let usable: Vec<(NodeId, String)> = front
        .endpoints()
        .into_iter()
        .filter(|endpoint| endpoint.connected && endpoint.state != State::Draining)
        .map(|endpoint| (endpoint.node, endpoint.name))
        .collect();
    let came: Vec<_> = usable.iter().filter(|endpoint| !told.contains(endpoint)).collect();
    for (node, worker) in &came {
        let rtt = peers.connected.get(node).and_then(|peer| peer.rtt());
        let rtt = rtt.map(|rtt| format!("{:.1}ms", rtt.as_secs_f64() * 1000.0));
        // This node's own workers are not among the peers.
        let path = peers.connected.get(node).map_or(net::Path::Direct, |peer| peer.path).as_str();
        tracing::info!(service, worker, path, rtt, "worker up");
    }
    for (_, worker) in told.iter().filter(|endpoint| !usable.contains(endpoint)) {
        tracing::warn!(service, worker, "worker down");
    }
    let came = came.into_iter().map(|(node, _)| *node).collect();
    *told = usable;
    came
}
