//! The table a front picks from: the pure core.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::Rng;

use super::{
    Ask, CANDIDATES_MAX, Candidate, Choice, Config, Connected, EndpointStatus, NoWorker, Outcome,
    affinity::Affinity,
    contender::Contender,
    endpoint::{Endpoint, Fleet},
    selection::Selection,
    standing::{Bar, Standing},
};
use crate::{
    ledger::{Model, NodeId, Protocol, View},
    tunnel::Load,
};

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
    affinity: Affinity,
    /// The median of the rates that endpoints reported; 0 while none did.
    median_rate: f32,
    /// Sum over the endpoints, kept apart so that `check_invariants` has something to compare with.
    in_flight: usize,
}

impl Table {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            revision: None,
            endpoints: BTreeMap::new(),
            affinity: Affinity::default(),
            median_rate: 0.0,
            in_flight: 0,
        }
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
        let warming = self.endpoints.values().any(|endpoint| endpoint.is_open(now) && endpoint.is_settled(now));
        let share = self.least_share(now);
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
        self.measure_rates();
    }

    /// Takes a worker's report; true if it was newer than the last.
    pub(super) fn report(&mut self, now: Duration, node: NodeId, load: Load) -> bool {
        let taken = self.endpoints.get_mut(&node).is_some_and(|endpoint| endpoint.report(now, load));
        if taken {
            self.measure_rates();
        }
        taken
    }

    fn measure_rates(&mut self) {
        let rates = self.endpoints.values().filter(|endpoint| endpoint.listed).map(|endpoint| endpoint.reports.rate());
        let mut rates: Vec<_> = rates.filter(|rate| *rate > 0.0).collect();
        let middle = rates.len() / 2;
        self.median_rate = if rates.is_empty() { 0.0 } else { *rates.select_nth_unstable_by(middle, f32::total_cmp).1 };
    }

    /// Chooses the best endpoint for `ask` and charges it, whether it has a free slot or not.
    pub(super) fn pick(&mut self, now: Duration, ask: &Ask, rng: &mut impl Rng) -> Result<Picked, NoWorker> {
        self.settle(now);
        let (node, choice) = self.choose(now, ask, |_| true, rng)?.ok_or(NoWorker::NotOffered)?;
        self.charge(now, node, ask, choice).ok_or(NoWorker::NotOffered)
    }

    /// The same for one that waited so long already; `None` if it is better off waiting, since all that suit it are busy.
    pub(super) fn pick_free(
        &mut self,
        now: Duration,
        ask: &Ask,
        waited: Duration,
        rng: &mut impl Rng,
    ) -> Result<Option<Picked>, NoWorker> {
        self.settle(now);
        let chosen = self.choose(now, ask, |bar| bar != Bar::Busy, rng)?;
        Ok(chosen.and_then(|(node, choice)| self.charge(now, node, ask, Choice { waited, ..choice })))
    }

    /// Chooses by the scores of another scorer, the least first, among those that can take work now.
    pub(super) fn pick_scored(&mut self, now: Duration, ask: &Ask, scores: &[(NodeId, f64)]) -> Option<Picked> {
        self.settle(now);
        let mut contenders = self.contenders(now, ask);
        contenders.retain_mut(|contender| {
            let score = scores.iter().find(|(node, score)| *node == contender.node && !score.is_nan());
            contender.score = score.map_or(0.0, |(_, score)| *score);
            let can_now = contender.place.is_some_and(|(bar, unconnected, _)| bar == Bar::Free && !unconnected);
            score.is_some() && can_now
        });
        contenders.sort_by(Contender::order);
        let node = contenders.first()?.node;
        let candidates = contenders.iter().take(CANDIDATES_MAX).map(|c| c.candidate(Some(c.score))).collect();
        let choice = Choice { candidates, waited: Duration::ZERO, because: "the scorer's first" };
        self.charge(now, node, ask, choice)
    }

    /// Everybody who could be picked for `ask`, best first.
    pub(super) fn candidates(&self, now: Duration, ask: &Ask) -> Vec<Candidate> {
        let mut selection = Selection::new(self.contenders(now, ask));
        selection.score(now, self.config.policy, ask);
        selection.into_candidates()
    }

    /// No endpoint can take anything now, and each of them can once something ends there: whoever waits goes on waiting.
    pub(super) fn is_saturated(&self, now: Duration) -> bool {
        let fleet = self.fleet(now);
        let ask = Ask::default();
        let standing = |(node, endpoint): (&NodeId, &Endpoint)| endpoint.standing(now, *node, &fleet, &ask);
        self.endpoints.iter().map(standing).all(|standing| matches!(standing.bar(), Bar::Busy | Bar::Barred))
    }

    /// The best for `ask` and why, if what is in the way of it is `fine`.
    fn choose(
        &self,
        now: Duration,
        ask: &Ask,
        fine: impl FnOnce(Bar) -> bool,
        rng: &mut impl Rng,
    ) -> Result<Option<(NodeId, Choice)>, NoWorker> {
        let mut selection = Selection::new(self.contenders(now, ask));
        if !fine(selection.bar()) {
            return Ok(None);
        }
        selection.score(now, self.config.policy, ask);
        let Some(because) = selection.decide(self.config.policy, ask, &self.affinity, rng) else {
            return Err(self.nobody(ask, selection.contenders()));
        };
        let Some(node) = selection.best() else { return Err(NoWorker::NotOffered) };
        Ok(Some((node, selection.into_choice(because, Duration::ZERO))))
    }

    /// Why none of them can have it.
    fn nobody(&self, ask: &Ask, contenders: &[Contender<'_>]) -> NoWorker {
        let any = |standing| contenders.iter().any(|contender| contender.standing == standing);
        if !ask.tried.is_empty() {
            NoWorker::AllTried
        } else if any(Standing::WithoutModel) {
            NoWorker::WithoutModel
        } else if any(Standing::OtherProtocol) {
            NoWorker::OtherProtocol
        } else if self.endpoints.values().any(|endpoint| endpoint.listed) {
            NoWorker::Draining
        } else {
            NoWorker::NotOffered
        }
    }

    fn contenders(&self, now: Duration, ask: &Ask) -> Vec<Contender<'_>> {
        let fleet = self.fleet(now);
        let contender = |endpoint| Contender::new(now, endpoint, &fleet, self.median_rate, ask);
        self.endpoints.iter().map(contender).collect()
    }

    /// Takes one charge back.
    pub(super) fn release(&mut self, now: Duration, node: NodeId) {
        if let Some(endpoint) = self.endpoints.get_mut(&node) {
            endpoint.release(now);
            self.in_flight = self.in_flight.saturating_sub(1);
            if endpoint.in_flight == 0 && !endpoint.listed {
                self.endpoints.remove(&node);
            }
        }
        self.check_invariants();
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

    pub(super) fn status(&self, now: Duration) -> Vec<EndpointStatus> {
        self.endpoints.iter().map(|(node, endpoint)| endpoint.status(now, *node)).collect()
    }

    /// The models of those that may get new work.
    pub(super) fn models(&self, now: Duration) -> Vec<Model> {
        self.endpoints.values().filter(|endpoint| endpoint.is_open(now)).flat_map(Endpoint::models).cloned().collect()
    }

    /// The connection over which new work would reach `node`; `None` if it gets none now.
    pub(super) fn way_to(&self, now: Duration, node: NodeId) -> Option<Option<u64>> {
        let endpoint = self.endpoints.get(&node)?;
        (endpoint.is_open(now) && endpoint.health.ejected(now).is_none()).then_some(endpoint.connection)
    }

    /// Some endpoint is connected and takes new work.
    pub(super) fn has_worker(&self, now: Duration) -> bool {
        self.endpoints.values().any(|endpoint| endpoint.is_open(now) && endpoint.connection.is_some())
    }

    /// Every endpoint says that its backend speaks HTTP, and there is one.
    pub(super) fn is_http(&self, now: Duration) -> bool {
        let mut open = self.endpoints.values().filter(|endpoint| endpoint.is_open(now)).peekable();
        let is_http = |protocol| matches!(protocol, Protocol::Http | Protocol::Http2);
        open.peek().is_some() && open.all(|endpoint| is_http(endpoint.protocol))
    }

    fn fleet(&self, now: Duration) -> Fleet {
        let mut fleet = Fleet { cut_off: true, ..Fleet::default() };
        let open = || self.endpoints.iter().filter(|(_, endpoint)| endpoint.is_open(now));
        for (node, endpoint) in open() {
            fleet.cut_off &= endpoint.connection.is_none();
            if let Some(at) = endpoint.reports.at() {
                fleet.heard(at, *node);
            }
        }
        let failing = open().filter(|(node, endpoint)| endpoint.is_failing(now, **node, &fleet)).count();
        fleet.panic = failing > 0 && failing * 2 > open().count();
        fleet
    }

    /// Charges `node`.
    fn charge(&mut self, now: Duration, node: NodeId, ask: &Ask, choice: Choice) -> Option<Picked> {
        let endpoint = self.endpoints.get_mut(&node)?;
        endpoint.charge(now);
        let picked =
            Picked { node, connection: endpoint.connection, protocol: endpoint.protocol, choice: Arc::new(choice) };
        self.in_flight += 1;
        self.affinity.learn(&ask.prefixes, node);
        self.check_invariants();
        Some(picked)
    }

    /// Lets time move the states, and starts those that became ready where the others are.
    pub(super) fn settle(&mut self, now: Duration) {
        let share = self.least_share(now);
        for endpoint in self.endpoints.values_mut() {
            if endpoint.settle(now) {
                endpoint.share = endpoint.share.max(share);
            }
        }
    }

    fn least_share(&self, now: Duration) -> f64 {
        let ready = self.endpoints.values().filter(|endpoint| endpoint.is_ready(now));
        ready.map(|endpoint| endpoint.share).min_by(f64::total_cmp).unwrap_or(0.0)
    }

    /// In debug builds: it looks at every endpoint.
    fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
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
