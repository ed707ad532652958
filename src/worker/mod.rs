//! The role that offers local backends to the network.
//!
//! A worker has **exports**: a service's name, the **target** where its backend listens, and the terms. It **probes** each
//! backend and **offers** those that are well; what it offers at the moment is one immutable list to watch
//! ([`Worker::offers`]). A tunnel that arrives ([`Worker::serve`]) is checked, given a slot, connected to the backend, told
//! so, and spliced until it ends.
//!
//! ```text
//! header ─▶ room? ─▶ known service? ─▶ draining? ─▶ allowed? ─▶ slot? ─▶ connect(backend) ─▶ verdict ─▶ splice
//! ```
//!
//! **Invariant.** A worker connects to the targets of its own configuration and to nothing else; no address ever comes from
//! the wire. Every tunnel that is being served is counted, and takes its count back when it ends, however it ends.
//!
//! What is under way at each backend is counted (`tally`), told to every front with the verdicts and ends of its own
//! requests, and pushed to those who ask (`push`). For that a worker looks into HTTP as far as to see where requests and
//! responses begin and end (`observer`), and no further.
//!
//! It does not admit nodes (whoever hands it a carrier vouches for `from`), publish records, or change a byte.

mod ask;
mod backend;
mod export;
mod models;
mod observer;
mod offering;
mod probe;
mod push;
mod rate;
mod serve;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod udp;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use export::{DEFAULT_IDLE_TIMEOUT, DEFAULT_SERVICE, DEFAULT_WEIGHT, Export, ExportError, Health, MAX_EXPORTS};
pub use models::Kind as ModelServer;
pub use offering::ExportStatus;
use offering::Offering;
pub use serve::Served;
pub use target::{ParseTargetError, Target};

use crate::ledger::Service;

/// Tunnels that a worker serves at once when nothing else is said. Each holds a socket and, while bytes wait, up to 256 KiB;
/// a process may have some tens of thousands of sockets.
pub const DEFAULT_MAX_TUNNELS: usize = 16_384;

/// Share by which a pause is shorter or longer, so that many workers do not speak at once.
const JITTER: f64 = 0.2;

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it offers, at most [`MAX_EXPORTS`], no two of one name. May be empty.
    pub exports: Vec<Export>,
    /// Tunnels of all services at once, those still to get a verdict included. 1 to [`Semaphore::MAX_PERMITS`].
    pub max_tunnels: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { exports: Vec::new(), max_tunnels: DEFAULT_MAX_TUNNELS }
    }
}

/// A running worker. Clones are handles to the same one; with the last, its probes end.
#[derive(Clone, Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Tiny critical sections: looked up per tunnel, changed by drain and reload. Never held across a wait.
    state: Mutex<State>,
    offers: watch::Sender<Arc<Vec<Service>>>,
    /// The tasks that probe and ask the backends, two per export at most. Those of replaced exports are reaped when the
    /// next ones are spawned.
    probes: Mutex<JoinSet<()>>,
    /// One permit per tunnel.
    room: Arc<Semaphore>,
    /// Knows every tunnel that is being served, and owns the tasks of those from this node's own front.
    tunnels: TaskTracker,
    /// Those of them that carry reports alone.
    subscribers: AtomicUsize,
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    offerings: BTreeMap<String, Arc<Offering>>,
    is_draining: bool,
}

