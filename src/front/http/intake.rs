//! The body of a request as it comes from its client: no longer than it may be, and no slower.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
};

use crate::front::{Limits, stall::Pace};

/// A client's body, watched.
pub(super) struct Intake {
    body: Incoming,
    /// Bytes that may still come.
    left: u64,
    limit: Option<u64>,
    /// `None` where it may rest for as long as it likes.
    pace: Option<Pace>,
}

/// Why a body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntakeError {
    #[error("the client broke off: {0}")]
    Client(#[from] hyper::Error),
    #[error(transparent)]
    Excess(#[from] Excess),
}

/// What a client may not do with the body of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("the body is longer than {0} bytes")]
    TooLarge(u64),
    #[error("the body comes too slowly")]
    TooSlow,
}

impl Excess {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl Intake {
    /// `may_rest`: nothing may come of it for long.
    pub(super) fn new(body: Incoming, limits: &Limits, may_rest: bool) -> Self {
        let pace = (!may_rest && !body.is_end_stream()).then(|| Pace::new(limits.body_grace, limits.body_rate));
        Self { body, left: limits.body_bytes.unwrap_or(u64::MAX), limit: limits.body_bytes, pace }
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = IntakeError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IntakeError>>> {
        let this = &mut *self;
        let polled = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(polled) => polled,
            Poll::Pending => {
                return match this.pace.as_mut().map(|pace| pace.poll(cx)) {
                    Some(Poll::Ready(())) => Poll::Ready(Some(Err(Excess::TooSlow.into()))),
                    _ => Poll::Pending,
                };
            }
        };
        let bytes = match &polled {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        if let Some(pace) = &mut this.pace {
            pace.moved(bytes);
        }
        match (this.left.checked_sub(bytes as u64), this.limit) {
            (None, Some(limit)) => Poll::Ready(Some(Err(Excess::TooLarge(limit).into()))),
            (left, _) => {
                this.left = left.unwrap_or(u64::MAX);
                Poll::Ready(polled.map(|frame| frame.map_err(IntakeError::Client)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
