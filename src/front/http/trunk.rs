//! One tunnel that carries many HTTP/2 requests side by side.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::JoinSet, time::Instant};

use super::{HEAD_LIMIT, upload::Upload};
use crate::tunnel::TunnelStream;

/// Requests at once in one tunnel; for more there is another one. What nearly every server allows, with room to spare.
const SEATS: usize = 64;

/// Bytes of one response that may be under way before its client takes them. All seats have room for theirs at once, so
/// that a client that takes nothing holds up nobody else: 16 MiB, of which a tunnel usually needs a few kilobytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const TRUNK_WINDOW: u32 = STREAM_WINDOW * SEATS as u32;

/// Bytes of one request that wait for its backend at most.
const SEND_BUFFER: usize = 64 * 1024;

/// How often a backend with requests is asked whether it is still there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// The tasks that drive tunnels; they end with whoever owns the set.
#[derive(Clone, Default)]
pub(super) struct Drivers(Weak<Mutex<JoinSet<()>>>);

impl Drivers {
    pub(super) fn of(set: &Arc<Mutex<JoinSet<()>>>) -> Self {
        Self(Arc::downgrade(set))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Drivers {
    fn execute(&self, work: F) {
        if let Some(set) = self.0.upgrade() {
            // Nothing in here panics half way.
            set.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
        }
    }
}

/// A tunnel with hyper's HTTP/2 client on it. When the last handle is gone, it ends once its requests have.
pub(super) struct Trunk {
    sender: http2::SendRequest<Upload>,
    taken: Arc<AtomicUsize>,
    /// The connection that carries the tunnel; once the node has another one, the tunnel is stale.
    pub(super) connection: Option<u64>,
    /// Since when it was last given to a request, or seen with one.
    used: Instant,
}

/// Room for one request in a tunnel.
pub(super) struct Seat {
    pub(super) sender: http2::SendRequest<Upload>,
    taken: Arc<AtomicUsize>,
}

impl Trunk {
    pub(super) async fn open(tunnel: TunnelStream, connection: Option<u64>, drivers: Drivers) -> hyper::Result<Self> {
        let (sender, driver) = http2::Builder::new(drivers.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(TRUNK_WINDOW)
            .initial_max_send_streams(SEATS)
            .max_header_list_size(HEAD_LIMIT as u32)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .handshake(TokioIo::new(tunnel))
            .await?;
        drivers.execute(async move {
            if let Err(error) = driver.await {
                tracing::trace!(%error, "http/2 tunnel broke");
            }
        });
        Ok(Self { sender, taken: Arc::default(), connection, used: Instant::now() })
    }

    /// Room for one more request, if there is.
    pub(super) fn seat(&mut self) -> Option<Seat> {
        if self.is_closed() || self.taken.load(Ordering::Acquire) >= SEATS {
            return None;
        }
        self.used = Instant::now();
        self.taken.fetch_add(1, Ordering::AcqRel);
        Some(Seat { sender: self.sender.clone(), taken: Arc::clone(&self.taken) })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How long it has carried nothing, give or take the time between two calls.
    pub(super) fn idle_for(&mut self) -> Duration {
        if self.taken.load(Ordering::Acquire) > 0 {
            self.used = Instant::now();
        }
        self.used.elapsed()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
