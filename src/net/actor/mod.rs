//! The task that owns the swarm.
//!
//! It waits for one of: stop, a command, an event of the swarm, a discovery, the clock. It never waits for a peer.

mod discovery;

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU8,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    gossipsub, identify,
    multiaddr::Protocol,
    relay,
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::Instant as TokioInstant,
};
use tokio_util::sync::CancellationToken;

use discovery::{next_found, spawn_mdns};

use super::{
    Acceptance, Command, Config, DIRECT, Dht, Error, Frame, Guests, Meter, Path, Peers, Receipt, Refused, Relaying,
    SYNC, Streams, TUNNEL,
    admission::{Admission, Keyring, Secret, Standing, Strangers},
    bars::Bars,
    behaviour::{Behaviour, BehaviourEvent, MemberBehaviourEvent},
    complaint,
    connections::Connections,
    dialback::DIALBACK,
    dialer::{Dialer, Source, Target},
    door::{self, Door},
    evidence::Evidence,
    facts::{self, Facts},
    legacy::{Company, Legacy, LegacyArrivals},
    listen, mdns,
    mesh::{self, Scores},
    neighbours::PICKED,
    node_of, peer_of, ping,
    providers::Providers,
    punch::PUNCH,
    reachability::Tried,
    rendezvous::Rendezvous,
    renewals::RENEW,
    round_trip::ROUND_TRIP,
    streams::{self, Inbound},
    topics::Topics,
    transport,
    ways::{Ways, Wish},
};
use crate::{identity::Identity, ledger::NodeId, token::Token};

/// How often epochs are looked at. A topic is subscribed a whole window early, so a second late costs nothing.
const TICK: Duration = Duration::from_secs(1);

/// A member whose streams brought bytes so recently lives, though it has not answered a ping: the answer waits behind them, on a
/// slow line for longer than any silence is borne. Less than the patience of a ping, so that one that stops in the middle of
/// a download is noticed no later.
const HEARD: Duration = Duration::from_secs(3);

/// Closing connections in good order may take this long.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A difference of clocks worth telling: beyond what NTP leaves, and long before windows of minutes stop to overlap.
const CLOCK_TOLERANCE_MS: i64 = 10_000;

/// Streams that a peer may be negotiating on one connection; more would be reset, so it is as high as their number can be.
const NEGOTIATING: usize = 4096;

/// Addresses of one peer that are dialled at once: all there are.
const DIALLED_AT_ONCE: NonZeroU8 = NonZeroU8::new(16).unwrap();

/// Members connected beyond which one that nobody needs is parted with, at each tick. This node's own picks, and some room
/// so that a change of picks is no haste.
const ENOUGH: usize = PICKED + PICKED / 2;

/// A bound actor and its outlets.
pub(super) struct Bound {
    pub(super) actor: Actor,
    pub(super) streams: Streams,
    pub(super) tunnels: mpsc::Receiver<Inbound>,
    pub(super) syncs: mpsc::Receiver<Inbound>,
    pub(super) directs: mpsc::Receiver<Inbound>,
    pub(super) renewals: mpsc::Receiver<Inbound>,
    pub(super) round_trips: mpsc::Receiver<Inbound>,
    /// Talks with members about dials.
    pub(super) punching: BoxFuture<'static, ()>,
    pub(super) admission: Admission,
    pub(super) keyring: Keyring,
    pub(super) knocks: mpsc::Receiver<TcpStream>,
    pub(super) peers: watch::Receiver<Arc<Peers>>,
    pub(super) addresses: watch::Receiver<Vec<Multiaddr>>,
    pub(super) refused: watch::Receiver<Arc<Refused>>,
    pub(super) meter: Meter,
    pub(super) legacy: Option<(Legacy, LegacyArrivals)>,
}

/// The task.
pub(super) struct Actor {
    swarm: Swarm<Behaviour>,
    config: Config,
    token: Arc<Token>,
    admission: Admission,
    started: Instant,
    dialer: Dialer,
    dials: HashMap<ConnectionId, Target>,
    rendezvous: Option<Rendezvous>,
    providers: Providers,
    topics: Topics,
    scores: Scores,
    connections: Connections,
    legacy: Option<Company>,
    ways: Ways,
    bars: Bars,
    streams: Streams,
    complaints: BTreeMap<Target, (String, Instant)>,
    evidence: Evidence,
    clock_told: bool,
    /// None once a server of the DHT was reached, or its absence was told.
    dht_silent_since: Option<Instant>,
    commands: mpsc::Receiver<Command>,
    frames: mpsc::Sender<Frame>,
    meter: Meter,
    addresses: watch::Sender<Vec<Multiaddr>>,
    mdns: Option<mdns::Running>,
    cancel: CancellationToken,
}

