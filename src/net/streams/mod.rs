//! Streams to and from members, by protocol name.
//!
//! [`Streams::open`] goes straight to the task of a connection: no actor stands between a front and its tunnel. It waits
//! for a [place](room) there, and a further connection is made before the places run out.
//! Inbound streams wait in one bounded queue per protocol; while it is full they wait in their connection's handler, and
//! only beyond what a peer may open are they reset and counted.
//!
//! **Absent on purpose.** No `libp2p-stream`: its accept side drops a stream whenever the acceptor is not being polled at
//! that instant, which loses connections in a burst.

mod behaviour;
mod end;
mod handler;
mod heard;
mod room;
mod stream;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) use behaviour::Behaviour;
use dashmap::DashMap;
use futures::task::AtomicWaker;
use libp2p::{PeerId, StreamProtocol, swarm::ConnectionId};
pub(super) use room::CONNECTIONS;
use room::{Place, Room, Taken};
pub use stream::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use super::{SYNC, admission::Admission, dialback::DIALBACK, round_trip::ROUND_TRIP};

/// Accepted streams that wait for their acceptor, per protocol, over all connections.
const ACCEPT_QUEUE: usize = 1024;

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
    /// Locked for a few operations on one peer's connections, never across an await.
    rooms: Arc<DashMap<PeerId, Room>>,
    short: Arc<Short>,
    counters: Arc<Counters>,
}

/// Wakes the behaviour when a peer's places run out.
#[derive(Debug, Default)]
struct Short {
    raised: AtomicBool,
    behaviour: AtomicWaker,
}

/// How many streams came and went.
#[derive(Debug, Default)]
struct Counters {
    overflowed: AtomicU64,
}

/// A stream to be opened.
#[derive(Debug)]
struct Open {
    protocol: StreamProtocol,
    wanted: Wanted,
}

/// Who waits for it, and its place.
#[derive(Debug)]
pub(super) struct Wanted {
    reply: oneshot::Sender<io::Result<Stream>>,
    place: Place,
}

impl Streams {
    /// The behaviour, the handle, and one queue of inbound streams for each of `protocols`, in their order.
    pub(super) fn new<const N: usize>(
        admission: Admission,
        protocols: [StreamProtocol; N],
    ) -> (Behaviour, Self, [mpsc::Receiver<Inbound>; N]) {
        let mut accept = Vec::with_capacity(N);
        let queues = protocols.map(|protocol| {
            let (sender, queue) = mpsc::channel(ACCEPT_QUEUE);
            accept.push((protocol, PollSender::new(sender)));
            queue
        });
        let streams = Self { rooms: Arc::default(), short: Arc::default(), counters: Arc::default() };
        (Behaviour::new(admission, accept, streams.clone()), streams, queues)
    }

    /// Opens a stream of `protocol` on the connection to `peer` with the most room.
    ///
    /// # Errors
    /// `NotConnected` without a connection; `QuotaExceeded` where all of them are full and no further one can be made;
    /// `Unsupported` where the peer does not speak the protocol; what the muxer says otherwise. The caller bounds the wait,
    /// and may drop it at any time.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> io::Result<Stream> {
        loop {
            let (connection, place) = self.place(peer, &protocol).await?;
            let (reply, answer) = oneshot::channel();
            let open = Open { protocol: protocol.clone(), wanted: Wanted { reply, place } };
            if connection.send(open).await.is_ok()
                && let Ok(opened) = answer.await
            {
                return opened;
            }
            // The connection ended before it made the stream. Nothing was sent on it, so any other will do.
        }
    }

    /// Inbound streams reset because the peer had too many.
    pub fn overflowed_total(&self) -> u64 {
        self.counters.overflowed.load(Ordering::Relaxed)
    }

    async fn place(&self, peer: PeerId, protocol: &StreamProtocol) -> io::Result<(mpsc::Sender<Open>, Place)> {
        let not_connected = || io::Error::new(io::ErrorKind::NotConnected, "not connected");
        loop {
            let taken = {
                let (mut room, now) = (self.rooms.get_mut(&peer).ok_or_else(not_connected)?, Instant::now());
                if is_use(protocol) {
                    room.use_it();
                }
                let taken = room.take(now);
                if room.wants(now).is_some() {
                    self.short.raise();
                }
                taken
            };
            match taken {
                Taken::Place(connection, place) => return Ok((connection, place)),
                Taken::Later(changed) => changed.await,
                Taken::Full => {
                    let full = "all connections to the peer are full, and no further one can be made";
                    return Err(io::Error::new(io::ErrorKind::QuotaExceeded, full));
                }
                Taken::NotConnected => return Err(not_connected()),
            }
        }
    }

    /// Nobody has a use for the connections to `peer` but the ledger, as far as this end can know.
    pub(super) fn is_unused(&self, peer: &PeerId) -> bool {
        self.rooms.get(peer).is_some_and(|room| room.is_unused())
    }

    /// No stream is open on that connection to `peer`.
    pub(super) fn is_idle(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.rooms.get(peer).is_none_or(|room| room.is_idle(id))
    }

    /// Streams on that connection brought bytes within `limit`.
    pub(super) fn heard_within(&self, peer: &PeerId, id: ConnectionId, limit: Duration) -> bool {
        self.rooms.get(peer).is_some_and(|room| room.heard_within(id, Instant::now(), limit))
    }

    /// The peer opened a stream that is a use.
    fn is_used_by(&self, peer: &PeerId) {
        if let Some(mut room) = self.rooms.get_mut(peer) {
            room.use_it();
        }
    }

    /// The peer opens many streams: it may need a further connection from this end.
    fn look_after(&self, peer: PeerId) {
        if self.rooms.get(&peer).is_some_and(|room| room.wants(Instant::now()).is_some()) {
            self.short.raise();
        }
    }
}

/// Streams of `protocol` show that one end has a use for the other. All members sync and dial each other back, and
/// whoever measures a way is not to change it.
fn is_use(protocol: &StreamProtocol) -> bool {
    ![SYNC, ROUND_TRIP, DIALBACK].contains(protocol)
}

impl Short {
    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.behaviour.wake();
    }
}
