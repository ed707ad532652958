//! Reports to fronts that asked for them.
//!
//! Verdicts and ends of requests tell a front of the requests of its own. What other fronts do it would not hear of, nor that
//! there is no slot free or one that was not: so it keeps a tunnel of class [`Load`](crate::tunnel::Class::Load) to each worker, and is
//! told
//!
//! * at once, but no more often than each [`GAP`]: when the last free slot is taken, a slot is free again, the number of slots
//!   is another one, or the worker drains;
//! * each [`BUSY`] or so, while anything is under way or was since the last report;
//! * each [`IDLE`] else, so that a front can tell a worker that rests from one that is gone.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{tally::Subscription, vary};
use crate::tunnel::TunnelStream;

/// Between two reports at least. A front that is told ten times a second binds a request to a free slot soon enough.
const GAP: Duration = Duration::from_millis(100);

/// Between two reports while something is under way, on average.
const BUSY: Duration = Duration::from_secs(1);

/// Between two reports while nothing is.
const IDLE: Duration = Duration::from_secs(15);

/// How long a front may take to receive a report. One that does not is told no more.
const TAKE_LIMIT: Duration = Duration::from_secs(5);

/// Pushes reports until the front ends its direction, or there is nothing more to tell. An error is the tunnel's.
pub(super) async fn push(
    mut subscription: Subscription,
    mut tunnel: TunnelStream,
    retired: &CancellationToken,
) -> io::Result<()> {
    let mut unheard = [0; 64];
    loop {
        let seen = subscription.tally.activity();
        subscription.urgent.mark_unchanged();
        let load = subscription.tally.load(subscription.from);
        let told = async {
            tunnel.report(load);
            tunnel.flush().await
        };
        timeout(TAKE_LIMIT, told).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if load.draining {
            timeout(TAKE_LIMIT, tunnel.shutdown()).await.map_err(|_| io::ErrorKind::TimedOut)??;
            return Ok(());
        }
        let due = due(&mut subscription, Instant::now(), seen);
        tokio::select! {
            () = due => {}
            () = retired.cancelled() => {
                timeout(TAKE_LIMIT, tunnel.shutdown()).await.map_err(|_| io::ErrorKind::TimedOut)??;
                return Ok(());
            }
            // Nothing is to be said on this tunnel; what comes all the same is not heard.
            end = async { while tunnel.read(&mut unheard).await? > 0 {} Ok(()) } => return end,
        }
    }
}

/// Returns when the next report is due. `seen` is how busy the service was at the last one.
async fn due(subscription: &mut Subscription, last: Instant, seen: (u32, u64)) {
    let Subscription { tally, urgent, .. } = subscription;
    // Before the question, so that nothing that begins in between is missed.
    let woken = tally.woken();
    let (is_busy, is_news) = (seen.0 > 0, tally.activity() != seen);
    let pause = async {
        if !is_busy && !is_news {
            tokio::select! {
                () = sleep_until(last + vary(IDLE)) => return,
                () = woken => {}
            }
        }
        sleep_until(last + vary(BUSY)).await;
    };
    tokio::select! {
        () = pause => {}
        // The tally lives as long as we hold it.
        Ok(()) = urgent.changed() => sleep_until(last + GAP).await,
    }
}
