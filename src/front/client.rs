//! The socket of one client.

use std::{
    io::{self, Read},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpSocket,
};

use super::{socket::Socket, stall::Stall};
use crate::tunnel::MAX_EARLY;

/// Quiet time after which the kernel asks whether the client's machine is still there, and the time between two such
/// questions: with [`KEEPALIVE_QUESTIONS`] a client that vanished is noticed within two minutes.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// Unanswered questions before the kernel gives a client up.
const KEEPALIVE_QUESTIONS: u32 = 4;

/// How long a closing connection waits for more bytes of a client that is still sending. A client mid-upload sends far
/// more often.
const LINGER_GAP: Duration = Duration::from_secs(2);

/// How long a closing connection reads what its client still sends, in all: enough for a client to notice the answer.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes thrown away at a time while lingering.
const DISCARD: usize = 8 * 1024;

/// A client's socket, with the bytes that were read ahead to tell what it speaks.
#[derive(Debug)]
pub(super) struct Client {
    socket: Socket,
    address: SocketAddr,
    /// Where it connected to, if somebody in front of us said so.
    local: Option<SocketAddr>,
    ahead: Bytes,
    reset: Reset,
    lingering: Option<Lingering>,
}

#[derive(Debug, Default)]
struct Lingering {
    /// Our side.
    has_ended: bool,
    gap: Stall,
    whole: Stall,
}

/// Makes a client's connection end with a reset rather than an orderly end when its socket is dropped, so that no client
/// takes a cut body for a whole one.
#[derive(Clone, Debug, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

impl Reset {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What clients' sockets shall do, set once on the socket that accepts them: they inherit it. It only tunes; a socket that
/// refuses it works.
pub(super) fn tune(listening: &TcpSocket) {
    let _ = listening.set_nodelay(true);
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1).with_retries(KEEPALIVE_QUESTIONS);
    let _ = SockRef::from(listening).set_tcp_keepalive(&keepalive);
}

impl Client {
    /// One whose bytes come over `socket`; it connected to `local`, if somebody in front of us said so.
    pub(super) fn over(socket: Socket, address: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self { socket, address, local, ahead: Bytes::new(), reset: Reset::default(), lingering: None }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.local.map_or_else(|| self.socket.tcp().local_addr(), Ok)
    }

    /// Its bytes come over TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    pub(super) fn reset(&self) -> Reset {
        self.reset.clone()
    }

    /// What it has said so far, at most [`MAX_EARLY`] bytes, without waiting for any. They count as read; give them to
    /// [`Self::replay`] to have them read again.
    pub(super) fn said_already(&mut self) -> Bytes {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(MAX_EARLY);
            return self.ahead.split_to(length);
        }
        // What TLS has for us only a read can tell.
        let Socket::Plain(tcp) = &self.socket else { return Bytes::new() };
        // Past tokio, which has not heard yet whether a fresh socket has bytes.
        let mut bytes = [0; MAX_EARLY];
        match (&*SockRef::from(tcp)).read(&mut bytes) {
            Ok(length) => Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default()),
            // Nothing yet, or a fault that the next read will tell.
            Err(_) => Bytes::new(),
        }
    }

    /// Makes `bytes` the next ones to be read.
    pub(super) fn replay(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
        } else if !bytes.is_empty() {
            let mut both = BytesMut::from(&bytes[..]);
            both.extend_from_slice(&self.ahead);
            self.ahead = both.freeze();
        }
    }

    /// Ends our side, then reads and throws away what the client still sends, so that the kernel does not answer it with a
    /// reset that would take our last words with it. Ready when the client ended too, or was given time enough.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_default();
        if lingering.whole.poll(cx, LINGER).is_ready() {
            return Poll::Ready(());
        }
        if !lingering.has_ended {
            // A socket that can't be shut down is gone already.
            if ready!(Pin::new(&mut self.socket).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            lingering.has_ended = true;
        }
        loop {
            let mut scratch = [0; DISCARD];
            let mut discarded = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut discarded) {
                Poll::Ready(Ok(())) if !discarded.filled().is_empty() => lingering.gap.moved(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return lingering.gap.poll(cx, LINGER_GAP),
            }
        }
    }

    /// [`Self::poll_close`] to its end.
    pub(super) async fn close(mut self) {
        std::future::poll_fn(|cx| self.poll_close(cx)).await;
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.reset.0.load(Ordering::Acquire) {
            // It fails on a socket that is gone already.
            let _ = self.socket.tcp().set_zero_linger();
        }
    }
}
