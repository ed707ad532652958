//! The body of a response on its way to a client, and what it holds until it has ended.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::lane::Lane;
use crate::{
    balance::{InFlight, Outcome},
    front::{
        client::Reset,
        handle::{Counted, Shared},
        stall::Stall,
    },
};

/// A worker's response body. While it lives the worker is charged and its tunnel taken; at its end the tunnel goes back to
/// the pool. Dropped before, the client is gone: the tunnel is reset, so that the backend stops, and nobody is blamed. If
/// it breaks, the client's connection is reset, so that it can't take a cut body for a whole one.
pub(super) struct Download {
    body: Incoming,
    held: Option<Held>,
    quiet: Stall,
    shared: Arc<Shared>,
}

/// What a response holds.
pub(super) struct Held {
    pub(super) flight: InFlight,
    pub(super) lane: Lane,
    pub(super) counted: Counted,
    /// What the response's status says of the worker, should the body come whole.
    pub(super) outcome: Outcome,
    pub(super) client: Reset,
}

/// The worker sent nothing for the idle time.
#[derive(Debug, thiserror::Error)]
#[error("the worker sent nothing more of its response")]
struct Silent;

impl Download {
    pub(super) fn new(shared: Arc<Shared>, body: Incoming, held: Held) -> Self {
        Self { body, held: Some(held), quiet: Stall::default(), shared }
    }

    /// The body came whole.
    fn complete(&mut self) {
        if let Some(Held { flight, lane, counted, outcome, .. }) = self.held.take() {
            self.shared.pool.put(flight.node(), lane);
            self.shared.finish(flight, outcome);
            drop(counted);
        }
    }

    /// It did not, and that is the worker's fault.
    fn fail(&mut self) {
        if let Some(Held { flight, client, .. }) = self.held.take() {
            client.set();
            self.shared.finish(flight, Outcome::Failed);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.quiet.moved();
                if this.body.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.fail();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => match this.quiet.poll(cx, this.shared.config.idle_timeout) {
                Poll::Ready(()) => {
                    this.fail();
                    Poll::Ready(Some(Err(Silent.into())))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // hyper does not poll a body that is empty from the start.
        if self.body.is_end_stream() {
            self.complete();
        }
    }
}
