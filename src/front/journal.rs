//! What became of recent requests, and why they went where they went.
//!
//! A front keeps its newest [`KEPT`] requests and connections in memory, for `p2p-fed explain`. Nothing of a body, of a query
//! or of a header is among it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
    /// Grows by one with each that comes; names it to `explain`.
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
    /// The last number given.
    numbered: AtomicU64,
    /// In the order in which they ended. Held to push or to copy.
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

impl Journal {
    /// The number of the request or connection that just came.
    pub(super) fn number(&self) -> u64 {
        self.numbered.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes an entry down.
    pub(super) fn write(&self, entry: Arc<Entry>) {
        let mut entries = self.entries();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// The newest `count`, oldest first.
    pub(super) fn newest(&self, count: usize) -> Vec<Arc<Entry>> {
        let entries = self.entries();
        let skipped = entries.len().saturating_sub(count);
        entries.iter().skip(skipped).cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        // Nothing in here panics half way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
