//! Proving the token, before anything else on a connection.
//!
//! Admission is the last step of the transport's upgrade: after TCP or QUIC, TLS or Noise, and the muxer, but before the
//! swarm hears of the connection. So there is nothing to gate later: a peer that has not proved the token meets no
//! gossip, no identify, no DHT and no tunnel, because no code of theirs runs for it.
//!
//! A node may *dial* strangers for one purpose, the DHT ([`Strangers::Dht`]). Such a peer does not speak admission; the
//! connection is let through, and [`Standing`] tells the behaviours to speak Kademlia and identify alone on it. Inbound
//! there are no strangers.
//!
//! Whom this node [refuses](super::bars) is turned away before anything is said, also where this node dials.
//!
//! **Invariant.** [`Admission::standing`] is `Member` only for a peer whose key proved the token to this process.
//!
//! **Absent on purpose.** No wall clock decides here: clocks are exchanged so that a wrong one can be told to the user.

mod pending;
mod proof;

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dashmap::{DashMap, DashSet};
use futures::{AsyncReadExt, AsyncWriteExt, future};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        ConnectedPoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
    },
    multiaddr::Protocol,
};
use multistream_select::{NegotiationError, Version, dialer_select_proto, listener_select_proto};
use pending::Pending;
pub(super) use proof::Credentials;
use proof::{CLOCK, MAC, NONCE, Role, Transcript};

use super::{bars::Bars, node_of};

/// The protocol's name on the wire.
const PROTOCOL: &str = "/p2p-fed/admit/1";

/// The same exchange on a connection that only adds room to one that is there. It has a name of its own so that the
/// listener knows as well that the peer did not start anew.
const FURTHER: &str = "/p2p-fed/admit/1/further";

/// A peer that has not proved itself by then is cut off.
const LIMIT: Duration = Duration::from_secs(5);

/// Peers whose standing is remembered, well under 100 bytes each. A thousand times the peers that are connected at once,
/// so that making room never meets one of those in practice; if it did, that peer would have to connect again.
const REMEMBERED: usize = 16_384;

/// Whether this node may dial peers that do not hold the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strangers {
    /// Members alone.
    Refuse,
    /// Also servers of a DHT, for Kademlia and identify.
    Dht,
}

/// What a connected peer is to this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It proved the token.
    Member {
        /// Its clock minus ours when it did, in milliseconds; half a round trip uncertain.
        clock_ahead_ms: i64,
        /// The connection adds room to those that were there.
        further: bool,
    },
    /// It serves us a DHT and nothing else.
    Stranger,
}

/// Why a connection was not let through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer proved something else, or nothing.
    #[error("the peer does not hold this network's token")]
    WrongToken,
    /// The peer speaks libp2p but not admission.
    #[error("the peer is no p2p-fed node")]
    NotAMember,
    /// The peer ended the exchange: it holds another token, or it has too many connections waiting.
    #[error("the peer hung up during admission; it may hold another token")]
    HungUp,
    /// Nothing within five seconds.
    #[error("the peer did not prove the token within {} s", LIMIT.as_secs())]
    TimedOut,
    /// The peer broke the rules too often, or the issuer excluded it.
    #[error("the peer is refused")]
    Refused,
    /// Too many unproven connections at once.
    #[error("too many connections wait for admission")]
    Busy,
    /// The connection broke.
    #[error("the connection broke during admission: {0}")]
    Io(#[from] io::Error),
}

/// Admits connections, and remembers whom. Clones share.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    credentials: Credentials,
    local: PeerId,
    strangers: Strangers,
    bars: Bars,
    pending: Arc<Pending>,
    standings: DashMap<PeerId, Standing>,
    /// Peers to which a further connection is being dialled; one at a time for each of those connected.
    further: DashSet<PeerId>,
}

