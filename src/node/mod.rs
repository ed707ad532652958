//! The composition root: one node, from its configuration to its last log line.
//!
//! [`Node::start`] builds everything from the bottom up and binds eagerly, so that whatever can be refused is refused
//! before a packet is sent. Stopping is the reverse, under one deadline ([`Node::drain`]): not ready, fronts stop
//! accepting, the record says *draining*, what is in flight ends, the record says *leaving*, tunnels are cut, the network
//! is closed.
//!
//! **Invariant.** Every task is in one set. If one ends before it was told to, the node has failed ([`Node::failed`]): a
//! half-dead node is worse than a dead one.

mod checkup;
mod company;
mod error;
mod explain;
mod front;
mod guest;
mod membership;
mod path;
mod ping;
mod report;
mod speaker;

use std::{
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use error::Error;
pub use front::Front;
use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc, watch},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use guest::Guest;
use membership::Membership;

use crate::{
    api,
    direct::{self, Direct},
    edgevpn::{self, Edgevpn},
    gossip::Gossip,
    identity::{KeyFile, NodeName, RuntimeDir, StateDir},
    ledger::{self, IssuerKey, NetworkId, NodeId, View},
    net::{self, Inbound, Net, Peers, node_of, peer_of},
    token::Token,
    tunnel::{Line, Refusal},
    worker::{self, Export, Worker},
};

/// Between the moment that a node says *leaving* and the one when it closes its connections: gossip is sent by another
/// task, and one hop of it is a fraction of this.
const FAREWELL: Duration = Duration::from_millis(200);

/// Everything that a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name on this host. None: the host's name, made unique among the nodes here.
    pub name: Option<NodeName>,
    /// Where state lies. None: the XDG state folder.
    pub state_dir: Option<PathBuf>,
    /// Where the control socket lies. None: the runtime folder of this user.
    pub runtime_dir: Option<PathBuf>,
    /// Where the identity lies. None: in the state folder.
    pub identity: Option<PathBuf>,
    /// How it joins.
    pub net: net::Config,
    /// What it offers.
    pub exports: Vec<Export>,
    /// What it balances.
    pub fronts: Vec<Front>,
    /// How it takes part in edgevpn's ledger, in a compat network.
    pub edgevpn: edgevpn::Config,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything in flight came to its own end.
    Drained,
    /// The deadline passed; this many were cut off.
    CutOff {
        /// Connections, requests and tunnels.
        connections: usize,
    },
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    socket: PathBuf,
    /// Held for its locks.
    _key_file: Option<KeyFile>,
    /// Who waits for a failure waits for this set; taken by [`Node::stop`].
    tasks: Mutex<JoinSet<&'static str>>,
    network_stop: CancellationToken,
    work_stop: CancellationToken,
    farewell: speaker::Farewell,
    /// Dropping a node ends its tasks without a farewell, as a crash would.
    _guards: (DropGuard, DropGuard),
}

/// What reports and tasks read.
#[derive(Debug)]
struct Shared {
    started: Instant,
    name: NodeName,
    network: String,
    network_id: NetworkId,
    issuer: Option<IssuerKey>,
    /// As it was when the node started, or was moved to before.
    token: Arc<Token>,
    net: Net,
    gossip: Gossip,
    seen: Seen,
    edgevpn: Option<Edgevpn>,
    worker: Worker,
    direct: direct::Pool,
    fronts: Vec<front::Running>,
    /// Who this node is to the network's issuer, if there is one.
    guest: Option<Guest>,
    draining: AtomicBool,
    _state: Arc<StateDir>,
}

/// Who is there and who is connected, as fronts and reports see it: the members, and in a compat network nodes of edgevpn's.
#[derive(Clone, Debug)]
struct Seen {
    views: watch::Receiver<Arc<View>>,
    peers: watch::Receiver<Arc<Peers>>,
}

impl Seen {
    fn new(net: &Net, gossip: &Gossip, edgevpn: Option<&Edgevpn>) -> Self {
        match edgevpn {
            Some(edgevpn) => Self { views: edgevpn.views(), peers: edgevpn.peers() },
            None => Self { views: gossip.views(), peers: net.peers() },
        }
    }
}

