//! How many new connections are served.

use std::{net::SocketAddr, time::Duration};

use super::{
    crowd::{self, Client},
    exchange,
    taken::Taken,
};

/// Clients at once.
const CLIENTS: usize = 16;

/// Milliseconds in a second.
const MILLI: f64 = 1e3;

/// Connections per second, and p50 and p99 in ms from the start of one to its byte back.
pub(super) async fn measure(backend: SocketAddr, period: Duration) -> Taken {
    let done = crowd::run((0..CLIENTS).map(|_| Caller { backend }), period).await;
    Taken { values: vec![done.rate(), done.percentile(50, MILLI), done.percentile(99, MILLI)], errors: done.errors }
}

struct Caller {
    backend: SocketAddr,
}

impl Client for Caller {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        exchange::echo(self.backend).await
    }
}
