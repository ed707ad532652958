//! Tunnels to services that nodes of edgevpn expose.
//!
//! Their streams are the bytes of the service from the first to the last: nobody says which service is meant, and nobody
//! says that it was accepted. A worker that does not know this node as a user, or whose backend is down, ends the stream. So a
//! front is told that a tunnel is open when the stream is, but where there is reason for doubt it is waited a little for that end
//! first, so that another worker can be tried before the client's bytes have left.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, time::timeout};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken, task::TaskTracker};

use super::held::Held;
use crate::{
    ledger::NodeId,
    net::{Legacy, SERVICE, peer_of},
    tunnel::{Class, DialError, Header, Load, Refusal, Tunnel, TunnelStream, splice},
};

/// Where there is doubt, how long it is waited for the end of a stream that was just opened.
const PROBATION: Duration = Duration::from_millis(400);

/// How long a worker is doubted that ended a stream without a byte.
const DOUBTED: Duration = Duration::from_secs(30);

/// How long all are doubted after this node has written that it is a user: its word takes as long to reach everybody.
const NEWCOMER: Duration = Duration::from_secs(15);

/// Workers that are doubted, at most; beyond, all are forgotten, which costs a retry.
const DOUBTS: usize = 1024;

/// Bytes of a worker that speaks first, taken while it is on probation.
const FIRST: usize = 4096;

/// A tunnel in which nothing moved for so long is ended. Fronts have shorter limits of their own.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Opens the tunnels. Clones share.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    legacy: Legacy,
    doubts: Arc<Mutex<HashMap<NodeId, Instant>>>,
    began: Instant,
    tunnels: TaskTracker,
    stop: CancellationToken,
}

impl Dialler {
    pub(super) fn new(legacy: Legacy, stop: CancellationToken) -> Self {
        Self { legacy, doubts: Arc::default(), began: Instant::now(), tunnels: TaskTracker::new(), stop }
    }

    /// A tunnel to what `node` exposes.
    ///
    /// # Errors
    /// As for any worker; in every case another one may be tried.
    pub(super) async fn dial(&self, node: NodeId, header: &Header) -> Result<Tunnel, DialError> {
        if matches!(header.class, Class::Load | Class::Udp) {
            return Err(DialError::Refused { node, reason: Refusal::WrongProtocol });
        }
        let unreachable = |source| DialError::Unreachable { node, source };
        let no_key = || unreachable(io::Error::new(io::ErrorKind::InvalidInput, "its id is no key"));
        let peer = peer_of(&node).ok_or_else(no_key)?;
        let mut stream = self.legacy.streams().open(peer, SERVICE).await.map_err(unreachable)?.compat();
        let first = match self.doubts(&node) {
            true => probe(&mut stream).await.map_err(|error| {
                self.doubt(node);
                unreachable(error)
            })?,
            false => Vec::new(),
        };
        let (near, mut far) = TunnelStream::pair();
        let (this, stop, trace) = (self.clone(), self.stop.child_token(), header.trace);
        self.tunnels.spawn(async move {
            let mut stream = Held::new(stream, first);
            let carried = splice(&mut stream, &mut far, IDLE, &stop).await;
            if !stream.has_received() {
                this.doubt(node);
            }
            tracing::debug!(worker = node.short(), %trace, up = carried.down, down = carried.up, end = %carried.end, "legacy tunnel ended");
        });
        Ok(Tunnel { stream: near, load: Load::default() })
    }

    /// Returns once all tunnels have ended.
    pub(super) async fn ended(&self) {
        self.tunnels.close();
        self.tunnels.wait().await;
    }

    fn doubts(&self, node: &NodeId) -> bool {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_doubted = doubts.get(node).is_some_and(|since| since.elapsed() < DOUBTED);
        if !is_doubted {
            doubts.remove(node);
        }
        is_doubted || self.began.elapsed() < NEWCOMER
    }

    fn doubt(&self, node: NodeId) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        if doubts.len() >= DOUBTS {
            doubts.clear();
        }
        doubts.insert(node, Instant::now());
    }
}

/// Waits for the stream's end, or for bytes, and returns those.
async fn probe(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut first = vec![0; FIRST];
    match timeout(PROBATION, stream.read(&mut first)).await {
        Ok(Ok(0)) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "it ended the stream at once")),
        Ok(Ok(count)) => {
            first.truncate(count);
            Ok(first)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}
