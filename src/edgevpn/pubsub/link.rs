//! The stream to one peer: opened, told what this node subscribes to, and opened again whenever that may have been lost.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};

use crate::{
    edgevpn::rpc::{Rpc, Subscription},
    net::{PUBSUB, Stream, Streams},
};

/// What waits to be sent to one peer. Each is shared with those for other peers; a peer that reads so slowly that they fill is
/// sent no more until it does, and the next sync repairs the loss.
const QUEUE: usize = 32;

/// A stream is opened, and a message sent, by then or not at all.
const LIMIT: Duration = Duration::from_secs(10);

/// A message has come by then, once its length has, or its stream is ended.
const COMING: Duration = Duration::from_secs(30);

/// Bytes of a message that needs no room set aside. A network of 100 nodes has messages of 16 KB.
const SMALL: usize = 64 << 10;

/// Bytes of larger messages that are read, or wait to be dealt with, at once, from all peers; others wait for their turn.
const ROOM: usize = 64 << 20;

/// Between tries to open it: first and longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A length before its message: an unsigned varint of at most so many bytes.
const MAX_PREFIX: usize = 5;

/// The topics that this node subscribes to.
pub(in crate::edgevpn) type Topics = Arc<BTreeSet<String>>;

/// A message with its length before it, as it goes over the wire.
pub(in crate::edgevpn) type Framed = Arc<[u8]>;

/// Sends to one peer.
#[derive(Debug)]
pub(in crate::edgevpn) struct Link {
    queue: mpsc::Sender<Framed>,
    again: Arc<Notify>,
    topics: watch::Sender<Topics>,
}

impl Link {
    /// The link, and its task, which ends when the link is dropped.
    pub(in crate::edgevpn) fn new(peer: PeerId, streams: Streams) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let again = Arc::new(Notify::new());
        let (topics, subscribed) = watch::channel(Topics::default());
        let task = Task { peer, streams, topics: subscribed, waiting, again: Arc::clone(&again) };
        (Self { queue, again, topics }, task.run())
    }

    /// Sends, if there is room.
    pub(in crate::edgevpn) fn send(&self, framed: Framed) -> bool {
        self.queue.try_send(framed).is_ok()
    }

    /// Has the peer send what is said on these topics, and on no others.
    pub(in crate::edgevpn) fn subscribe(&self, topics: &Topics) {
        self.topics.send_if_modified(|known| {
            let changed = known != topics;
            if changed {
                *known = Arc::clone(topics);
            }
            changed
        });
    }

    /// Opens the stream anew: the peer has probably forgotten the one that there was.
    pub(in crate::edgevpn) fn open_again(&self) {
        self.again.notify_one();
    }
}

/// `rpc` as it goes over the wire.
pub(in crate::edgevpn) fn framed(rpc: &Rpc) -> Framed {
    let bytes = rpc.encode();
    let (mut prefix, mut rest) = (Vec::with_capacity(MAX_PREFIX + bytes.len()), bytes.len());
    while rest >= 0x80 {
        prefix.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    prefix.push(rest as u8);
    prefix.extend_from_slice(&bytes);
    prefix.into()
}

/// A large message's part of the room that there is.
pub(in crate::edgevpn) type Place = OwnedSemaphorePermit;

/// What messages of all peers may take together until they were dealt with.
#[derive(Clone, Debug)]
pub(in crate::edgevpn) struct Room {
    kib: Arc<Semaphore>,
    most: usize,
}

impl Room {
    /// For messages of at most `most` bytes.
    pub(in crate::edgevpn) fn new(most: usize) -> Self {
        Self { kib: Arc::new(Semaphore::new(ROOM / 1024)), most }
    }
}

/// The next message of a stream, with its place if it is a large one; none at its end.
///
/// # Errors
/// The stream broke, or a message is longer than there is room for, or none at all, or takes too long to come.
pub(in crate::edgevpn) async fn read(stream: &mut Stream, room: &Room) -> io::Result<Option<(Rpc, Option<Place>)>> {
    let mut length = 0_usize;
    for n in 0..MAX_PREFIX {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return if n == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        length |= usize::from(byte[0] & 0x7f) << (7 * n);
        if byte[0] & 0x80 == 0 {
            break;
        }
        if n == MAX_PREFIX - 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a length of too many bytes"));
        }
    }
    if length > room.most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than the token allows"));
    }
    let place = match length > SMALL {
        true => {
            let kib = u32::try_from(length / 1024).unwrap_or(u32::MAX);
            Some(Arc::clone(&room.kib).acquire_many_owned(kib).await.map_err(io::Error::other)?)
        }
        false => None,
    };
    // It grows as the bytes come: a length alone sets nothing aside.
    let mut bytes = Vec::new();
    let mut rest = stream.take(length as u64);
    timeout(COMING, rest.read_to_end(&mut bytes)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rpc = Rpc::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((rpc, place)))
}

