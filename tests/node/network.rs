//! A network to test in: a token, and members and others that join it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, identify, kad, multiaddr::Protocol, swarm::NetworkBehaviour, swarm::SwarmEvent,
};
use p2p_fed::{
    identity::{Identity, StateDir},
    ledger::{self, NodeId, Record, Service, SignedRecord, Statement},
    net::{self, Arrivals, Config, Dht, Guests, Net, Transport},
    token::{Mint, Token},
    tunnel::{self, Class, Header, OpenError, Refusal, TraceId},
};
use tokio::task::JoinHandle;
use tokio_util::{
    compat::FuturesAsyncReadCompatExt,
    sync::{CancellationToken, DropGuard},
};

use crate::soon;

/// A node up to and without the ledger.
pub(crate) struct Member {
    pub(crate) net: Net,
    pub(crate) arrivals: Arrivals,
    pub(crate) id: NodeId,
    pub(crate) task: JoinHandle<()>,
    pub(crate) stop: DropGuard,
}

pub(crate) fn token() -> Arc<Token> {
    Arc::new(Token::mint(&Mint::default()).unwrap())
}

/// Loopback alone, found by nothing but `peers`.
pub(crate) fn quiet(peers: Vec<Multiaddr>) -> Config {
    Config {
        listen: ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"].map(|text| text.parse().unwrap()).to_vec(),
        peers,
        mdns: false,
        dht: Dht::Off,
        ..Config::default()
    }
}

/// The same, with one transport alone.
pub(crate) fn only(kind: Transport, peers: Vec<Multiaddr>) -> Config {
    let listen = match kind {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        Transport::WebSocket => "/ip4/127.0.0.1/tcp/0/ws",
    };
    Config { transports: [kind].into_iter().collect(), listen: vec![listen.parse().unwrap()], ..quiet(peers) }
}

impl Member {
    pub(crate) async fn join(token: &Arc<Token>, config: Config) -> Self {
        Self::join_as(&Identity::generate().unwrap(), token, config).await
    }

    pub(crate) async fn join_as(identity: &Identity, token: &Arc<Token>, config: Config) -> Self {
        let cancel = CancellationToken::new();
        let (net, arrivals, task) = Net::bind(config, identity, Arc::clone(token), None, cancel.clone()).await.unwrap();
        let task = tokio::spawn(task);
        Self { net, arrivals, id: identity.node_id(), task, stop: cancel.drop_guard() }
    }

    /// Its addresses as others are given them.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        let peer = net::peer_of(&self.id).unwrap();
        self.net.addresses().borrow().iter().map(|address| address.clone().with(Protocol::P2p(peer))).collect()
    }

    /// Those of one transport.
    pub(crate) fn addresses_over(&self, transport: &str) -> Vec<Multiaddr> {
        self.addresses().into_iter().filter(|address| address.to_string().contains(transport)).collect()
    }

    pub(crate) async fn meets(&self, other: NodeId) {
        let mut peers = self.net.peers();
        soon("a member to connect", peers.wait_for(|peers| peers.connected.contains_key(&other))).await.unwrap();
    }

    pub(crate) async fn loses(&self, other: NodeId) {
        let mut peers = self.net.peers();
        soon("a member to go", peers.wait_for(|peers| !peers.connected.contains_key(&other))).await.unwrap();
    }
}

/// A server of a DHT that knows nothing of p2p-fed: what a public one is to us.
pub(crate) struct DhtServer {
    pub(crate) address: Multiaddr,
    task: JoinHandle<()>,
}

#[derive(NetworkBehaviour)]
pub(crate) struct Served {
    identify: identify::Behaviour,
    kademlia: kad::Behaviour<kad::store::MemoryStore>,
}

impl DhtServer {
    pub(crate) async fn start() -> Self {
        let mut swarm = stranger();
        swarm.behaviour_mut().kademlia.set_mode(Some(kad::Mode::Server));
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let bound = soon("the DHT server to listen", async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    return address;
                }
            }
        });
        let address = bound.await.with(Protocol::P2p(*swarm.local_peer_id()));
        let task = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { address, task }
    }
}

impl Drop for DhtServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A libp2p node without the token, which speaks identify and Kademlia.
pub(crate) fn stranger() -> Swarm<Served> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(Default::default(), libp2p::noise::Config::new, libp2p::yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| Served {
            identify: identify::Behaviour::new(identify::Config::new("other/1".to_owned(), key.public())),
            kademlia: kad::Behaviour::new(
                key.public().to_peer_id(),
                kad::store::MemoryStore::new(key.public().to_peer_id()),
            ),
        })
        .unwrap()
        .build()
}

/// A guest of a network with an issuer, up to and without the ledger: it does what it likes.
pub(crate) struct Guesting {
    member: Member,
    identity: Identity,
    token: Arc<Token>,
}

impl Guesting {
    pub(crate) async fn join(token: &Token, config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = p2p_fed::identity::RuntimeDir::at(&folder.path().join("run")).unwrap();
        let state =
            StateDir::claim(&folder.path().join("state"), &runtime, &token.short_id(), &"liar".parse().unwrap(), false)
                .unwrap();
        let identity = Identity::generate().unwrap();
        let credential = token.invite().unwrap().bind(identity.node_id());
        let guests = Guests::new(token.issuer().unwrap(), token.network_id(), &credential, state.load_spent());
        let cancel = CancellationToken::new();
        let token = Arc::new(token.clone());
        let bound = Net::bind(config, &identity, Arc::clone(&token), Some(guests), cancel.clone()).await;
        let (net, arrivals, task) = bound.unwrap();
        let task = tokio::spawn(task);
        let member = Member { net, arrivals, id: identity.node_id(), task, stop: cancel.drop_guard() };
        Self { member, identity, token }
    }

    pub(crate) async fn meets(&self, other: NodeId) {
        self.member.meets(other).await;
    }

    /// Tells that it offers a service, whatever its invitation says.
    pub(crate) async fn claims(&self, service: &str) {
        let service = Service { weight: 255, ..Service::new(service, ledger::Protocol::Tcp) };
        let issued_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let record = Record {
            network: self.token.network_id(),
            generation: self.token.generation(),
            owner: self.member.id,
            seq: issued_ms,
            issued_ms,
            ttl: Duration::from_secs(420),
            statement: Statement { name: "liar".into(), services: vec![service], ..Statement::default() },
            credential: Some(self.token.invite().unwrap().bind(self.member.id)),
        };
        let signed = SignedRecord::sign(record, &self.identity.signing_key()).unwrap();
        self.member.net.publish([&[1], signed.bytes()].concat()).await;
    }

    /// Asks for a tunnel. Why it does not get one.
    pub(crate) async fn ask(&self, worker: NodeId, service: &str) -> Option<Refusal> {
        let stream = self.member.net.streams().open(net::peer_of(&worker).unwrap(), net::TUNNEL).await.unwrap();
        let header = Header { service: service.to_owned(), class: Class::Tcp, trace: TraceId::random(), client: None };
        match tunnel::open(stream.compat(), &header).await {
            Ok(_) => None,
            Err(OpenError::Refused(reason)) => Some(reason),
            Err(error) => panic!("{error}"),
        }
    }
}