impl Actor {
    /// Builds the swarm and binds its listeners.
    pub(super) async fn bind(
        config: Config,
        identity: &Identity,
        token: Arc<Token>,
        guests: Option<Guests>,
        frames: mpsc::Sender<Frame>,
        commands: mpsc::Receiver<Command>,
        cancel: CancellationToken,
    ) -> Result<Bound, Error> {
        let (keypair, local) = (identity.keypair(), identity.peer_id());
        let keyring = Keyring::new(Secret::of(&token));
        let relays = config.relays.iter().filter_map(|address| match address.iter().last() {
            Some(Protocol::P2p(relay)) => Some(relay),
            _ => None,
        });
        let strangers = Strangers {
            dht: config.dht != Dht::Off,
            relays: relays.collect(),
            legacy: token.is_compat(),
            named: config.peers.iter().map(listen::without_peer).collect(),
        };
        let (bars, meter) = (Bars::default(), Meter::default());
        let admission = Admission::new(keyring.clone(), guests, local, strangers, bars.clone());
        let protocols = [TUNNEL, SYNC, DIRECT, RENEW, ROUND_TRIP, PUNCH, DIALBACK];
        let (behaviour, streams, [tunnels, syncs, directs, renewals, round_trips, punches, dialbacks]) =
            streams::Streams::new(admission.clone(), protocols);
        let (foreign, company, legacy) = Company::new(&admission);
        let behaviours = (behaviour, foreign);
        let (door, knocks) = Door::new();
        let topics = Topics::default();
        let (allowed, counted) = (topics.allowed(), meter.clone());
        let (by_relay, relays) = relay::client::new(local);
        let relays = (relays, config.relay_limits);
        let behaviour = Behaviour::new(&keypair, config.dht, admission.clone(), behaviours, allowed, counted, relays)?;
        let swarm_config = libp2p::swarm::Config::with_tokio_executor()
            .with_dial_concurrency_factor(DIALLED_AT_ONCE)
            .with_max_negotiating_inbound_streams(NEGOTIATING)
            .with_substream_upgrade_protocol_override(libp2p::core::upgrade::Version::V1Lazy);
        let transport = transport::build(&config, &keypair, &admission, by_relay, door, meter.clone())?;
        let mut swarm = Swarm::new(transport, behaviour, local, swarm_config);
        let bound = listen::bind(&mut swarm, &config).await?;
        let (connections, peers) = Connections::new();
        let (addresses, addresses_seen) = watch::channel(bound);
        let (ways, punching) = Ways::new(&config, local, [punches, dialbacks], streams.clone(), cancel.clone());
        let mdns = match config.mdns {
            true => Some(spawn_mdns(&config, &token, local, addresses_seen.clone(), &cancel)?),
            false => None,
        };
        let started = Instant::now();
        let mut actor = Self {
            dialer: Dialer::new(local, rand::random()),
            providers: Providers::new(started),
            rendezvous: (config.dht != Dht::Off).then(|| Rendezvous::new(Duration::ZERO, rand::random())),
            swarm,
            token,
            admission: admission.clone(),
            started,
            dials: HashMap::new(),
            topics,
            scores: Scores::default(),
            connections,
            legacy: company,
            ways,
            bars: bars.clone(),
            streams: streams.clone(),
            complaints: BTreeMap::new(),
            evidence: Evidence::default(),
            clock_told: false,
            dht_silent_since: Some(started),
            commands,
            frames,
            meter: meter.clone(),
            addresses,
            mdns,
            cancel,
            config,
        };
        actor.enter();
        actor.addresses_changed();
        let (addresses, refused) = (addresses_seen, bars.watch());
        Ok(Bound {
            actor,
            streams,
            tunnels,
            syncs,
            directs,
            renewals,
            round_trips,
            punching: punching.boxed(),
            admission,
            keyring,
            knocks,
            peers,
            addresses,
            refused,
            meter,
            legacy,
        })
    }

