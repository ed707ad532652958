//! What this node speaks: among members everything, with servers of a DHT Kademlia and identify alone.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use libp2p::{
    PeerId, StreamProtocol, connection_limits, gossipsub, identify, identity, kad, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{Dht, admission::Admission, members::Members, streams};

/// Signalling round trips: 3 s between pings and 4 s for an answer find a stopped process in 7 s.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// One record and its envelope: a record is 16 KiB at most.
const GOSSIP_FRAME_MAX: usize = 64 * 1024;

/// A peer subscribes to three windows of one topic, and four while they change.
const SUBSCRIPTIONS_MAX: usize = 8;

/// Providers kept for one rendezvous: the nodes of one network.
const PROVIDERS_MAX: usize = 256;

/// A lookup in the public DHT that has not ended by then is not going to.
const LOOKUP_LIMIT: Duration = Duration::from_secs(60);

/// Connections that have not finished their handshakes. Admission has its own, lower bound for those that have.
const PENDING_INBOUND: u32 = 128;
const PENDING_OUTBOUND: u32 = 128;

/// Connections in total and from one peer: two hundred machines, each dialled and dialling at once over two transports.
const ESTABLISHED: u32 = 1024;
const ESTABLISHED_PER_PEER: u32 = 4;

/// The DHT's protocol: that of the public one, which edgevpn uses as well.
const KADEMLIA: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// All that the swarm runs.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kademlia: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    pub(super) members: Members<MemberBehaviour>,
}

/// What only members meet.
#[derive(NetworkBehaviour)]
pub(super) struct MemberBehaviour {
    pub(super) gossip:
        gossipsub::Behaviour<gossipsub::IdentityTransform, gossipsub::MaxCountSubscriptionFilter<Topics>>,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &identity::Keypair,
        dht: Dht,
        admission: Admission,
        streams: streams::Behaviour,
        topics: Topics,
    ) -> io::Result<Self> {
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_INBOUND))
            .with_max_pending_outgoing(Some(PENDING_OUTBOUND))
            .with_max_established(Some(ESTABLISHED))
            .with_max_established_per_peer(Some(ESTABLISHED_PER_PEER));
        let identify = identify::Config::new("p2p-fed/1".to_owned(), keypair.public())
            .with_agent_version(concat!("p2p-fed/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true);
        let members = MemberBehaviour {
            gossip: gossip(keypair, topics)?,
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            streams,
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            kademlia: kademlia(keypair.public().to_peer_id(), dht).into(),
            members: Members::new(members, admission),
        })
    }
}

fn kademlia(local: PeerId, dht: Dht) -> Option<kad::Behaviour<kad::store::MemoryStore>> {
    let mode = match dht {
        Dht::Off => return None,
        Dht::Public => kad::Mode::Client,
        // Members alone ever ask: the transport admits nobody else inbound.
        Dht::Private => kad::Mode::Server,
    };
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_query_timeout(LOOKUP_LIMIT)
        // A rendezvous is advertised by hand in each round; the library would republish those of old windows.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None);
    let store = kad::store::MemoryStoreConfig {
        // The DHT is a meeting place; values are nobody's business here.
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: PROVIDERS_MAX,
        max_provided_keys: 16,
    };
    let mut kademlia = kad::Behaviour::with_config(local, kad::store::MemoryStore::with_config(local, store), config);
    kademlia.set_mode(Some(mode));
    Some(kademlia)
}

fn gossip(
    keypair: &identity::Keypair,
    topics: Topics,
) -> io::Result<gossipsub::Behaviour<gossipsub::IdentityTransform, gossipsub::MaxCountSubscriptionFilter<Topics>>> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/p2p-fed/meshsub")
        .validation_mode(gossipsub::ValidationMode::Strict)
        // Nothing is passed on before the ledger has checked it.
        .validate_messages()
        // A record that several nodes publish is one message.
        .message_id_fn(|message| gossipsub::MessageId::new(&crate::ledger::message_id(&message.data)))
        .max_transmit_size(GOSSIP_FRAME_MAX)
        .mesh_n(6)
        .mesh_n_low(5)
        .mesh_n_high(12)
        .gossip_lazy(3)
        // Sync repairs what gossip loses.
        .history_gossip(2)
        .flood_publish(true)
        .build()
        .map_err(io::Error::other)?;
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(
        gossipsub::MessageAuthenticity::Signed(keypair.clone()),
        config,
        gossipsub::MaxCountSubscriptionFilter {
            filter: topics,
            max_subscribed_topics: SUBSCRIPTIONS_MAX,
            max_subscriptions_per_request: SUBSCRIPTIONS_MAX,
        },
    )
    .map_err(io::Error::other)?;
    let scores = gossipsub::PeerScoreParams {
        // Members prove the token; many live behind one router or on one host, which is no offence.
        ip_colocation_factor_weight: 0.0,
        ..gossipsub::PeerScoreParams::default()
    };
    gossip.with_peer_score(scores, gossipsub::PeerScoreThresholds::default()).map_err(io::Error::other)?;
    Ok(gossip)
}

/// Only invalid messages count: a ledger is quiet for minutes, so the rewards and penalties for traffic say nothing.
pub(super) fn topic_scores() -> gossipsub::TopicScoreParams {
    gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..gossipsub::TopicScoreParams::default()
    }
}

/// The topics that exist for this node: those of the previous, the current and the next window.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    /// Written once per window, read for each subscription; never held across an `.await`.
    allowed: Arc<RwLock<HashSet<gossipsub::TopicHash>>>,
}

impl Topics {
    pub(super) fn allow(&self, topics: impl IntoIterator<Item = gossipsub::TopicHash>) {
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = topics.into_iter().collect();
    }
}

impl gossipsub::TopicSubscriptionFilter for Topics {
    fn can_subscribe(&mut self, topic: &gossipsub::TopicHash) -> bool {
        // A peer whose clock is ahead may name a window that is not known here yet; it subscribes again when it is.
        self.allowed.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }
}
