//! How long one small exchange takes.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{backend::ECHO, measurement::Taken, requests::Connection, samples::percentile};

/// Bytes there and back: a keystroke, a small query.
const MESSAGE: usize = 64;

/// An exchange takes microseconds. One that takes longer than this is an error.
const LIMIT: Duration = Duration::from_secs(5);

/// p50 and p99 in µs of messages sent there and back, on one TCP connection.
pub(super) async fn tcp(backend: SocketAddr, period: Duration) -> Taken {
    let open = async {
        let mut connection = TcpStream::connect(backend).await.context("cannot connect")?;
        connection.set_nodelay(true)?;
        connection.write_all(&[ECHO]).await?;
        Ok(connection)
    };
    let exchange = async |connection: &mut TcpStream| {
        let mut message = [0x5a; MESSAGE];
        connection.write_all(&message).await.context("cannot send")?;
        connection.read_exact(&mut message).await.context("no echo")?;
        Ok(())
    };
    repeat(open, exchange, period).await
}

/// p50 and p99 in µs of requests on one HTTP connection.
pub(super) async fn http(backend: SocketAddr, period: Duration) -> Taken {
    repeat(Connection::open(backend), async |connection: &mut Connection| connection.ask(true).await, period).await
}

/// One exchange after the other. The first error ends it: a broken connection stays broken.
async fn repeat<C>(
    open: impl Future<Output = anyhow::Result<C>>,
    exchange: impl AsyncFn(&mut C) -> anyhow::Result<()>,
    period: Duration,
) -> Taken {
    let mut taken = Taken::default();
    let mut times = Vec::new();
    let run = async {
        let mut connection = open.await?;
        // The first exchange opens tunnels and connections.
        tokio::time::timeout(LIMIT, exchange(&mut connection)).await??;
        let started = Instant::now();
        while started.elapsed() < period {
            let sent = Instant::now();
            tokio::time::timeout(LIMIT, exchange(&mut connection)).await??;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        anyhow::Ok(())
    };
    if let Err(error) = run.await {
        taken.errors.note(&error);
    }
    times.sort_by(f64::total_cmp);
    taken.values.extend([percentile(&times, 50), percentile(&times, 99)].into_iter().flatten());
    taken
}
