//! Clients that keep asking while things happen to the network.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{client, tally::Tally};

/// How many ask at once: two for each worker, so that each is always busy.
pub(super) const CLIENTS: usize = 6;

/// From an answer to the next question of one client. With the backend's own work this makes some 200 requests/s in all.
const PAUSE: Duration = Duration::from_millis(20);

/// Requests under way, for ever until [`Load::end`].
#[derive(Debug)]
pub(super) struct Load {
    /// Locked for a count at a time.
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts to ask `front`; `tally` names the workers that are expected to answer.
    pub(super) fn start(front: SocketAddr, tally: Tally) -> Self {
        let (tally, stop) = (Arc::new(Mutex::new(tally)), CancellationToken::new());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask(front, Arc::clone(&tally), stop.clone()));
        }
        Self { tally, stop, clients }
    }

    /// The outcome of what ended since the last cut.
    pub(super) fn cut(&self) -> Tally {
        lock(&self.tally).cut()
    }

    /// Lets what is under way end; returns the outcome since the last cut.
    pub(super) async fn end(self) -> Tally {
        self.stop.cancel();
        self.clients.join_all().await;
        lock(&self.tally).cut()
    }
}

async fn ask(front: SocketAddr, tally: Arc<Mutex<Tally>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let outcome = client::get(front).await;
        lock(&tally).count(outcome);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// A count is whole between two statements: a panic elsewhere cannot have broken it.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::backend::Backend, *};

    #[tokio::test]
    async fn every_request_is_counted_once() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let load = Load::start(backend.address(), Tally::of(["demo-1", "demo-2"]));
        while lock(&load.tally).total() < 20 {
            tokio::task::yield_now().await;
        }
        let (first, rest) = (load.cut(), load.end().await);
        assert!(first.total() >= 20 && rest.total() <= CLIENTS as u64, "{first:?} {rest:?}");
        first.check().unwrap();
        rest.check().unwrap();
        assert_eq!(first.answered.get("demo-2"), Some(&0));
    }

    #[tokio::test]
    async fn what_fails_is_counted_as_failed() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let load = Load::start(backend.address(), Tally::default());
        backend.kill().await;
        while lock(&load.tally).failed == 0 {
            tokio::task::yield_now().await;
        }
        assert!(load.end().await.check().unwrap_err().to_string().contains("requests failed"));
    }
}
