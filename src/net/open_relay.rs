//! A relay that asks nobody for a token: the members of any network are reachable by it, and meet in its DHT.
//!
//! It is a libp2p node with three services, identify, Kademlia and circuit relay v2, and nothing else: it is a member of nothing,
//! learns no token, and what it carries is encrypted from end to end. Members that name it (`--relay`, `--peer`) speak those three
//! with it, and take it for a stranger ([`super::admission`]).
//!
//! **Invariant.** Whatever strangers do, it holds no more than its limits: connections in all and of one peer, reservations,
//! circuits, what is kept in the DHT.

use std::{
    io,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, connection_limits, identify, kad, relay,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
};
use tokio_util::sync::CancellationToken;

use super::{Config, Dht, Error, Meter, dht, door::Door, listen, providers::Providers, relay as relaying, transport};
use crate::identity::Identity;

/// Connections that have not finished their handshakes.
const PENDING: u32 = 64;

/// Connections beside those with reservations: those that look something up, or begin a circuit.
const VISITORS: u32 = 1024;

/// Connections of one peer: two transports, and as many again while it moves.
const OF_ONE_PEER: u32 = 4;

/// A connection on which nothing happens is closed after this. A reservation keeps its own.
const IDLE: Duration = Duration::from_secs(30);

/// A relay for anybody, bound and not yet running.
pub struct OpenRelay {
    swarm: Swarm<Behaviour>,
    config: Config,
    addresses: Vec<Multiaddr>,
    providers: Providers,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    kademlia: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    relay: relay::Behaviour,
}

impl OpenRelay {
    /// Binds the listeners that `config` names; of the rest of it transports, limits and announced addresses count, and whether
    /// there is to be a DHT.
    ///
    /// # Errors
    /// [`Error`], before any packet is sent.
    pub async fn bind(config: Config, identity: &Identity) -> Result<Self, Error> {
        let (keypair, local) = (identity.keypair(), identity.peer_id());
        // Nobody takes what knocks there, so it is closed.
        let (door, _) = Door::new();
        let transport = transport::unguarded(&config, &keypair, door, Meter::default())?;
        let reserved = u32::try_from(config.relay_limits.reservations).unwrap_or(u32::MAX);
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING))
            .with_max_established(Some(reserved.saturating_add(VISITORS)))
            .with_max_established_per_peer(Some(OF_ONE_PEER));
        let identify = identify::Config::new("p2p-fed/1".to_owned(), keypair.public())
            .with_agent_version(concat!("p2p-fed/", env!("CARGO_PKG_VERSION")).to_owned());
        let behaviour = Behaviour {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            kademlia: (config.dht != Dht::Off).then(|| dht::open_behaviour(local)).into(),
            relay: relaying::open_behaviour(local, config.relay_limits),
        };
        let swarm_config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
        let mut swarm = Swarm::new(transport, behaviour, local, swarm_config);
        listen::bind(&mut swarm, &config).await?;
        let providers = Providers::new(Instant::now());
        let mut relay = Self { swarm, config, addresses: Vec::new(), providers };
        relay.addresses_changed();
        if relay.addresses.is_empty() {
            return Err(Error::Setup(io::Error::other("no listener has an address")));
        }
        Ok(relay)
    }

    /// Its id, which the addresses to hand out end with.
    pub fn peer_id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Where it can be dialled, without `/p2p/ID`.
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// Serves until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let cancelled = cancel.cancelled_owned();
        let mut cancelled = std::pin::pin!(cancelled);
        loop {
            tokio::select! {
                biased;
                () = &mut cancelled => return,
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ListenerClosed { .. } => self.addresses_changed(),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed to accept"),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                // Who serves the DHT as well is one to ask.
                if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut()
                    && info.protocols.iter().any(|protocol| kademlia.protocol_names().contains(protocol))
                {
                    for address in info.listen_addrs {
                        kademlia.add_address(&peer_id, address);
                    }
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            })) => {
                if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
                    self.providers.tell(Instant::now(), kademlia.store_mut(), record);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => match event {
                relay::Event::ReservationReqAccepted { src_peer_id, renewed: false } => {
                    tracing::info!(peer = %src_peer_id, "reachable by this relay");
                }
                relay::Event::ReservationReqDenied { src_peer_id, .. } => {
                    tracing::info!(peer = %src_peer_id, "no reservation left");
                }
                event => tracing::debug!(?event, "relay"),
            },
            _ => {}
        }
    }

    /// What reservations and identify tell others.
    fn addresses_changed(&mut self) {
        let listening = self.swarm.listeners().cloned().collect();
        let announced = listen::announced(&self.config, listening, std::iter::empty());
        let old: Vec<_> = self.swarm.external_addresses().cloned().collect();
        for gone in old.iter().filter(|old| !announced.contains(old)) {
            self.swarm.remove_external_address(gone);
        }
        for address in announced.iter().filter(|new| !old.contains(new)) {
            self.swarm.add_external_address(address.clone());
        }
        self.addresses = announced;
    }
}
