//! Ways around what is between two nodes.
//!
//! Members find out for each other who can be dialled ([`Reachability`], [`super::dialback`]). A node that nobody can dial asks relays to be reachable by them ([`Reservations`]); one that others can dial is a relay for
//! them. To a member that a relay connects a better way is looked for ([`Upgrades`], [`super::punch`]), and once there is one,
//! the relayed connection is closed as soon as nothing runs on it: streams are not moved, they end where they began.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::OptionFuture;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::ListenerId,
    identify,
    multiaddr::Protocol,
    relay,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Config, Inbound, Path, Relaying, Streams,
    admission::Admission,
    behaviour::Behaviour,
    connections::Connections,
    dialback::{self, Dialback},
    facts, listen,
    mapping::{Mapped, Mapping},
    node_of,
    observed::Observed,
    peer_of,
    punch::{self, Puncher},
    reachability::{Reach, Reachability, Tried},
    reservations::Reservations,
    upgrades::Upgrades,
};

/// All that the actor does about it.
#[derive(Debug)]
pub(super) struct Ways {
    relaying: Relaying,
    reservations: Reservations,
    upgrades: Upgrades,
    observed: Observed,
    announced: Vec<Multiaddr>,
    /// What is told to those that dial at the same moment: where this node was seen, and where it listens.
    own: watch::Sender<Arc<Vec<Multiaddr>>>,
    puncher: Puncher,
    agreed: mpsc::Receiver<punch::Dial>,
    reachability: Reachability,
    /// Where this node listens, whatever others are told.
    bound: watch::Sender<Vec<Multiaddr>>,
    mapping: Option<Mapping>,
    mapped: Mapped,
    dialback: Dialback,
    /// Dials that were agreed on, until it is known what came of them, and to whom.
    punching: HashMap<ConnectionId, PeerId>,
    punches: facts::Punches,
    is_reachable: bool,
}

impl Ways {
    /// With the task that talks with members about dials.
    pub(super) fn new(
        config: &Config,
        local: PeerId,
        [punches, dialbacks]: [mpsc::Receiver<Inbound>; 2],
        streams: Streams,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (own, own_seen) = watch::channel(Arc::default());
        let (puncher, agreed, punching) = Puncher::new(punches, streams.clone(), own_seen, cancel.clone());
        let (dialback, dialling) = Dialback::new(dialbacks, streams, cancel.clone());
        let asks = config.port_mapping && config.announce.is_empty() && !config.lan && !listen::is_confined(config);
        let (bound, bound_seen) = watch::channel(Vec::new());
        let (mapping, asking) = asks.then(|| Mapping::new(bound_seen, cancel)).unzip();
        let mut reservations = Reservations::default();
        for address in &config.relays {
            if let (Some(relay), address) = split(address) {
                reservations.named(relay, address);
            }
        }
        let ways = Self {
            relaying: config.relaying,
            reservations,
            upgrades: Upgrades::new(local),
            observed: Observed::default(),
            announced: Vec::new(),
            own,
            puncher,
            agreed,
            reachability: Reachability::default(),
            bound,
            mapping,
            mapped: Mapped::default(),
            dialback,
            punching: HashMap::new(),
            punches: facts::Punches::default(),
            is_reachable: false,
        };
        (ways, async {
            tokio::join!(punching, dialling, OptionFuture::from(asking));
        })
    }

    /// The user says that others can dial this node, so that it needs no relay.
    pub(super) fn reachable(&mut self) {
        self.is_reachable = true;
        self.reservations.reachable();
    }

    /// This node's own addresses are these now.
    pub(super) fn announced(&mut self, now: Duration, swarm: &mut Swarm<Behaviour>, announced: &[Multiaddr]) {
        let bound: Vec<Multiaddr> = swarm.listeners().filter(|address| !listen::is_relayed(address)).cloned().collect();
        self.bound.send_if_modified(|known| {
            let is_new = *known != bound;
            *known = bound;
            is_new
        });
        self.announced = announced.iter().filter(|address| punch::opens(address)).cloned().collect();
        self.upgrades.hurry(now);
        self.tell(now);
        // What nobody has tried may be behind a firewall. No harm is done: nobody asks a relay that it could not dial.
        let is_relay = match self.relaying {
            Relaying::Never => false,
            Relaying::Auto => {
                let is_open = |address| listen::is_public(address) && !self.is(address, Reach::Refuted);
                self.is_reachable || self.announced.iter().any(is_open)
            }
            Relaying::Always => true,
        };
        let status = if is_relay { relay::Status::Enable } else { relay::Status::Disable };
        swarm.behaviour_mut().members.relay.set_status(Some(status));
    }

