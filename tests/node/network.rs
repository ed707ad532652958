//! A network to test in: a token, and members and others that join it.

use std::sync::Arc;

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, identify, kad, multiaddr::Protocol, swarm::NetworkBehaviour, swarm::SwarmEvent,
};
use p2p_fed::{
    identity::Identity,
    ledger::NodeId,
    net::{self, Arrivals, Config, Dht, Net},
    token::{Mint, Token},
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

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
