//! A server of a DHT that knows nothing of p2p-fed: what a public one is to it.

use futures::StreamExt;
use libp2p::{
    SwarmBuilder, identify, kad, multiaddr::Protocol, noise, swarm::NetworkBehaviour, swarm::SwarmEvent, yamux,
};
use tokio::task::JoinHandle;

use crate::{node::Join, soon};

pub struct Dht {
    pub address: String,
    task: JoinHandle<()>,
}

#[derive(NetworkBehaviour)]
struct Served {
    identify: identify::Behaviour,
    kademlia: kad::Behaviour<kad::store::MemoryStore>,
}

impl Dht {
    pub async fn start() -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(Default::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_behaviour(|key| {
                let id = key.public().to_peer_id();
                Served {
                    identify: identify::Behaviour::new(identify::Config::new("other/1".to_owned(), key.public())),
                    kademlia: kad::Behaviour::new(id, kad::store::MemoryStore::new(id)),
                }
            })
            .unwrap()
            .build();
        swarm.behaviour_mut().kademlia.set_mode(Some(kad::Mode::Server));
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let bound = soon("the DHT server to listen", async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    return address;
                }
            }
        });
        let address = bound.await.with(Protocol::P2p(*swarm.local_peer_id())).to_string();
        let task = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { address, task }
    }

    pub fn join(&self) -> Join {
        Join::Dht(self.address.clone())
    }
}

impl Drop for Dht {
    fn drop(&mut self) {
        self.task.abort();
    }
}
