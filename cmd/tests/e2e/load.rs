//! A steady stream of GETs that goes on while something happens to the network.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{client, until};

/// A client that waits this long has given up.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

pub struct Load {
    stop: CancellationToken,
    tally: Arc<Mutex<Tally>>,
    task: JoinHandle<()>,
}

/// Who answered how often, and what failed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub answered: BTreeMap<String, u64>,
    pub failed: Vec<String>,
    pub slowest: Duration,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.answered.values().sum()
    }
}

impl Load {
    pub fn start(front: SocketAddr, per_second: u32) -> Self {
        let (stop, tally) = (CancellationToken::new(), Arc::new(Mutex::new(Tally::default())));
        let task = tokio::spawn(run(front, Duration::from_secs(1) / per_second, stop.clone(), Arc::clone(&tally)));
        Self { stop, tally, task }
    }

    pub fn so_far(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Waits for another `count` answers.
    pub async fn more(&self, count: u64) {
        let already = self.so_far().total();
        until(&format!("{count} more answers"), async || (self.so_far().total() >= already + count).then_some(()))
            .await;
    }

    /// Waits for another `count` answers of this backend.
    pub async fn more_of(&self, who: &str, count: u64) {
        let of = |tally: Tally| tally.answered.get(who).copied().unwrap_or_default();
        let already = of(self.so_far());
        let what = format!("{count} more answers of {who}");
        until(&what, async || (of(self.so_far()) >= already + count).then_some(())).await;
    }

    /// Sends no more, and waits for what is under way.
    pub async fn finish(self) -> Tally {
        self.stop.cancel();
        self.task.await.unwrap();
        self.tally.lock().unwrap().clone()
    }
}

async fn run(front: SocketAddr, period: Duration, stop: CancellationToken, tally: Arc<Mutex<Tally>>) {
    let mut requests = JoinSet::new();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    while tokio::select! { _ = ticks.tick() => true, () = stop.cancelled() => false } {
        let tally = Arc::clone(&tally);
        requests.spawn(async move {
            let asked = Instant::now();
            let answer = timeout(CLIENT_PATIENCE, client::who(front)).await.unwrap_or(Err("no answer".to_owned()));
            let mut tally = tally.lock().unwrap();
            tally.slowest = tally.slowest.max(asked.elapsed());
            match answer {
                Ok(who) => *tally.answered.entry(who).or_default() += 1,
                Err(why) => tally.failed.push(format!("asked after {:?}: {why}", asked - start)),
            }
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}
