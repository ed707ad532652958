//! The search for a worker that takes one request or connection.

use std::{fmt, net::SocketAddr, time::Duration};

use rand::RngExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    draft::Draft,
    handle::{Shared, TICK},
};
use crate::{
    balance::{Acquired, Ask, InFlight, NoWorker, Outcome},
    ledger::NodeId,
    tunnel::{Class, DialError, Early, Header, Refusal, TraceId, Tunnel},
};

/// Why a worker that was picked did not take the work. Nothing of the client reached a backend, unless it was sent early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Miss {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("{} gave no verdict within {limit:?}", node.short())]
    NoVerdict { node: NodeId, limit: Duration },
}

impl Miss {
    /// The worker said no: whatever was sent early reached no backend.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Dial(DialError::Refused { .. }))
    }

    /// What it says about the worker.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Dial(DialError::Refused { reason, .. }) => match reason {
                Refusal::Full => Outcome::Full,
                Refusal::BackendUnreachable => Outcome::Unreachable,
                _ => Outcome::Declined,
            },
            _ => Outcome::Unreachable,
        }
    }
}

/// Why the search ended without a worker. `F` is what may go wrong with one.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFound<F: fmt::Display> {
    /// There was nobody to try.
    #[error("{0}")]
    Nobody(NoWorker),
    /// No slot freed in time.
    #[error("every worker is busy, and none was free within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// All that could be tried, or as many as may be, went wrong; the last one's reason.
    #[error("{attempts} tried; the last: {last}")]
    Spent { attempts: usize, last: F },
    /// It broke when the client's first bytes were under way: a backend may have got them, so nobody else is tried.
    #[error("{0}")]
    Unsure(F),
}

/// First and longest pause before those are asked again that had no slot free, where the front had not known it. One of
/// them frees a slot any moment, and tells the front of it before.
const FULL_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// One request's or connection's way through the workers: never twice to one that failed, and to no more than allowed.
/// Those that had no slot free are waited for.
pub(super) struct Search<F> {
    ask: Ask,
    /// Takes down who was tried. It tells of a client that leaves, should the search be dropped.
    pub(super) draft: Draft,
    last: Option<F>,
    /// Those of the tried that had no slot free.
    full: Vec<NodeId>,
    pause: Duration,
    /// It waited for a worker to come; once is enough.
    held: bool,
}

impl<F: fmt::Display> Search<F> {
    pub(super) fn new(ask: Ask, draft: Draft) -> Self {
        Self { ask, draft, last: None, full: Vec::new(), pause: FULL_PAUSE.0, held: false }
    }

    /// The next worker to try, once one has a free slot. Dropping the future leaves the queue.
    pub(super) async fn next(&mut self, shared: &Shared) -> Result<InFlight, NotFound<F>> {
        loop {
            let is_spent = self.ask.tried.len() > shared.config.retries as usize;
            let nobody = match self.acquire(shared, is_spent).await {
                Ok(flight) => {
                    self.charge(&flight);
                    return Ok(flight);
                }
                Err(NotFound::Nobody(reason)) => reason,
                Err(reason) => return Err(reason),
            };
            let waits = match nobody {
                NoWorker::AllTried => self.wait_for_full(shared).await,
                NoWorker::NotOffered | NoWorker::Draining if self.ask.tried.is_empty() => self.hold(shared).await,
                _ => false,
            };
            if !waits {
                return Err(match self.last.take() {
                    Some(last) => NotFound::Spent { attempts: self.ask.tried.len(), last },
                    None => NotFound::Nobody(nobody),
                });
            }
        }
    }

    /// Another worker to try on top of one that may be at work, if one has a free slot now and the budget allows it.
    pub(super) fn now(&mut self, shared: &Shared) -> Option<InFlight> {
        if self.ask.tried.len() > shared.config.retries as usize {
            return None;
        }
        match shared.balancer.acquire(shared.now(), self.ask.clone()) {
            Ok(Acquired::Now(flight)) if shared.may_retry() => {
                self.charge(&flight);
                Some(flight)
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// The worker of `flight` is done with, for `reason`; another may be picked.
    pub(super) fn give_up(&mut self, shared: &Shared, flight: InFlight, outcome: Outcome, reason: F) {
        tracing::debug!(service = %shared.config.service, node = %flight.node().short(), %reason, "worker failed");
        self.draft.tried(flight.node(), Some(reason.to_string()));
        if outcome == Outcome::Full {
            self.full.push(flight.node());
        }
        shared.finish(flight, outcome);
        self.last = Some(reason);
    }

    /// Workers tried so far.
    pub(super) fn attempts(&self) -> usize {
        self.draft.entry().attempts.len()
    }

    async fn acquire(&self, shared: &Shared, is_spent: bool) -> Result<InFlight, NotFound<F>> {
        if is_spent {
            return Err(NotFound::Nobody(NoWorker::AllTried));
        }
        if let Some(flight) = shared.pick_by_scorer(&self.ask).await {
            return Ok(flight);
        }
        match shared.balancer.acquire(shared.now(), self.ask.clone()).map_err(NotFound::Nobody)? {
            Acquired::Now(flight) => Ok(flight),
            Acquired::Queued(mut waiting) => loop {
                match timeout_at(self.until(shared).min(Instant::now() + TICK), &mut waiting).await {
                    Ok(slot) => return slot.map_err(NotFound::Nobody),
                    Err(_) if self.until(shared) <= Instant::now() => {
                        return Err(NotFound::Late(shared.config.queue_timeout));
                    }
                    Err(_) => shared.tick(),
                }
            },
        }
    }

    fn charge(&mut self, flight: &InFlight) {
        self.ask.tried.push(flight.node());
        self.draft.tries(flight);
    }

    /// Pauses, and forgets that those were tried that only had no slot free. False if there are none, or no time is left.
    async fn wait_for_full(&mut self, shared: &Shared) -> bool {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        if self.full.is_empty() || Instant::now() + pause > self.until(shared) {
            return false;
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(FULL_PAUSE.1);
        let full = std::mem::take(&mut self.full);
        self.ask.tried.retain(|node| !full.contains(node));
        true
    }

    /// Waits for a worker to come. False if none does in time.
    async fn hold(&mut self, shared: &Shared) -> bool {
        let until = self.draft.began() + shared.config.hold;
        if std::mem::replace(&mut self.held, true) || until <= Instant::now() {
            return false;
        }
        let mut workers = shared.balancer.watch();
        matches!(timeout_at(until, workers.wait_for(|has_worker| *has_worker)).await, Ok(Ok(_)))
    }

    /// When its time in the queue is over.
    fn until(&self, shared: &Shared) -> Instant {
        self.draft.began() + shared.config.queue_timeout
    }
}

impl Shared {
    /// Opens a tunnel to the worker that was picked.
    pub(super) async fn dial(
        &self,
        flight: &InFlight,
        class: Class,
        client: Option<SocketAddr>,
        early: &Early,
    ) -> Result<Tunnel, Miss> {
        let header = Header { service: self.config.service.clone(), class, trace: TraceId(rand::random()), client };
        let limit = self.config.connect_timeout;
        match timeout(limit, self.dial.dial(flight.node(), header, early)).await {
            Ok(dialled) => {
                let mut tunnel = dialled?;
                self.listen(flight.node(), &mut tunnel);
                Ok(tunnel)
            }
            Err(_) => Err(Miss::NoVerdict { node: flight.node(), limit }),
        }
    }
}