    /// Sets out for the bootstrap peers and the DHT.
    fn enter(&mut self) {
        for address in self.config.peers.clone() {
            self.dialer.bootstrap(Duration::ZERO, address);
        }
        if self.config.relaying == Relaying::Always || !self.config.announce.is_empty() {
            self.ways.reachable();
        }
        self.tick();
    }

    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let cancel = self.cancel.clone();
        loop {
            while let Some(dial) = self.dialer.poll_output(self.now()) {
                self.dial(dial.target, dial.addresses);
            }
            self.ways.act(self.now(), &mut self.swarm);
            let due = [self.dialer.poll_timeout(), self.ways.poll_timeout()].into_iter().flatten().min();
            let due = due.map(|at| TokioInstant::from_std(self.started + at));
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(command) = self.commands.recv() => self.on_command(command),
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(found) = next_found(&mut self.mdns) => {
                    let now = self.now();
                    self.found(now, found.peer, found.addresses, Source::Heard);
                }
                Some(wish) = self.ways.next() => self.on_wish(wish),
                _ = ticks.tick() => self.tick(),
                () = sleep_until(due) => {}
            }
        }
        Box::pin(self.close()).await;
    }

    /// Tells every peer that this node goes, so that none has to find out.
    async fn close(mut self) {
        let connected: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            // An error means that the connection ended by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(CLOSE_LIMIT, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        if let Some(mdns) = self.mdns {
            // It stops by the same token, after its good-bye.
            let _ = mdns.task.await;
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    // === what others ask for ===

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish(bytes) => {
                let Some(topic) = self.topics.current() else { return };
                let (size, gossip) = (bytes.len(), &mut self.swarm.behaviour_mut().members.gossip);
                let recipients = mesh::recipients(gossip, &topic.hash());
                match gossip.publish(topic, bytes) {
                    Ok(_) => self.meter.gossip_published(recipients, size),
                    // Alone, or said already: sync tells whoever comes.
                    Err(gossipsub::PublishError::NoPeersSubscribedToTopic | gossipsub::PublishError::Duplicate) => {}
                    Err(error) => tracing::debug!(%error, "record not gossiped"),
                }
            }
            Command::Judge(receipt, acceptance) => self.judge(receipt, acceptance),
            Command::List { listed, gone } => {
                let now = self.now();
                for peer in gone {
                    self.dialer.unlist(now, peer);
                }
                for (peer, addresses) in listed {
                    self.found(now, peer, addresses, Source::Ledger);
                }
            }
            Command::Want(peers) => {
                let behaviour = self.swarm.behaviour_mut();
                behaviour.members.ping.watch(peers.clone());
                if let Some(legacy) = behaviour.legacy.as_mut() {
                    legacy.watch(peers.clone());
                }
                self.dialer.want(peers);
            }
            Command::Keep(peers) => self.dialer.keep(peers),
            Command::Disconnect(peer) => {
                // An error means that there is no connection, which is what was wanted.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            // Nobody can do without itself.
            Command::Bar { node, .. } if peer_of(&node).as_ref() == Some(self.swarm.local_peer_id()) => {}
            Command::Bar { node, length, why } => {
                tracing::warn!(peer = node.short(), why, minutes = length.as_secs() / 60, "peer refused for a while");
                self.bars.bar(Instant::now(), node, length, why);
                self.refuse([node]);
            }
            Command::Ban(nodes) => {
                let newly = self.bars.ban(nodes);
                self.refuse(newly);
            }
            Command::Tell(tell) => {
                // Who asked may not wait any more.
                let _ = tell.send(self.facts());
            }
        }
    }

    /// What is known of the network, to be judged by others.
    fn facts(&mut self) -> Facts {
        let ways = self.ways.facts();
        let facts = self.evidence.facts(self.now(), &self.config.peers);
        let kademlia = self.swarm.behaviour_mut().kademlia.as_mut();
        let servers = kademlia.map(|kademlia| kademlia.kbuckets().map(|bucket| bucket.num_entries() as u64).sum());
        let is_public = self.config.dht == Dht::Public;
        Facts {
            listening: self.swarm.listeners().map(ToString::to_string).collect(),
            announced: self.addresses.borrow().iter().map(ToString::to_string).collect(),
            is_forwarded: !self.config.announce.is_empty(),
            is_confined: listen::is_confined(&self.config),
            is_lan: self.config.lan,
            mdns: self.mdns.as_ref().map(|mdns| mdns.links.borrow().clone()),
            dht: servers.and_then(|servers| Some(facts::Meeting { is_public, servers, ..facts.dht? })),
            relays: ways.relays,
            punches: ways.punches,
            probed: ways.probed,
            mapping: ways.mapping,
            ..facts
        }
    }

    fn judge(&mut self, Receipt { message, source, topic, size }: Receipt, acceptance: Acceptance) {
        let gossip = &mut self.swarm.behaviour_mut().members.gossip;
        let acceptance = match acceptance {
            Acceptance::Accept => {
                let recipients = gossip.mesh_peers(&topic).filter(|peer| **peer != source).count();
                self.meter.gossip_passed_on(recipients, size);
                gossipsub::MessageAcceptance::Accept
            }
            Acceptance::Ignore => gossipsub::MessageAcceptance::Ignore,
            Acceptance::Reject => {
                gossip.set_application_score(&source, self.scores.invalid(source));
                gossipsub::MessageAcceptance::Reject
            }
        };
        gossip.report_message_validation_result(&message, &source, acceptance);
    }

    /// Parts with `nodes`, which are refused from now on, and follows the table.
    fn refuse(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for peer in nodes.into_iter().filter_map(|node| peer_of(&node)) {
            // An error means that there is no connection, which is what was wanted.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let refused = self.bars.watch().borrow().clone();
        let (now, instant) = (self.now(), Instant::now());
        let barred =
            refused.barred.iter().map(|(node, bar)| (node, now + bar.until.saturating_duration_since(instant)));
        let banned = refused.banned.iter().map(|node| (node, Duration::MAX));
        // Whoever is both stays out for as long as the ban lasts.
        let all = barred.chain(banned).filter_map(|(node, until)| Some((peer_of(node)?, until)));
        self.dialer.bar(all.collect());
    }

    fn on_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Dial(dial) => self.ways.dial(&mut self.swarm, dial),
            Wish::DialBack(question) => {
                self.ways.dial_back(&mut self.swarm, &self.admission, &self.connections, question);
            }
            Wish::Tell(mapped) => {
                self.ways.mapped(self.now(), mapped);
                self.addresses_changed();
            }
            Wish::Learn(answer) => {
                if self.ways.learn(self.now(), answer) {
                    self.addresses_changed();
                }
            }
        }
    }

    // === the clock ===

    fn unix_s(&self) -> u64 {
        let clock = SystemTime::now() + self.config.clock_ahead;
        clock.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn tick(&mut self) {
        let unix_s = self.unix_s();
        let gossip = &mut self.swarm.behaviour_mut().members.gossip;
        self.topics.turn(gossip, &self.token, unix_s);
        for (peer, score) in self.scores.decay() {
            gossip.set_application_score(&peer, score);
        }
        self.tell_of_silent_dht();
        self.part_with_surplus();
        self.ways.part(&mut self.swarm, &self.connections, &self.streams);
        let now = self.now();
        self.ways.inquire(now, &self.connections);
        self.meet(now, unix_s);
    }

    /// Closes one connection that nobody needs, where there are too many. Who dialled a connection may have needed it, and
    /// only this end knows that it does no more; the other end, if it picked this node as well, dials anew.
    fn part_with_surplus(&mut self) {
        if self.dialer.company() <= ENOUGH {
            return;
        }
        let connections = &self.connections;
        let is_ours = |peer: &PeerId| node_of(peer).is_some_and(|node| connections.are_dialled(node));
        let unneeded = self.dialer.unneeded();
        if let Some(peer) = unneeded.into_iter().find(|peer| is_ours(peer) && self.streams.is_unused(peer)) {
            tracing::debug!(%peer, "one connection too many");
            // An error means that there is none any more, which is what was wanted.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    // === the swarm ===

    /// The bootstrap peer that is meant, as it was given.
    fn named(&self, target: &Target) -> Option<Multiaddr> {
        match target {
            Target::Address(address) => Some(address.clone()),
            Target::Peer(peer) => {
                self.config.peers.iter().find(|address| address.iter().last() == Some(Protocol::P2p(*peer))).cloned()
            }
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Members(MemberBehaviourEvent::Gossip(
                gossipsub::Event::Message { propagation_source, message_id, message },
            ))) => {
                let (topic, size) = (message.topic, message.data.len());
                let receipt = Receipt { message: message_id, source: propagation_source, topic, size };
                self.on_frame(receipt, message.data);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Members(MemberBehaviourEvent::Ping(event))) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Legacy(event)) => self.on_legacy_ping(&event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            })) => self.on_identified(peer_id, connection_id, true, info),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Pushed {
                connection_id,
                peer_id,
                info,
            })) => self.on_identified(peer_id, connection_id, false, info),
            SwarmEvent::Behaviour(BehaviourEvent::Relays(event)) => self.ways.on_relay(&event),
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(event)) => self.on_kademlia(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint, num_established.get() == 1);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = cause.map(|cause| complaint::of(&cause)), "connection closed");
                self.on_closed(peer_id, connection_id, num_established == 0);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                let why = complaint::of(&error);
                if let Some(target) = self.dials.remove(&connection_id) {
                    if let DialError::Transport(attempts) = &error {
                        self.evidence.tried(attempts);
                    }
                    self.dial_failed(&target, &why);
                } else if self.ways.tried(&self.admission, connection_id, Tried::Failed) {
                    tracing::debug!(error = why, "a member could not be dialled back");
                } else if self.ways.failed(connection_id, &why) {
                    tracing::debug!(error = why, "no way was opened");
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. }
                if complaint::is_caused_by::<door::HandedOver>(&error) => {}
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, error = complaint::of(&error), "inbound connection refused");
                self.evidence.turned_away(self.now(), &send_back_addr, &error);
            }
            SwarmEvent::NewListenAddr { .. } => self.addresses_changed(),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.addresses_changed();
                if !listen::is_relayed(&address) {
                    self.moved();
                }
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                let why = reason.as_ref().err().map(|error| complaint::of(error));
                let was_by_relay = self.ways.listener_closed(self.now(), listener_id, why);
                match reason {
                    Err(error) if was_by_relay => tracing::debug!(?addresses, %error, "reservation ended"),
                    Err(error) if !addresses.iter().any(listen::is_relayed) => {
                        tracing::error!(?addresses, %error, "listener closed");
                    }
                    _ => {}
                }
                self.addresses_changed();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed to accept"),
            _ => {}
        }
    }

    fn on_frame(&mut self, receipt: Receipt, bytes: Vec<u8>) {
        let Some(from) = node_of(&receipt.source) else { return };
        if let Err(error) = self.frames.try_send(Frame { from, bytes, receipt }) {
            // The next sync repairs it.
            self.meter.gossip_dropped();
            tracing::debug!(peer = from.short(), "gossip frame dropped");
            self.judge(error.into_inner().receipt, Acceptance::Ignore);
        }
    }

    fn on_ping(&mut self, ping::Event { peer, connection, answer }: ping::Event) {
        let Some(node) = node_of(&peer) else { return };
        if answer.is_none() && self.streams.heard_within(&peer, connection, HEARD) {
            self.connections.heard(node, connection);
        } else if self.connections.pinged(node, connection, answer) {
            self.swarm.close_connection(connection);
        }
    }

    fn on_legacy_ping(&mut self, event: &ping::Event) {
        if let Some(legacy) = &mut self.legacy
            && legacy.pinged(event, HEARD)
        {
            self.swarm.close_connection(event.connection);
        }
    }

    /// A peer says where it sees this node. On a connection that only adds room, or that goes by a relay, it sees something else.
    fn on_seen(&mut self, peer: PeerId, connection: ConnectionId, seen: &Multiaddr) {
        let known = node_of(&peer).and_then(|node| Some((node, self.connections.way(node, connection)?)));
        let Some((node, (path, dialled))) = known else {
            // A server of a DHT, which this node has dialled.
            return self.evidence.seen(peer, None, seen, true);
        };
        if path != Path::Relayed
            && !self.connections.is_further(node, connection)
            && let Some(theirs) = self.connections.address(node, connection)
        {
            self.evidence.seen(peer, Some(&theirs), seen, dialled.is_some() || path == Path::Punched);
        }
    }

    fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        if let Some(target) = self.dials.remove(&id) {
            self.dialer.succeeded(&target, peer);
            self.named(&target).iter().for_each(|address| self.evidence.bootstrap(address, None));
            self.complaints.remove(&target);
        }
        if self.ways.tried(&self.admission, id, Tried::Reached) {
            self.swarm.close_connection(id);
            return;
        }
        let path = Path::of(endpoint, self.ways.opened(id, peer, endpoint.is_listener()));
        let standing = self.admission.standing(&peer);
        if first {
            self.dialer.connected(peer, matches!(standing, Standing::Member { .. }));
        }
        if standing == Standing::Legacy
            && let Some(legacy) = &mut self.legacy
        {
            legacy.opened(peer, id, endpoint, path);
        }
        let Standing::Member { clock_ahead_ms, further, .. } = standing else { return };
        let Some(node) = node_of(&peer) else { return };
        if self.bars.refuses(&node) {
            // It was refused while this connection was on its way through the swarm.
            self.swarm.close_connection(id);
            return;
        }
        if let Some(score) = self.scores.of(&peer) {
            self.swarm.behaviour_mut().members.gossip.set_application_score(&peer, score);
        }
        if clock_ahead_ms.abs() > CLOCK_TOLERANCE_MS && !self.clock_told {
            self.clock_told = true;
            tracing::warn!(
                peer = node.short(),
                ahead = format!("{:.0}s", clock_ahead_ms as f64 / 1000.0),
                "a peer's clock differs from this one's; discovery tolerates one window of the token: check NTP on both"
            );
        }
        tracing::debug!(peer = node.short(), address = %endpoint.get_remote_address(), further, path = path.as_str(), "member connected");
        match endpoint {
            ConnectedPoint::Dialer { address, .. } => self.evidence.reached(peer, address),
            ConnectedPoint::Listener { send_back_addr, .. } if path == Path::Direct => {
                let (from, mut own) = (listen::ip_of(send_back_addr), self.swarm.listeners().map(listen::ip_of));
                let is_near = listen::is_lan(send_back_addr) || own.any(|own| own == from);
                self.evidence.came_in(peer, is_near);
            }
            ConnectedPoint::Listener { .. } => {}
        }
        self.connections.opened(node, id, endpoint, path, clock_ahead_ms, further);
        self.ways.connected(self.now(), &self.connections);
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId, last: bool) {
        let was_member = node_of(&peer).is_some_and(|node| self.connections.closed(node, id));
        let was_legacy = self.legacy.as_mut().is_some_and(|legacy| legacy.closed(peer, id));
        let now = self.now();
        self.ways.connected(now, &self.connections);
        if last {
            self.ways.lost(peer);
            // Nodes of edgevpn come back as soon as members do.
            self.dialer.disconnected(now, peer, was_member || was_legacy);
        }
        if was_member && self.connections.is_empty() {
            self.dialer.hurry(now);
            if let Some(rendezvous) = &mut self.rendezvous {
                rendezvous.hurry(now);
            }
        }
    }

    /// This node has lost an address. Connections from there are dead, and their other ends will not hear of it: all members are
    /// dialled once more, and new streams take the newest connection. What is dead is found out by ping.
    fn moved(&mut self) {
        self.ways.moved(self.now());
        for (peer, addresses) in self.dialer.known() {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing).addresses(addresses).build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%peer, error = complaint::of(&error), "not dialled once more");
            }
        }
    }

    /// Tells the DHT, mDNS and the layers above where this node listens now.
    fn addresses_changed(&mut self) {
        let listening: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        let announced = listen::announced(&self.config, listening, self.ways.outside());
        // Those by relays are added and taken back by the relays' own behaviour.
        let old: Vec<_> =
            self.swarm.external_addresses().filter(|address| !listen::is_relayed(address)).cloned().collect();
        for gone in old.iter().filter(|old| !announced.contains(old)) {
            self.swarm.remove_external_address(gone);
        }
        for address in announced.iter().filter(|new| !old.contains(new) && !listen::is_relayed(new)) {
            self.swarm.add_external_address(address.clone());
        }
        let now = self.now();
        self.ways.announced(now, &mut self.swarm, &announced);
        self.addresses.send_if_modified(|addresses| {
            let changed = *addresses != announced;
            if changed {
                *addresses = announced;
            }
            changed
        });
    }
}

async fn sleep_until(due: Option<TokioInstant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