impl Worker {
    /// Starts probing the exports. Must be called in a tokio runtime. `cancel` ends probes and tunnels; [`Self::shutdown`]
    /// does the same and waits for them.
    ///
    /// # Errors
    /// An export breaks a rule, or two share a name. Nothing was started then.
    pub fn spawn(config: Config, cancel: CancellationToken) -> Result<Self, ExportError> {
        let tunnels = TaskTracker::new();
        // Closed from the start: it goes on taking tunnels, and a wait ends whenever there are none.
        tunnels.close();
        let worker = Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                offers: watch::Sender::default(),
                probes: Mutex::default(),
                room: Arc::new(Semaphore::new(config.max_tunnels.clamp(1, Semaphore::MAX_PERMITS))),
                tunnels,
                subscribers: AtomicUsize::new(0),
                cancel,
            }),
        };
        worker.replace_exports(config.exports)?;
        Ok(worker)
    }

    /// What is offered now: the exports whose backends are well, in order of their names; none while draining. Changes at
    /// once when a backend does.
    pub fn offers(&self) -> watch::Receiver<Arc<Vec<Service>>> {
        self.shared.offers.subscribe()
    }

    /// Every export, offered or not, in order of their names.
    pub fn status(&self) -> Vec<ExportStatus> {
        self.shared.state().offerings.values().map(|offering| offering.status()).collect()
    }

    /// Tunnels being served, those still to get a verdict and those of exports removed since included; those that carry
    /// reports alone are not.
    pub fn in_flight(&self) -> usize {
        self.shared.tunnels.len().saturating_sub(self.shared.subscribers.load(Ordering::Relaxed))
    }

    /// Takes the place of the exports so far. One that is kept, by name, keeps its counters and tunnels, and what is known of
    /// its backend unless target or health check changed. Tunnels of a removed one go on to their end.
    ///
    /// # Errors
    /// An export breaks a rule, or two share a name. Everything stays as it was then.
    pub fn replace_exports(&self, exports: Vec<Export>) -> Result<(), ExportError> {
        Export::check_all(&exports)?;
        let mut probes = self.shared.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.state();
        let mut before = std::mem::take(&mut state.offerings);
        for export in exports {
            let retired = self.shared.cancel.child_token();
            let offering = match before.remove(&export.service) {
                Some(kept) if kept.export == export => {
                    state.offerings.insert(export.service, kept);
                    continue;
                }
                Some(old) => {
                    old.retired.cancel();
                    Arc::new(old.changed(export, retired))
                }
                None => Arc::new(Offering::new(export, retired)),
            };
            offering.tally.learn(|facts| facts.draining = state.is_draining);
            state.offerings.insert(offering.export.service.clone(), Arc::clone(&offering));
            // Weak: the probes belong to the worker, not the worker to its probes.
            let shared = Arc::downgrade(&self.shared);
            let changed = move || {
                if let Some(shared) = shared.upgrade() {
                    shared.publish(&shared.state());
                }
            };
            if offering.is_inspected() {
                let (offering, changed) = (Arc::clone(&offering), changed.clone());
                probes.spawn(async move {
                    let retired = offering.retired.clone();
                    retired.run_until_cancelled(models::watch(&offering, changed)).await;
                });
            }
            probes.spawn(async move { offering.watch(changed).await });
        }
        before.values().for_each(|removed| removed.retired.cancel());
        self.shared.publish(&state);
        while probes.try_join_next().is_some() {}
        Ok(())
    }

    /// Takes no new work: offers nothing and refuses tunnels as [`Draining`](crate::tunnel::Refusal::Draining). Those that
    /// are open go on; [`Self::wait_idle`] waits for them.
    pub fn drain(&self) {
        let mut state = self.shared.state();
        state.is_draining = true;
        state.offerings.values().for_each(|offering| offering.tally.learn(|facts| facts.draining = true));
        self.shared.publish(&state);
    }

    /// Returns once no tunnel is being served. Without [`Self::drain`] the next one may come at once.
    pub async fn wait_idle(&self) {
        self.shared.tunnels.wait().await;
    }

    /// Ends probes and cuts off tunnels, and returns when all are gone. A probe's panic is passed on.
    pub async fn shutdown(&self) {
        self.drain();
        self.shared.cancel.cancel();
        let mut probes = std::mem::take(&mut *self.shared.probes.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(joined) = probes.join_next().await {
            if let Err(error) = joined
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        self.wait_idle().await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the offers up to date. The caller holds the state, so that the newest is published last.
    fn publish(&self, state: &State) {
        let is_offered = |offering: &&Arc<Offering>| !state.is_draining && offering.is_well();
        let mut offered: Vec<Service> =
            state.offerings.values().filter(is_offered).map(|offering| offering.offer()).collect();
        models::fit(&mut offered);
        self.offers.send_if_modified(|current| {
            let is_new = **current != offered;
            if is_new {
                *current = Arc::new(offered);
            }
            is_new
        });
    }
}

/// `pause` on average.
fn vary(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + JITTER * rand::rng().random_range(-1.0..=1.0))
}
