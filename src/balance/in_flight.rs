//! One charge on one endpoint.

use std::{fmt, sync::Arc, time::Duration};

use super::{Balancer, Choice, Outcome, table::Picked};
use crate::ledger::{NodeId, Protocol};

/// One charge on one endpoint. Dropping it takes the charge back and counts as cancelled.
#[must_use = "dropping it takes the charge back"]
pub struct InFlight {
    balancer: Balancer,
    picked: Picked,
    at: Duration,
    answered: bool,
}

impl InFlight {
    pub(super) fn new(balancer: Balancer, picked: Picked, at: Duration) -> Self {
        Self { balancer, picked, at, answered: false }
    }

    /// The worker that was picked.
    pub fn node(&self) -> NodeId {
        self.picked.node
    }

    /// The number of its connection when it was picked.
    pub fn connection(&self) -> Option<u64> {
        self.picked.connection
    }

    /// How the worker's backend speaks.
    pub fn protocol(&self) -> Protocol {
        self.picked.protocol
    }

    /// Why this worker.
    pub fn choice(&self) -> &Arc<Choice> {
        &self.picked.choice
    }

    /// The worker answered well: a verdict that accepts, the head of a response. Its latency is taken, and whatever
    /// doubt there was ends now rather than with a transfer that may last for hours. Counts once.
    pub fn answered(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.answered, true) {
            self.balancer.answered(now, self.picked.node, self.at);
        }
    }

    /// Ends it with what became of it.
    pub fn finish(mut self, now: Duration, outcome: Outcome) {
        if outcome == Outcome::Ok {
            self.answered(now);
        }
        self.balancer.judge(now, self.picked.node, self.at, outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.balancer.release(self.picked.node);
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("node", &self.picked.node).finish_non_exhaustive()
    }
}