    /// A peer said who it is, `at_first` or because something changed. `way` is of a member alone, and not all of those
    /// `may_relay`.
    pub(super) fn identified(
        &mut self,
        now: Duration,
        peer: PeerId,
        may_relay: bool,
        way: Option<(Path, Option<Multiaddr>)>,
        at_first: bool,
        info: &identify::Info,
    ) {
        let (path, dialled) = way.unwrap_or((Path::Direct, None));
        // By a relay one sees the relay; and what changed is told without where this node was seen, though there is something
        // in its place.
        if at_first && path != Path::Relayed && self.observed.seen(&info.observed_addr) {
            self.tell(now);
            self.upgrades.hurry(now);
        }
        // One that this node could not dial, others can't either.
        if may_relay
            && info.protocols.contains(&relay::HOP_PROTOCOL_NAME)
            && let Some(address) = dialled
        {
            self.reservations.offered(peer, split(&address).1);
        }
    }

    /// A connection is there. Whether it was agreed on: over QUIC the one that listens gets it as one that came in.
    pub(super) fn opened(&mut self, id: ConnectionId, peer: PeerId, came_in: bool) -> bool {
        let is_punched =
            self.punching.remove(&id).is_some() || came_in && self.punching.values().any(|dialled| *dialled == peer);
        self.punches.opened += u64::from(is_punched);
        is_punched
    }

    /// A dial led nowhere.
    pub(super) fn failed(&mut self, id: ConnectionId, why: &str) -> bool {
        let was_agreed = self.punching.remove(&id).is_some();
        if was_agreed {
            self.punches.failed += 1;
            self.punches.fault = Some(why.to_owned());
        }
        was_agreed
    }

    /// Connections came or went.
    pub(super) fn connected(&mut self, now: Duration, connections: &Connections) {
        self.upgrades.relayed(now, connections.relayed().filter_map(|node| peer_of(&node)));
    }

    /// The last connection to `peer` is gone.
    pub(super) fn lost(&mut self, peer: PeerId) {
        self.reservations.lost(peer);
    }

