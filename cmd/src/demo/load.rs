//! Clients that keep asking while things happen to the network.
//!
//! **Invariant.** A request counts for the phase in which it was *sent*, and a phase is told when all its requests have
//! ended. So what a dead worker answered before it died can't appear among the answers since.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{client, tally::Tally};

/// How many ask at once: two for each worker, so that each is always busy.
pub(super) const CLIENTS: usize = 6;

/// From an answer to the next question of one client. With the backend's own work this makes some 200 requests/s in all.
const PAUSE: Duration = Duration::from_millis(20);

/// Requests under way, until [`Load::end`].
#[derive(Debug)]
pub(super) struct Load {
    /// The present phase. Locked to look at it or to replace it.
    phase: Arc<Mutex<Arc<Phase>>>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

/// Requests that were sent between two cuts.
#[derive(Debug, Default)]
struct Phase {
    /// Locked for a count at a time.
    tally: Mutex<Tally>,
    /// Those that have no answer yet.
    under_way: TaskTracker,
}

impl Phase {
    fn of(tally: Tally) -> Arc<Self> {
        Arc::new(Self { tally: Mutex::new(tally), under_way: TaskTracker::new() })
    }

    /// The outcome, once all requests have one.
    async fn outcome(&self) -> Tally {
        self.under_way.close();
        self.under_way.wait().await;
        lock(&self.tally).clone()
    }
}

impl Load {
    /// Starts to ask `front`; `tally` names the workers that are expected to answer.
    pub(super) fn start(front: SocketAddr, tally: Tally) -> Self {
        let (phase, stop) = (Arc::new(Mutex::new(Phase::of(tally))), CancellationToken::new());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask(front, Arc::clone(&phase), stop.clone()));
        }
        Self { phase, stop, clients }
    }

    /// Begins a new phase at once, and returns the outcome of the last one when its requests have ended.
    pub(super) async fn cut(&self) -> Tally {
        let next = Phase::of(lock(&lock(&self.phase).tally).emptied());
        let last = std::mem::replace(&mut *lock(&self.phase), next);
        last.outcome().await
    }

    /// Lets what is under way end; returns the outcome since the last cut.
    pub(super) async fn end(self) -> Tally {
        self.stop.cancel();
        self.clients.join_all().await;
        let last = Arc::clone(&lock(&self.phase));
        last.outcome().await
    }
}

async fn ask(front: SocketAddr, phase: Arc<Mutex<Arc<Phase>>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let (phase, under_way) = enter(&phase);
        let outcome = client::get(front).await;
        lock(&phase.tally).count(outcome);
        drop(under_way);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The present phase, which ends no earlier than the token is dropped: both are taken under one lock.
fn enter(phase: &Mutex<Arc<Phase>>) -> (Arc<Phase>, TaskTrackerToken) {
    let present = lock(phase);
    (Arc::clone(&present), present.under_way.token())
}

/// What is locked is whole between two statements: a panic elsewhere cannot have broken it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::backend::Backend, *};

    #[tokio::test]
    async fn every_request_is_counted_once() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let load = Load::start(backend.address(), Tally::of(["demo-1", "demo-2"]));
        while lock(&lock(&load.phase).tally).total() < 20 {
            tokio::task::yield_now().await;
        }
        let first = load.cut().await;
        let rest = load.end().await;
        assert!(first.total() >= 20, "{first:?}");
        first.check().unwrap();
        rest.check().unwrap();
        assert_eq!(first.answered.get("demo-2"), Some(&0));
    }

    #[tokio::test]
    async fn what_fails_is_counted_as_failed() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let load = Load::start(backend.address(), Tally::default());
        backend.kill().await;
        while lock(&lock(&load.phase).tally).failed == 0 {
            tokio::task::yield_now().await;
        }
        assert!(load.end().await.check().unwrap_err().to_string().contains("requests failed"));
    }

    #[tokio::test]
    async fn what_is_sent_after_a_cut_does_not_count_before_it_nor_the_other_way_round() {
        let (one, other) = (Backend::bind("demo-1").await.unwrap(), Backend::bind("demo-2").await.unwrap());
        // A front in miniature: who is asked changes at one moment.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = listener.local_addr().unwrap();
        let (choose, chosen) = tokio::sync::watch::channel(one.address());
        let mut relays = JoinSet::new();
        relays.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let backend = *chosen.borrow();
                connections.spawn(async move {
                    let mut backend = tokio::net::TcpStream::connect(backend).await.unwrap();
                    tokio::io::copy_bidirectional(&mut client, &mut backend).await
                });
            }
        });
        let load = Load::start(front, Tally::default());
        while lock(&lock(&load.phase).tally).total() < 20 {
            tokio::task::yield_now().await;
        }
        choose.send_replace(other.address());
        let before = load.cut().await;
        while lock(&lock(&load.phase).tally).total() < 20 {
            tokio::task::yield_now().await;
        }
        let after = load.end().await;
        before.check().unwrap();
        assert!(before.answered["demo-1"] >= 20, "{before:?}");
        assert_eq!(after.answered["demo-1"], 0, "{before:?} {after:?}");
        assert!(after.answered["demo-2"] >= 20, "{after:?}");
    }
}