impl Node {
    /// Starts a node: identity, listeners of its fronts, control socket, exports, and then the network.
    ///
    /// # Errors
    /// [`Error`], before any packet is sent; nothing is left behind but the identity.
    pub async fn start(config: Config, token: Token) -> Result<Self, Error> {
        let runtime = match &config.runtime_dir {
            Some(path) => RuntimeDir::at(path)?,
            None => RuntimeDir::open()?,
        };
        let base = config.state_dir.map_or_else(StateDir::usual_base, Ok)?;
        let vary = config.name.is_none();
        let name = config.name.unwrap_or_else(NodeName::of_host);
        let state = Arc::new(StateDir::claim(&base, &runtime, &token.short_id(), &name, vary)?);
        let key_file = config.identity.as_deref().map(KeyFile::claim).transpose()?;
        let identity = match &key_file {
            Some(file) => file.identity()?,
            None => state.identity()?,
        };

        let token = Arc::new(Membership::newest(token, &state));
        let guest = Guest::of(&token, &identity)?;
        guest.iter().try_for_each(|guest| guest.check(&config.exports, &config.fronts))?;
        let relaying = guest.as_ref().map_or(Ok(config.net.relaying), |guest| guest.relays(config.net.relaying))?;
        let net_config = net::Config { relaying, ..config.net };
        let clock_ahead = net_config.clock_ahead;

        let (network_stop, work_stop) = (CancellationToken::new(), CancellationToken::new());
        // Whatever fails below takes down what was started above it, and so does dropping the node.
        let guards = (network_stop.clone().drop_guard(), work_stop.clone().drop_guard());
        let mut tasks = JoinSet::new();

        let worker_config = worker::Config { exports: config.exports, ..worker::Config::default() };
        let worker = Worker::spawn(worker_config, work_stop.clone())?;
        let socket = runtime.socket(state.name());

        let guests = guest.as_ref().map(|guest| guest.guests(&token, &state));
        let (net, arrivals, network) =
            Net::bind(net_config, &identity, Arc::clone(&token), guests.clone(), network_stop.clone()).await?;
        let ledger =
            ledger::Config { issuer: token.issuer(), ..ledger::Config::new(token.network_id(), token.generation()) };
        let (gossip, ledger_task) = Gossip::new(
            ledger,
            &identity,
            guest.as_ref().map(|guest| guest.credential().clone()),
            Arc::clone(&state),
            net.clone(),
            arrivals.frames,
            arrivals.syncs,
            network_stop.clone(),
        );
        let direct = Direct::new(net.clone(), network_stop.clone()).map_err(net::Error::Setup)?;
        let parts = edgevpn::Parts {
            config: &config.edgevpn,
            host: state.name().to_string(),
            has_front: !config.fronts.is_empty(),
            identity: &identity,
            token: &token,
            net: &net,
            gossip: &gossip,
            worker: &worker,
            clock_ahead,
        };
        let (edgevpn, speaking) = Edgevpn::new(parts, arrivals.legacy, &network_stop).unzip();
        if let Some(speaking) = speaking {
            let speaking = Box::pin(speaking);
            tasks.spawn(async {
                speaking.await;
                "edgevpn"
            });
        }
        let seen = Seen::new(&net, &gossip, edgevpn.as_ref());
        let path = Arc::new(path::Path {
            net: net.clone(),
            direct: direct.pool().clone(),
            worker: worker.clone(),
            edgevpn: edgevpn.clone(),
        });
        let mut fronts = Vec::new();
        for front in config.fronts {
            let path = Arc::clone(&path);
            fronts.push(front::Running::start(front, path, &seen, &mut tasks, &network_stop)?);
        }
        let tables = fronts.iter().map(front::Running::table).collect();
        tasks.spawn(company::keep(tables, worker.clone(), net.clone(), seen.clone(), network_stop.clone()));
        let network = Box::pin(network);
        tasks.spawn(async {
            network.await;
            "network"
        });
        tasks.spawn(async {
            ledger_task.await;
            "ledger"
        });
        if let Some(guests) = guests {
            let membership = Membership {
                net: net.clone(),
                gossip: gossip.clone(),
                guests,
                identity,
                state: Arc::clone(&state),
                token: Arc::clone(&token),
                stop: network_stop.clone(),
            };
            tasks.spawn(membership.follow());
        }
        tasks.spawn(accept_tunnels(arrivals.tunnels, net.clone(), worker.clone(), work_stop.clone()));
        let (keeping, pool) = (direct.keep(), direct.pool().clone());
        tasks.spawn(async {
            keeping.await;
            "direct connections"
        });
        let (asking, knocks) = (arrivals.directs, arrivals.knocks);
        tasks.spawn(accept_directly(direct, asking, knocks, net.clone(), worker.clone(), work_stop.clone()));
        let (speaker, farewell) =
            speaker::spawn(state.name().clone(), net.clone(), gossip.clone(), worker.clone(), network_stop.clone());
        tasks.spawn(speaker);

        let shared = Arc::new(Shared {
            started: Instant::now(),
            name: state.name().clone(),
            network: token.short_id(),
            network_id: token.network_id(),
            issuer: token.issuer(),
            token,
            net,
            gossip,
            seen,
            edgevpn,
            worker,
            direct: pool,
            fronts,
            guest,
            draining: AtomicBool::new(false),
            _state: state,
        });
        let server = api::bind(&socket, Arc::clone(&shared) as Arc<dyn api::Source>)?;
        let stop = network_stop.clone();
        tasks.spawn(async move {
            server.run(stop).await;
            "control socket"
        });
        Ok(Self {
            shared,
            socket,
            _key_file: key_file,
            tasks: Mutex::new(tasks),
            network_stop,
            work_stop,
            farewell,
            _guards: guards,
        })
    }

