//! The body of a request on its way to a worker, and whether it can be sent again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Bytes of a body that are kept until its response begins, so that it can be sent to another worker. Larger bodies are
/// streamed and sent once. As Envoy's and HAProxy's retry buffers, and a bound on what a request holds.
const REPLAY_LIMIT: usize = 64 * 1024;

/// A client's body, which outlives the attempts to send it.
#[derive(Clone)]
pub(super) struct Source {
    /// Held for one poll of the client's body. Attempts follow one another, so nobody waits for it.
    state: Arc<Mutex<State>>,
    length: SizeHint,
    is_empty: bool,
}

struct State {
    body: Incoming,
    /// What was taken so far; `None` once that is too much, or if the request is sent once anyway.
    taken: Option<Vec<Bytes>>,
    taken_bytes: usize,
    /// Frames taken, to see that the upload moves.
    moves: u64,
    /// The attempt that may take more; those before it are dead.
    attempt: u64,
    /// The client broke off.
    broken: bool,
}

impl Source {
    /// `keep` what is sent, up to the limit.
    pub(super) fn new(body: Incoming, keep: bool) -> Self {
        let (length, is_empty) = (body.size_hint(), body.is_end_stream());
        let taken = keep.then(Vec::new);
        let state = State { body, taken, taken_bytes: 0, moves: 0, attempt: 0, broken: false };
        Self { state: Arc::new(Mutex::new(state)), length, is_empty }
    }

    /// The body from its beginning, for one attempt. Ends what an attempt before it may still take.
    pub(super) fn upload(&self) -> Upload {
        let mut state = self.state();
        state.attempt += 1;
        Upload { source: self.clone(), attempt: state.attempt, next: 0 }
    }

    /// Everything that was taken is still there.
    pub(super) fn can_replay(&self) -> bool {
        let state = self.state();
        state.taken.is_some() || state.moves == 0
    }

    /// Grows while the upload moves.
    pub(super) fn moves(&self) -> u64 {
        self.state().moves
    }

    /// The client broke off in the middle of its body.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held can only come from the body's own poll, which ends the connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt's way through a body.
pub(super) struct Upload {
    source: Source,
    attempt: u64,
    /// The next of the kept frames to send.
    next: usize,
}

/// Why a body could not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the client broke off: {0}")]
    Client(#[from] hyper::Error),
    #[error("another attempt took over")]
    Superseded,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        let mut state = this.source.state();
        if state.attempt != this.attempt {
            return Poll::Ready(Some(Err(UploadError::Superseded)));
        }
        if let Some(kept) = state.taken.as_ref().and_then(|taken| taken.get(this.next)) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        let polled = Pin::new(&mut state.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                state.take(frame);
                this.next += 1;
            }
            Poll::Ready(Some(Err(_))) => state.broken = true,
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled.map_err(UploadError::Client)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_empty
    }

    fn size_hint(&self) -> SizeHint {
        self.source.length
    }
}

impl State {
    fn take(&mut self, frame: &Frame<Bytes>) {
        self.moves += 1;
        let Some(taken) = &mut self.taken else { return };
        match frame.data_ref() {
            Some(data) if self.taken_bytes + data.len() <= REPLAY_LIMIT => {
                self.taken_bytes += data.len();
                taken.push(data.clone());
            }
            // Too much; or trailers, too rare to be worth keeping.
            _ => self.taken = None,
        }
    }
}
