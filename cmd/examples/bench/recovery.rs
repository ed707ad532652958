//! What a client sees when the backend's side of a path is killed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::time::{sleep, timeout};

use super::{
    exchange::{self, Echo, LIMIT},
    lab::{Lab, P2pFed, Process},
    path::Path,
    taken::Taken,
};

/// A live connection that has not ended after this time is one that hangs.
const HANGS: Duration = Duration::from_secs(30);

/// From the start of a second worker to the front's knowing it.
const JOIN: Duration = Duration::from_secs(30);

/// How often the front is asked for it.
const AGAIN: Duration = Duration::from_millis(50);

/// Milliseconds from the kill to the end of a live connection and, where a second worker can be had, to the first byte
/// through it. A connection that fails in between is an error.
pub(super) async fn measure(lab: &mut Lab, path: Path) -> Taken {
    let mut taken = Taken::default();
    if let Err(error) = kill(lab, path, &mut taken).await {
        taken.errors.note(&error);
    }
    taken
}

async fn kill(lab: &mut Lab, path: Path, taken: &mut Taken) -> anyhow::Result<()> {
    let backend = lab.chain(path)?.entry.tcp;
    // Before there is a second worker, so that it is the first that carries it.
    let mut held = Echo::open(backend).await?;
    ensure!(held.is_alive().await, "no echo");
    let second = match lab.p2p_fed().filter(|_| path == Path::P2pFed) {
        Some(p2p_fed) => Some(second_worker(p2p_fed).await?),
        None => None,
    };
    let killed = Instant::now();
    lab.chain(path)?.kill_far()?;
    let ended = async {
        timeout(HANGS, held.ended()).await.context("a live connection did not end")?;
        anyhow::Ok(killed.elapsed())
    };
    let served = async {
        match second {
            Some(_) => Some(next(backend, killed, taken).await),
            None => None,
        }
    };
    let (ended, served) = tokio::join!(ended, served);
    let served = served.flatten();
    taken.values = vec![Some(ms(ended?)), served.map(ms)];
    Ok(())
}

async fn second_worker(p2p_fed: &P2pFed) -> anyhow::Result<Process> {
    let second = p2p_fed.second_worker().await?;
    let known = async {
        while p2p_fed.workers().await? < 2 {
            sleep(AGAIN).await;
        }
        anyhow::Ok(())
    };
    timeout(JOIN, known).await.context("the front does not come to know a second worker")??;
    Ok(second)
}

/// From the kill to the first byte on a new connection.
async fn next(backend: SocketAddr, killed: Instant, taken: &mut Taken) -> Option<Duration> {
    while killed.elapsed() < HANGS {
        match timeout(LIMIT, exchange::echo(backend)).await.context("no echo in time").flatten() {
            Ok(()) => return Some(killed.elapsed()),
            Err(error) => taken.errors.note(&error.context("after the kill")),
        }
    }
    None
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