impl Admission {
    /// Admits peers that prove `credentials` to `local`, but those that `bars` refuses.
    pub(super) fn new(credentials: Credentials, local: PeerId, strangers: Strangers, bars: Bars) -> Self {
        let inner = Inner {
            credentials,
            local,
            strangers,
            bars,
            pending: Arc::default(),
            standings: DashMap::new(),
            further: DashSet::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What `peer` was on its last connection. A peer never seen is a stranger.
    pub(super) fn standing(&self, peer: &PeerId) -> Standing {
        self.inner.standings.get(peer).map_or(Standing::Stranger, |standing| *standing)
    }

    /// Says whether the next connection dialled to `peer` is a further one.
    pub(super) fn dials_further(&self, peer: PeerId, further: bool) {
        match further {
            true => drop(self.inner.further.insert(peer)),
            false => drop(self.inner.further.remove(&peer)),
        }
    }

    /// The step in the transport's upgrade: passes the connection on, or an error in its place.
    pub(super) async fn upgrade(
        self,
        (peer, muxer): (PeerId, StreamMuxerBox),
        point: ConnectedPoint,
    ) -> Result<(PeerId, StreamMuxerBox), Error> {
        if node_of(&peer).is_some_and(|node| self.inner.bars.refuses(&node)) {
            return Err(Error::Refused);
        }
        let _place = match &point {
            ConnectedPoint::Listener { send_back_addr, .. } => {
                Some(self.inner.pending.enter(address_of(send_back_addr)).ok_or(Error::Busy)?)
            }
            ConnectedPoint::Dialer { .. } => None,
        };
        let (standing, muxer) = tokio::time::timeout(LIMIT, self.inner.exchange(peer, muxer, point.is_dialer()))
            .await
            .map_err(|_| Error::TimedOut)??;
        self.remember(peer, standing);
        Ok((peer, muxer))
    }

    fn remember(&self, peer: PeerId, standing: Standing) {
        let standings = &self.inner.standings;
        if standings.len() >= REMEMBERED && !standings.contains_key(&peer) {
            // Any other entry does: which of sixteen thousand goes makes no difference to anyone.
            let victim = standings.iter().next().map(|entry| *entry.key());
            if let Some(victim) = victim {
                standings.remove(&victim);
            }
        }
        // A key that once proved the token stays a member: a later connection on which the proof was not asked for
        // cannot lower it.
        match standing {
            Standing::Member { .. } => {
                standings.insert(peer, standing);
            }
            Standing::Stranger => {
                standings.entry(peer).or_insert(standing);
            }
        }
    }
}

impl Inner {
    async fn exchange(
        &self,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        dialler: bool,
    ) -> Result<(Standing, StreamMuxerBox), Error> {
        let stream = if dialler {
            future::poll_fn(|cx| drive(&mut muxer, cx, |muxer, cx| muxer.poll_outbound_unpin(cx))).await?
        } else {
            future::poll_fn(|cx| drive(&mut muxer, cx, |muxer, cx| muxer.poll_inbound_unpin(cx))).await?
        };
        let proved = {
            let talk = async { if dialler { self.dial(peer, stream).await } else { self.listen(peer, stream).await } };
            let mut talk = std::pin::pin!(talk);
            // The muxer moves bytes only while it is polled, so it runs beside the conversation.
            future::poll_fn(|cx| {
                if let Poll::Ready(result) = talk.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                match drive(&mut muxer, cx, |_, _| Poll::Pending::<Result<(), io::Error>>) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                    _ => Poll::Pending,
                }
            })
            .await
        };
        match proved {
            Ok(member) => Ok((member, muxer)),
            Err(Error::NotAMember) if dialler && self.strangers == Strangers::Dht => Ok((Standing::Stranger, muxer)),
            Err(error) => Err(error),
        }
    }

    /// The dialler's part; returns what the listener is.
    async fn dial(&self, peer: PeerId, stream: SubstreamBox) -> Result<Standing, Error> {
        let further = self.further.contains(&peer);
        let protocol = if further { FURTHER } else { PROTOCOL };
        // Lazy: the proposal travels with the nonce, so that all of it is one round trip.
        let (_, mut stream) = dialer_select_proto(stream, [protocol], Version::V1Lazy).await.map_err(not_spoken)?;
        let nonce_dialler = nonce();
        stream.write_all(&nonce_dialler).await?;
        stream.flush().await?;
        let mut stream = stream.complete().await.map_err(not_spoken)?;
        let mut nonce_listener = [0; NONCE];
        let mut proof = [0; CLOCK + MAC];
        stream.read_exact(&mut nonce_listener).await.map_err(hung_up)?;
        stream.read_exact(&mut proof).await.map_err(hung_up)?;
        let transcript = Transcript { dialler: self.local, listener: peer, nonce_dialler, nonce_listener };
        let theirs = transcript.check(&self.credentials, Role::Listener, &proof).ok_or(Error::WrongToken)?;
        let ours = unix_ms();
        stream.write_all(&transcript.prove(&self.credentials, Role::Dialler, ours)).await?;
        // Closing flushes. The listener may have ended its half by then, which is no failure.
        stream.close().await.or_else(already_closed)?;
        Ok(Standing::Member { clock_ahead_ms: ahead(theirs, ours), further })
    }

    /// The listener's part; returns what the dialler is.
    async fn listen(&self, peer: PeerId, stream: SubstreamBox) -> Result<Standing, Error> {
        let (protocol, mut stream) = listener_select_proto(stream, [PROTOCOL, FURTHER]).await.map_err(not_spoken)?;
        let mut nonce_dialler = [0; NONCE];
        stream.read_exact(&mut nonce_dialler).await.map_err(hung_up)?;
        let transcript = Transcript { dialler: peer, listener: self.local, nonce_dialler, nonce_listener: nonce() };
        stream.write_all(&transcript.nonce_listener).await?;
        stream.write_all(&transcript.prove(&self.credentials, Role::Listener, unix_ms())).await?;
        stream.flush().await?;
        let mut proof = [0; CLOCK + MAC];
        stream.read_exact(&mut proof).await.map_err(hung_up)?;
        let theirs = transcript.check(&self.credentials, Role::Dialler, &proof).ok_or(Error::WrongToken)?;
        stream.close().await.or_else(already_closed)?;
        Ok(Standing::Member { clock_ahead_ms: ahead(theirs, unix_ms()), further: protocol == FURTHER })
    }
}

/// Moves the muxer's bytes, then asks it for `wanted`.
fn drive<T, E: Into<io::Error>>(
    muxer: &mut StreamMuxerBox,
    cx: &mut std::task::Context<'_>,
    wanted: impl FnOnce(&mut StreamMuxerBox, &mut std::task::Context<'_>) -> Poll<Result<T, E>>,
) -> Poll<io::Result<T>> {
    // An address change (QUIC) is of no interest yet; poll on until it has nothing to say.
    while let Poll::Ready(event) = muxer.poll_unpin(cx) {
        event?;
    }
    wanted(muxer, cx).map_err(Into::into)
}

fn not_spoken(error: NegotiationError) -> Error {
    match error {
        NegotiationError::Failed => Error::NotAMember,
        NegotiationError::ProtocolError(error) => hung_up(error.into()),
    }
}

/// A peer of another network ends the stream or the connection when our proof does not fit.
fn hung_up(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::HungUp,
        _ => Error::Io(error),
    }
}

fn already_closed(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected | io::ErrorKind::WriteZero => Ok(()),
        _ => Err(error),
    }
}

fn nonce() -> proof::Nonce {
    rand::random()
}

fn unix_ms() -> u64 {
    // A clock before 1970 is off by so much that zero tells it as well.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    theirs.saturating_sub(ours) as i64 - ours.saturating_sub(theirs) as i64
}

fn address_of(address: &Multiaddr) -> IpAddr {
    address
        .iter()
        .find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
            _ => None,
        })
        // Memory transports and relays have no address of their own and share one count.
        .unwrap_or(IpAddr::from([0, 0, 0, 0]))
}
