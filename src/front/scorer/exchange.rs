//! One question to a scorer and its answer, over connections that are kept.
//!
//! Each connection is driven by whoever uses it: nothing is spawned, and an idle one costs a file descriptor.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
};

use super::address::{Place, ScorerUrl};

/// Connections to one scorer at once, idle ones included. Whoever finds none waits within its deadline: more questions
/// side by side would make a scorer slower, not faster.
pub(super) const CONNECTIONS_MAX: usize = 16;

/// Bytes of an answer at most: scores for ten times as many workers as it is told of.
pub(super) const ANSWER_MAX: usize = 64 * 1024;

/// Bytes of an answer's head at most; hyper allows no less than 8 KiB.
const HEAD_MAX: usize = 16 * 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    #[error("it answered with {0}")]
    Status(StatusCode),
    #[error("its answer has more than {ANSWER_MAX} bytes")]
    TooLarge,
    #[error("its answer is cut off: {0}")]
    Cut(String),
    #[error("the question could not be written: {0}")]
    Question(String),
}

/// The connections to one scorer.
pub(super) struct Exchange {
    url: ScorerUrl,
    places: Semaphore,
    /// Held to push or to pop. At most as many as there are places.
    idle: Mutex<Vec<Lane>>,
}

/// One connection.
struct Lane {
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
}

impl Exchange {
    pub(super) fn new(url: ScorerUrl) -> Self {
        Self { url, places: Semaphore::new(CONNECTIONS_MAX), idle: Mutex::default() }
    }

    /// Sends `body`; the body of the answer. A question changes nothing, so it is asked again on a fresh connection if the
    /// one that was kept has been closed. Dropping the future closes the connection that it uses.
    pub(super) async fn post(&self, body: Bytes) -> Result<Bytes, Fault> {
        // It is never closed, so there is no error.
        let _place = self.places.acquire().await;
        let kept = self.idle().pop();
        if let Some(lane) = kept {
            match self.ask(lane, body.clone()).await {
                Err(Fault::Broken(_)) => {}
                answer => return answer,
            }
        }
        let lane = self.connect().await?;
        self.ask(lane, body).await
    }

    async fn ask(&self, lane: Lane, body: Bytes) -> Result<Bytes, Fault> {
        let Lane { mut sender, mut connection } = lane;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url.path)
            .header(HOST, self.url.host())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|error| Fault::Question(error.to_string()))?;
        let mut is_open = true;
        let answer = {
            let mut exchange = std::pin::pin!(answer(&mut sender, request));
            tokio::select! {
                answer = exchange.as_mut() => answer,
                // What is left to do is to read what has arrived.
                _ended = connection.as_mut() => {
                    is_open = false;
                    exchange.await
                }
            }
        }?;
        if is_open {
            self.idle().push(Lane { sender, connection });
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<Lane, Fault> {
        match &self.url.place {
            Place::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                shake_hands(Prompt(stream)).await
            }
            Place::Unix(path) => shake_hands(UnixStream::connect(path).await?).await,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Lane>> {
        // Nothing in here panics half way.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn shake_hands(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Lane, Fault> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(Fault::Broken)?;
    Ok(Lane { sender, connection: Box::pin(connection) })
}

/// A connection that acknowledges at once what it reads. A scorer that writes head and body apart, as simple HTTP servers do,
/// has the body held back by its kernel until then (Nagle's algorithm, RFC 1122 §4.2.3.4), and a delayed acknowledgement
/// would cost most of the deadline.
struct Prompt(TcpStream);

impl AsyncRead for Prompt {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, buf));
        // It holds for what was read until now, so it is asked for each time. Without it answers are later, no more.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&self.0).set_tcp_quickack(true);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn answer(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Bytes, Fault> {
    sender.ready().await.map_err(Fault::Broken)?;
    let response = sender.send_request(request).await.map_err(Fault::Broken)?;
    if response.status() != StatusCode::OK {
        return Err(Fault::Status(response.status()));
    }
    match Limited::new(response.into_body(), ANSWER_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::TooLarge),
        Err(error) => Err(Fault::Cut(error.to_string())),
    }
}
