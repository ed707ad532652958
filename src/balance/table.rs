//! The table a front picks from: the pure core.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng, RngExt};

use super::{
    Ask, Candidate, Choice, EndpointStatus, Outcome, Pin, Policy,
    endpoint::{Endpoint, Fleet, Rank},
    health::Cause,
};
use crate::ledger::{NodeId, Protocol, View};

/// What a table is for.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service whose workers are endpoints.
    pub service: String,
    /// How to pick.
    pub policy: Policy,
    /// Only these.
    pub pin: Option<Pin>,
}

/// Nodes that this node has a connection to, with a number that is new for each connection, so that a flap shows. A
/// front's own node belongs in it.
pub type Connected = BTreeMap<NodeId, u64>;

/// Why nobody could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoWorker {
    /// No fresh node offers the service, or none that the pin allows.
    #[error("no worker offers it")]
    NotOffered,
    /// Those that offer it take no new work.
    #[error("every worker is draining")]
    Draining,
    /// No worker has the model.
    #[error("no worker has the model")]
    WithoutModel,
    /// All are busy, and as many wait as may.
    #[error("every worker is busy and the queue is full")]
    QueueFull,
    /// All were tried for this request.
    #[error("every worker was tried")]
    AllTried,
}

/// Who was picked.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) node: NodeId,
    pub(super) connection: Option<u64>,
    pub(super) protocol: Protocol,
    pub(super) choice: Arc<Choice>,
}

#[derive(Debug)]
pub(super) struct Table {
    config: Config,
    /// Revision of the view that the endpoints were taken from.
    revision: Option<u64>,
    endpoints: BTreeMap<NodeId, Endpoint>,
    /// Sum over the endpoints, kept apart so that `check_invariants` has something to compare with.
    in_flight: usize,
}

impl Table {
    pub(super) fn new(config: Config) -> Self {
        Self { config, revision: None, endpoints: BTreeMap::new(), in_flight: 0 }
    }

    /// Takes over who offers the service and who is connected. A view older than the last one is ignored; the
    /// connections always count.
    pub(super) fn reconcile(&mut self, now: Duration, view: &View, connected: &Connected) {
        self.settle(now);
        if self.revision.is_none_or(|revision| view.revision > revision) {
            self.revision = Some(view.revision);
            self.list(now, view);
        }
        for (node, endpoint) in &mut self.endpoints {
            endpoint.connect(now, connected.get(node).copied());
        }
        self.check_invariants();
    }

    fn list(&mut self, now: Duration, view: &View) {
        // The first of a fleet need no slow start: there is nobody to carry the rest of the load meanwhile.
        let warming = self.endpoints.values().any(|endpoint| endpoint.is_open() && endpoint.is_settled(now));
        let share = self.least_share();
        for endpoint in self.endpoints.values_mut() {
            endpoint.listed = false;
        }
        for (node, record, service) in view.workers(&self.config.service) {
            if self.config.pin.as_ref().is_some_and(|pin| !pin.allows(record)) {
                continue;
            }
            let endpoint = self.endpoints.entry(*node).or_insert_with(|| Endpoint::new(now, warming, share));
            endpoint.update(record, service);
        }
        self.endpoints.retain(|_, endpoint| endpoint.listed || endpoint.in_flight > 0);
    }

    /// Chooses the best endpoint that is not among `tried` and charges it. The number of its connection goes with it.
    pub(super) fn pick(&mut self, now: Duration, ask: &Ask, rng: &mut impl Rng) -> Result<Picked, NoWorker> {
        self.settle(now);
        let fleet = self.fleet(now);
        let mut best: Option<(NodeId, Rank)> = None;
        let mut chances = 0;
        for (node, endpoint) in &self.endpoints {
            if !endpoint.is_open() || ask.tried.contains(node) {
                continue;
            }
            let rank = endpoint.rank(now, fleet);
            let order = best.as_ref().map_or(Ordering::Less, |(_, best)| rank.order(best));
            chances = match order {
                Ordering::Less => rank.weight,
                Ordering::Equal => chances + rank.weight,
                Ordering::Greater => continue,
            };
            // Each of the equals ends up chosen in proportion to its weight, without a list of them.
            if order == Ordering::Less || rng.random_range(0..chances) < rank.weight {
                best = Some((*node, rank));
            }
        }
        let Some((node, _)) = best else { return Err(self.nobody(&ask.tried)) };
        let Some(endpoint) = self.endpoints.get_mut(&node) else { return Err(NoWorker::NotOffered) };
        endpoint.charge(now);
        let (connection, protocol) = (endpoint.connection, endpoint.protocol);
        self.in_flight += 1;
        self.check_invariants();
        let choice = Choice { candidates: Vec::new(), waited: Duration::ZERO, because: "the policy's first" };
        Ok(Picked { node, connection, protocol, choice: Arc::new(choice) })
    }

