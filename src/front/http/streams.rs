//! The tasks of one HTTP/2 connection: one for each request, joined when it ends, and ended if its client takes nothing.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    body::{Body, Frame, SizeHint},
    rt::Executor,
};
use tokio::{
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};

/// Runs what hyper wants to run beside a connection. All of it ends with the last handle.
#[derive(Clone, Default)]
pub(super) struct Streams {
    /// Held to start a task or to look through them.
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    tasks: JoinSet<()>,
    handles: HashMap<Id, AbortHandle>,
    /// Responses under way. As many as streams at most, and those that ended since the last look.
    responses: Vec<(Id, Weak<Progress>)>,
    /// Since when there is no task.
    idle_since: Option<Instant>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        let mut state = self.state();
        state.reap();
        let handle = state.tasks.spawn(work);
        state.handles.insert(handle.id(), handle);
        state.idle_since = None;
    }
}

impl Streams {
    /// Follows the response of the task that calls it.
    pub(super) fn watch<B>(&self, body: B) -> Watched<B> {
        let progress = Arc::new(Progress(Mutex::new(None)));
        if let Some(id) = tokio::task::try_id() {
            self.state().responses.push((id, Arc::downgrade(&progress)));
        }
        Watched { body, progress }
    }

    /// Ends the requests whose clients took nothing for `limit` though there was something to take.
    pub(super) fn end_the_stuck(&self, limit: Duration) {
        let mut state = self.state();
        state.reap();
        let State { handles, responses, .. } = &mut *state;
        responses.retain(|(id, progress)| {
            let Some(progress) = progress.upgrade() else { return false };
            let is_stuck = progress.offered_at().is_some_and(|offered| offered.elapsed() >= limit);
            if is_stuck && let Some(task) = handles.get(id) {
                // Its stream is reset, and its worker told.
                task.abort();
            }
            !is_stuck
        });
    }

    /// How long there was no request.
    pub(super) fn idle_for(&self) -> Duration {
        let mut state = self.state();
        state.reap();
        match state.tasks.is_empty() {
            true => state.idle_since.get_or_insert_with(Instant::now).elapsed(),
            false => Duration::ZERO,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Joins those that ended. A panic is passed on.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            };
            self.handles.remove(&id);
            if let Some(panic) = ended.err().and_then(|error: JoinError| error.try_into_panic().ok()) {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// When a piece of a response was handed to hyper that it has not come back from; `None` while we wait for the worker.
#[derive(Debug)]
struct Progress(Mutex<Option<Instant>>);

impl Progress {
    fn offered_at(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, offered_at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = offered_at;
    }
}

/// The body of a response whose client is watched: hyper asks for more only when the client's window has room.
pub(super) struct Watched<B> {
    body: B,
    progress: Arc<Progress>,
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.set(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
