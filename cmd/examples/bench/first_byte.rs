//! How long it takes from the start of a front to the first byte through it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};

use super::{exchange, lab::P2pFed};

/// A front that joins by an address is there in a fraction of a second.
const LIMIT: Duration = Duration::from_secs(30);

/// What one try may take; a client that came too early is not let wait longer.
const TRY: Duration = Duration::from_secs(1);

/// Between two tries: the precision of the result.
const AGAIN: Duration = Duration::from_millis(1);

/// Milliseconds.
pub(super) async fn measure(p2p_fed: &P2pFed) -> anyhow::Result<f64> {
    match once(p2p_fed).await {
        Ok(took) => Ok(took),
        // Somebody else may have taken its port.
        Err(_) => once(p2p_fed).await,
    }
}

async fn once(p2p_fed: &P2pFed) -> anyhow::Result<f64> {
    let started = Instant::now();
    let (mut front, address) = p2p_fed.fresh_front()?;
    while started.elapsed() < LIMIT {
        if timeout(TRY, exchange::echo(address)).await.context("no echo").flatten().is_ok() {
            let took = started.elapsed();
            front.stop().await;
            return Ok(took.as_secs_f64() * 1e3);
        }
        front.check()?;
        sleep(AGAIN).await;
    }
    bail!("a new front carried nothing within {} s", LIMIT.as_secs())
}
