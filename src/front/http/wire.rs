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
use crate::front::{
    Limits,
    client::Client,
    stall::{Pace, Stall},
};

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For one whole request head, from its first byte on. Guards against heads that trickle in.
    pub(super) head: Duration,
    /// For more of a body that we are ready to take, at first, and bytes per second that earn more of it.
    pub(super) body: (Duration, u32),
    /// For it to take more of a response that is ready.
    pub(super) write: Duration,
}

impl Patience {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { head: limits.head_timeout, body: (limits.body_grace, limits.body_rate), write: limits.write_timeout }
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
    body: Pace,
    write: Stall,
}

impl Wire {
    pub(super) fn new(client: Client, ambiguous: Ambiguous, patience: Patience) -> Self {
        let body = Pace::new(patience.body.0, patience.body.1);
        let (head, write) = Default::default();
        Self { client, framing: Framing::default(), ambiguous, patience, head, body, write }
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
                self.write.poll(cx, self.patience.write).map(|()| Err(late("the client takes nothing of its response")))
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
                let fresh = buf.filled().get(before..).unwrap_or_default();
                this.framing.feed(fresh);
                if let Some(request) = this.framing.ambiguous() {
                    // Set before hyper sees the head, so before the request can be served.
                    this.ambiguous.0.store(request, Ordering::Release);
                }
                match this.framing.is_in_body() {
                    true => this.body.moved(fresh.len()),
                    false => this.body.begin(),
                }
                if !this.framing.is_in_head() {
                    this.head.moved();
                }
                Poll::Ready(result)
            }
            Poll::Pending if this.framing.is_in_head() => {
                this.head.poll(cx, this.patience.head).map(|()| Err(late("the request head takes too long")))
            }
            Poll::Pending if this.framing.is_in_body() => {
                this.body.poll(cx).map(|()| Err(late("the client sends its request too slowly")))
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
        let (mut client, mut wire) = wired(Patience { head: SHORT, body: (LONG, 1), write: LONG }).await;
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
    async fn a_body_that_stops_ends_and_a_quiet_client_between_requests_does_not() {
        let patience = Patience { head: LONG, body: (SHORT, 1_000_000), write: LONG };
        let (mut client, mut wire) = wired(patience).await;
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na").await.unwrap();
        let mut text = Vec::new();
        assert_eq!(wire.read_to_end(&mut text).await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut client, mut wire) = wired(patience).await;
        let request = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\na";
        client.write_all(request).await.unwrap();
        wire.read_exact(&mut [0; 39]).await.unwrap();
        assert!(tokio::time::timeout(SHORT * 2, wire.read_u8()).await.is_err(), "at rest nothing is late");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_ends() {
        let (_client, mut wire) = wired(Patience { head: LONG, body: (LONG, 1), write: SHORT }).await;
        let endless = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = wire.write_all(&endless).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
