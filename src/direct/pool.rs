//! The front's side: warm connections to workers, and the tasks that make them.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rustix::process::{Resource, getrlimit};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken, task::TaskTracker};

use super::{
    address,
    certificate::Certificate,
    pass::Pass,
    reach::{Had, Reach},
    stream::TlsStream,
    ticket::Ticket,
};
use crate::{
    ledger::NodeId,
    net::{DIRECT, Net, Path, Transport, peer_of},
    tunnel::{Leftover, Line},
};

/// How long a client waits for a connection before it takes another carrier. A LAN makes one in a millisecond; together
/// with what follows it stays well below a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// Making a connection, asking for a ticket included. Longer than anyone waits: on a long way the next client profits.
const MAKE_LIMIT: Duration = Duration::from_secs(3);

/// A worker that was heard on a connection so recently is taken to be there. One whose machine lost its power in between
/// costs the clients of that moment their connections, as it does those whose tunnels were already open.
const FRESH: Duration = Duration::from_secs(1);

/// Bounds of the number of connections in all, where the system's limit on files is unusual.
const FEWEST: usize = 64;
const MOST: usize = 16_384;

/// How often connections at rest are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// A worker that is no member any more and does not come back within this loses its connections. It may have been frozen,
/// when TCP alone would wait for ever; a connection of libp2p's that was merely replaced is back sooner.
const GRACE: Duration = Duration::from_secs(2);

/// Warm connections to workers. Clones share.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    net: Net,
    certificate: Arc<Certificate>,
    /// Held for a few operations per tunnel, never across an `.await`.
    reaches: Mutex<HashMap<NodeId, Reach>>,
    made_total: AtomicU64,
    /// A place for each connection, at rest or not.
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A line to a worker.
pub struct Lent {
    /// To open a tunnel on.
    pub line: Line,
    /// It has rested before: the worker may have closed it in this very moment, which says nothing about the worker.
    pub has_rested: bool,
    /// The worker was heard on it a moment ago.
    pub is_fresh: bool,
}

impl Pool {
    pub(super) fn new(net: Net, certificate: Arc<Certificate>, stop: CancellationToken) -> Self {
        let tasks = TaskTracker::new();
        tasks.close();
        Self {
            shared: Arc::new(Shared {
                net,
                certificate,
                reaches: Mutex::default(),
                made_total: AtomicU64::new(0),
                places: Arc::new(Semaphore::new(most())),
                tasks,
                stop,
            }),
        }
    }

    /// A line to `node`, or none within half a second: it does not speak this, cannot be dialled, or did not answer.
    pub async fn line(&self, node: NodeId) -> Option<Lent> {
        let had = {
            let mut reaches = self.shared.reaches();
            if !self.shared.is_reachable(node) {
                return None;
            }
            let reach = reaches.entry(node).or_default();
            let had = reach.take(Instant::now());
            self.shared.make(node, reach);
            had
        };
        let (stream, has_rested, is_fresh) = match had {
            Had::Now(stream, rested) => (stream, true, rested < FRESH),
            Had::Soon(soon) => (timeout(PATIENCE, soon).await.ok()?.ok()?, false, true),
            Had::Not => return None,
        };
        let shared = Arc::clone(&self.shared);
        let line = Line::lent(stream, Box::new(move |leftover| shared.take_back(node, leftover)));
        Some(Lent { line, has_rested, is_fresh })
    }

    /// Makes a first connection to `node` before it is needed.
    pub fn warm(&self, node: NodeId) {
        if !self.shared.is_reachable(node) {
            return;
        }
        let mut reaches = self.shared.reaches();
        self.shared.make(node, reaches.entry(node).or_default());
    }

    /// Whether tunnels to `node` go over direct connections at present.
    pub fn is_direct(&self, node: NodeId) -> bool {
        self.shared.reaches().get(&node).is_some_and(Reach::is_open)
    }

    /// Connections made so far, to all workers.
    pub fn made_total(&self) -> u64 {
        self.shared.made_total.load(Ordering::Relaxed)
    }

    /// Keeps the pool: closes what rests too long, and what leads to members that are gone. Ends after `stop`, with every
    /// connection closed.
    pub(super) async fn keep(&self) {
        let mut peers = self.shared.net.peers();
        let mut missing: HashMap<NodeId, Instant> = HashMap::new();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            let connected = peers.borrow_and_update().clone();
            {
                let mut reaches = self.shared.reaches();
                missing.retain(|node, _| !connected.connected.contains_key(node) && reaches.contains_key(node));
                for node in reaches.keys().filter(|node| !connected.connected.contains_key(node)) {
                    missing.entry(*node).or_insert(now);
                }
                for (node, _) in missing.iter().filter(|(_, since)| now.saturating_duration_since(**since) >= GRACE) {
                    if let Some(mut gone) = reaches.remove(node) {
                        gone.cut();
                    }
                }
            }
            let due = missing.values().min().map(|since| *since + GRACE);
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => break,
                Ok(()) = peers.changed() => {}
                _ = sweep.tick() => {
                    let now = Instant::now();
                    self.shared.reaches().values_mut().for_each(|reach| reach.sweep(now));
                }
                () = sleep_until(due) => {}
                else => {
                    self.shared.stop.cancelled().await;
                    break;
                }
            }
        }
        self.shared.reaches().drain().for_each(|(_, mut reach)| reach.cut());
        self.shared.tasks.wait().await;
    }
}

