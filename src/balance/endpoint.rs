//! One node that offers the service, as this front sees it.

use std::{sync::Arc, time::Duration};

use super::{
    Ask, EndpointStatus, Outcome, State,
    estimate::Estimate,
    health::{Cause, Health},
    latency::Samples,
    report::{HOLD, LOST, Reports},
    standing::Standing,
};
use crate::{
    ledger::{Model, NodeId, Protocol, Record, Service},
    tunnel::Load,
};

/// How long a newcomer is warming: its share grows from a tenth to the whole over this time, so that caches fill and a
/// worker that can't cope shows it while little depends on it.
const SLOW_START: Duration = Duration::from_secs(10);

/// Share of a newcomer at its first moment.
const SLOW_START_FLOOR: f64 = 0.1;

/// How long an endpoint that said it is full is left out. A slot frees any moment; asking a few times a second is cheap.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// How long an endpoint that declined (draining, no such service) is left out, unless a newer view says more before.
const DECLINED_PAUSE: Duration = Duration::from_secs(1);

/// The weight that counts as one share.
const USUAL_WEIGHT: f64 = 100.0;

/// How well an endpoint suits a request's model; the first is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It has it in memory, or the request names none.
    Loaded,
    /// It has it, and must load it.
    Has,
    /// Nobody knows what it has.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) name: Arc<str>,
    weight: f64,
    slots: u32,
    pub(super) tier: u8,
    /// In order of their names.
    models: Vec<Model>,
    pub(super) protocol: Protocol,
    /// Offered by the newest view.
    pub(super) listed: bool,
    /// Offered, but its node asks for no new work.
    draining: bool,
    /// The number of the node's connection, if it has one.
    pub(super) connection: Option<u64>,
    /// When the table first held it.
    since: Duration,
    warming: bool,
    /// Was seen ejected and is not yet back.
    away: bool,
    pub(super) in_flight: usize,
    /// Since when something has been in flight.
    busy_since: Option<Duration>,
    requests_total: u64,
    failures_total: u64,
    /// Requests since ready, each over the capacity at that moment: what breaks a tie. Starts at the least of the ready
    /// ones, so that a newcomer does not draw everything until it has caught up with history.
    pub(super) share: f64,
    pub(super) health: Health,
    full_until: Duration,
    declined_until: Duration,
    pub(super) latencies: Samples,
    pub(super) estimate: Estimate,
    pub(super) reports: Reports,
}

impl Endpoint {
    pub(super) fn new(now: Duration, warming: bool, share: f64) -> Self {
        Self {
            name: Arc::default(),
            weight: 1.0,
            slots: 0,
            tier: 0,
            models: Vec::new(),
            protocol: Protocol::Tcp,
            listed: true,
            draining: false,
            connection: None,
            since: now,
            warming,
            away: false,
            in_flight: 0,
            busy_since: None,
            requests_total: 0,
            failures_total: 0,
            share,
            health: Health::new(),
            full_until: Duration::ZERO,
            declined_until: Duration::ZERO,
            latencies: Samples::default(),
            estimate: Estimate::default(),
            reports: Reports::default(),
        }
    }

    /// Takes over what a newer view says.
    pub(super) fn update(&mut self, record: &Record, service: &Service) {
        if *self.name != *record.statement.name {
            self.name = record.statement.name.as_str().into();
        }
        if self.models != service.models {
            self.models.clone_from(&service.models);
            self.models.sort_unstable();
        }
        self.weight = f64::from(service.weight.max(1)) / USUAL_WEIGHT;
        self.slots = u32::from(service.slots);
        self.tier = service.tier;
        self.protocol = service.protocol;
        self.listed = true;
        self.draining = record.statement.draining || record.statement.leaving;
        self.declined_until = Duration::ZERO;
    }

    pub(super) fn connect(&mut self, now: Duration, connection: Option<u64>) {
        if connection.is_some() && connection != self.connection {
            self.health.reconnected(now);
            self.reports.reconnected();
        }
        self.connection = connection;
    }

    /// Takes a report; true if it was newer than the last.
    pub(super) fn report(&mut self, now: Duration, load: Load) -> bool {
        self.reports.take(now, load)
    }

    /// May get new work as far as the node itself is concerned.
    pub(super) fn is_open(&self, now: Duration) -> bool {
        self.listed && !self.draining && !self.reports.is_draining(now)
    }

    pub(super) fn is_warming(&self, now: Duration) -> bool {
        self.warming && now < self.since + SLOW_START
    }

