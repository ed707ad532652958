//! Streams to and from members, by protocol name.
//!
//! [`Streams::open`] goes straight to the task of the connection: no actor stands between a front and its tunnel.
//! Inbound streams wait in one bounded queue per protocol; while it is full they wait in their connection's handler, and
//! only beyond that are they reset and counted.
//!
//! **Absent on purpose.** No `libp2p-stream`: its accept side drops a stream whenever the acceptor is not being polled at
//! that instant, which loses connections in a burst.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use dashmap::DashMap;
use futures::future::{self, Ready};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

/// Streams wanted on one connection and not yet asked of its muxer. The handler takes them as fast as it is polled, so
/// this only smooths bursts; when it is full the opener waits, under its own connect timeout.
const OPENING: usize = 256;

/// Accepted streams that wait for their acceptor, per protocol, over all connections.
const ACCEPT_QUEUE: usize = 1024;

/// Accepted streams that wait in one connection while the queue is full; more are reset and counted.
const WAITING: usize = 256;

/// A stream that a member opened.
#[derive(Debug)]
pub struct Inbound {
    /// Who opened it.
    pub peer: PeerId,
    /// The bytes.
    pub stream: Stream,
}

/// Opens streams to members. Clones share.
#[derive(Clone, Debug)]
pub struct Streams {
    connections: Connections,
    counters: Arc<Counters>,
}

type Connections = Arc<DashMap<PeerId, Vec<Connection>>>;

#[derive(Clone, Debug)]
struct Connection {
    id: ConnectionId,
    open: mpsc::Sender<Open>,
}

/// How many streams came and went.
#[derive(Debug, Default)]
struct Counters {
    overflowed: AtomicU64,
}

/// A stream somebody waits for.
#[derive(Debug)]
struct Open {
    protocol: StreamProtocol,
    reply: oneshot::Sender<io::Result<Stream>>,
}

impl Streams {
    /// The behaviour, the handle, and one queue of inbound streams for each of `protocols`, in their order.
    pub(super) fn new<const N: usize>(
        protocols: [StreamProtocol; N],
    ) -> (Behaviour, Self, [mpsc::Receiver<Inbound>; N]) {
        let mut accept = Vec::with_capacity(N);
        let queues = protocols.map(|protocol| {
            let (sender, queue) = mpsc::channel(ACCEPT_QUEUE);
            accept.push((protocol, PollSender::new(sender)));
            queue
        });
        let streams = Self { connections: Arc::default(), counters: Arc::default() };
        (Behaviour { accept, streams: streams.clone() }, streams, queues)
    }

    /// Opens a stream of `protocol` on the newest connection to `peer`.
    ///
    /// # Errors
    /// `NotConnected` without a connection; `Unsupported` where the peer does not speak the protocol; whatever broke the
    /// connection otherwise. The caller bounds the wait, and may drop it at any time.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> io::Result<Stream> {
        let newest = self.connections.get(&peer).and_then(|known| known.last().map(|newest| newest.open.clone()));
        let not_connected = || io::Error::new(io::ErrorKind::NotConnected, "not connected");
        let (reply, answer) = oneshot::channel();
        newest.ok_or_else(not_connected)?.send(Open { protocol, reply }).await.map_err(|_| not_connected())?;
        answer.await.map_err(|_| io::Error::new(io::ErrorKind::ConnectionAborted, "the connection ended"))?
    }

    /// Inbound streams reset because nobody took them in time.
    pub fn overflowed_total(&self) -> u64 {
        self.counters.overflowed.load(Ordering::Relaxed)
    }
}

/// The swarm's side of [`Streams`].
pub(super) struct Behaviour {
    accept: Vec<(StreamProtocol, PollSender<Inbound>)>,
    streams: Streams,
}

impl Behaviour {
    fn handler(&self, peer: PeerId, id: ConnectionId) -> Handler {
        let (open, opening) = mpsc::channel(OPENING);
        let mut connections = self.streams.connections.entry(peer).or_default();
        connections.retain(|connection| !connection.open.is_closed());
        connections.push(Connection { id, open });
        Handler {
            peer,
            offered: Offer(self.accept.iter().map(|(protocol, _)| protocol.clone()).collect()),
            accept: self.accept.iter().map(|(_, sender)| (sender.clone(), VecDeque::new())).collect(),
            opening,
            counters: Arc::clone(&self.streams.counters),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, id))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, id))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = event {
            self.streams.connections.remove_if_mut(&closed.peer_id, |_, connections| {
                connections.retain(|connection| connection.id != closed.connection_id);
                connections.is_empty()
            });
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// One connection's side of [`Streams`].
pub(super) struct Handler {
    peer: PeerId,
    offered: Offer,
    /// Per protocol: its acceptor, and the streams that wait for room there.
    accept: Vec<(PollSender<Inbound>, VecDeque<Stream>)>,
    opening: mpsc::Receiver<Open>,
    counters: Arc<Counters>,
}

impl Handler {
    /// Hands waiting streams to their acceptors, as far as those have room.
    fn poll_accept(&mut self, cx: &mut Context<'_>) {
        for (sender, waiting) in &mut self.accept {
            while !waiting.is_empty() {
                match sender.poll_reserve(cx) {
                    Poll::Ready(Ok(())) => {
                        if let Some(stream) = waiting.pop_front() {
                            // The only error is a closed acceptor: the node is stopping, and the stream resets.
                            let _ = sender.send_item(Inbound { peer: self.peer, stream });
                        }
                    }
                    Poll::Ready(Err(_)) => waiting.clear(),
                    Poll::Pending => break,
                }
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Want;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<io::Result<Stream>>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(self.offered.clone(), ())
    }

    /// Members stay connected: the connection is what tells that they live.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Want, oneshot::Sender<io::Result<Stream>>, Infallible>> {
        self.poll_accept(cx);
        while let Poll::Ready(Some(open)) = self.opening.poll_recv(cx) {
            if open.reply.is_closed() {
                continue;
            }
            let protocol = SubstreamProtocol::new(Want(open.protocol), open.reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Offer, Want, (), oneshot::Sender<io::Result<Stream>>>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (index, stream), .. }) => {
                // The swarm polls the handler right after, which moves the stream on.
                match self.accept.get_mut(index) {
                    Some((_, waiting)) if waiting.len() < WAITING => waiting.push_back(stream),
                    _ => {
                        self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                // Nobody waits any more: dropping the stream resets it.
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => io::ErrorKind::TimedOut.into(),
                    StreamUpgradeError::NegotiationFailed => io::ErrorKind::Unsupported.into(),
                    StreamUpgradeError::Io(error) => error,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = info.send(Err(error));
            }
            _ => {}
        }
    }
}

/// All protocols that this node accepts; the output says which it was.
#[derive(Clone)]
pub(super) struct Offer(Arc<[StreamProtocol]>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().cloned().collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (usize, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        // Past the end never happens: the swarm negotiates what was offered. Were it to, the stream is reset.
        let index = self.0.iter().position(|offered| *offered == protocol).unwrap_or(usize::MAX);
        future::ready(Ok((index, stream)))
    }
}

/// The protocol wanted of the peer.
pub(super) struct Want(StreamProtocol);

impl UpgradeInfo for Want {
    type Info = StreamProtocol;
    type InfoIter = std::iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0.clone())
    }
}

impl OutboundUpgrade<Stream> for Want {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        future::ready(Ok(stream))
    }
}
