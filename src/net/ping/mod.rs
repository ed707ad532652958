//! Whether a member still answers.
//!
//! A process that was stopped, or a machine that lost its power, says nothing: its connections look as they did. So members
//! are pinged, those that this node wants ([`Net::want`](super::Net::want)) often, because clients are sent there, and the
//! others rarely. A member that pings lives, so it is not pinged in turn: most connections are pinged from one end only.
//!
//! The protocol is libp2p's: 32 bytes, sent back as they are. The library's own behaviour pings all peers alike, from both
//! ends, and keeps quiet about a first failure.

mod beat;
mod handler;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    task::{Context, Poll},
    time::Duration,
};

pub(super) use beat::PATIENCE;
use beat::Pace;
use handler::Handler;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};

/// A ping was answered, or was not.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    /// The round trip; none where there is no answer yet, said again and again.
    pub(super) answer: Option<Duration>,
}

/// The swarm's side.
#[derive(Debug, Default)]
pub(super) struct Behaviour {
    connections: HashMap<PeerId, Vec<ConnectionId>>,
    watched: BTreeSet<PeerId>,
    events: VecDeque<ToSwarm<Event, Pace>>,
}

impl Behaviour {
    /// Pings these often from now on, and the others rarely.
    pub(super) fn watch(&mut self, watched: BTreeSet<PeerId>) {
        let before = std::mem::replace(&mut self.watched, watched);
        for peer in before.symmetric_difference(&self.watched) {
            let pace = self.pace(peer);
            for connection in self.connections.get(peer).into_iter().flatten() {
                let handler = NotifyHandler::One(*connection);
                self.events.push_back(ToSwarm::NotifyHandler { peer_id: *peer, handler, event: pace });
            }
        }
    }

    fn pace(&self, peer: &PeerId) -> Pace {
        match self.watched.contains(peer) {
            true => Pace::Often,
            false => Pace::Rarely,
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.pace(&peer), rand::random()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.pace(&peer), rand::random()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                self.connections.entry(made.peer_id).or_default().push(made.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                if let Some(connections) = self.connections.get_mut(&closed.peer_id) {
                    connections.retain(|connection| *connection != closed.connection_id);
                    if connections.is_empty() {
                        self.connections.remove(&closed.peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.events.push_back(ToSwarm::GenerateEvent(Event { peer, connection, answer: event }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Whoever adds an event is the swarm itself, or polls it right after.
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
