//! The handle on a table that a front, its status page and its reconciler share.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{oneshot, watch};

use super::{
    Acquired, Ask, Candidate, Config, Connected, EndpointStatus, InFlight, NoWorker, Outcome, Waiting,
    queue::{Queue, Turn},
    table::{Picked, Table},
    waiting::Told,
};
use crate::{
    ledger::{Model, NodeId, View},
    tunnel::Load,
};

/// A cheap handle on one front's table. `now` is everywhere the time since an origin that all callers share.
#[derive(Clone)]
pub struct Balancer {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    /// One lock: a pick reads all endpoints and writes one, and two picks must not see the same counts. It is held for a
    /// scan of the table, microseconds, and never across an await. No guard is dropped and nobody woken while it is held:
    /// both come back here.
    core: Mutex<Core>,
    has_worker: watch::Sender<bool>,
}

struct Core {
    table: Table,
    queue: Queue<oneshot::Sender<Told>>,
    rng: StdRng,
    /// The latest time that anybody told: a guard that is dropped knows none.
    now: Duration,
}

/// Somebody who waited, and what to tell once the lock is gone.
type News = (oneshot::Sender<Told>, Result<Picked, NoWorker>);

impl Balancer {
    /// An empty table. Equal seeds and calls give equal picks.
    pub fn new(config: Config, seed: u64) -> Self {
        let core = Core {
            table: Table::new(config.clone()),
            queue: Queue::new(config.queue),
            rng: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
        };
        Self { shared: Arc::new(Shared { config, core: Mutex::new(core), has_worker: watch::Sender::new(false) }) }
    }

    /// What the table is for.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Takes over who offers the service (a view older than the last one is ignored) and who is connected.
    pub fn reconcile(&self, now: Duration, view: &View, connected: &Connected) {
        let mut core = self.core(now);
        core.table.reconcile(now, view, connected);
        self.settle(core);
    }

    /// Picks an endpoint and charges it until the guard is finished or dropped, whether it has a free slot or not.
    ///
    /// # Errors
    /// Nobody can have it, and why.
    pub fn pick(&self, now: Duration, ask: &Ask) -> Result<InFlight, NoWorker> {
        let mut core = self.core(now);
        let Core { table, rng, .. } = &mut *core;
        let picked = table.pick(now, ask, rng)?;
        Ok(InFlight::new(self.clone(), picked, now))
    }

    /// Picks an endpoint that can take work now, or takes a place in the queue until one can. One whose slots nobody knows
    /// can, unless it said that it is full. How long to wait is the caller's to decide.
    ///
    /// # Errors
    /// Nobody can have it, and why; or as many wait as may.
    pub fn acquire(&self, now: Duration, ask: Ask) -> Result<Acquired, NoWorker> {
        let mut core = self.core(now);
        // Time may have freed somebody for whom others wait longer.
        let mut news = core.serve(true);
        let Core { table, queue, rng, .. } = &mut *core;
        let acquired = match table.pick_free(now, &ask, Duration::ZERO, rng) {
            Err(nobody) => Err(nobody),
            Ok(Some(picked)) => Ok(Acquired::Now(InFlight::new(self.clone(), picked, now))),
            Ok(None) => {
                let client = ask.client;
                let (tell, told) = oneshot::channel();
                match queue.join(now, ask, tell) {
                    Err(_) => Err(NoWorker::QueueFull),
                    Ok((ticket, pushed_out)) => {
                        news.extend(pushed_out.map(|waiter| (waiter.tell, Err(NoWorker::QueueFull))));
                        Ok(Acquired::Queued(Waiting::new(self.clone(), client, ticket, told)))
                    }
                }
            }
        };
        drop(core);
        self.tell(now, news);
        acquired
    }

    /// Everybody who could be picked for `ask`, with what is known of them: what another scorer judges by.
    pub fn candidates(&self, now: Duration, ask: &Ask) -> Vec<Candidate> {
        self.core(now).table.candidates(now, ask)
    }

    /// Picks by the scores of another scorer, the least first; `None` if none of those it names can take work now.
    pub fn pick_scored(&self, now: Duration, ask: &Ask, scores: &[(NodeId, f64)]) -> Option<InFlight> {
        let picked = self.core(now).table.pick_scored(now, ask, scores)?;
        Some(InFlight::new(self.clone(), picked, now))
    }

    /// Takes a worker's report of its load. One that is older than the last is ignored.
    pub fn report(&self, now: Duration, node: NodeId, load: Load) {
        let mut core = self.core(now);
        if core.table.report(now, node, load) {
            self.settle(core);
        }
    }

