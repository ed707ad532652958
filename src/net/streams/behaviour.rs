//! The swarm's side: which connections there are, and a further one where one is needed.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::{Inbound, Streams, handler::Handler, heard::Heard};
use crate::net::{
    admission::{Admission, Standing},
    listen::is_relayed,
};

/// Streams wanted on one connection and not yet asked of its muxer. The handler takes them as fast as it is polled, so
/// this only smooths bursts; when it is full the opener waits, under its own connect timeout.
const OPENING: usize = 256;

/// The swarm's side of [`Streams`].
pub(in crate::net) struct Behaviour {
    admission: Admission,
    accept: Vec<(StreamProtocol, PollSender<Inbound>)>,
    streams: Streams,
    /// Further connections are dialled where places run out.
    grows: bool,
}

impl Behaviour {
    pub(super) fn new(
        admission: Admission,
        accept: Vec<(StreamProtocol, PollSender<Inbound>)>,
        streams: Streams,
    ) -> Self {
        Self { admission, accept, streams, grows: true }
    }

    /// Makes do with the connections that there are.
    pub(in crate::net) fn fixed(self) -> Self {
        Self { grows: false, ..self }
    }

    fn handler(&self, peer: PeerId, id: ConnectionId, relayed: bool, dialled: Option<&Multiaddr>) -> Handler {
        let (open, opening) = mpsc::channel(OPENING);
        let mut room = self.streams.rooms.entry(peer).or_default();
        let further = match dialled {
            Some(_) => room.dialled(id),
            None => matches!(self.admission.standing(&peer), Standing::Member { further: true, .. }),
        };
        if dialled.is_some() {
            self.admission.dials_further(peer, false);
        }
        let heard = Arc::new(Heard::new(Instant::now()));
        let inbound = room.add(id, relayed, dialled.cloned(), (open, heard.clone()), further);
        Handler::new(peer, &self.accept, opening, inbound, heard, self.streams.clone())
    }

    /// The next further connection that is wanted.
    fn grow(&self) -> Option<DialOpts> {
        if !self.grows {
            return None;
        }
        let now = Instant::now();
        for mut room in self.streams.rooms.iter_mut() {
            let Some(address) = room.wants(now) else { continue };
            let peer = *room.key();
            let options = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![address])
                // From the same port to the same port there can be one connection.
                .allocate_new_port()
                .build();
            room.dialling(options.connection_id());
            self.admission.dials_further(peer, true);
            return Some(options);
        }
        None
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, id, is_relayed(local), None))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, id, is_relayed(address), Some(address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                let now = Instant::now();
                self.streams.rooms.remove_if_mut(&closed.peer_id, |_, room| room.remove(closed.connection_id, now));
            }
            FromSwarm::DialFailure(failure) => {
                let Some(peer) = failure.peer_id else { return };
                self.admission.dials_further(peer, false);
                if let Some(mut room) = self.streams.rooms.get_mut(&peer)
                    && room.dialled(failure.connection_id)
                {
                    tracing::debug!(%peer, error = %failure.error, "no further connection");
                    room.dial_failed(Instant::now());
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let short = &self.streams.short;
        short.behaviour.register(cx.waker());
        if short.raised.swap(false, Ordering::AcqRel)
            && let Some(opts) = self.grow()
        {
            // Others may be short as well; the swarm polls again right after.
            short.raised.store(true, Ordering::Release);
            return Poll::Ready(ToSwarm::Dial { opts });
        }
        Poll::Pending
    }
}