struct Task {
    peer: PeerId,
    streams: Streams,
    topics: watch::Receiver<Topics>,
    waiting: mpsc::Receiver<Framed>,
    again: Arc<Notify>,
}

/// Why a stream is no longer used.
enum Over {
    /// The link was dropped.
    Unwanted,
    /// It is to be opened again.
    Again,
    /// It broke.
    Broken(io::Error),
}

impl Task {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.talk().await {
                Over::Unwanted => return,
                Over::Again => pause = FIRST_PAUSE,
                Over::Broken(error) => {
                    tracing::trace!(peer = %self.peer, %error, "stream of pubsub lost");
                    tokio::select! {
                        () = self.again.notified() => pause = FIRST_PAUSE,
                        () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        () = gone(&mut self.waiting) => return,
                    }
                }
            }
        }
    }

    /// Opens a stream and sends on it for as long as it lasts.
    async fn talk(&mut self) -> Over {
        let opening = timeout(LIMIT, self.streams.open(self.peer, PUBSUB));
        let stream = match opening.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Over::Broken(error),
            Err(_) => return Over::Broken(io::ErrorKind::TimedOut.into()),
        };
        let (mut reading, mut writing) = stream.split();
        let mut said: Topics = Arc::default();
        let mut byte = [0];
        loop {
            let wanted = self.topics.borrow_and_update().clone();
            if let Err(error) = send(&mut writing, &changes(&said, &wanted)).await {
                return Over::Broken(error);
            }
            said = wanted;
            tokio::select! {
                biased;
                () = self.again.notified() => return Over::Again,
                Ok(()) = self.topics.changed() => {}
                // Nothing comes on this stream but its end.
                _ = reading.read(&mut byte) => return Over::Broken(io::ErrorKind::ConnectionReset.into()),
                framed = self.waiting.recv() => {
                    let Some(framed) = framed else {
                        // Closed in good order, so that the peer need not find out; it may be gone already.
                        let _ = timeout(LIMIT, writing.close()).await;
                        return Over::Unwanted;
                    };
                    if let Err(error) = send(&mut writing, &framed).await {
                        return Over::Broken(error);
                    }
                }
            }
        }
    }
}

/// Drops what is to be sent while it can't be, and returns when the link was dropped.
async fn gone(waiting: &mut mpsc::Receiver<Framed>) {
    while waiting.recv().await.is_some() {}
}

async fn send(writing: &mut (impl futures::AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let sending = async {
        writing.write_all(bytes).await?;
        writing.flush().await
    };
    timeout(LIMIT, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What makes a peer that knows of `said` know of `wanted`; nothing where that is the same.
fn changes(said: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Vec<u8> {
    let more = wanted.difference(said).map(|topic| Subscription::new(topic.clone(), true));
    let less = said.difference(wanted).map(|topic| Subscription::new(topic.clone(), false));
    let subscriptions: Vec<_> = more.chain(less).collect();
    match subscriptions.is_empty() {
        true => Vec::new(),
        false => framed(&Rpc::subscribing(subscriptions)).to_vec(),
    }
}
