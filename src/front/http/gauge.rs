//! A tunnel of HTTP/1 with an end to what may come before a response.
//!
//! hyper skips informational responses (RFC 9110 §15.2) however many there are. A backend that sends nothing else would
//! keep its request for ever, since it is not silent.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::BUFFER_LIMIT;
use crate::tunnel::TunnelStream;

/// Bytes that may come from the sending of a request to the head of its response. More than hyper reads ahead of a body
/// that nobody has asked for.
const AWAITED_MAX: usize = 4 * BUFFER_LIMIT;

/// Nothing is awaited: any number may come.
const ANY: usize = usize::MAX;

/// Bytes that may still come; shared by a tunnel and whoever sends through it.
#[derive(Clone, Debug)]
pub(super) struct Awaited(Arc<AtomicUsize>);

impl Awaited {
    /// A request is sent.
    pub(super) fn begin(&self) {
        self.0.store(AWAITED_MAX, Ordering::Release);
    }

    /// The head of its response is there.
    pub(super) fn end(&self) {
        self.0.store(ANY, Ordering::Release);
    }

    /// Whether so many more may come.
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| if left == ANY { Some(ANY) } else { left.checked_sub(bytes) };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }
}

#[derive(Debug)]
pub(super) struct Gauge {
    tunnel: TunnelStream,
    awaited: Awaited,
}

impl Gauge {
    pub(super) fn new(tunnel: TunnelStream) -> (Self, Awaited) {
        let awaited = Awaited(Arc::new(AtomicUsize::new(ANY)));
        (Self { tunnel, awaited: awaited.clone() }, awaited)
    }

    /// The tunnel, once it speaks something else.
    pub(super) fn into_tunnel(self) -> TunnelStream {
        self.tunnel
    }
}

impl AsyncRead for Gauge {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tunnel).poll_read(cx, buf);
        match self.awaited.take(buf.filled().len() - before) {
            true => read,
            false => {
                let why = "its backend sends informational responses without end";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)))
            }
        }
    }
}

impl AsyncWrite for Gauge {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tunnel).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_shutdown(cx)
    }
}
