//! A ticket in use: makes connections to the worker that gave it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use rustls::ClientConfig;
use tokio::net::TcpStream;

use super::{
    certificate::Certificate,
    handshake,
    knock::{Id, Knock, Secret},
    socket,
    stream::TlsStream,
    ticket::Ticket,
};

/// How much later the next address is tried while those before it have not answered.
const STAGGER: Duration = Duration::from_millis(100);

/// Share of its life after which a ticket is replaced.
const USED: f64 = 0.75;

pub(super) struct Pass {
    id: Id,
    secret: zeroize::Zeroizing<Secret>,
    next: AtomicU64,
    tls: Arc<ClientConfig>,
    addresses: Vec<SocketAddr>,
    old: Instant,
}

impl Pass {
    pub(super) fn new(
        now: Instant,
        ticket: Ticket,
        own: &Certificate,
        addresses: Vec<SocketAddr>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: Arc::new(own.client(ticket.fingerprint)?),
            id: ticket.id,
            secret: ticket.secret,
            next: AtomicU64::new(0),
            addresses,
            old: now + ticket.lifetime.mul_f64(USED),
        })
    }

    /// A new ticket should be asked for.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        now >= self.old
    }

    /// Makes a connection at the first address that answers. The caller bounds the wait.
    pub(super) async fn connect(&self) -> io::Result<TlsStream> {
        let socket = self.socket().await?;
        socket::tune(&socket);
        let knock = Knock::new(self.id, self.next.fetch_add(1, Ordering::Relaxed), &self.secret);
        handshake::client(socket, Arc::clone(&self.tls), &knock.encode()).await
    }

    async fn socket(&self) -> io::Result<TcpStream> {
        let mut attempts: FuturesUnordered<_> = (0..)
            .zip(&self.addresses)
            .map(|(before, address)| async move {
                tokio::time::sleep(STAGGER * before).await;
                TcpStream::connect(*address).await
            })
            .collect();
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the worker has no address to dial");
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
