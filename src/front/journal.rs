//! What became of recent requests, and why they went where they went.
//!
//! A front keeps its newest [`KEPT`] requests and connections in memory, for `p2p-fed explain`. Nothing of a body, of a query
//! or of a header is among it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{balance::Choice, ledger::NodeId};

/// Entries kept: a few minutes of a person's requests, about a mebibyte.
pub const KEPT: usize = 512;

/// Bytes of a path that are kept.
pub const PATH_MAX: usize = 256;

/// One request or connection that has ended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Grows by one with each; names it to `explain`.
    pub number: u64,
    /// What the client or the front called it (`x-request-id`); empty where there is none.
    pub id: String,
    /// When it came.
    pub at: SystemTime,
    /// Who asked.
    pub client: SocketAddr,
    /// `GET /v1/models`, at most [`PATH_MAX`] bytes, without the query; `tcp` or `udp` for what is no request.
    pub what: String,
    /// The model it named.
    pub model: Option<Arc<str>>,
    /// Each worker that was tried, in order.
    pub attempts: Vec<Attempt>,
    /// The status of the answer; `None` for what is no request, and where the client was gone.
    pub status: Option<u16>,
    /// In a few words how it ended: `served`, `cut off by the worker`, `the client left`, …
    pub outcome: String,
    /// From its coming to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From its coming to its end.
    pub total: Duration,
    /// Bytes to the worker and from it.
    pub bytes: (u64, u64),
    /// Tokens that the answer said it read and made.
    pub tokens: Option<(u64, u64)>,
}

/// One worker that was tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The worker.
    pub node: NodeId,
    /// Why this one.
    pub choice: Arc<Choice>,
    /// How long it was tried, until its response began or it was given up.
    pub took: Duration,
    /// Why it was given up; `None` if it answered.
    pub fault: Option<String>,
}

/// The newest entries of one front.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Held to push or to copy.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Arc<Entry>>,
    written: u64,
}

impl Journal {
    /// Takes an entry down and gives it its number.
    pub(super) fn write(&self, mut entry: Entry) {
        let mut state = self.state();
        state.written += 1;
        entry.number = state.written;
        if state.entries.len() == KEPT {
            state.entries.pop_front();
        }
        state.entries.push_back(Arc::new(entry));
    }

    /// The newest `count`, oldest first.
    pub(super) fn newest(&self, count: usize) -> Vec<Arc<Entry>> {
        let state = self.state();
        let skipped = state.entries.len().saturating_sub(count);
        state.entries.iter().skip(skipped).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