    pub(super) fn candidates(&self, _now: Duration, _ask: &Ask) -> Vec<Candidate> {
        Vec::new()
    }

    /// `node` answered a request that was picked at `picked`.
    pub(super) fn answered(&mut self, now: Duration, node: NodeId, picked: Duration) {
        if let Some(endpoint) = self.endpoints.get_mut(&node) {
            endpoint.answered(now, picked);
        }
        self.check_invariants();
    }

    /// What `node` did with a request that was picked at `picked`. The charge stays until [`Self::release`].
    pub(super) fn judge(&mut self, now: Duration, node: NodeId, picked: Duration, outcome: Outcome) {
        if let Some(endpoint) = self.endpoints.get_mut(&node) {
            endpoint.judge(now, picked, outcome);
        }
        self.check_invariants();
    }

    /// Takes one charge back.
    pub(super) fn release(&mut self, node: NodeId) {
        if let Some(endpoint) = self.endpoints.get_mut(&node) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            self.in_flight = self.in_flight.saturating_sub(1);
            if endpoint.in_flight == 0 && !endpoint.listed {
                self.endpoints.remove(&node);
            }
        }
        self.check_invariants();
    }

    pub(super) fn status(&self, now: Duration) -> Vec<EndpointStatus> {
        self.endpoints.iter().map(|(node, endpoint)| endpoint.status(now, *node)).collect()
    }

    /// The connection over which new work would reach `node`; `None` if it gets none now.
    pub(super) fn way_to(&self, now: Duration, node: NodeId) -> Option<Option<u64>> {
        let endpoint = self.endpoints.get(&node)?;
        (endpoint.is_open() && endpoint.health.ejected(now).is_none()).then_some(endpoint.connection)
    }

    /// Some endpoint is connected and takes new work.
    pub(super) fn has_worker(&self) -> bool {
        self.endpoints.values().any(|endpoint| endpoint.is_open() && endpoint.connection.is_some())
    }

    /// Every endpoint says that its backend speaks HTTP, and there is one.
    pub(super) fn is_http(&self) -> bool {
        let mut open = self.endpoints.values().filter(|endpoint| endpoint.is_open()).peekable();
        open.peek().is_some() && open.all(|endpoint| endpoint.protocol == Protocol::Http)
    }

    fn fleet(&self, now: Duration) -> Fleet {
        let (mut open, mut connected, mut failing) = (0, 0, 0);
        for endpoint in self.endpoints.values().filter(|endpoint| endpoint.is_open()) {
            open += 1;
            connected += usize::from(endpoint.connection.is_some());
            failing += usize::from(matches!(endpoint.health.ejected(now), Some((Cause::Failing, _))));
        }
        Fleet { policy: self.config.policy, cut_off: connected == 0, panic: failing * 2 > open }
    }

    fn nobody(&self, tried: &[NodeId]) -> NoWorker {
        if !tried.is_empty() {
            NoWorker::AllTried
        } else if self.endpoints.values().any(|endpoint| endpoint.listed) {
            NoWorker::Draining
        } else {
            NoWorker::NotOffered
        }
    }

    /// Lets time move the states, and starts those that became ready where the others are.
    fn settle(&mut self, now: Duration) {
        let share = self.least_share();
        for endpoint in self.endpoints.values_mut() {
            if endpoint.settle(now) {
                endpoint.share = endpoint.share.max(share);
            }
        }
    }

    fn least_share(&self) -> f64 {
        let ready = self.endpoints.values().filter(|endpoint| endpoint.is_ready());
        ready.map(|endpoint| endpoint.share).min_by(f64::total_cmp).unwrap_or(0.0)
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.in_flight, self.endpoints.values().map(|endpoint| endpoint.in_flight).sum::<usize>());
        for endpoint in self.endpoints.values() {
            debug_assert!(
                endpoint.listed || endpoint.in_flight > 0,
                "an idle endpoint outlived its offer: {endpoint:?}"
            );
            debug_assert!(endpoint.share.is_finite() && endpoint.share >= 0.0, "{endpoint:?}");
        }
    }
}
