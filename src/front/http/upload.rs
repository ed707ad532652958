//! The body of a request on its way to a worker, and whether it can be sent again.
//!
//! What was read of it is held while it may be needed once more: to be sent to another worker, or because it was looked at
//! before there was one. Held bytes are bounded per request and over all requests; beyond, they are let go as they are sent,
//! and the request is sent once.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
};

use super::intake::{Excess, Intake, IntakeError};
use crate::front::handle::Shared;

/// A client's body, which outlives the attempts to send it.
#[derive(Clone)]
pub(super) struct Source {
    /// Held for one poll of the client's body. Attempts follow one another, so nobody waits for it.
    state: Arc<Mutex<State>>,
    length: SizeHint,
    is_empty: bool,
}

struct State {
    shared: Arc<Shared>,
    body: Intake,
    /// What was read and may be needed again.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// What of them was taken from the memory that all requests share.
    charged: usize,
    /// Frames that were let go. They came before those that are held.
    gone: usize,
    /// Frames stay held when they were sent.
    keep: bool,
    /// What came behind the last byte, while it is not sent.
    trailers: Option<HeaderMap>,
    /// They were sent, and are gone.
    trailers_gone: bool,
    ended: bool,
    /// Frames read, to see that the upload moves.
    moves: u64,
    bytes: u64,
    /// The attempt that may take more; those before it are dead.
    attempt: u64,
    /// The client broke off, or does what it may not.
    broken: bool,
    /// How it does.
    excess: Option<Excess>,
}

impl Source {
    /// `keep` what is sent, up to the limit.
    pub(super) fn new(shared: &Arc<Shared>, body: Intake, keep: bool) -> Self {
        let (length, is_empty) = (body.size_hint(), body.is_end_stream());
        let state = State {
            shared: Arc::clone(shared),
            body,
            held: VecDeque::new(),
            held_bytes: 0,
            charged: 0,
            gone: 0,
            keep,
            trailers: None,
            trailers_gone: false,
            ended: false,
            moves: 0,
            bytes: 0,
            attempt: 0,
            broken: false,
            excess: None,
        };
        Self { state: Arc::new(Mutex::new(state)), length, is_empty }
    }

    /// The body from its beginning, for one attempt. Ends what an attempt before it may still take.
    pub(super) fn upload(&self) -> Upload {
        let mut state = self.state();
        state.attempt += 1;
        Upload { source: self.clone(), attempt: state.attempt, next: 0 }
    }

    /// Shows the beginning of the body, frame by frame, until `see` has seen enough, the body ends, or `limit` bytes or all
    /// memory for it are taken. All of it is sent later.
    pub(super) async fn look(&self, limit: usize, mut see: impl FnMut(&[u8]) -> bool) {
        if self.is_empty {
            return;
        }
        loop {
            let frame = poll_fn(|cx| self.state().poll_read(cx)).await;
            let Some(Ok(frame)) = frame else { return };
            let has_room = self.state().hold(&frame);
            if see(&frame) || !has_room || self.state().held_bytes >= limit {
                return;
            }
        }
    }

    /// There is none.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Everything that was read is still there.
    pub(super) fn can_replay(&self) -> bool {
        let state = self.state();
        state.gone == 0 && !state.trailers_gone
    }

    /// Grows while the upload moves.
    pub(super) fn moves(&self) -> u64 {
        self.state().moves
    }

    /// Bytes that the client has sent.
    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// The client broke off in the middle of its body.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// What the client did that it may not.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.state().excess
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
    /// The next frame to send, counted from the first of the body.
    next: usize,
}

/// Why a body could not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error(transparent)]
    Client(#[from] IntakeError),
    #[error("another attempt took over")]
    Superseded,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        let mut state = this.source.state();
        if state.attempt != this.attempt || this.next < state.gone {
            return Poll::Ready(Some(Err(UploadError::Superseded)));
        }
        if let Some(held) = state.held(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(held))));
        }
        Poll::Ready(match ready!(state.poll_read(cx)) {
            Some(Ok(frame)) => {
                this.next += 1;
                state.sent(&frame);
                Some(Ok(Frame::data(frame)))
            }
            Some(Err(error)) => Some(Err(UploadError::Client(error))),
            // Too rare to be worth keeping.
            None => state.trailers.take().map(|trailers| {
                state.trailers_gone = true;
                Ok(Frame::trailers(trailers))
            }),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_empty
    }

    fn size_hint(&self) -> SizeHint {
        self.source.length
    }
}

impl State {
    /// The next bytes that the client sends. `None` behind the last one.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, IntakeError>>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.moves += 1;
                    match frame.into_data() {
                        Ok(data) => {
                            self.bytes += data.len() as u64;
                            return Poll::Ready(Some(Ok(data)));
                        }
                        Err(frame) => self.trailers = frame.into_trailers().ok(),
                    }
                }
                Some(Err(error)) => {
                    self.broken = true;
                    if let IntakeError::Excess(excess) = error {
                        self.excess = Some(excess);
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }

    /// Keeps a frame that was read and not sent. False if there is no room for another one.
    fn hold(&mut self, frame: &Bytes) -> bool {
        let has_room = self.shared.replay.take(frame.len());
        if has_room {
            self.charged += frame.len();
        }
        self.held_bytes += frame.len();
        self.keep &= has_room && self.held_bytes <= self.shared.config.replay_limit;
        self.held.push_back(frame.clone());
        has_room
    }

    /// A frame was read and sent, and all that came before it.
    fn sent(&mut self, frame: &Bytes) {
        if self.keep {
            self.hold(frame);
        } else {
            self.gone += 1;
        }
        if !self.keep {
            self.gone += self.held.len();
            self.held = VecDeque::new();
            self.release();
        }
    }

    /// The held frame of this number, which is sent now.
    fn held(&mut self, number: usize) -> Option<Bytes> {
        let place = number - self.gone;
        if self.keep {
            return self.held.get(place).cloned();
        }
        // Those before it were let go as they were sent.
        let frame = self.held.pop_front()?;
        self.gone += 1;
        self.held_bytes -= frame.len();
        if self.held.is_empty() {
            self.release();
        }
        Some(frame)
    }

    fn release(&mut self) {
        self.held_bytes = 0;
        self.shared.replay.give_back(std::mem::take(&mut self.charged));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release();
    }
}
