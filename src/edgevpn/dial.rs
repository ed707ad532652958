//! Tunnels to services that nodes of edgevpn expose.
//!
//! Their streams are the bytes of the service from the first to the last: nobody says which service is meant, and nobody
//! says that it was accepted. A worker that does not know this node as a user, or whose backend is down, ends the stream. So a
//! front is told that a tunnel is open when the stream is; but of a worker that has not answered yet, or did not answer the last
//! time, it is waited a little for that end first, so that another one can be tried before the client's bytes have left.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken, task::TaskTracker};

use super::held::Held;
use crate::{
    ledger::NodeId,
    net::{Legacy, SERVICE, peer_of},
    tunnel::{Class, DialError, Header, Load, Refusal, Tunnel, TunnelStream, splice},
};

/// Without trust, how long it is waited for the end of a stream that was just opened.
const PROBATION: Duration = Duration::from_millis(400);

/// Streams that are tried of a worker that is not trusted.
const TRIES: u32 = 3;

/// Workers that are trusted, because the last stream to them brought an answer. Beyond, all are forgotten, which costs each of
/// them one [`PROBATION`].
const TRUSTED: usize = 1024;

/// Bytes of a worker that speaks first, taken while it is on probation.
const FIRST: usize = 4096;

/// A tunnel in which nothing moved for so long is ended. Fronts have shorter limits of their own.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Opens the tunnels. Clones share.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    legacy: Legacy,
    trusted: Arc<Mutex<HashSet<NodeId>>>,
    tunnels: TaskTracker,
    stop: CancellationToken,
}

impl Dialler {
    pub(super) fn new(legacy: Legacy, stop: CancellationToken) -> Self {
        Self { legacy, trusted: Arc::default(), tunnels: TaskTracker::new(), stop }
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
        let mut tries = if self.trusts(&node) { 0 } else { TRIES };
        let (stream, first) = loop {
            let mut stream = self.legacy.streams().open(peer, SERVICE).await.map_err(unreachable)?.compat();
            if tries == 0 {
                break (stream, Vec::new());
            }
            tries -= 1;
            match probe(&mut stream).await {
                Ok(first) => break (stream, first),
                Err(error) if tries == 0 => return Err(unreachable(error)),
                // It may have lost this node's word just now, as two blocks met; that is repaired in a moment.
                Err(_) => sleep(PROBATION).await,
            }
        };
        let (near, mut far) = TunnelStream::pair();
        let (this, stop, trace) = (self.clone(), self.stop.child_token(), header.trace);
        self.tunnels.spawn(async move {
            let trusting = this.clone();
            let mut stream = Held::new(stream, first, move || trusting.learn(node, true));
            let carried = splice(&mut stream, &mut far, IDLE, &stop).await;
            // One that nothing was asked on says nothing: fronts keep some ready.
            if carried.down > 0 && !stream.has_received() {
                this.learn(node, false);
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

    fn trusts(&self, node: &NodeId) -> bool {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    /// `node` has answered on a stream, or has not.
    fn learn(&self, node: NodeId, answered: bool) {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if !answered {
            trusted.remove(&node);
        } else if trusted.len() < TRUSTED {
            trusted.insert(node);
        } else if !trusted.contains(&node) {
            trusted.clear();
        }
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
