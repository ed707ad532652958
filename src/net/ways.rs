//! Ways around what is between two nodes.
//!
//! A node that nobody can dial asks relays to be reachable by them ([`Reservations`]); one that others can dial is a relay for
//! them. To a member that a relay connects a better way is looked for ([`Upgrades`], [`super::punch`]), and once there is one,
//! the relayed connection is closed as soon as nothing runs on it: streams are not moved, they end where they began.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
    behaviour::Behaviour,
    connections::Connections,
    facts, listen, node_of,
    observed::Observed,
    peer_of,
    punch::{self, Puncher},
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
    /// Dials that were agreed on, until it is known what came of them, and to whom.
    punching: HashMap<ConnectionId, PeerId>,
    punches: facts::Punches,
    is_reachable: bool,
}

impl Ways {
    /// With the task that agrees on dials.
    pub(super) fn new(
        config: &Config,
        local: PeerId,
        arriving: mpsc::Receiver<Inbound>,
        streams: Streams,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (own, own_seen) = watch::channel(Arc::default());
        let (puncher, agreed, task) = Puncher::new(arriving, streams, own_seen, cancel);
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
            punching: HashMap::new(),
            punches: facts::Punches::default(),
            is_reachable: false,
        };
        (ways, task)
    }

    /// The user says that others can dial this node, so that it needs no relay.
    pub(super) fn reachable(&mut self) {
        self.is_reachable = true;
        self.reservations.reachable();
    }

    /// This node's own addresses are these now.
    pub(super) fn announced(&mut self, now: Duration, swarm: &mut Swarm<Behaviour>, announced: &[Multiaddr]) {
        self.announced = announced.iter().filter(|address| !listen::is_relayed(address)).cloned().collect();
        self.upgrades.hurry(now);
        self.tell();
        // Who has an address of the internet may be behind a firewall all the same. No harm is done: nobody asks a relay that
        // it could not dial.
        let is_relay = match self.relaying {
            Relaying::Never => false,
            Relaying::Auto => self.is_reachable || self.announced.iter().any(listen::is_public),
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
            self.tell();
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
    pub(super) fn facts(&self) -> (Vec<facts::Relay>, facts::Punches) {
        (self.reservations.facts(), self.punches.clone())
    }

    /// The next dial that both ends agreed on.
    pub(super) async fn agreed(&mut self) -> Option<punch::Dial> {
        self.agreed.recv().await
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
        for peer in self.upgrades.due(now) {
            self.punches.asked += 1;
            self.puncher.ask(peer);
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

    fn tell(&self) {
        self.own.send_replace(Arc::new(self.observed.candidates(&self.announced)));
    }
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
