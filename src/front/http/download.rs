//! The body of a response on its way to a client, and what it holds until it has ended.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{lane::Lane, upload::Source};
use crate::{
    balance::{InFlight, Outcome},
    front::{
        client::Reset,
        draft::Draft,
        handle::{Counted, Shared},
        inference::Tokens,
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
    /// When the request has taken too long, where there is such a time.
    deadline: Option<Pin<Box<Sleep>>>,
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
    pub(super) draft: Draft,
    /// The request's body, part of which may still be on its way.
    pub(super) source: Source,
    /// What the response says of its tokens, where a model made it.
    pub(super) tokens: Option<Tokens>,
}

/// Why a response was cut.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Cut {
    #[error("the worker sent nothing more of its response")]
    Silent,
    #[error("the request took longer than it may")]
    Late,
}

impl Download {
    /// `until` is when the request has taken too long.
    pub(super) fn new(shared: Arc<Shared>, body: Incoming, held: Held, until: Option<Instant>) -> Self {
        let deadline = until.map(|until| Box::pin(sleep_until(until)));
        Self { body, held: Some(held), quiet: Stall::default(), deadline, shared }
    }

    /// The body came whole.
    fn complete(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.tell(&self.shared);
            let Held { flight, lane, counted, outcome, draft, .. } = held;
            self.shared.pool.put(flight.node(), lane);
            self.shared.finish(flight, outcome);
            draft.finish("served");
            drop(counted);
        }
    }

    /// It did not, for this reason. `outcome` is what that says of the worker, if anything.
    fn fail(&mut self, outcome: Option<Outcome>, reason: String) {
        if let Some(mut held) = self.held.take() {
            held.tell(&self.shared);
            let Held { flight, client, draft, .. } = held;
            client.set();
            match outcome {
                Some(outcome) => self.shared.finish(flight, outcome),
                None => drop(flight),
            }
            draft.finish(reason);
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            self.fail(None, Cut::Late.to_string());
            return Poll::Ready(Cut::Late);
        }
        self.quiet.poll(cx, self.shared.config.idle_timeout).map(|()| {
            self.fail(Some(Outcome::Failed), Cut::Silent.to_string());
            Cut::Silent
        })
    }
}

impl Held {
    /// More of the response passes.
    fn passes(&mut self, data: &[u8]) {
        self.draft.received(data.len() as u64);
        if let Some(tokens) = &mut self.tokens {
            tokens.feed(data);
        }
    }

    /// Takes down what passed.
    fn tell(&mut self, shared: &Shared) {
        self.draft.sent(self.source.bytes());
        if let Some(tokens) = self.tokens.take() {
            if let Some(counted) = tokens.counted() {
                self.draft.set_tokens(counted);
            }
            shared.count_tokens(&tokens);
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
                if let (Some(data), Some(held)) = (frame.data_ref(), &mut this.held) {
                    held.passes(data);
                }
                if this.body.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                match this.held.as_ref().is_some_and(|held| held.source.is_broken()) {
                    true => this.fail(None, "the client broke off its request".to_owned()),
                    false => this.fail(Some(Outcome::Failed), "cut off by the worker".to_owned()),
                }
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => this.poll_late(cx).map(|cut| Some(Err(cut.into()))),
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
        if let Some(held) = &mut self.held {
            held.tell(&self.shared);
        }
    }
}
