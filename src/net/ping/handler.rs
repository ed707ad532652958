//! One connection's side: a stream on which this end pings, and one on which it answers.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::time::{Instant, Sleep};

use super::beat::{Act, Beat, Pace};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

/// Bytes of a ping.
const SIZE: usize = 32;

type Upgrade = ReadyUpgrade<StreamProtocol>;

/// One connection's side.
pub(in crate::net) struct Handler {
    started: Instant,
    beat: Beat,
    timer: Pin<Box<Sleep>>,
    asking: Asking,
    /// The stream broke with a ping unanswered, and its time is over: another is to be opened.
    retries: bool,
    answering: Option<Answering>,
}

enum Asking {
    /// A stream is to be opened with the next ping.
    Closed,
    Opening,
    Ready(Stream),
    /// Until the answer is there.
    Pinging(BoxFuture<'static, io::Result<Stream>>),
    /// The peer does not speak the protocol: nothing is known of it, and nothing is said.
    Unsupported,
}

enum Answering {
    Reading(BoxFuture<'static, io::Result<(Stream, [u8; SIZE])>>),
    Writing(BoxFuture<'static, io::Result<Stream>>),
}

impl Handler {
    pub(super) fn new(pace: Pace, seed: u64) -> Self {
        Self {
            started: Instant::now(),
            beat: Beat::new(Duration::ZERO, pace, seed),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            asking: Asking::Closed,
            retries: false,
            answering: None,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Answers whatever pings are there.
    fn poll_answering(&mut self, cx: &mut Context<'_>) {
        while let Some(answering) = &mut self.answering {
            let next = match answering {
                Answering::Reading(reading) => match reading.poll_unpin(cx) {
                    Poll::Pending => return,
                    Poll::Ready(read) => {
                        self.beat.heard(self.started.elapsed());
                        read.map(|(stream, ping)| Answering::Writing(write(stream, ping).boxed()))
                    }
                },
                Answering::Writing(writing) => match writing.poll_unpin(cx) {
                    Poll::Pending => return,
                    Poll::Ready(written) => written.map(|stream| Answering::Reading(read(stream).boxed())),
                },
            };
            // The peer closed it, or it broke: the peer opens another one if it wants to.
            self.answering = next.ok();
        }
    }

    /// The round trip, once there is one.
    fn poll_asking(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let Asking::Pinging(pinging) = &mut self.asking else { return None };
        let Poll::Ready(answered) = pinging.poll_unpin(cx) else { return None };
        match answered {
            Ok(stream) => {
                self.asking = Asking::Ready(stream);
                self.beat.answered(self.started.elapsed())
            }
            // It counts as unanswered, and is tried again on another stream when that is told.
            Err(_) => {
                self.asking = Asking::Closed;
                None
            }
        }
    }

    /// Pings, if there is a stream; whether one is to be opened.
    fn ping(&mut self) -> bool {
        match std::mem::replace(&mut self.asking, Asking::Closed) {
            Asking::Closed => {
                self.asking = Asking::Opening;
                return true;
            }
            Asking::Ready(stream) => self.asking = Asking::Pinging(ping(stream).boxed()),
            other => self.asking = other,
        }
        false
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Pace;
    type ToBehaviour = Option<Duration>;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, pace: Pace) {
        self.beat.set_pace(self.now(), pace);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), Option<Duration>>> {
        self.poll_answering(cx);
        if let Some(round_trip) = self.poll_asking(cx) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Some(round_trip)));
        }
        if matches!(self.asking, Asking::Unsupported) {
            return Poll::Pending;
        }
        if std::mem::take(&mut self.retries) && self.ping() {
            return Poll::Ready(request());
        }
        loop {
            let due = self.started + self.beat.due();
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.poll_unpin(cx).is_pending() {
                return Poll::Pending;
            }
            let act = self.beat.poll(self.now());
            if act == Some(Act::TellSilence) {
                self.retries = matches!(self.asking, Asking::Closed);
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(None));
            }
            if act == Some(Act::Ping) && self.ping() {
                return Poll::Ready(request());
            }
            // A fresh ping is to be polled.
            if let Some(round_trip) = self.poll_asking(cx) {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Some(round_trip)));
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.answering = Some(Answering::Reading(read(stream).boxed()));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.asking = Asking::Pinging(ping(stream).boxed());
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.asking = match error {
                    StreamUpgradeError::NegotiationFailed => Asking::Unsupported,
                    StreamUpgradeError::Timeout | StreamUpgradeError::Io(_) => Asking::Closed,
                    StreamUpgradeError::Apply(never) => never_happens(never),
                };
            }
            _ => {}
        }
    }
}

fn request() -> ConnectionHandlerEvent<Upgrade, (), Option<Duration>> {
    let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
    ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }
}

fn never_happens(never: Infallible) -> Asking {
    match never {}
}

/// Pings and waits for the answer.
async fn ping(mut stream: Stream) -> io::Result<Stream> {
    let said: [u8; SIZE] = rand::random();
    stream.write_all(&said).await?;
    stream.flush().await?;
    let (stream, heard) = read(stream).await?;
    match said == heard {
        true => Ok(stream),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "another ping was answered")),
    }
}

async fn read(mut stream: Stream) -> io::Result<(Stream, [u8; SIZE])> {
    let mut ping = [0; SIZE];
    stream.read_exact(&mut ping).await?;
    Ok((stream, ping))
}

async fn write(mut stream: Stream, ping: [u8; SIZE]) -> io::Result<Stream> {
    stream.write_all(&ping).await?;
    stream.flush().await?;
    Ok(stream)
}