    /// Older than the slow start of a newcomer.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        now >= self.since + SLOW_START
    }

    /// Moves the states that time alone moves. True if the endpoint became ready just now.
    pub(super) fn settle(&mut self, now: Duration) -> bool {
        let warmed = self.warming && !self.is_warming(now);
        let returned = self.away && self.health.ejected(now).is_none();
        self.warming &= !warmed;
        self.away &= !returned;
        warmed || returned
    }

    /// In full work: the ones whose share a newcomer starts from.
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        self.is_open(now) && !self.warming && !self.away
    }

    fn state(&self, now: Duration) -> State {
        if !self.is_open(now) {
            State::Draining
        } else if self.health.ejected(now).is_some() {
            State::Ejected
        } else if self.is_warming(now) {
            State::Warming
        } else {
            State::Ready
        }
    }

    pub(super) fn charge(&mut self, now: Duration) {
        self.busy_since.get_or_insert(now);
        self.in_flight += 1;
        self.requests_total += 1;
        self.share += 1.0 / self.capacity(now);
    }

    pub(super) fn release(&mut self, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.busy_since = None;
            self.estimate.idle(now);
        }
    }

    /// What it can take, where 1 is usual: its weight, less while it is warming.
    pub(super) fn capacity(&self, now: Duration) -> f64 {
        if !self.is_warming(now) {
            return self.weight;
        }
        let age = now.saturating_sub(self.since).as_secs_f64() / SLOW_START.as_secs_f64();
        self.weight * (SLOW_START_FLOOR + (1.0 - SLOW_START_FLOOR) * age)
    }

    /// What is there, of all fronts.
    pub(super) fn load(&self, now: Duration) -> u32 {
        self.reports.others(now).saturating_add(u32::try_from(self.in_flight).unwrap_or(u32::MAX))
    }

    /// How many it works on at once; 0 where nobody knows.
    pub(super) fn slots(&self) -> u32 {
        match self.reports.slots() {
            0 => self.slots,
            slots => slots,
        }
    }

    pub(super) fn answered(&mut self, now: Duration, picked: Duration) {
        let latency = now.saturating_sub(picked);
        self.latencies.record(latency);
        self.estimate.observe(now, latency);
        self.health.answered(now);
    }

    pub(super) fn judge(&mut self, now: Duration, picked: Duration, outcome: Outcome) {
        match outcome {
            Outcome::Ok => {}
            Outcome::Failed => {
                self.failures_total += 1;
                self.health.failed(now, picked);
            }
            Outcome::Unreachable => {
                self.failures_total += 1;
                self.health.unreachable(now, picked);
            }
            Outcome::Full => self.full_until = now + FULL_PAUSE,
            Outcome::Declined => self.declined_until = now + DECLINED_PAUSE,
        }
        self.away |= self.health.ejected(now).is_some();
    }

    pub(super) fn models(&self) -> &[Model] {
        &self.models
    }

    /// How well it suits `model`; `None` if it does not have it.
    pub(super) fn fit(&self, model: &str) -> Option<Fit> {
        let place = |name: &str| self.models.binary_search_by(|model| model.name.as_str().cmp(name)).ok();
        match place(model).and_then(|place| self.models.get(place)) {
            Some(model) => Some(if model.loaded { Fit::Loaded } else { Fit::Has }),
            None => (self.models.is_empty() || place(Model::OTHERS).is_some()).then_some(Fit::Unknown),
        }
    }

    /// What stands between it and `ask`.
    pub(super) fn standing(&self, now: Duration, node: NodeId, fleet: &Fleet, ask: &Ask) -> Standing {
        if !self.is_open(now) {
            return Standing::Draining;
        }
        if ask.tried.contains(&node) {
            return Standing::Tried;
        }
        if ask.protocol.is_some_and(|protocol| protocol != self.protocol) {
            return Standing::OtherProtocol;
        }
        if ask.model.as_deref().is_some_and(|model| self.fit(model).is_none()) {
            return Standing::WithoutModel;
        }
        let held = self.health.ejected(now).filter(|(cause, _)| !(fleet.panic && *cause == Cause::Failing));
        if let Some((_, until)) = held {
            return Standing::Ejected(until);
        }
        let silence = self.silence(now, node, fleet);
        if silence >= LOST && !fleet.panic {
            return Standing::Lost;
        }
        if self.declined_until > now {
            return Standing::Declining(self.declined_until);
        }
        if self.health.is_proving() && !fleet.panic && self.in_flight > 0 {
            return Standing::Proving;
        }
        let slots = self.slots();
        let is_full = if slots > 0 { self.load(now) >= slots } else { self.reports.is_queueing(now) };
        if is_full || self.full_until > now {
            return Standing::Full;
        }
        if silence >= HOLD { Standing::Silent } else { Standing::Available }
    }

    /// How long it owes a report while others report.
    fn silence(&self, now: Duration, node: NodeId, fleet: &Fleet) -> Duration {
        if fleet.is_reported(now, node) { self.reports.silence(now, self.busy_since) } else { Duration::ZERO }
    }

    /// Its own doing, or its silence, says that it fails.
    pub(super) fn is_failing(&self, now: Duration, node: NodeId, fleet: &Fleet) -> bool {
        matches!(self.health.ejected(now), Some((Cause::Failing, _))) || self.silence(now, node, fleet) >= LOST
    }

    pub(super) fn status(&self, now: Duration, node: NodeId) -> EndpointStatus {
        EndpointStatus {
            node,
            name: self.name.as_ref().to_owned(),
            state: self.state(now),
            connected: self.connection.is_some(),
            in_flight: self.in_flight,
            load: self.load(now),
            slots: self.slots(),
            rate: self.reports.rate(),
            requests_total: self.requests_total,
            failures_total: self.failures_total,
            latency: self.latencies.percentiles(),
        }
    }
}

/// What the choice of one endpoint depends on beyond that endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fleet {
    /// No endpoint is connected: more likely this front is cut off than all of them.
    pub(super) cut_off: bool,
    /// More than half fail: more likely the requests are bad than all of them.
    pub(super) panic: bool,
    /// The newest report of all and of whom, and the newest of anybody else.
    pub(super) reported: (Option<(Duration, NodeId)>, Option<Duration>),
}

impl Fleet {
    /// Takes a report of `node` into account.
    pub(super) fn heard(&mut self, at: Duration, node: NodeId) {
        match self.reported.0 {
            Some((newest, _)) if at <= newest => self.reported.1 = self.reported.1.max(Some(at)),
            newest => self.reported = (Some((at, node)), newest.map(|(at, _)| at)),
        }
    }

    /// Somebody other than `node` reported lately, so that its silence is its own.
    fn is_reported(&self, now: Duration, node: NodeId) -> bool {
        let newest = match self.reported {
            (Some((at, by)), _) if by != node => Some(at),
            (_, second) => second,
        };
        newest.is_some_and(|at| now.saturating_sub(at) < HOLD)
    }
}
