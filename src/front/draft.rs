//! The entry of a request or connection that has not ended.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    PATH_MAX,
    handle::Shared,
    journal::{Attempt, Entry},
};
use crate::{balance::InFlight, ledger::NodeId, tunnel::End};

/// Bytes of an id that are kept.
const ID_MAX: usize = 128;

/// An entry in the making. It is written when it is finished; dropped before, the client was gone.
pub(super) struct Draft {
    shared: Arc<Shared>,
    began: Instant,
    /// While a worker is tried, `took` of its attempt is when that began, counted from `began`.
    entry: Arc<Entry>,
}

impl Draft {
    /// Begins now.
    pub(super) fn new(shared: &Arc<Shared>, client: SocketAddr, mut what: String, id: &str) -> Self {
        what.truncate(what.floor_char_boundary(PATH_MAX));
        let entry = Entry {
            number: shared.journal.number(),
            id: id.get(..id.floor_char_boundary(ID_MAX)).unwrap_or_default().to_owned(),
            at: SystemTime::now(),
            client,
            what,
            model: None,
            attempts: Vec::new(),
            status: None,
            outcome: String::new(),
            first_byte: None,
            total: Duration::ZERO,
            bytes: (0, 0),
            tokens: None,
        };
        Self { shared: Arc::clone(shared), began: Instant::now(), entry: Arc::new(entry) }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn set_model(&mut self, model: Option<Arc<str>>) {
        self.edit().model = model;
    }

    /// A worker is tried.
    pub(super) fn tries(&mut self, flight: &InFlight) {
        let attempt = Attempt {
            node: flight.node(),
            choice: Arc::clone(flight.choice()),
            took: self.began.elapsed(),
            fault: None,
        };
        self.edit().attempts.push(attempt);
    }

    /// It was given up, or answered, which is no `fault`.
    pub(super) fn tried(&mut self, node: NodeId, fault: Option<String>) {
        let elapsed = self.began.elapsed();
        if let Some(attempt) = self.edit().attempts.iter_mut().rfind(|attempt| attempt.node == node) {
            attempt.took = elapsed.saturating_sub(attempt.took);
            attempt.fault = fault;
        }
    }

    /// The answer begins.
    pub(super) fn answers(&mut self, status: Option<u16>) {
        self.edit().status = status;
        self.edit().first_byte = Some(self.began.elapsed());
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.edit().bytes.0 = bytes;
    }

    pub(super) fn received(&mut self, bytes: u64) {
        self.edit().bytes.1 += bytes;
    }

    pub(super) fn set_tokens(&mut self, tokens: (u64, u64)) {
        self.edit().tokens = Some(tokens);
    }

    /// What was spliced has ended.
    pub(super) fn ended(mut self, up: u64, down: u64, end: &End) {
        self.edit().bytes = (up, down);
        let outcome = match end {
            End::Complete => "served".to_owned(),
            _ => end.to_string(),
        };
        self.finish(outcome);
    }

    /// Nobody else has it yet, so that nothing is copied.
    fn edit(&mut self) -> &mut Entry {
        Arc::make_mut(&mut self.entry)
    }

    /// Writes it down.
    pub(super) fn finish(mut self, outcome: impl Into<String>) {
        self.edit().outcome = outcome.into();
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let total = self.began.elapsed();
        let entry = self.edit();
        entry.total = total;
        if entry.outcome.is_empty() {
            "the client left".clone_into(&mut entry.outcome);
        }
        self.shared.journal.write(Arc::clone(&self.entry));
    }
}
