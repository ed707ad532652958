//! Joining a network, and talking to its members.
//!
//! This is the only module that names libp2p's swarm. It finds nodes (bootstrap peers, mDNS, the DHT, addresses out of
//! the ledger), dials them for as long as it takes, admits those that prove the token, and offers three things to the
//! layers above: gossip frames, streams by protocol, and a snapshot of who is connected.
//!
//! ```text
//! Net ──commands──▶ actor (owns the swarm) ──▶ watch: Peers, addresses
//!  └─ streams() ─────▶ the connection's own task       ├──▶ gossip frames (bounded; dropped and counted when full)
//!                                                      └──▶ inbound streams, a queue per protocol
//! ```
//!
//! **Invariant.** Nothing but admission is spoken with a peer that has not proved the token, except Kademlia and identify
//! with servers of a DHT that this node dialled itself.

mod actor;
mod address_list;
mod admission;
mod bars;
mod behaviour;
mod complaint;
mod connections;
mod dht;
mod dialback;
mod dialer;
mod door;
mod evidence;
pub mod facts;
mod gate;
mod legacy;
mod listen;
mod mapping;
pub mod mdns;
mod mesh;
mod meter;
mod mtu;
mod neighbours;
mod observed;
mod open_relay;
mod path;
mod peers;
mod ping;
mod providers;
mod punch;
mod reachability;
mod relay;
mod rendezvous;
mod renewals;
mod reservations;
mod round_trip;
mod streams;
mod topics;
mod transport;
mod upgrades;
mod ways;

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use admission::{Admission, Keyring, Secret, Standing};
pub use admission::{Denial, Error as AdmissionError, Guests};
pub use bars::{Bar, Refused};
pub use door::KNOCK;
use facts::Facts;
pub use legacy::{Legacy, LegacyArrivals, PUBSUB, SERVICE};
use libp2p::{Multiaddr, PeerId, StreamProtocol, gossipsub};
pub use listen::is_lan;
pub use meter::{Meter, Traffic, Volume};
pub use mtu::path_mtu;
pub use open_relay::OpenRelay;
pub use path::Path;
pub use peers::{Peer, Peers, node_of, peer_of};
pub use relay::{Limits as RelayLimits, Relaying};
pub use streams::{Inbound, Stream, Streams};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;
pub use transport::{Kind as Transport, Transports, UnknownTransport, WebSocket};

use crate::{identity::Identity, ledger::NodeId, token::Token};

/// Tunnels to a worker.
pub const TUNNEL: StreamProtocol = StreamProtocol::new("/p2p-fed/tunnel/1");

/// Reconciliation of two ledgers.
pub const SYNC: StreamProtocol = StreamProtocol::new("/p2p-fed/sync/1");

/// Tickets for direct connections.
pub const DIRECT: StreamProtocol = StreamProtocol::new("/p2p-fed/direct/1");

/// Gossip frames waiting for the ledger. 256 frames of at most 48 KiB bound this to 12 MiB; when it is full the newest is
/// dropped and counted, and the next sync repairs the loss.
const GOSSIP_QUEUE: usize = 256;

/// Commands waiting for the actor. Local work: whoever sends one waits.
const COMMANDS: usize = 64;

/// How a node joins.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is listened on and dialled by.
    pub transports: Transports,
    /// How WebSocket is secured.
    pub websocket: WebSocket,
    /// Where to listen. Empty: TCP and QUIC on a free port, on all IPv4 and IPv6 addresses.
    pub listen: Vec<Multiaddr>,
    /// Addresses to tell others instead of the ones bound, where a port was forwarded. Empty: those bound.
    pub announce: Vec<Multiaddr>,
    /// Bootstrap peers, with or without `/p2p/ID`: members, or servers of a DHT.
    pub peers: Vec<Multiaddr>,
    /// Relays to be reachable by, each with `/p2p/ID` at the end; further ones are found among the members.
    pub relays: Vec<Multiaddr>,
    /// When this node is a relay for other members.
    pub relaying: Relaying,
    /// What it gives as one.
    pub relay_limits: RelayLimits,
    /// Ask the router for a port, where the node has a private address.
    pub port_mapping: bool,
    /// Look for members by mDNS.
    pub mdns: bool,
    /// Look for members in a DHT.
    pub dht: Dht,
    /// Dial and announce loopback and private addresses alone.
    pub lan: bool,
    /// UDP port of mDNS; 5353 but in tests, which must not hear each other.
    pub mdns_port: u16,
    /// Added to the machine's clock where windows are concerned; zero but in tests, whose nodes share one clock.
    pub clock_ahead: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transports: Transports::default(),
            websocket: WebSocket::default(),
            listen: Vec::new(),
            announce: Vec::new(),
            peers: Vec::new(),
            relays: Vec::new(),
            relaying: Relaying::default(),
            relay_limits: RelayLimits::default(),
            port_mapping: true,
            mdns: true,
            dht: Dht::Public,
            lan: false,
            mdns_port: 5353,
            clock_ahead: Duration::ZERO,
        }
    }
}

