//! Members dial each other back, to find out who can be dialled.
//!
//! ```text
//!  my addresses (a list)   ──────────────▶
//!                          ◀──────────────  what came of each, one byte: not tried, reached, failed
//! ```
//!
//! Each is dialled from a port that was not used before, so that no NAT takes it for an answer. Nothing is proved with a number
//! as in AutoNAT: whoever answers there has to be the one that asked, by its key, and a member. The connection is closed at once.
//!
//! Nobody is sent to strangers: an address is tried only if it has the IP address that the one that asks is seen at.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Inbound, Streams, address_list,
    admission::Admission,
    behaviour::Behaviour,
    listen::{ip_of, is_relayed},
    reachability::Tried,
};

/// The protocol.
pub(super) const DIALBACK: StreamProtocol = StreamProtocol::new("/p2p-fed/dialback/1");

/// Questions under way at once, over all members and both ways; further ones wait.
const AT_ONCE: usize = 16;

/// How long one may take: a dial that fails may take all of a connection's setup, and the answer has to come back.
const LIMIT: Duration = Duration::from_secs(15);

/// Addresses of one question that are tried.
const TRIED: usize = 8;

/// A member wants to be dialled.
#[derive(Debug)]
pub(super) struct Question {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    answer: oneshot::Sender<Vec<Tried>>,
}

impl Question {
    /// Who asks.
    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }
}

/// A member has dialled this node; what it found of each address, or nothing.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) peer: PeerId,
    pub(super) found: Vec<(Multiaddr, Tried)>,
}

/// What the task has for the actor.
#[derive(Debug)]
pub(super) enum News {
    Question(Question),
    Answer(Answer),
}

/// The dials that members asked for, until it is known what came of them. With the questions of this node.
#[derive(Debug)]
pub(super) struct Dialback {
    asks: mpsc::Sender<(PeerId, Vec<Multiaddr>)>,
    news: mpsc::Receiver<News>,
    dials: HashMap<ConnectionId, (PeerId, usize)>,
    questions: HashMap<PeerId, Asked>,
}

#[derive(Debug)]
struct Asked {
    tried: Vec<Tried>,
    left: usize,
    answer: oneshot::Sender<Vec<Tried>>,
}

impl Dialback {
    /// With the task that asks and answers.
    pub(super) fn new(
        arriving: mpsc::Receiver<Inbound>,
        streams: Streams,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (asks, asked) = mpsc::channel(1);
        let (told, news) = mpsc::channel(AT_ONCE);
        let dialback = Self { asks, news, dials: HashMap::new(), questions: HashMap::new() };
        (dialback, run(asked, arriving, told, streams, cancel))
    }

    /// Asks `peer` to dial this node at `addresses`. An [`Answer`] comes in any case.
    pub(super) fn ask(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        // One at a time is asked, so there is room.
        let _ = self.asks.try_send((peer, addresses));
    }

    /// The next thing that the task has to tell.
    pub(super) async fn news(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Dials whoever asked for it, who is seen at `seen`.
    pub(super) fn dial(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        admission: &Admission,
        Question { peer, addresses, answer }: Question,
        seen: &HashSet<IpAddr>,
    ) {
        let mut asked = Asked { tried: vec![Tried::Not; addresses.len()], left: 0, answer };
        // A connection that somebody else makes to the same peer is told from this one by a mark that both would set.
        if !self.questions.contains_key(&peer) && admission.begins_further(peer) {
            for (index, address) in addresses.into_iter().enumerate().take(TRIED) {
                if is_relayed(&address) || !ip_of(&address).is_some_and(|ip| seen.contains(&ip)) {
                    continue;
                }
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address]);
                let options = options.allocate_new_port().build();
                let id = options.connection_id();
                if swarm.dial(options).is_ok() {
                    self.dials.insert(id, (peer, index));
                    asked.left += 1;
                }
            }
            if asked.left > 0 {
                self.questions.insert(peer, asked);
                return;
            }
            admission.dials_further(peer, false);
        }
        // Whoever asked may have gone.
        let _ = asked.answer.send(asked.tried);
    }

    /// A dial led somewhere, or nowhere. Whether it was one of these.
    pub(super) fn ended(&mut self, admission: &Admission, id: ConnectionId, outcome: Tried) -> bool {
        let Some((peer, index)) = self.dials.remove(&id) else { return false };
        let Some(asked) = self.questions.get_mut(&peer) else { return true };
        if let Some(tried) = asked.tried.get_mut(index) {
            *tried = outcome;
        }
        asked.left -= 1;
        if asked.left == 0
            && let Some(asked) = self.questions.remove(&peer)
        {
            admission.dials_further(peer, false);
            let _ = asked.answer.send(asked.tried);
        }
        true
    }
}

