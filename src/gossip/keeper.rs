//! What the ledger keeps on the disk: the number of its last word, before that is sent, and now and then what it knows of
//! the others, so that a node that starts again knows whom to dial and what it has forgotten.
//!
//! A disk that fails stops nothing: the node goes on from memory, and says so once a minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinError, JoinSet},
    time::Instant as TokioInstant,
};

use crate::{
    identity::{self, StateDir},
    ledger::{Ledger, Moment},
};

/// How often it looks whether something changed: a crash that soon after a change loses it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Between two snapshots when the view changed. Each writes everything anew, half a megabyte for a thousand nodes.
const AFTER_A_CHANGE: Duration = Duration::from_secs(60);

/// Between two when only leases came, which they always do. Less than a record's time to live, so that after a crash most
/// nodes are still fresh.
const AFTER_LEASES: Duration = Duration::from_secs(300);

/// A disk that fails is mentioned this often.
const REMIND_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    state: Arc<StateDir>,
    /// The snapshot being written; never two.
    writing: JoinSet<(Mark, Result<usize, identity::Error>)>,
    saved: Mark,
    begun: Option<Instant>,
    look_at: TokioInstant,
    told: Option<Instant>,
}

/// By what a snapshot differs from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    view: u64,
    fingerprint: (u32, u128),
    decree: u64,
}

impl Mark {
    fn of(ledger: &Ledger) -> Self {
        Self {
            view: ledger.view().revision,
            fingerprint: ledger.fingerprint(),
            decree: ledger.decree().map_or(0, |decree| decree.decree().number),
        }
    }
}

impl Keeper {
    pub(super) fn new(state: Arc<StateDir>) -> Self {
        Self {
            state,
            writing: JoinSet::new(),
            saved: Mark::default(),
            begun: None,
            look_at: TokioInstant::now() + LOOK_EVERY,
            told: None,
        }
    }

    /// Gives the ledger back what was kept. To be done before its first input; verifies every signature.
    pub(super) fn restore(&self, ledger: &mut Ledger, now: Moment) {
        let snapshot = self.state.load_snapshot();
        let (mut restored, mut outdated) = (0_usize, 0_usize);
        for item in snapshot.items() {
            *(if ledger.restore(now, item) { &mut restored } else { &mut outdated }) += 1;
        }
        if restored + outdated > 0 {
            tracing::info!(restored, outdated, "ledger restored");
        }
    }

    /// Durable before the record goes out, so that a crash cannot lead to two records with one number. Without a disk the
    /// next boot starts from the wall clock, which is higher.
    pub(super) async fn persist(&mut self, seq: u64) {
        let state = Arc::clone(&self.state);
        let error = match tokio::task::spawn_blocking(move || state.persist_seq(seq)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if self.may_tell() {
            tracing::error!(error, "sequence number not written; going on without");
        }
    }

    /// Returns when it is time for [`look`](Self::look).
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            Some(written) = self.writing.join_next() => self.written(written),
            () = tokio::time::sleep_until(self.look_at) => {}
        }
    }

    /// Begins a snapshot if it is worth one.
    pub(super) fn look(&mut self, ledger: &Ledger, now: Moment) {
        if TokioInstant::now() < self.look_at {
            return;
        }
        self.look_at = TokioInstant::now() + LOOK_EVERY;
        let mark = Mark::of(ledger);
        let since = self.begun.map_or(Duration::MAX, |begun| begun.elapsed());
        let changed = mark.view != self.saved.view || mark.decree != self.saved.decree;
        let due = if changed { since >= AFTER_A_CHANGE } else { mark != self.saved && since >= AFTER_LEASES };
        // Alone, a node knows nothing worth keeping.
        if due && ledger.owners() > 1 && self.writing.is_empty() {
            self.save(ledger, now, mark);
        }
    }

    /// Saves what is left to be saved, and returns when it is on the disk.
    pub(super) async fn finish(&mut self, ledger: &Ledger, now: Moment) {
        self.drain().await;
        let mark = Mark::of(ledger);
        if mark != self.saved {
            self.save(ledger, now, mark);
            self.drain().await;
        }
    }

    async fn drain(&mut self) {
        while let Some(written) = self.writing.join_next().await {
            self.written(written);
        }
    }

    fn save(&mut self, ledger: &Ledger, now: Moment, mark: Mark) {
        self.begun = Some(Instant::now());
        let (state, items) = (Arc::clone(&self.state), ledger.snapshot(now).collect::<Vec<_>>());
        self.writing.spawn_blocking(move || (mark, state.save_snapshot(items.into_iter())));
    }

    fn written(&mut self, written: Result<(Mark, Result<usize, identity::Error>), JoinError>) {
        let error = match written {
            Ok((mark, Ok(left_out))) => {
                self.saved = mark;
                if left_out > 0 && self.may_tell() {
                    tracing::warn!(left_out, "snapshot is too small for all of the ledger");
                }
                return;
            }
            Ok((_, Err(error))) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if self.may_tell() {
            tracing::error!(error, "snapshot not written; going on without");
        }
    }

    fn may_tell(&mut self) -> bool {
        let may = self.told.is_none_or(|told| told.elapsed() > REMIND_EVERY);
        if may {
            self.told = Some(Instant::now());
        }
        may
    }
}
