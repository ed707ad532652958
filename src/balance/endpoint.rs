//! One node that offers the service, as this front sees it.

use std::{cmp::Ordering, fmt, time::Duration};

use super::{
    Latency, Policy,
    health::{Cause, Health},
    latency::Samples,
};
use crate::ledger::{NodeId, Protocol, Record, Service};

/// How long a newcomer is warming: its share grows from a tenth to the whole over this time, so that caches fill and a
/// worker that can't cope shows it while little depends on it.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);

/// Share of a newcomer at its first moment.
const SLOW_START_FLOOR: f64 = 0.1;

/// How long an endpoint that said it is full is left out. A slot frees any moment; asking a few times a second is cheap.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// How long an endpoint that declined (draining, no such service) is left out, unless a newer view says more before.
const DECLINED_PAUSE: Duration = Duration::from_secs(1);

/// The weight that counts as one share.
const USUAL_WEIGHT: f64 = 100.0;

/// Where an endpoint is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// New among older ones: its share grows.
    Warming,
    /// Takes its full share.
    Ready,
    /// Left out for a while because of what this front saw of it.
    Ejected,
    /// Gets no new work; what is in flight goes on.
    Draining,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        })
    }
}

/// How something in flight ended. Dropping the guard instead means cancelled: it says nothing about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Served.
    Ok,
    /// The endpoint was reached and failed: its connection broke, it stayed silent, it answered with its own error.
    Failed,
    /// No path to the endpoint, or from it to its backend, within the connect timeout.
    Unreachable,
    /// The endpoint has no slot free. No failure.
    Full,
    /// The endpoint does not take this work now: it drains, or no longer offers the service. No failure.
    Declined,
}

/// What `status` shows of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStatus {
    /// The node.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Whether there is a connection to the node now.
    pub connected: bool,
    /// Picked and not yet finished.
    pub in_flight: usize,
    /// Picks so far.
    pub requests_total: u64,
    /// Picks so far that failed or found no path.
    pub failures_total: u64,
    /// `None` until the first answer.
    pub latency: Option<Latency>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) name: String,
    weight: f64,
    slots: usize,
    pub(super) protocol: Protocol,
    /// Offered by the newest view.
    pub(super) listed: bool,
    /// Offered, but its node asks for no new work.
    pub(super) draining: bool,
    /// The number of the node's connection, if it has one.
    pub(super) connection: Option<u64>,
    /// When the table first held it.
    since: Duration,
    warming: bool,
    /// Was seen ejected and is not yet back.
    away: bool,
    pub(super) in_flight: usize,
    requests_total: u64,
    failures_total: u64,
    /// Requests since ready, each over the capacity at that moment: what breaks a tie. Starts at the least of the ready ones, so that a
    /// newcomer does not draw everything until it has caught up with history.
    pub(super) share: f64,
    pub(super) health: Health,
    full_until: Duration,
    declined_until: Duration,
    latencies: Samples,
}

impl Endpoint {
    pub(super) fn new(now: Duration, warming: bool, share: f64) -> Self {
        Self {
            name: String::new(),
            weight: 1.0,
            slots: 0,
            protocol: Protocol::Tcp,
            listed: true,
            draining: false,
            connection: None,
            since: now,
            warming,
            away: false,
            in_flight: 0,
            requests_total: 0,
            failures_total: 0,
            share,
            health: Health::new(),
            full_until: Duration::ZERO,
            declined_until: Duration::ZERO,
            latencies: Samples::default(),
        }
    }

    /// Takes over what a newer view says.
    pub(super) fn update(&mut self, record: &Record, service: &Service) {
        self.name.clone_from(&record.statement.name);
        self.weight = f64::from(service.weight.max(1)) / USUAL_WEIGHT;
        self.slots = usize::from(service.slots);
        self.protocol = service.protocol;
        self.listed = true;
        self.draining = record.statement.draining || record.statement.leaving;
        self.declined_until = Duration::ZERO;
    }

    pub(super) fn connect(&mut self, now: Duration, connection: Option<u64>) {
        if connection.is_some() && connection != self.connection {
            self.health.reconnected(now);
        }
        self.connection = connection;
    }

    /// May get new work as far as the view is concerned.
    pub(super) fn is_open(&self) -> bool {
        self.listed && !self.draining
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
    pub(super) fn is_ready(&self) -> bool {
        self.is_open() && !self.warming && !self.away
    }

    pub(super) fn state(&self, now: Duration) -> State {
        if !self.is_open() {
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
        self.in_flight += 1;
        self.requests_total += 1;
        self.share += 1.0 / self.capacity(now);
    }

    /// What it can take, where 1 is usual: its weight, less while it is warming.
    fn capacity(&self, now: Duration) -> f64 {
        if !self.is_warming(now) {
            return self.weight;
        }
        let age = now.saturating_sub(self.since).as_secs_f64() / SLOW_START.as_secs_f64();
        self.weight * (SLOW_START_FLOOR + (1.0 - SLOW_START_FLOOR) * age)
    }

    pub(super) fn answered(&mut self, now: Duration, picked: Duration) {
        self.latencies.record(now.saturating_sub(picked));
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

    pub(super) fn rank(&self, now: Duration, fleet: Fleet) -> Rank {
        // What is in flight, not what would be: among idle endpoints the share decides, so that one with less capacity gets
        // its part of a trickle of requests as well.
        let load = self.in_flight as f64 / self.capacity(now);
        let connected = self.connection.is_some() || fleet.cut_off;
        let held = self.health.ejected(now).filter(|(cause, _)| !(fleet.panic && *cause == Cause::Failing));
        let free_at = held.map_or(Duration::ZERO, |(_, until)| until).max(self.full_until).max(self.declined_until);
        let out_of_slots = self.slots > 0 && self.in_flight >= self.slots;
        let busy_proving = self.health.is_proving() && !fleet.panic && self.in_flight > 0;
        if free_at > now || out_of_slots || busy_proving {
            let tier = if connected { Tier::LeftOut } else { Tier::LeftOutUnconnected };
            return Rank { tier, first: free_at.as_secs_f64(), second: load, weight: 1 };
        }
        let tier = if connected { Tier::Available } else { Tier::Unconnected };
        match fleet.policy {
            Policy::LeastUsed => Rank { tier, first: load, second: self.share, weight: 1 },
            Policy::Random => Rank { tier, first: 0.0, second: 0.0, weight: (self.weight * USUAL_WEIGHT) as u32 },
        }
    }

    pub(super) fn status(&self, now: Duration, node: NodeId) -> EndpointStatus {
        EndpointStatus {
            node,
            name: self.name.clone(),
            state: self.state(now),
            connected: self.connection.is_some(),
            in_flight: self.in_flight,
            requests_total: self.requests_total,
            failures_total: self.failures_total,
            latency: self.latencies.percentiles(),
        }
    }
}

/// What the choice of one endpoint depends on beyond that endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    pub(super) policy: Policy,
    /// No endpoint is connected: more likely this front is cut off than all of them.
    pub(super) cut_off: bool,
    /// More than half were ejected for failing: more likely the requests are bad than all of them.
    pub(super) panic: bool,
}

/// How far down an endpoint is in the order of choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Available,
    Unconnected,
    /// Ejected, full or declining: better than nobody.
    LeftOut,
    LeftOutUnconnected,
}

/// An endpoint's place in the order of choice; the least is picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    tier: Tier,
    first: f64,
    second: f64,
    /// Chances among equals.
    pub(super) weight: u32,
}

impl Rank {
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.tier.cmp(&other.tier).then(self.first.total_cmp(&other.first)).then(self.second.total_cmp(&other.second))
    }
}
