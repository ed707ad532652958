//! How many HTTP requests are answered.
//!
//! The client is written out here so that it costs little: it shares the machine with what it measures.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    backend::BODY,
    crowd::{self, Client},
    taken::Taken,
};

/// Clients at once.
const CLIENTS: usize = 16;

const KEPT: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
const CLOSED: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";

/// Bytes of an answer's head at most; it has five lines.
const MAX_HEAD: usize = 4096;

/// Answers per second. Every request without a complete answer of status 200 is an error.
pub(super) async fn measure(backend: SocketAddr, keep_alive: bool, period: Duration) -> Taken {
    let done = crowd::run((0..CLIENTS).map(|_| Asker { backend, keep_alive, kept: None }), period).await;
    Taken { values: vec![done.rate()], errors: done.errors }
}

struct Asker {
    backend: SocketAddr,
    keep_alive: bool,
    kept: Option<Connection>,
}

impl Client for Asker {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.backend).await?,
        };
        connection.ask(self.keep_alive).await?;
        self.kept = self.keep_alive.then_some(connection);
        Ok(())
    }
}

/// A connection to an HTTP server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(MAX_HEAD) })
    }

    /// One request and its whole answer. After the last one the caller closes, as clients do that know its length.
    pub(super) async fn ask(&mut self, keep_alive: bool) -> anyhow::Result<()> {
        self.stream.write_all(if keep_alive { KEPT } else { CLOSED }).await.context("cannot send")?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.buffer.len() < MAX_HEAD, "the answer's head is too long");
            self.read().await?;
        };
        check_head(self.buffer.get(..head).unwrap_or_default())?;
        while self.buffer.len() < head + BODY {
            self.read().await?;
        }
        ensure!(self.buffer.len() == head + BODY, "more came than was asked for");
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await.context("the answer broke off")? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("the answer broke off"),
            _ => Ok(()),
        }
    }
}

/// The status is 200, and the length is the one expected.
fn check_head(head: &[u8]) -> anyhow::Result<()> {
    let head = std::str::from_utf8(head).context("the answer's head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "answered {status:?}");
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.and_then(|(_, value)| value.trim().parse().ok()) {
        Some(BODY) => Ok(()),
        _ => bail!("the answer's length is not {BODY}: {head:?}"),
    }
}