    /// Its name on this host.
    pub fn name(&self) -> &str {
        self.shared.name.as_str()
    }

    /// The network's short id.
    pub fn network(&self) -> &str {
        &self.shared.network
    }

    /// Its id in the network.
    pub fn id(&self) -> NodeId {
        self.shared.net.node()
    }

    /// Where it answers `status` and the like.
    pub fn control_socket(&self) -> &FilePath {
        &self.socket
    }

    /// Where it can be dialled, as others are given it: with `/p2p/ID`.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.shared.addresses()
    }

    /// Its listeners: service and bound address.
    pub fn fronts(&self) -> Vec<(String, std::net::SocketAddr)> {
        self.shared.fronts.iter().map(|front| (front.service().to_owned(), front.local_addr())).collect()
    }

    /// What `p2p-fed status` shows.
    pub fn status(&self) -> api::Status {
        api::Source::status(&*self.shared)
    }

    /// What `p2p-fed peers` shows.
    pub fn peers(&self) -> api::Peers {
        api::Source::peers(&*self.shared)
    }

    /// What `p2p-fed ledger` shows.
    pub fn ledger(&self) -> api::Ledger {
        api::Source::ledger(&*self.shared)
    }

    /// The ledger's snapshots.
    pub fn views(&self) -> watch::Receiver<Arc<ledger::View>> {
        self.shared.seen.views.clone()
    }

    /// Returns once a member is connected.
    pub async fn peer_connected(&self) {
        // An error means that the network has ended; whoever waits here learns so from `failed`.
        let _ = self.shared.seen.peers.clone().wait_for(|peers| !peers.connected.is_empty()).await;
    }

    /// Returns once every front has a worker to pick.
    pub async fn worker_available(&self) {
        for front in &self.shared.fronts {
            front.available().await;
        }
    }

    /// Returns when a task ended that should not have.
    pub async fn failed(&self) -> Error {
        match self.tasks.lock().await.join_next().await {
            Some(Ok(task)) => Error::TaskEnded(task),
            Some(Err(error)) => Error::TaskFailed(panic_of(error)),
            // The set is empty only once the node was stopped.
            None => std::future::pending().await,
        }
    }

    /// Offers these from now on. What is kept, by name, keeps its tunnels and counters.
    ///
    /// # Errors
    /// An export breaks a rule; everything stays as it was.
    pub fn replace_exports(&self, exports: Vec<Export>) -> Result<(), Error> {
        self.shared.guest.iter().try_for_each(|guest| guest.check(&exports, &[]))?;
        Ok(self.shared.worker.replace_exports(exports)?)
    }

    /// Takes no new work and waits for what is in flight, `deadline` at most. Dropping the future leaves the node draining.
    pub async fn drain(&self, deadline: Duration) -> End {
        self.shared.draining.store(true, Ordering::Release);
        let until = tokio::time::Instant::now() + deadline;
        self.shared.worker.drain();
        if let Some(edgevpn) = &self.shared.edgevpn {
            edgevpn.drain();
        }
        self.farewell.draining().await;
        let fronts = futures::future::join_all(self.shared.fronts.iter().map(|front| front.drain(deadline))).await;
        let mut connections: usize = fronts.into_iter().sum();
        if tokio::time::timeout_at(until, self.shared.worker.wait_idle()).await.is_err() {
            connections += self.shared.worker.in_flight();
        }
        match connections {
            0 => End::Drained,
            connections => End::CutOff { connections },
        }
    }

    /// Leaves the network and ends every task. What is still in flight is cut off.
    pub async fn stop(self) {
        self.shared.draining.store(true, Ordering::Release);
        if let Some(edgevpn) = &self.shared.edgevpn {
            edgevpn.leave();
        }
        self.farewell.leaving().await;
        tokio::time::sleep(FAREWELL).await;
        self.work_stop.cancel();
        self.shared.worker.shutdown().await;
        self.network_stop.cancel();
        let mut tasks = self.tasks.into_inner();
        while tasks.join_next().await.is_some() {}
    }
}