async fn run(
    mut asked: mpsc::Receiver<(PeerId, Vec<Multiaddr>)>,
    mut arriving: mpsc::Receiver<Inbound>,
    told: mpsc::Sender<News>,
    streams: Streams,
    cancel: CancellationToken,
) {
    let mut talks: JoinSet<()> = JoinSet::new();
    loop {
        let has_room = talks.len() < AT_ONCE;
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = talks.join_next() => {}
            Some(Inbound { peer, mut stream }) = arriving.recv(), if has_room => {
                let told = told.clone();
                talks.spawn(async move {
                    let talk = answer(&mut stream, peer, &told);
                    if let Ok(Err(error)) | Err(error) = timeout(LIMIT, talk).await.map_err(io::Error::from) {
                        tracing::debug!(%peer, %error, "not dialled back");
                    }
                });
            }
            Some((peer, addresses)) = asked.recv(), if has_room => {
                let (told, streams) = (told.clone(), streams.clone());
                talks.spawn(async move {
                    let talk = async { ask(&mut streams.open(peer, DIALBACK).await?, &addresses).await };
                    let found = timeout(LIMIT, talk).await.map_err(io::Error::from).flatten();
                    let found = found.unwrap_or_else(|error: io::Error| {
                        tracing::debug!(%peer, %error, "did not dial back");
                        Vec::new()
                    });
                    let found = addresses.into_iter().zip(found).collect();
                    // The actor ends first when the node stops.
                    let _ = told.send(News::Answer(Answer { peer, found })).await;
                });
            }
            else => break,
        }
    }
    talks.shutdown().await;
}

/// The part of the one that asks.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), addresses: &[Multiaddr]) -> io::Result<Vec<Tried>> {
    address_list::write(stream, addresses).await?;
    let mut found = vec![0; addresses.len().min(address_list::ADDRESSES)];
    stream.read_exact(&mut found).await?;
    stream.close().await?;
    found.into_iter().map(tried).collect()
}

/// The part of the one that is asked.
async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    peer: PeerId,
    told: &mpsc::Sender<News>,
) -> io::Result<()> {
    let addresses = address_list::read(stream).await?;
    let (answer, found) = oneshot::channel();
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    told.send(News::Question(Question { peer, addresses, answer })).await.map_err(gone)?;
    let found = found.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let bytes: Vec<u8> = found.into_iter().map(byte).collect();
    stream.write_all(&bytes).await?;
    stream.close().await
}

fn byte(tried: Tried) -> u8 {
    match tried {
        Tried::Not => 0,
        Tried::Reached => 1,
        Tried::Failed => 2,
    }
}

fn tried(byte: u8) -> io::Result<Tried> {
    match byte {
        0 => Ok(Tried::Not),
        1 => Ok(Tried::Reached),
        2 => Ok(Tried::Failed),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no outcome of a dial")),
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test]
    async fn what_was_found_comes_back_in_the_order_of_the_question() {
        let (near, far) = tokio::io::duplex(64);
        let (mut near, mut far) = (near.compat(), far.compat());
        let addresses: Vec<Multiaddr> =
            (1..=3).map(|port| format!("/ip4/203.0.113.1/tcp/{port}").parse().unwrap()).collect();
        let peer = PeerId::random();
        let (told, mut news) = mpsc::channel(1);
        let outcomes = vec![Tried::Failed, Tried::Not, Tried::Reached];
        let given = outcomes.clone();
        let actor = async {
            let Some(News::Question(question)) = news.recv().await else { panic!("no question") };
            assert_eq!((question.peer, &question.addresses), (peer, &addresses));
            question.answer.send(given).unwrap();
        };
        let (answered, found, ()) = tokio::join!(answer(&mut far, peer, &told), ask(&mut near, &addresses), actor);
        answered.unwrap();
        assert_eq!(found.unwrap(), outcomes);
    }

    #[test]
    fn what_is_no_outcome_is_refused() {
        for outcome in [Tried::Not, Tried::Reached, Tried::Failed] {
            assert_eq!(tried(byte(outcome)).unwrap(), outcome);
        }
        assert!(tried(3).is_err());
    }
}
