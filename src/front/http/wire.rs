//! A client's connection as hyper reads and writes it: watched, and with an end to every wait.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use crate::front::{client::Client, stall::Stall};

/// How long a client may take for one request head, from its first byte on. Guards against heads that trickle in.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may send nothing of a body that we wait for, as nginx's `client_body_timeout`.
const BODY_GAP: Duration = Duration::from_secs(60);

/// How long a client may take nothing of a response that is ready, as nginx's `send_timeout`.
const WRITE_GAP: Duration = Duration::from_secs(60);

/// Which request of a connection was ambiguously framed, if any: counted from one, zero for none.
#[derive(Clone, Debug, Default)]
pub(super) struct Ambiguous(Arc<AtomicU64>);

impl Ambiguous {
    pub(super) fn is(&self, request: u64) -> bool {
        self.0.load(Ordering::Acquire) == request
    }
}

#[derive(Debug)]
pub(super) struct Wire {
    client: Client,
    framing: Framing,
    ambiguous: Ambiguous,
    head: Stall,
    body: Stall,
    write: Stall,
}

impl Wire {
    pub(super) fn new(client: Client, ambiguous: Ambiguous) -> Self {
        let (head, body, write) = Default::default();
        Self { client, framing: Framing::default(), ambiguous, head, body, write }
    }

    /// The client, once it speaks something else.
    pub(super) fn into_client(self) -> Client {
        self.client
    }

    fn poll_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(result) => {
                self.write.moved();
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.write.poll(cx, WRITE_GAP).map(|()| Err(late("the client took nothing of its response for 60 s")))
            }
        }
    }
}

fn late(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.client).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.framing.feed(buf.filled().get(before..).unwrap_or_default());
                if let Some(request) = this.framing.ambiguous() {
                    // Set before hyper sees the head, so before the request can be served.
                    this.ambiguous.0.store(request, Ordering::Release);
                }
                this.body.moved();
                if !this.framing.is_in_head() {
                    this.head.moved();
                }
                Poll::Ready(result)
            }
            Poll::Pending if this.framing.is_in_head() => {
                this.head.poll(cx, HEAD_TIMEOUT).map(|()| Err(late("the request head took longer than 10 s")))
            }
            Poll::Pending if this.framing.is_in_body() => {
                this.body.poll(cx, BODY_GAP).map(|()| Err(late("the client sent nothing of its request for 60 s")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write(cx, bytes);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write_vectored(cx, slices);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // In the middle of a request the client is still sending, and would lose our answer to a reset.
        match self.framing.is_at_rest() {
            true => Pin::new(&mut self.client).poll_shutdown(cx),
            false => self.client.poll_close(cx).map(Ok),
        }
    }
}
