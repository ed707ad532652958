//! The yardstick: one hop of a relay that copies TCP and does nothing else.

use std::{io, net::SocketAddr};

use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::backend::{accept, announce, orphaned};

/// What one hop copies at once, in bytes: more gains nothing on loopback.
const BUFFER: usize = 64 * 1024;

/// Listens once for each of `targets`, until whoever started it goes away.
pub(super) async fn run(targets: &[SocketAddr]) -> anyhow::Result<()> {
    let mut addresses = Vec::new();
    let mut relays = JoinSet::new();
    for &target in targets {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?);
        relays.spawn(accept(listener, move |connection| relay(connection, target)));
    }
    announce(&addresses)?;
    tokio::select! {
        Some(ended) = relays.join_next() => ended??,
        () = orphaned() => {}
    }
    Ok(())
}

async fn relay(mut downstream: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(target).await?;
    upstream.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut downstream, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}
