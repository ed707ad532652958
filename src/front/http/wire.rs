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
use crate::front::{Limits, client::Client, stall::Stall};

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For one whole request head, from its first byte on. Guards against heads that trickle in.
    pub(super) head: Duration,
    /// For it to take more of a response that is ready.
    pub(super) write: Duration,
}

impl Patience {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { head: limits.head_timeout, write: limits.write_timeout }
    }
}

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
    patience: Patience,
    head: Stall,
    write: Stall,
    /// It was too slow, and is not waited for any more.
    is_late: bool,
}

impl Wire {
    pub(super) fn new(client: Client, ambiguous: Ambiguous, patience: Patience) -> Self {
        let (head, write) = Default::default();
        Self { client, framing: Framing::default(), ambiguous, patience, head, write, is_late: false }
    }

    /// The client, once it speaks something else.
    pub(super) fn into_client(self) -> Client {
        self.client
    }

    /// A wait that has ended without what was waited for.
    fn late<T>(&mut self, stalled: Poll<()>, what: &'static str) -> Poll<io::Result<T>> {
        self.is_late |= stalled.is_ready();
        stalled.map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }

    fn poll_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(result) => {
                self.write.moved();
                Poll::Ready(result)
            }
            Poll::Pending => {
                let stalled = self.write.poll(cx, self.patience.write);
                self.late(stalled, "the client takes nothing of its response")
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.client).poll_read(cx, buf) {
            Poll::Ready(result) => {
                let fresh = buf.filled().get(before..).unwrap_or_default();
                this.framing.feed(fresh);
                if let Some(request) = this.framing.ambiguous() {
                    // Set before hyper sees the head, so before the request can be served.
                    this.ambiguous.0.store(request, Ordering::Release);
                }
                if !this.framing.is_in_head() {
                    this.head.moved();
                }
                Poll::Ready(result)
            }
            Poll::Pending if this.framing.is_in_head() => {
                let stalled = this.head.poll(cx, this.patience.head);
                this.late(stalled, "the request head takes too long")
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
        match self.framing.is_at_rest() || self.is_late {
            true => Pin::new(&mut self.client).poll_shutdown(cx),
            false => self.client.poll_close(cx).map(Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::front::socket::Socket;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(3600);

    async fn wired(patience: Patience) -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, address) = listener.accept().await.unwrap();
        (client, Wire::new(Client::over(Socket::Plain(tcp), address, None), Ambiguous::default(), patience))
    }

    #[tokio::test]
    async fn a_head_that_trickles_in_ends_however_steadily_it_comes() {
        let (mut client, mut wire) = wired(Patience { head: SHORT, write: LONG }).await;
        let trickling = async {
            loop {
                client.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reading = async {
            let mut byte = [0];
            loop {
                if let Err(error) = wire.read_exact(&mut byte).await {
                    break error;
                }
            }
        };
        let error = tokio::select! {
            error = reading => error,
            () = trickling => unreachable!(),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_ends() {
        let (_client, mut wire) = wired(Patience { head: LONG, write: SHORT }).await;
        let endless = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = wire.write_all(&endless).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
