//! The direct carrier: TLS 1.3 over TCP between two members, from a pool of warm connections.
//!
//! libp2p finds members, admits them and gets through routers; where a worker's TCP address can be dialled, bytes travel
//! faster without its muxer. A front asks the worker for a **ticket** over their admitted connection, connects to the port
//! on which the worker listens for libp2p anyway, and **knocks**: whoever cannot say the knock gets no byte. Then TLS, each
//! side with the certificate that was vouched for with the ticket. A connection carries one tunnel at a time, and the next
//! one when that is over; those at rest form the **pool**.
//!
//! ```text
//! front    Pool::line(node) ─▶ Reach ─▶ (ask for a ticket ─▶) knock ─▶ handshake ─▶ TlsStream ─▶ Line
//! worker   net's door ─▶ knock ─▶ Tickets ─▶ handshake ─▶ TlsStream ─▶ Line ─▶ Worker ─▶ next tunnel
//! ```
//!
//! **Invariant.** Before a byte of a tunnel is read or written, the peer has proved to hold the key of the certificate that
//! this node vouched for or was told over an admitted connection, so it is the node that it is taken for.
//!
//! **Invariant.** Nothing depends on it: where it cannot be had within half a second, tunnels take streams of libp2p, and it
//! is tried again later.
//!
//! It does not choose workers, admit members, or know what the bytes mean.

mod address;
mod buffer;
mod certificate;
mod handshake;
mod knock;
mod pass;
mod pool;
mod reach;
pub mod record;
mod server;
mod socket;
mod stream;
mod ticket;

use std::{future::Future, io, sync::Arc};

pub use pool::{Lent, Pool};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::NodeId,
    net::{Inbound, Net},
    tunnel::Line,
};

/// Both sides of it in one node.
#[derive(Debug)]
pub struct Direct {
    pool: Pool,
    certificate: Arc<certificate::Certificate>,
    net: Net,
}

impl Direct {
    /// Makes this process's certificate. `stop` closes the pool.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new(net: Net, stop: CancellationToken) -> io::Result<Self> {
        let certificate = Arc::new(certificate::Certificate::generate().map_err(io::Error::other)?);
        Ok(Self { pool: Pool::new(net.clone(), Arc::clone(&certificate), stop), certificate, net })
    }

    /// Connections to workers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Keeps the pool until it is stopped.
    pub fn keep(&self) -> impl Future<Output = ()> + Send + use<> {
        let pool = self.pool.clone();
        async move { pool.keep().await }
    }

    /// Serves connections of fronts until `stop`: those that `knocks`, and those who ask for tickets. `serve` gets the line
    /// of each tunnel, and the admitted node that opened it.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub async fn serve<S, F>(
        &self,
        knocks: mpsc::Receiver<TcpStream>,
        asking: mpsc::Receiver<Inbound>,
        serve: S,
        stop: CancellationToken,
    ) -> io::Result<()>
    where
        S: Fn(Line, NodeId) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        server::run(&self.certificate, &self.net, knocks, asking, serve, stop).await.map_err(io::Error::other)
    }
}
