//! A place in the queue.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{Balancer, InFlight, NoWorker};

/// What [`Balancer::acquire`] got.
#[derive(Debug)]
pub enum Acquired {
    /// A worker.
    Now(InFlight),
    /// A place in the queue.
    Queued(Waiting),
}

/// What one who waits is told.
pub(super) type Told = Result<InFlight, NoWorker>;

/// A place in the queue: resolves with the worker whose slot freed, or with the reason why none will. Dropping it leaves
/// the queue.
#[must_use = "dropping it leaves the queue"]
pub struct Waiting {
    balancer: Balancer,
    client: u64,
    ticket: u64,
    told: oneshot::Receiver<Told>,
}

impl Waiting {
    pub(super) fn new(balancer: Balancer, client: u64, ticket: u64, told: oneshot::Receiver<Told>) -> Self {
        Self { balancer, client, ticket, told }
    }
}

impl Future for Waiting {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // It can't be closed without a word: the queue that holds the other end lives in the balancer, which we hold.
        Pin::new(&mut self.told).poll(cx).map(|told| told.unwrap_or(Err(NoWorker::NotOffered)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A worker that was on its way here comes back with the receiver, right after this.
        self.balancer.leave(self.client, self.ticket);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
