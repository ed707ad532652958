//! The smallest exchange: a byte there and back.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{backend::ECHO, requests::Connection};

/// An exchange takes microseconds, on a new connection a few milliseconds. One that takes longer than this is an error.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// A connection whose backend sends back what it gets.
#[derive(Debug)]
pub(super) struct Echo(TcpStream);

impl Echo {
    pub(super) async fn open(backend: SocketAddr) -> anyhow::Result<Self> {
        let mut connection = TcpStream::connect(backend).await.context("cannot connect")?;
        // Where nobody listens yet, the port may be given to the client's own end, and TCP connects it to itself.
        ensure!(connection.local_addr()? != connection.peer_addr()?, "nobody listens");
        connection.set_nodelay(true)?;
        connection.write_all(&[ECHO]).await.context("cannot send")?;
        Ok(Self(connection))
    }

    /// A message there and back. The caller bounds the wait.
    pub(super) async fn exchange<const LENGTH: usize>(&mut self) -> anyhow::Result<()> {
        let mut message = [0x5a; LENGTH];
        self.0.write_all(&message).await.context("cannot send")?;
        self.0.read_exact(&mut message).await.context("no echo")?;
        Ok(())
    }

    /// Whether a byte still comes back, in time.
    pub(super) async fn is_alive(&mut self) -> bool {
        timeout(LIMIT, self.exchange::<1>()).await.is_ok_and(|exchanged| exchanged.is_ok())
    }

    /// Returns when the connection is at its end, good or bad.
    pub(super) async fn ended(&mut self) {
        let mut more = [0; 64];
        while self.0.read(&mut more).await.is_ok_and(|read| read > 0) {}
    }
}

/// A connection, a byte there and back, and its end.
pub(super) async fn echo(backend: SocketAddr) -> anyhow::Result<()> {
    Echo::open(backend).await?.exchange::<1>().await
}

/// A connection and one HTTP request.
pub(super) async fn get(backend: SocketAddr) -> anyhow::Result<()> {
    Connection::open(backend).await?.ask(false).await
}
