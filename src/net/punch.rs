//! Both ends dial at the same moment, each from the port that its own NAT already lets out, so that each NAT takes the packets
//! of the other for answers.
//!
//! Two members that a relay connects agree on that moment over a stream between them, as DCUtR does (libp2p specs,
//! `relay/DCUtR.md`):
//!
//! ```text
//!  ours (a list of addresses)  ──────────────▶
//!                              ◀──────────────  theirs; the round trip is known
//!  now (one byte)              ──────────────▶  dials, in the listener's part
//!  dials half a round trip later
//! ```
//!
//! With another byte it is the one that asks that dials in the listener's part. Who asks does the one and the other by turns: a
//! NAT that gives each connection another port gets through to one that does not mind the port, but only where the packets
//! that arrive are those of the dialler.
//!
//! A list is one of [`address_list`].
//!
//! It is not libp2p's own behaviour for three reasons. That tries when a relayed connection begins and never again; it offers the
//! port where this node listens instead of the one that others see, which only some NATs keep; and it panics where two of its
//! dials succeed.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Inbound, Streams, Transport, address_list, listen::is_relayed};

/// The agreement's protocol.
pub(super) const PUNCH: StreamProtocol = StreamProtocol::new("/p2p-fed/punch/1");

/// Agreements under way at once, over all members; further ones wait.
const AT_ONCE: usize = 64;

/// How long an agreement may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Dials that are agreed on and not yet made. They are made as fast as the actor runs.
const AGREED: usize = 64;

/// Whether a NAT can be opened for connections at `address`. WebSocket is for where there is a proxy.
pub(super) fn opens(address: &Multiaddr) -> bool {
    !is_relayed(address) && Transport::of(address) != Transport::WebSocket
}

/// Says that now is the moment, and that the one that hears it has the listener's part.
const NOW: u8 = 1;

/// Says that now is the moment, and that the one that says it has the listener's part.
const NOW_LISTENING: u8 = 2;

/// A dial to be made at once.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
    /// In the listener's part.
    pub(super) listens: bool,
}

/// Asks for agreements. The queue holds as many as are under way at once, and what does not fit is tried later.
#[derive(Debug)]
pub(super) struct Puncher(mpsc::Sender<Ask>);

/// Who is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) peer: PeerId,
    /// Whether this node has the listener's part.
    pub(super) listens: bool,
}

impl Puncher {
    /// The asker, the dials that are agreed on, and the task that agrees: with those that ask (`arriving`) and those that are
    /// asked. `own` are the addresses at which others might see this node.
    pub(super) fn new(
        arriving: mpsc::Receiver<Inbound>,
        streams: Streams,
        own: watch::Receiver<Arc<Vec<Multiaddr>>>,
        cancel: CancellationToken,
    ) -> (Self, mpsc::Receiver<Dial>, impl Future<Output = ()> + Send) {
        let (wanted, asked) = mpsc::channel(AT_ONCE);
        let (agreed, dials) = mpsc::channel(AGREED);
        (Self(wanted), dials, run(asked, arriving, agreed, streams, own, cancel))
    }

    pub(super) fn ask(&self, ask: Ask) {
        // Full: the next try is seconds away.
        let _ = self.0.try_send(ask);
    }
}

async fn run(
    mut asked: mpsc::Receiver<Ask>,
    mut arriving: mpsc::Receiver<Inbound>,
    agreed: mpsc::Sender<Dial>,
    streams: Streams,
    own: watch::Receiver<Arc<Vec<Multiaddr>>>,
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
                let (own, agreed) = (own.borrow().clone(), agreed.clone());
                talks.spawn(async move {
                    let talk = timeout(LIMIT, answer(&mut stream, &own)).await;
                    conclude(peer, talk.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())), &agreed).await;
                });
            }
            Some(Ask { peer, listens }) = asked.recv(), if has_room => {
                let (own, agreed, streams) = (own.borrow().clone(), agreed.clone(), streams.clone());
                talks.spawn(async move {
                    let talk = async {
                        let theirs = propose(&mut streams.open(peer, PUNCH).await?, &own, listens).await?;
                        Ok((theirs, listens))
                    };
                    let talk = timeout(LIMIT, talk).await;
                    conclude(peer, talk.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())), &agreed).await;
                });
            }
            else => break,
        }
    }
    talks.shutdown().await;
}

