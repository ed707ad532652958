//! One connection's side: asks its muxer for streams, and hands on those that the peer opens.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::{self, Ready};
use libp2p::{
    PeerId, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::{
    Inbound, Open, Stream, Streams, Wanted,
    end::Ends,
    heard::Heard,
    is_use,
    room::{PLACES, Place},
};

/// Streams of the peer on one connection; more are reset and counted. A peer has [`PLACES`], so these are streams that it
/// has dropped and this node has not; with this node's own they stay below what ends the connection.
const ACCEPTED: usize = 2 * PLACES;

/// One connection's side of [`Streams`].
pub(in crate::net) struct Handler {
    peer: PeerId,
    offered: Offer,
    /// Per protocol: its acceptor, and the streams that wait for room there.
    accept: Vec<(PollSender<Inbound>, VecDeque<Stream>)>,
    opening: mpsc::Receiver<Open>,
    /// The peer's streams on this connection.
    inbound: Arc<AtomicUsize>,
    /// It is known that the peer has a use for it.
    was_used: bool,
    /// Of all streams on this connection.
    ends: Ends,
    heard: Arc<Heard>,
    streams: Streams,
}

impl Handler {
    pub(super) fn new(
        peer: PeerId,
        accept: &[(StreamProtocol, PollSender<Inbound>)],
        opening: mpsc::Receiver<Open>,
        inbound: Arc<AtomicUsize>,
        heard: Arc<Heard>,
        streams: Streams,
    ) -> Self {
        let offered = Offer(accept.iter().map(|(protocol, _)| protocol.clone()).collect());
        let accept = accept.iter().map(|(_, sender)| (sender.clone(), VecDeque::new())).collect();
        Self { peer, offered, accept, opening, inbound, was_used: false, ends: Ends::default(), heard, streams }
    }

    /// Takes a stream that the peer opened, or resets it where the peer has too many.
    fn accept(&mut self, index: usize, bytes: libp2p::Stream) {
        let open = self.inbound.load(Ordering::Relaxed);
        let Some((_, waiting)) = self.accept.get_mut(index).filter(|_| open < ACCEPTED) else {
            self.streams.counters.overflowed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // The swarm polls the handler right after, which moves the stream on.
        let stream = Stream::new(bytes, Place::take(&self.inbound, None), self.ends.add(), self.heard.clone());
        waiting.push_back(stream);
        if !self.was_used && self.offered.0.get(index).is_some_and(is_use) {
            self.was_used = true;
            self.streams.is_used_by(&self.peer);
        }
        if open >= PLACES / 2 {
            self.streams.look_after(self.peer);
        }
    }

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
    type OutboundOpenInfo = Wanted;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(self.offered.clone(), ())
    }

    /// Members stay connected: the connection is what tells that they live.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    /// The connection is about to be closed, which may take as long as a peer that does not answer.
    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Option<Infallible>> {
        self.ends.come();
        Poll::Ready(None)
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Want, Wanted, Infallible>> {
        self.poll_accept(cx);
        while let Poll::Ready(Some(open)) = self.opening.poll_recv(cx) {
            if open.wanted.reply.is_closed() {
                continue;
            }
            let protocol = SubstreamProtocol::new(Want(open.protocol), open.wanted);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Want, (), Wanted>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (index, stream), .. }) => {
                self.accept(index, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let Wanted { reply, place } = info;
                // Nobody waits any more: dropping the stream resets it.
                let _ = reply.send(Ok(Stream::new(protocol, place, self.ends.add(), self.heard.clone())));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::Timeout => io::ErrorKind::TimedOut.into(),
                    StreamUpgradeError::NegotiationFailed => io::ErrorKind::Unsupported.into(),
                    StreamUpgradeError::Io(error) => error,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = info.reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// All protocols that this node accepts; the output says which it was.
#[derive(Clone)]
pub(in crate::net) struct Offer(Arc<[StreamProtocol]>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().cloned().collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<libp2p::Stream> for Offer {
    type Output = (usize, libp2p::Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, protocol: StreamProtocol) -> Self::Future {
        // Past the end never happens: the swarm negotiates what was offered. Were it to, the stream is reset.
        let index = self.0.iter().position(|offered| *offered == protocol).unwrap_or(usize::MAX);
        future::ready(Ok((index, stream)))
    }
}

/// The protocol wanted of the peer.
pub(in crate::net) struct Want(StreamProtocol);

impl UpgradeInfo for Want {
    type Info = StreamProtocol;
    type InfoIter = std::iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0.clone())
    }
}

impl OutboundUpgrade<libp2p::Stream> for Want {
    type Output = libp2p::Stream;
    type Error = Infallible;
    type Future = Ready<Result<libp2p::Stream, Infallible>>;

    fn upgrade_outbound(self, stream: libp2p::Stream, _: StreamProtocol) -> Self::Future {
        future::ready(Ok(stream))
    }
}
