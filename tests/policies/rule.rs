//! What a simulated front picks by: the balancer itself, or another proxy's rule.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use p2p_fed::{
    balance::{Acquired, Ask, Balancer, Config, InFlight, Outcome, Policy, Waiting},
    ledger::{Entry, NetworkId, NodeId, Protocol, Record, Service, Statement, View},
    tunnel::Load,
};

use crate::{chance::Chance, fleet::Fleet, work::Job};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A policy with all that the product knows: slots, reports, and the queue.
    Ours(Policy),
    /// The same where workers report without knowing their slots: nothing is held back.
    SlotsUnknown(Policy),
    /// By the front's own counts alone, as in most proxies.
    Blind(Policy),
    /// LocalAI's: fewest completed, where a count of zero is taken for none.
    LocalAi,
}

impl Rule {
    pub(crate) fn is_told(self) -> bool {
        matches!(self, Self::Ours(_) | Self::SlotsUnknown(_))
    }

    pub(crate) fn says_slots(self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(policy) => write!(f, "`{policy}`"),
            Self::SlotsUnknown(policy) => write!(f, "`{policy}`, slots unknown"),
            Self::Blind(Policy::LeastUsed) => write!(f, "fewest in flight, own count"),
            Self::Blind(policy) => write!(f, "`{policy}`, own count"),
            Self::LocalAi => write!(f, "LocalAI's rule"),
        }
    }
}

/// One front.
pub(crate) enum Front {
    Ours { balancer: Balancer, rule: Rule, flights: BTreeMap<usize, InFlight>, queue: Line },
    LocalAi { completed: Vec<u64> },
}

/// Those of a front that wait, and of whom something was heard.
#[derive(Default)]
pub(crate) struct Line {
    waiting: BTreeMap<usize, Waiting>,
    woken: Arc<Mutex<Vec<usize>>>,
}

struct Bell {
    job: usize,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.woken.lock().expect("nobody panics").push(self.job);
    }
}

fn node(worker: usize) -> NodeId {
    NodeId::from_bytes([worker as u8 + 1; 32])
}

fn worker(node: NodeId) -> usize {
    usize::from(node.as_bytes()[0]) - 1
}

fn view(fleet: &Fleet, says_slots: bool) -> View {
    let entry = |(number, machine): (usize, &crate::fleet::Machine)| {
        let slots = if says_slots { machine.slots as u16 } else { 0 };
        let services = vec![Service { slots, ..Service::new("llm", Protocol::Http) }];
        let record = Record {
            network: NetworkId([0; 16]),
            generation: 0,
            owner: node(number),
            seq: 1,
            issued_ms: 0,
            ttl: Duration::from_secs(60),
            statement: Statement { name: format!("w{number}"), services, ..Statement::default() },
            credential: None,
        };
        (record.owner, Entry { record: Arc::new(record), fresh: true, quarantined: false, legacy: false })
    };
    View { revision: 1, nodes: fleet.machines.iter().enumerate().map(entry).collect() }
}

impl Front {
    pub(crate) fn new(rule: Rule, fleet: &Fleet, seed: u64) -> Self {
        let (Rule::Ours(policy) | Rule::SlotsUnknown(policy) | Rule::Blind(policy)) = rule else {
            return Self::LocalAi { completed: vec![0; fleet.machines.len()] };
        };
        let balancer = Balancer::new(Config { policy, ..Config::new("llm") }, seed);
        let connected = (0..fleet.machines.len()).map(|worker| (node(worker), 1)).collect();
        balancer.reconcile(Duration::ZERO, &view(fleet, rule.says_slots()), &connected);
        Self::Ours { balancer, rule, flights: BTreeMap::new(), queue: Line::default() }
    }

    /// The worker for a job that just came; `None` while it waits, or if it was refused.
    pub(crate) fn pick(&mut self, now: Duration, number: usize, job: &Job, chance: &mut Chance) -> Option<usize> {
        match self {
            Self::Ours { balancer, rule, flights, queue } => {
                let ask = Ask { client: job.client, ..Ask::default() };
                let flight = if rule.is_told() {
                    match balancer.acquire(now, ask).ok()? {
                        Acquired::Now(flight) => flight,
                        Acquired::Queued(waiting) => {
                            queue.waiting.insert(number, waiting);
                            queue.woken.lock().expect("nobody panics").push(number);
                            return None;
                        }
                    }
                } else {
                    balancer.pick(now, &ask).ok()?
                };
                let worker = worker(flight.node());
                flights.insert(number, flight);
                Some(worker)
            }
            Self::LocalAi { completed } => {
                // Go walks a map of up to eight from a random place on.
                let first = chance.below(completed.len());
                let (mut least, mut best) = (0, first);
                for worker in (first..completed.len()).chain(0..first) {
                    if least == 0 || completed[worker] < least {
                        (least, best) = (completed[worker], worker);
                    }
                }
                Some(best)
            }
        }
    }

    /// Those who waited and have a worker now.
    pub(crate) fn served(&mut self) -> Vec<(usize, usize)> {
        let Self::Ours { flights, queue, .. } = self else { return Vec::new() };
        let woken = std::mem::take(&mut *queue.woken.lock().expect("nobody panics"));
        let mut served = Vec::new();
        for job in woken {
            let Some(waiting) = queue.waiting.get_mut(&job) else { continue };
            let waker = Waker::from(Arc::new(Bell { job, woken: Arc::clone(&queue.woken) }));
            if let Poll::Ready(told) = Pin::new(waiting).poll(&mut Context::from_waker(&waker)) {
                queue.waiting.remove(&job);
                if let Ok(flight) = told {
                    served.push((job, worker(flight.node())));
                    flights.insert(job, flight);
                }
            }
        }
        served
    }

    pub(crate) fn report(&mut self, now: Duration, worker: usize, load: Load) {
        if let Self::Ours { balancer, rule, .. } = self
            && rule.is_told()
        {
            balancer.report(now, node(worker), load);
        }
    }

    pub(crate) fn first(&mut self, now: Duration, job: usize) {
        if let Self::Ours { flights, .. } = self
            && let Some(flight) = flights.get_mut(&job)
        {
            flight.answered(now);
        }
    }

    pub(crate) fn last(&mut self, now: Duration, job: usize, worker: usize) {
        match self {
            Self::Ours { flights, .. } => {
                if let Some(flight) = flights.remove(&job) {
                    flight.finish(now, Outcome::Ok);
                }
            }
            Self::LocalAi { completed } => completed[worker] += 1,
        }
    }
}