/// `talk` came to where to dial, and whether that is in the listener's part.
async fn conclude(peer: PeerId, talk: io::Result<(Vec<Multiaddr>, bool)>, agreed: &mpsc::Sender<Dial>) {
    match talk {
        Ok((addresses, _)) if addresses.is_empty() => {}
        Ok((addresses, listens)) => {
            tracing::debug!(%peer, ?addresses, listens, "both ends dial now");
            // The actor ends first when the node stops.
            let _ = agreed.send(Dial { peer, addresses, listens }).await;
        }
        Err(error) => tracing::debug!(%peer, %error, "no agreement to dial at the same moment"),
    }
}

/// Where the other end says that it is; what no NAT can be opened for is left out.
async fn openable(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<Multiaddr>> {
    Ok(address_list::read(stream).await?.into_iter().filter(opens).collect())
}

/// The part of the one that asks. Returns where to dial, when the moment has come.
async fn propose(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &[Multiaddr],
    listens: bool,
) -> io::Result<Vec<Multiaddr>> {
    let asked = Instant::now();
    address_list::write(stream, own).await?;
    let theirs = openable(stream).await?;
    let half = asked.elapsed() / 2;
    stream.write_all(&[if listens { NOW_LISTENING } else { NOW }]).await?;
    stream.close().await?;
    sleep(half).await;
    Ok(theirs)
}

/// The part of the one that is asked. Returns where to dial, now, and whether in the listener's part.
async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &[Multiaddr],
) -> io::Result<(Vec<Multiaddr>, bool)> {
    let theirs = openable(stream).await?;
    address_list::write(stream, own).await?;
    let mut word = [0];
    stream.read_exact(&mut word).await?;
    match word {
        [NOW] => Ok((theirs, true)),
        [NOW_LISTENING] => Ok((theirs, false)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not the word that was agreed on")),
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_end_learns_where_the_other_is_and_they_dial_at_the_same_moment() {
        let (ours, theirs) = (addresses(&["/ip4/192.0.2.1/tcp/1"]), addresses(&["/ip4/192.0.2.2/udp/2/quic-v1"]));
        for listens in [false, true] {
            let (a, b) = tokio::io::duplex(4096);
            let (mut a, mut b) = (a.compat(), b.compat());
            let (at_a, at_b) = tokio::join!(propose(&mut a, &ours, listens), answer(&mut b, &theirs));
            assert_eq!(
                (at_a.unwrap(), at_b.unwrap()),
                (theirs.clone(), (ours.clone(), !listens)),
                "one of them listens"
            );
        }
    }

    #[tokio::test]
    async fn no_nat_is_opened_for_a_relay_or_for_the_web() {
        let plain = addresses(&["/ip4/192.0.2.1/tcp/1"]);
        let others = addresses(&[
            "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWPi4DKkcJN3BrpVSvSfpd6da3hferGsBh75KPEWHKAjuD/p2p-circuit",
            "/dns4/web.example/tcp/443/tls/ws",
        ]);
        let mut list = Vec::new();
        address_list::write(&mut list, &[others, plain.clone()].concat()).await.unwrap();
        assert_eq!(openable(&mut Cursor::new(&list)).await.unwrap(), plain);
    }

    #[tokio::test]
    async fn who_says_something_else_is_not_dialled() {
        let (a, b) = tokio::io::duplex(4096);
        let mut b = b.compat();
        let other = async {
            let mut a = a.compat();
            address_list::write(&mut a, &[]).await.unwrap();
            address_list::read(&mut a).await.unwrap();
            a.write_all(&[NOW_LISTENING + 1]).await.unwrap();
        };
        assert!(tokio::join!(answer(&mut b, &[]), other).0.is_err());
    }
}