impl Shared {
    fn addresses(&self) -> Vec<Multiaddr> {
        let Some(peer) = peer_of(&self.net.node()) else { return Vec::new() };
        self.net.addresses().borrow().iter().map(|address| address.clone().with(Protocol::P2p(peer))).collect()
    }
}

/// Hands tunnels of other nodes to the worker; one task each, as many as the worker has room for.
async fn accept_tunnels(
    mut arriving: mpsc::Receiver<Inbound>,
    net: Net,
    worker: Worker,
    stop: CancellationToken,
) -> &'static str {
    use tokio_util::compat::FuturesAsyncReadCompatExt;
    let mut tunnels = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // The worker's own panics are the node's.
            Some(served) = tunnels.join_next() => {
                if let Err(error) = served
                    && let Ok(panic) = JoinError::try_into_panic(error)
                {
                    std::panic::resume_unwind(panic);
                }
            }
            inbound = arriving.recv() => {
                let Some(Inbound { peer, stream }) = inbound else { break };
                // Only members open streams, and members are Ed25519 nodes.
                let Some(from) = node_of(&peer) else { continue };
                let (net, worker) = (net.clone(), worker.clone());
                tunnels.spawn(async move { serve(&net, &worker, stream.compat(), from).await });
            }
        }
    }
    tunnels.shutdown().await;
    // The network may end first when the node stops; nothing arrives any more then.
    stop.cancelled().await;
    "tunnels"
}

/// Hands tunnels that came over direct connections to the worker.
async fn accept_directly(
    direct: Direct,
    asking: mpsc::Receiver<Inbound>,
    knocks: mpsc::Receiver<TcpStream>,
    net: Net,
    worker: Worker,
    stop: CancellationToken,
) -> &'static str {
    let serve = move |line: Line, from| {
        let (net, worker) = (net.clone(), worker.clone());
        async move { serve(&net, &worker, line, from).await }
    };
    if let Err(error) = direct.serve(knocks, asking, serve, stop.clone()).await {
        tracing::warn!(%error, "no direct connections are taken");
    }
    // The network may end first when the node stops; nothing arrives any more then.
    stop.cancelled().await;
    "direct tunnels"
}

/// One tunnel. Where nodes have roles, only fronts may open one.
async fn serve(net: &Net, worker: &Worker, line: impl Into<Line>, from: NodeId) {
    // How it ended is the worker's to log and count.
    if net.may_serve(&from) {
        let _ = worker.serve(line, from).await;
    } else {
        tracing::debug!(from = from.short(), "tunnel of a node without the role serve");
        let _ = worker.turn_away(line, Refusal::NotAllowed).await;
    }
}

fn panic_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panicked".to_owned()),
        Err(error) => error.to_string(),
    }
}