    /// Lets time pass: states that time alone moves, and those who wait for them. Call it a few times a second while
    /// somebody waits.
    pub fn tick(&self, now: Duration) {
        let mut core = self.core(now);
        core.table.settle(now);
        self.settle(core);
    }

    /// Requests that wait for a slot.
    pub fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Every endpoint, in order of the node ids.
    pub fn endpoints(&self, now: Duration) -> Vec<EndpointStatus> {
        self.core(now).table.status(now)
    }

    /// The models that workers say they have, as often as they are had. Empty where nobody says anything.
    pub fn models(&self, now: Duration) -> Vec<Model> {
        self.core(now).table.models(now)
    }

    /// Whether some worker is connected and takes new work.
    pub fn has_worker(&self) -> bool {
        *self.shared.has_worker.borrow()
    }

    /// Follows [`Self::has_worker`].
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.shared.has_worker.subscribe()
    }

    /// Every worker says that its backend speaks HTTP, and there is one: then a silent client is no sign of another
    /// protocol.
    pub fn is_http(&self) -> bool {
        let core = self.lock();
        core.table.is_http(core.now)
    }

    /// The number of the connection over which new work would reach `node` (`Some(None)` if it has none yet); `None` if
    /// the node gets no new work now. What was opened over another connection is stale.
    pub fn way_to(&self, now: Duration, node: NodeId) -> Option<Option<u64>> {
        self.core(now).table.way_to(now, node)
    }

    pub(super) fn answered(&self, now: Duration, node: NodeId, picked: Duration) {
        let mut core = self.core(now);
        core.table.answered(now, node, picked);
        // One that was proving may have more now.
        let news = core.serve(false);
        drop(core);
        self.tell(now, news);
    }

    pub(super) fn judge(&self, now: Duration, node: NodeId, picked: Duration, outcome: Outcome) {
        self.core(now).table.judge(now, node, picked, outcome);
    }

    pub(super) fn release(&self, node: NodeId) {
        let mut core = self.lock();
        let now = core.now;
        core.table.release(now, node);
        let news = core.serve(false);
        drop(core);
        self.tell(now, news);
    }

    pub(super) fn leave(&self, client: u64, ticket: u64) {
        // What it would have been told by must not be dropped under the lock; it holds nothing, but its waker may.
        let left = self.lock().queue.leave(client, ticket);
        drop(left);
    }

    /// Serves those who wait after anything may have changed, and says whether there is a worker.
    fn settle(&self, mut core: MutexGuard<'_, Core>) {
        let now = core.now;
        let news = core.serve(true);
        let has_worker = core.table.has_worker(now);
        drop(core);
        self.tell(now, news);
        self.shared.has_worker.send_if_modified(|known| std::mem::replace(known, has_worker) != has_worker);
    }

    fn tell(&self, now: Duration, news: Vec<News>) {
        for (tell, picked) in news {
            // Whoever left in this very moment gives the worker back by dropping the guard.
            let _ = tell.send(picked.map(|picked| InFlight::new(self.clone(), picked, now)));
        }
    }

    /// The core, which learns what time it is.
    fn core(&self, now: Duration) -> MutexGuard<'_, Core> {
        let mut core = self.lock();
        core.now = core.now.max(now);
        core
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic while the lock was held can only be a failed debug assertion; the table is counters, still usable.
        self.shared.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Gives those who wait what there is, in fair order. `thoroughly` also tells those for whom nobody is left; otherwise
    /// it ends as soon as nobody has a free slot.
    fn serve(&mut self, thoroughly: bool) -> Vec<News> {
        let Self { table, queue, rng, now } = self;
        let now = *now;
        if queue.len() == 0 {
            return Vec::new();
        }
        // What nobody has for one is there for nobody with the same wishes: slots only get fewer while they are given out.
        let mut in_vain: Vec<Ask> = Vec::new();
        let served = queue.serve(|waiter| {
            let ask = &waiter.ask;
            if in_vain.iter().any(|other| other.wants_the_same(ask)) {
                return Turn::Skipped;
            }
            if !thoroughly && table.is_saturated(now) {
                return Turn::Over;
            }
            match table.pick_free(now, ask, now.saturating_sub(waiter.since), rng) {
                Ok(Some(picked)) => Turn::Served(Ok(picked)),
                Err(nobody) => Turn::Served(Err(nobody)),
                Ok(None) => {
                    in_vain.push(ask.wishes());
                    Turn::Skipped
                }
            }
        });
        served.into_iter().map(|(waiter, picked)| (waiter.tell, picked)).collect()
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