/// Which DHT serves as a meeting place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dht {
    /// None.
    Off,
    /// The public one (Amino), as a client, together with the bootstrap peers.
    Public,
    /// One that the members serve among themselves, reached through the bootstrap peers.
    Private,
}

/// Why a node cannot join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address given by the user could not be bound.
    #[error("cannot listen on {address}: {source}; choose another --listen-addr, or stop what uses it")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No default address could be bound.
    #[error("cannot listen on any address: {0}")]
    ListenNowhere(String),
    /// TLS or gossip could not be set up.
    #[error("cannot set up the network: {0}")]
    Setup(#[from] io::Error),
    /// mDNS could not be started on any interface.
    #[error("cannot start mDNS: {0}; --no-mdns does without it")]
    Mdns(#[from] mdns::Error),
}

/// A record on its way through the network.
#[derive(Debug)]
pub struct Frame {
    /// Who passed it on.
    pub from: NodeId,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// To be given back with the verdict.
    pub receipt: Receipt,
}

/// Names a frame that gossip waits to pass on.
#[derive(Debug)]
pub struct Receipt {
    message: gossipsub::MessageId,
    source: PeerId,
    topic: gossipsub::TopicHash,
    size: usize,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Pass it on.
    Accept,
    /// Drop it; nobody is to blame.
    Ignore,
    /// Drop it; whoever passed it on is to blame.
    Reject,
}

/// A handle to the network. Clones share.
#[derive(Clone, Debug)]
pub struct Net {
    node: NodeId,
    commands: mpsc::Sender<Command>,
    streams: Streams,
    peers: watch::Receiver<Arc<Peers>>,
    addresses: watch::Receiver<Vec<Multiaddr>>,
    admission: Admission,
    keyring: Keyring,
    refused: watch::Receiver<Arc<Refused>>,
    transports: Transports,
    meter: Meter,
    legacy: Option<Legacy>,
}

/// What arrives from other members. Each queue has one reader.
#[derive(Debug)]
pub struct Arrivals {
    /// Gossip.
    pub frames: mpsc::Receiver<Frame>,
    /// Streams of [`TUNNEL`].
    pub tunnels: mpsc::Receiver<Inbound>,
    /// Streams of [`SYNC`].
    pub syncs: mpsc::Receiver<Inbound>,
    /// Streams of [`DIRECT`].
    pub directs: mpsc::Receiver<Inbound>,
    /// Fresh connections whose first byte is [`KNOCK`]. Nothing of them was read, and who they come from is not known.
    pub knocks: mpsc::Receiver<TcpStream>,
    /// Streams of edgevpn's protocols, in a compat network.
    pub legacy: Option<LegacyArrivals>,
}

#[derive(Debug)]
enum Command {
    Publish(Vec<u8>),
    Judge(Receipt, Acceptance),
    List { listed: Vec<(PeerId, Vec<Multiaddr>)>, gone: Vec<PeerId> },
    Want(BTreeSet<PeerId>),
    Keep(BTreeSet<PeerId>),
    Disconnect(PeerId),
    Bar { node: NodeId, length: Duration, why: String },
    Ban(BTreeSet<NodeId>),
    Tell(oneshot::Sender<Facts>),
}

impl Net {
    /// Binds the listeners. In a network with an issuer, `guests` says who this node is to it. The future is the network's task: nobody is dialled before it runs, and it ends after `cancel`,
    /// when all connections are closed.
    ///
    /// # Errors
    /// [`Error`], before any packet is sent.
    pub async fn bind(
        config: Config,
        identity: &Identity,
        token: Arc<Token>,
        guests: Option<Guests>,
        cancel: CancellationToken,
    ) -> Result<(Self, Arrivals, impl Future<Output = ()> + Send + use<>), Error> {
        let transports = config.transports.clone();
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (frames, arriving) = mpsc::channel(GOSSIP_QUEUE);
        let built = actor::Actor::bind(config, identity, token, guests, frames, queue, cancel.clone()).await?;
        let (legacy, legacy_arrivals) = built.legacy.unzip();
        let net = Self {
            node: identity.node_id(),
            commands,
            streams: built.streams,
            peers: built.peers,
            addresses: built.addresses,
            admission: built.admission.clone(),
            keyring: built.keyring,
            refused: built.refused,
            transports,
            meter: built.meter,
            legacy,
        };
        let renewals = renewals::hear(built.renewals, built.admission, cancel.clone());
        let round_trips = round_trip::answer(built.round_trips, cancel);
        let arrivals = Arrivals {
            frames: arriving,
            tunnels: built.tunnels,
            syncs: built.syncs,
            directs: built.directs,
            knocks: built.knocks,
            legacy: legacy_arrivals,
        };
        let (network, punching) = (built.actor.run(), built.punching);
        Ok((net, arrivals, async move {
            tokio::join!(network, renewals, round_trips, punching);
        }))
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether this node uses `transport`.
    pub fn speaks(&self, transport: Transport) -> bool {
        self.transports.has(transport)
    }

    /// Who is connected; changes with each connection made, lost or fallen silent.
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.clone()
    }

    /// Where this node can be dialled, without `/p2p/ID`.
    pub fn addresses(&self) -> watch::Receiver<Vec<Multiaddr>> {
        self.addresses.clone()
    }

    /// Whom this node refuses, and why.
    pub fn refused(&self) -> watch::Receiver<Arc<Refused>> {
        self.refused.clone()
    }

    /// What the network has cost until now.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Opens streams to members.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The connections with nodes of edgevpn, in a compat network.
    pub fn legacy(&self) -> Option<&Legacy> {
        self.legacy.as_ref()
    }

    /// Whether `node`, a member, may open tunnels here: in an open network all may.
    pub fn may_serve(&self, node: &NodeId) -> bool {
        self.admission.guests().is_none_or(|guests| guests.granted(node).is_some_and(|grant| grant.may_serve()))
    }

    /// The newest generation of the network that this node has the secret of.
    pub fn generation(&self) -> u32 {
        self.keyring.generation()
    }

    /// The generation that `node`, a connected member, proved last.
    pub fn generation_of(&self, node: &NodeId) -> Option<u32> {
        match self.admission.standing(&peer_of(node)?) {
            Standing::Member { generation, .. } => Some(generation),
            Standing::Legacy | Standing::Stranger => None,
        }
    }

    /// Goes on with the generation of `token`, if that is newer. Members of the one before are admitted until then.
    pub fn advance(&self, token: &Token, older_until: Instant) {
        self.keyring.advance(Secret::of(token), older_until);
    }

    /// Proves the newest generation to a connected member, which does the same.
    ///
    /// # Errors
    /// Where the peer is not connected, has not moved on itself, or does not answer.
    pub async fn renew(&self, node: &NodeId) -> Result<(), AdmissionError> {
        let peer = peer_of(node).ok_or(AdmissionError::NotAMember)?;
        let stream = self.streams.open(peer, renewals::RENEW).await?;
        self.admission.renew(peer, stream).await
    }

    /// What this node has found out about the network; none where it is stopping.
    pub async fn facts(&self) -> Option<Facts> {
        let (tell, told) = oneshot::channel();
        self.send(Command::Tell(tell)).await;
        told.await.ok()
    }

    /// A round trip to a connected member, on the way that the next stream takes.
    ///
    /// # Errors
    /// It is not connected, is of a version that does not answer, was asked too often, or the connection broke. The caller
    /// bounds the wait, and may drop it at any time.
    pub async fn round_trip(&self, node: &NodeId) -> io::Result<Duration> {
        let peer = peer_of(node).ok_or(io::ErrorKind::NotConnected)?;
        round_trip::ask(&self.streams, peer).await
    }

    /// Sends a record to all members, as far as gossip reaches now.
    pub async fn publish(&self, bytes: Vec<u8>) {
        self.send(Command::Publish(bytes)).await;
    }

    /// Says what becomes of a frame.
    pub async fn judge(&self, receipt: Receipt, acceptance: Acceptance) {
        self.send(Command::Judge(receipt, acceptance)).await;
    }

    /// Members that the ledger lists newly or with other addresses, and those that it lists no more. A small network's are
    /// all dialled, some of a large one's.
    pub async fn list(
        &self,
        listed: impl IntoIterator<Item = (NodeId, Vec<String>)>,
        gone: impl IntoIterator<Item = NodeId>,
    ) {
        let listed = listed.into_iter().filter_map(|(node, addresses)| {
            // An address that this version cannot read is one of a transport that it does not speak.
            Some((peer_of(&node)?, addresses.iter().filter_map(|text| text.parse().ok()).collect()))
        });
        let gone = gone.into_iter().filter_map(|node| peer_of(&node));
        self.send(Command::List { listed: listed.collect(), gone: gone.collect() }).await;
    }

    /// The members that this node has use for: however large the network, they are dialled and kept, and it is looked often
    /// whether they live, until the next call, which replaces them as a whole.
    pub async fn want(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let wanted = nodes.into_iter().filter_map(|node| peer_of(&node));
        self.send(Command::Want(wanted.collect())).await;
    }

    /// The members that may have use for this node and cannot dial it: they are dialled and kept likewise, but not watched.
    pub async fn keep(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let kept = nodes.into_iter().filter_map(|node| peer_of(&node));
        self.send(Command::Keep(kept.collect())).await;
    }

    /// Closes all connections to `node`.
    pub async fn disconnect(&self, node: NodeId) {
        if let Some(peer) = peer_of(&node) {
            self.send(Command::Disconnect(peer)).await;
        }
    }

    /// Refuses `node` for `length`: closes all connections to it, lets none in, and dials it no more until then. `why` is
    /// for people.
    pub async fn bar(&self, node: NodeId, length: Duration, why: impl Into<String>) {
        self.send(Command::Bar { node, length, why: why.into() }).await;
    }

    /// Refuses `nodes` likewise until the next call, which replaces them as a whole.
    pub async fn ban(&self, nodes: BTreeSet<NodeId>) {
        self.send(Command::Ban(nodes)).await;
    }

    /// A closed queue means that the node is stopping, and nothing is left to be done.
    async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