    pub(super) fn on_relay(&mut self, event: &relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, .. } = event {
            if !renewal {
                tracing::info!(relay = %relay_peer_id, "reachable by a relay");
            }
            self.reservations.granted(*relay_peer_id);
        }
    }

    pub(super) fn listener_closed(&mut self, now: Duration, listener: ListenerId, why: Option<String>) -> bool {
        self.reservations.ended(now, listener, why)
    }

    /// The relays that are known, and what came of dials from both ends.
    pub(super) fn facts(&self) -> facts::Facts {
        let probed = self.reachability.known().filter_map(|(address, reach)| {
            let is_reachable = match reach {
                Reach::Unknown => return None,
                Reach::Proved => true,
                Reach::Refuted => false,
            };
            Some(facts::Probed { address: address.to_string(), is_reachable })
        });
        facts::Facts {
            relays: self.reservations.facts(),
            punches: self.punches.clone(),
            probed: probed.collect(),
            mapping: self.mapping.as_ref().map(Mapping::facts),
            ..facts::Facts::default()
        }
    }

    /// The next thing to be done for members.
    pub(super) async fn next(&mut self) -> Option<Wish> {
        tokio::select! {
            dial = self.agreed.recv() => dial.map(Wish::Dial),
            mapped = changed(&mut self.mapping) => Some(Wish::Tell(mapped)),
            news = self.dialback.news() => news.map(|news| match news {
                dialback::News::Question(question) => Wish::DialBack(question),
                dialback::News::Answer(answer) => Wish::Learn(answer),
            }),
        }
    }

    /// Has a member dial this node, if there is something to be found out. Nodes of this network could not tell.
    pub(super) fn inquire(&mut self, now: Duration, connections: &Connections) {
        let members: Vec<PeerId> = connections.outside().filter_map(|node| peer_of(&node)).collect();
        if let Some((member, addresses)) = self.reachability.next(now, &members) {
            self.dialback.ask(member, addresses);
        }
    }

    /// Dials a member that asked for it.
    pub(super) fn dial_back(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        admission: &Admission,
        connections: &Connections,
        question: dialback::Question,
    ) {
        let seen = node_of(&question.peer()).map(|node| connections.seen_at(node)).unwrap_or_default();
        self.dialback.dial(swarm, admission, question, &seen);
    }

    /// A connection is there, or is not. Whether it was to be no more than tried.
    pub(super) fn tried(&mut self, admission: &Admission, id: ConnectionId, outcome: Tried) -> bool {
        self.dialback.ended(admission, id, outcome)
    }

    /// A member dialled this node. Whether more is known now of what to tell others.
    pub(super) fn learn(&mut self, now: Duration, dialback::Answer { peer, found }: dialback::Answer) -> bool {
        let is_news = self.reachability.answered(now, peer, &found);
        if is_news {
            for (address, reach) in self.reachability.known() {
                tracing::debug!(%address, reach = reach.as_str(), "dialled by a member");
            }
        }
        is_news
    }

    /// Ports of the router lead here.
    pub(super) fn mapped(&mut self, now: Duration, mapped: Mapped) {
        self.mapped = mapped;
        self.tell(now);
    }

    /// Where members got through, and where they might, as the router says.
    pub(super) fn outside(&self) -> impl Iterator<Item = &Multiaddr> {
        let proved = self.reachability.known().filter(|(_, reach)| *reach == Reach::Proved).map(|(address, _)| address);
        proved.chain(
            self.mapped.iter().filter(|mapped| !self.is(mapped, Reach::Refuted) && !self.is(mapped, Reach::Proved)),
        )
    }

    fn is(&self, address: &Multiaddr, reach: Reach) -> bool {
        self.reachability.known().any(|known| known == (address, reach))
    }

    /// The network is another one.
    pub(super) fn moved(&mut self, now: Duration) {
        self.reachability.hurry(now);
    }

    pub(super) fn dial(&mut self, swarm: &mut Swarm<Behaviour>, dial: punch::Dial) {
        let options = DialOpts::peer_id(dial.peer).condition(PeerCondition::Always).addresses(dial.addresses);
        let options = if dial.listens { options.override_role() } else { options };
        let options = options.build();
        let id = options.connection_id();
        match swarm.dial(options) {
            Ok(()) => {
                self.punching.insert(id, dial.peer);
                self.punches.dialled += 1;
            }
            Err(error) => tracing::debug!(peer = %dial.peer, %error, "not dialled"),
        }
    }

    /// When [`Self::act`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.upgrades.poll_timeout()
    }

    /// Does what is due now.
    pub(super) fn act(&mut self, now: Duration, swarm: &mut Swarm<Behaviour>) {
        for ask in self.upgrades.due(now) {
            self.punches.asked += 1;
            self.puncher.ask(ask);
        }
        while let Some((relay, address)) = self.reservations.next(now) {
            let address = address.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit);
            match swarm.listen_on(address.clone()) {
                Ok(listener) => self.reservations.asked(now, relay, listener),
                Err(error) => {
                    tracing::debug!(%address, %error, "relay not asked");
                    self.reservations.failed(now, relay, error.to_string());
                }
            }
        }
    }

    /// Closes relayed connections to members to whom there is a better way, where nothing runs on them.
    pub(super) fn part(&self, swarm: &mut Swarm<Behaviour>, connections: &Connections, streams: &Streams) {
        let connected: Vec<PeerId> = swarm.connected_peers().copied().collect();
        for peer in connected {
            let Some(node) = node_of(&peer) else { continue };
            let (best, relayed) = connections.ways(node);
            if best.is_none_or(|best| best == Path::Relayed) {
                continue;
            }
            for id in relayed.into_iter().filter(|id| streams.is_idle(&peer, *id)) {
                tracing::debug!(%peer, "a better way than the relay's is used");
                swarm.close_connection(id);
            }
        }
    }

    fn tell(&mut self, now: Duration) {
        let candidates = self.observed.candidates(&self.announced);
        self.reachability.candidates(now, self.mapped.iter().chain(&candidates).cloned());
        self.own.send_replace(Arc::new(candidates));
    }
}

async fn changed(mapping: &mut Option<Mapping>) -> Mapped {
    match mapping {
        Some(mapping) => mapping.changed().await,
        None => std::future::pending().await,
    }
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Wish {
    /// Both ends dial now.
    Dial(punch::Dial),
    /// A member wants to know whether it can be dialled.
    DialBack(dialback::Question),
    /// The router opened ports, or closed them.
    Tell(Mapped),
    /// A member has dialled this node.
    Learn(dialback::Answer),
}

/// Whose address it is, where it says so, and the rest.
fn split(address: &Multiaddr) -> (Option<PeerId>, Multiaddr) {
    let mut address = address.clone();
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (Some(peer), address)
        }
        _ => (None, address),
    }
}
