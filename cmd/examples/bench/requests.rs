//! How many HTTP requests are answered.
//!
//! The client is written out here so that it costs little: it shares the machine with what it measures.

use std::{io, net::SocketAddr, sync::LazyLock, time::Duration};

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
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
/// A question to a model server, of 2 KiB: what a front looks into.
static CHAT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = "word ".repeat(400);
    let body = format!("{{\"model\":\"tiny\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}");
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
});

const CLOSED: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";

/// Bytes of an answer's head at most; it has five lines.
const MAX_HEAD: usize = 4096;

/// Milliseconds in a second.
const MILLI: f64 = 1e3;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Again and again on one connection.
    Get,
    /// On a connection for each, which the client closes.
    GetOnce,
    /// An inference, again and again on one connection.
    Chat,
}

impl Question {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Get => KEPT,
            Self::GetOnce => CLOSED,
            Self::Chat => &CHAT,
        }
    }
}

/// Answers per second, and p50 and p99 of their times in ms. Every request without a complete answer of status 200 is an
/// error.
pub(super) async fn measure(backend: SocketAddr, question: Question, period: Duration) -> Taken {
    let done = crowd::run((0..CLIENTS).map(|_| Asker { backend, question, kept: None }), period).await;
    told(done)
}

/// The same with HTTP/2, a connection for each client.
pub(super) async fn measure_http2(backend: SocketAddr, period: Duration) -> Taken {
    told(crowd::run((0..CLIENTS).map(|_| Http2Asker { backend, kept: None }), period).await)
}

fn told(done: crowd::Done) -> Taken {
    Taken { values: vec![done.rate(), done.percentile(50, MILLI), done.percentile(99, MILLI)], errors: done.errors }
}

struct Asker {
    backend: SocketAddr,
    question: Question,
    kept: Option<Connection>,
}

/// One that speaks HTTP/2 by prior knowledge.
struct Http2Asker {
    backend: SocketAddr,
    kept: Option<SendRequest<Empty<Bytes>>>,
}

impl Client for Http2Asker {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        if self.kept.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.backend).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            let made = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
            let (sender, connection) = made.context("no HTTP/2")?;
            // Ends with its sender, or with the connection.
            tokio::spawn(connection);
            self.kept = Some(sender);
        }
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        let mut sender = self.kept.take().context("there is a connection")?;
        sender.ready().await.context("cannot send")?;
        let request = Request::get("http://bench/").body(Empty::new())?;
        let answer = sender.send_request(request).await.context("no answer")?;
        ensure!(answer.status() == StatusCode::OK, "answered {}", answer.status());
        let body = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
        ensure!(body.len() == BODY, "the answer has {} bytes", body.len());
        self.kept = Some(sender);
        Ok(())
    }
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
        connection.put(self.question).await?;
        self.kept = (self.question != Question::GetOnce).then_some(connection);
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
        self.put(if keep_alive { Question::Get } else { Question::GetOnce }).await
    }

    async fn put(&mut self, question: Question) -> anyhow::Result<()> {
        self.stream.write_all(question.bytes()).await.context("cannot send")?;
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
