//! Keeps a behaviour among those that it is for.
//!
//! Connections differ by what the peer is ([`Standing`]): a member, in a compat network a node of edgevpn's, or a server of a
//! DHT that this node dialled. On those that a behaviour is not for, it has no handler and hears no event, so it cannot speak
//! there.

use std::{
    collections::HashMap,
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

/// Nodes of edgevpn connected at once. They prove nothing, so anybody who can dial this node may fill it: enough for all
/// the machines of a large network, few enough to leave the members theirs.
const LEGACY: usize = 512;

/// `B` on connections to those that it is for, silence on others.
pub(super) struct Gate<B> {
    inner: B,
    admission: Admission,
    is_for: fn(Standing) -> bool,
    /// Connections on which it is silent.
    silent: HashMap<ConnectionId, Standing>,
}

/// One more than the node talks to.
#[derive(Debug, thiserror::Error)]
#[error("enough connections to peers that are no members")]
struct TooMany;

impl<B> Gate<B> {
    /// Lets `inner` speak where `is_for` says so.
    pub(super) fn new(inner: B, admission: Admission, is_for: fn(Standing) -> bool) -> Self {
        Self { inner, admission, is_for, silent: HashMap::new() }
    }

    /// Whether it may speak on a new connection to `peer`, which is remembered where it may not.
    fn lets(&mut self, id: ConnectionId, peer: &PeerId) -> Result<bool, ConnectionDenied> {
        let standing = self.admission.standing(peer);
        if (self.is_for)(standing) {
            return Ok(true);
        }
        let most = match standing {
            Standing::Member { .. } => usize::MAX,
            Standing::Legacy => LEGACY,
            Standing::Stranger => STRANGERS,
        };
        let alike = |other: &&Standing| std::mem::discriminant(*other) == std::mem::discriminant(&standing);
        if self.silent.values().filter(alike).count() >= most {
            return Err(ConnectionDenied::new(TooMany));
        }
        self.silent.insert(id, standing);
        Ok(false)
    }
}

impl<B> std::ops::Deref for Gate<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> std::ops::DerefMut for Gate<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
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
        match self.lets(id, &peer)? {
            true => self.inner.handle_established_inbound_connection(id, peer, local, remote).map(Either::Left),
            false => Ok(Either::Right(dummy::ConnectionHandler)),
        }
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
        match self.lets(id, &peer)? {
            true => self.inner.handle_established_outbound_connection(id, peer, address, role, port).map(Either::Left),
            false => Ok(Either::Right(dummy::ConnectionHandler)),
        }
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let is_silent = match &event {
            FromSwarm::ConnectionEstablished(event) => self.silent.contains_key(&event.connection_id),
            FromSwarm::ConnectionClosed(event) => self.silent.remove(&event.connection_id).is_some(),
            FromSwarm::AddressChange(event) => self.silent.contains_key(&event.connection_id),
            // Another behaviour may have denied a connection that had a place here.
            FromSwarm::DialFailure(event) => {
                self.silent.remove(&event.connection_id);
                false
            }
            FromSwarm::ListenFailure(event) => {
                self.silent.remove(&event.connection_id);
                false
            }
            _ => false,
        };
        if !is_silent {
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

/// Handlers of silence have nothing to say.
fn libp2p_never(never: std::convert::Infallible) {
    match never {}
}
