//! Keeps a behaviour among members.
//!
//! Inbound connections are all admitted by the transport. The few connections that this node dials to servers of a DHT
//! are not: on those, the wrapped behaviour has no handler and hears no event, so it cannot speak there.

use std::{
    collections::HashSet,
    task::{Context, Poll},
};

use either::Either;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use super::admission::{Admission, Standing};

/// Strangers connected at once. A lookup talks to a few dozen servers; more only cost sockets.
const STRANGERS: usize = 64;

/// `B` on connections to members, silence on others.
pub(super) struct Members<B> {
    inner: B,
    admission: Admission,
    strangers: HashSet<ConnectionId>,
}

/// One stranger more than the node talks to.
#[derive(Debug, thiserror::Error)]
#[error("enough connections to servers of the DHT")]
struct TooManyStrangers;

impl<B> Members<B> {
    pub(super) fn new(inner: B, admission: Admission) -> Self {
        Self { inner, admission, strangers: HashSet::new() }
    }

    fn is_member(&self, peer: &PeerId) -> bool {
        matches!(self.admission.standing(peer), Standing::Member { .. })
    }
}

impl<B> std::ops::Deref for Members<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> std::ops::DerefMut for Members<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Members<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote).map(Either::Left)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.is_member(&peer) {
            return self.inner.handle_established_outbound_connection(id, peer, address, role, port).map(Either::Left);
        }
        if self.strangers.len() >= STRANGERS {
            return Err(ConnectionDenied::new(TooManyStrangers));
        }
        self.strangers.insert(id);
        Ok(Either::Right(dummy::ConnectionHandler))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let stranger = match &event {
            FromSwarm::ConnectionEstablished(event) => self.strangers.contains(&event.connection_id),
            FromSwarm::ConnectionClosed(event) => self.strangers.remove(&event.connection_id),
            FromSwarm::AddressChange(event) => self.strangers.contains(&event.connection_id),
            FromSwarm::DialFailure(event) => {
                // Another behaviour may have denied a connection that had a place here.
                self.strangers.remove(&event.connection_id);
                false
            }
            _ => false,
        };
        if !stranger {
            self.inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, id, event),
            Either::Right(never) => libp2p_never(never),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx).map(|event| event.map_in(Either::Left))
    }
}

/// Strangers' handlers have nothing to say.
fn libp2p_never(never: std::convert::Infallible) {
    match never {}
}
