//! How many bytes get through.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    backend::{BLOCK, DOWN, UP, send},
    lab::Chain,
    measurement::Direction,
    taken::Taken,
};

/// Bytes of a MiB and of a GiB.
const MIB: f64 = 1048576.0;
const GIB: f64 = 1024.0 * MIB;

/// Bytes of the count at the end of a stream.
const COUNT: usize = 8;

/// What is left in buffers when the time is over takes a moment. A stream that takes longer than this hangs: an error.
const LIMIT: Duration = Duration::from_secs(20);

/// MiB/s over `streams` connections at once, from the first byte to the last count, and what a GiB takes of the path's
/// processes, in seconds on a core. Every stream that fails is an error.
pub(super) async fn measure(chain: &Chain, direction: Direction, streams: usize, period: Duration) -> Taken {
    let backend = chain.entry.tcp;
    let mut taken = Taken::default();
    let mut connections = Vec::new();
    for _ in 0..streams {
        match connect(backend).await {
            Ok(connection) => connections.push(connection),
            Err(error) => taken.errors.note(&error),
        }
    }
    let cpu_before = chain.cpu_seconds();
    let started = Instant::now();
    let mut transfers: JoinSet<_> = connections
        .into_iter()
        .map(|connection| async move {
            let transfer = async {
                match direction {
                    Direction::Down => receive(connection, period).await,
                    Direction::Up => push(connection, period).await,
                }
            };
            tokio::time::timeout(period + LIMIT, transfer).await.context("the stream hangs")?
        })
        .collect();
    let mut bytes = 0;
    while let Some(transfer) = transfers.join_next().await {
        match transfer.map_err(anyhow::Error::from).flatten() {
            Ok(moved) => bytes += moved,
            Err(error) => taken.errors.note(&error),
        }
    }
    let (bytes, took) = (bytes as f64, started.elapsed().as_secs_f64());
    let used = cpu_before.and_then(|before| Ok(chain.cpu_seconds()? - before));
    let per_gib = match used {
        Ok(used) => (bytes > 0.0 && !chain.is_direct()).then(|| used / (bytes / GIB)),
        Err(error) => {
            taken.errors.note(&error);
            None
        }
    };
    taken.values = vec![Some(bytes / MIB / took), per_gib];
    taken
}

async fn connect(backend: SocketAddr) -> anyhow::Result<TcpStream> {
    let connection = TcpStream::connect(backend).await.context("cannot connect")?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

async fn receive(mut connection: TcpStream, period: Duration) -> anyhow::Result<u64> {
    let mut command = vec![DOWN];
    command.extend(u32::try_from(period.as_millis())?.to_be_bytes());
    connection.write_all(&command).await?;
    let mut block = vec![0; BLOCK];
    let (mut received, mut tail) = (0, [0; COUNT]);
    loop {
        let read = connection.read(&mut block).await.context("the stream broke off")?;
        if read == 0 {
            break;
        }
        received += read as u64;
        keep_last(&mut tail, block.get(..read).unwrap_or_default());
    }
    let (moved, sent) = (received.saturating_sub(COUNT as u64), u64::from_be_bytes(tail));
    ensure!(moved == sent, "{sent} bytes were sent down and {moved} arrived");
    Ok(moved)
}

async fn push(mut connection: TcpStream, period: Duration) -> anyhow::Result<u64> {
    connection.write_all(&[UP]).await?;
    let sent = send(&mut connection, period).await.context("the stream broke off")?;
    connection.shutdown().await?;
    let counted = connection.read_u64().await.context("no count came back")?;
    ensure!(counted == sent, "{sent} bytes were sent up and {counted} arrived");
    Ok(sent)
}

/// `tail` becomes the last bytes of itself followed by `read`.
fn keep_last(tail: &mut [u8; COUNT], read: &[u8]) {
    let fresh = read.len().min(COUNT);
    tail.rotate_left(fresh);
    let (_, kept) = read.split_at(read.len() - fresh);
    tail.split_at_mut(COUNT - fresh).1.copy_from_slice(kept);
}
