//! The search for a worker that takes one request or connection.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::time::timeout;

use super::handle::Shared;
use crate::{
    balance::{Ask, InFlight, NoWorker, Outcome},
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
    /// All that could be tried, or as many as may be, went wrong; the last one's reason.
    #[error("{attempts} tried; the last: {last}")]
    Spent { attempts: usize, last: F },
    /// It broke when the client's first bytes were under way: a backend may have got them, so nobody else is tried.
    #[error("{0}")]
    Unsure(F),
}

/// One request's or connection's way through the workers: never the same twice, and no more than allowed.
#[derive(Debug)]
pub(super) struct Search<F> {
    ask: Ask,
    last: Option<F>,
}

impl<F: fmt::Display> Search<F> {
    pub(super) fn new() -> Self {
        Self { ask: Ask::default(), last: None }
    }

    /// Picks the next worker to try.
    pub(super) fn pick(&mut self, shared: &Shared) -> Result<InFlight, NotFound<F>> {
        let spent = self.ask.tried.len() > shared.config.retries as usize;
        let picked = if spent { Err(NoWorker::AllTried) } else { shared.balancer.pick(shared.now(), &self.ask) };
        match picked {
            Ok(flight) => {
                self.ask.tried.push(flight.node());
                Ok(flight)
            }
            Err(nobody) => Err(match self.last.take() {
                Some(last) => NotFound::Spent { attempts: self.ask.tried.len(), last },
                None => NotFound::Nobody(nobody),
            }),
        }
    }

    /// The worker of `flight` is done with, for `reason`; another may be picked.
    pub(super) fn give_up(&mut self, shared: &Shared, flight: InFlight, outcome: Outcome, reason: F) {
        tracing::debug!(service = %shared.config.service, node = %flight.node().short(), %reason, "worker failed");
        shared.finish(flight, outcome);
        self.last = Some(reason);
    }

    /// Workers tried so far.
    pub(super) fn attempts(&self) -> usize {
        self.ask.tried.len()
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