/// Connections in all at most: a quarter of the files that the process may open, since each has a client's socket beside
/// it, and a node has other uses for some. Beyond, tunnels share the libp2p connection.
fn most() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(FEWEST, MOST)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Shared {
    fn reaches(&self) -> MutexGuard<'_, HashMap<NodeId, Reach>> {
        self.reaches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was dialled at an address, or dialled this node. To dial one behind a NAT is a waste of half a second.
    fn is_reachable(&self, node: NodeId) -> bool {
        self.net.speaks(Transport::Tcp)
            && self.net.peers().borrow().connected.get(&node).is_none_or(|peer| peer.path == Path::Direct)
    }

    /// Starts as many connections as `reach` wants.
    fn make(self: &Arc<Self>, node: NodeId, reach: &mut Reach) {
        if self.stop.is_cancelled() {
            return;
        }
        for _ in 0..reach.begin(Instant::now()) {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                reach.forgone();
                continue;
            };
            let shared = Arc::clone(self);
            self.tasks.spawn(async move {
                let made = tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => return,
                    made = timeout(MAKE_LIMIT, shared.connect(node)) => made,
                };
                let made = made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                shared.made(
                    node,
                    made.map(|mut stream| {
                        stream.take_place(place);
                        stream
                    }),
                );
            });
        }
    }

    async fn connect(&self, node: NodeId) -> io::Result<TlsStream> {
        let known = self.reaches().get(&node).and_then(|reach| reach.pass.clone());
        let pass = match known {
            Some(pass) => pass,
            None => {
                let pass = Arc::new(self.ask(node).await?);
                if let Some(reach) = self.reaches().get_mut(&node) {
                    reach.pass = Some(Arc::clone(&pass));
                }
                pass
            }
        };
        pass.connect().await
    }

    /// Asks the worker for a ticket.
    async fn ask(&self, node: NodeId) -> io::Result<Pass> {
        let no_key = || io::Error::new(io::ErrorKind::InvalidInput, "its id is no key");
        let peer: PeerId = peer_of(&node).ok_or_else(no_key)?;
        let stream = self.net.streams().open(peer, DIRECT).await?;
        let ticket = Ticket::ask(stream.compat(), &self.certificate.fingerprint()).await?;
        let connected = self.net.peers().borrow().connected.get(&node).cloned();
        let member = connected.ok_or(io::ErrorKind::NotConnected)?;
        let dialled = member.dialled.then_some(&member.address);
        let addresses = address::candidates(dialled, &ticket.addresses, &member.address).await;
        Pass::new(Instant::now(), ticket, &self.certificate, addresses).map_err(io::Error::other)
    }

    fn made(self: &Arc<Self>, node: NodeId, made: io::Result<TlsStream>) {
        let now = Instant::now();
        let mut reaches = self.reaches();
        // Gone meanwhile: the connection is dropped.
        let Some(reach) = reaches.get_mut(&node) else { return };
        match made {
            Ok(stream) => {
                tracing::debug!(node = node.short(), resumed = stream.is_resumed, "direct connection made");
                self.made_total.fetch_add(1, Ordering::Relaxed);
                reach.made(now, Box::new(stream));
                self.make(node, reach);
            }
            Err(error) => {
                tracing::debug!(node = node.short(), %error, "no direct connection");
                reach.failed(now);
            }
        }
    }

    /// The end of a tunnel.
    fn take_back(self: Arc<Self>, node: NodeId, leftover: Leftover) {
        match leftover.clean() {
            Ok(carrier) => self.rest(node, carrier),
            Err(leftover) if !self.stop.is_cancelled() => {
                let shared = Arc::clone(&self);
                self.tasks.spawn(async move {
                    let stop = shared.stop.clone();
                    if let Some(Some(carrier)) = stop.run_until_cancelled(leftover.settle()).await {
                        shared.rest(node, carrier);
                    }
                });
            }
            Err(_) => {}
        }
    }

    fn rest(&self, node: NodeId, carrier: Box<dyn crate::tunnel::Carrier>) {
        if let (Ok(stream), Some(reach)) = (carrier.into_any().downcast(), self.reaches().get_mut(&node)) {
            reach.rest(Instant::now(), stream);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("has_rested", &self.has_rested).finish_non_exhaustive()
    }
}
