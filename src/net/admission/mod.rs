//! Proving the token, before anything else on a connection.
//!
//! Admission is the last step of the transport's upgrade: after TCP or QUIC, TLS or Noise, and the muxer, but before the
//! swarm hears of the connection. So there is nothing to gate later: a peer that has not proved the token meets no
//! gossip, no identify, no DHT and no tunnel, because no code of theirs runs for it.
//!
//! A node may *dial* strangers for two purposes, the DHT and relays that the user named ([`Strangers`]). Such a peer does
//! not speak admission; the connection is let through, and [`Standing`] tells the behaviours to speak Kademlia, identify
//! and the client's side of a relay alone on it. Inbound there are no strangers.
//!
//! In a compat network there is a third kind of peer, [`Standing::Legacy`]: nodes of edgevpn and LocalAI, which prove nothing to
//! a connection. They come in, and are dialled where discovery told of them, and meet what edgevpn speaks and nothing else.
//!
//!
//! When the issuer begins a new generation of the network, members prove it to each other on the connections that they
//! have ([`Admission::renew`]), so that none has to end.
//! Whom this node [refuses](super::bars) is turned away before anything is said, also where this node dials.
//!
//! **Invariant.** [`Admission::standing`] is `Member` only for a peer whose key proved the token to this process.
//!
//! **Absent on purpose.** No wall clock decides here: clocks are exchanged so that a wrong one can be told to the user.

mod first;
mod guests;
mod keyring;
mod pending;
mod proof;
mod talk;

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc, task::Poll, time::Duration};

use dashmap::{DashMap, DashSet};
use first::Returned;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, future};
pub use guests::{Denial, Guests};
pub(super) use keyring::Keyring;
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
pub(super) use proof::Secret;
use talk::{Proved, Talk, nonce};

use super::{bars::Bars, listen, node_of};

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

/// Which peers that do not hold the token this node may dial.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    /// Servers of a DHT, for Kademlia and identify: whoever they are.
    pub(super) dht: bool,
    /// Relays that the user named, for their service as one.
    pub(super) relays: BTreeSet<PeerId>,
    /// In a compat network: nodes of edgevpn, for what those speak.
    pub(super) legacy: bool,
    /// Where the user said that there are nodes, without `/p2p/ID`: among them those whose id was not said.
    pub(super) named: BTreeSet<Multiaddr>,
}

impl Strangers {
    /// What a peer is that this node dialled and that does not speak admission, if it is let through.
    fn standing(&self, peer: &PeerId, expected: bool) -> Option<Standing> {
        match self {
            Self { legacy: true, .. } if expected => Some(Standing::Legacy),
            Self { dht: true, .. } => Some(Standing::Stranger),
            Self { relays, .. } => relays.contains(peer).then_some(Standing::Stranger),
        }
    }
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
        /// The generation of the network that it proved last.
        generation: u32,
    },
    /// It is a node of edgevpn's, or claims to be.
    Legacy,
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
    /// The peer is a member, but the issuer did not let it in.
    #[error("the peer is not let in: {0}")]
    Denied(Denial),
    /// The peer says so of this node.
    #[error("the peer does not let this node in: {0}")]
    DeniedUs(Denial),
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

/// The step of admission failed. Transports wrap an error so that only what it was caused by can be told by its type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotAdmitted(#[source] Error);

/// Admits connections, and remembers whom. Clones share.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keyring: Keyring,
    guests: Option<Guests>,
    local: PeerId,
    strangers: Strangers,
    bars: Bars,
    pending: Arc<Pending>,
    standings: DashMap<PeerId, Standing>,
    /// Peers to which a further connection is being dialled; one at a time for each of those connected.
    further: DashSet<PeerId>,
    /// Peers that discovery told of; another of the DHT's servers is none of edgevpn's nodes.
    expected: DashSet<PeerId>,
}

impl Admission {
    /// Admits peers that prove a secret of `keyring` to `local` and, in a network with an issuer, are among its guests; but
    /// nobody whom `bars` refuses.
    pub(super) fn new(
        keyring: Keyring,
        guests: Option<Guests>,
        local: PeerId,
        strangers: Strangers,
        bars: Bars,
    ) -> Self {
        let inner = Inner {
            keyring,
            guests,
            local,
            strangers,
            bars,
            pending: Arc::default(),
            standings: DashMap::new(),
            further: DashSet::new(),
            expected: DashSet::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What `peer` was on its last connection. A peer never seen is a stranger.
    pub(super) fn standing(&self, peer: &PeerId) -> Standing {
        self.inner.standings.get(peer).map_or(Standing::Stranger, |standing| *standing)
    }

    /// Who is let in, in a network with an issuer.
    pub(super) fn guests(&self) -> Option<&Guests> {
        self.inner.guests.as_ref()
    }

    /// Proves the newest generation to a member, over a stream for that purpose.
    pub(super) async fn renew(
        &self,
        peer: PeerId,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), Error> {
        let nonce = nonce();
        let talk = async {
            stream.write_all(&nonce).await?;
            stream.flush().await?;
            self.inner.talk().dial(peer, &mut stream, nonce).await
        };
        let proved = tokio::time::timeout(LIMIT, talk).await.map_err(|_| Error::TimedOut)??;
        self.renewed(peer, proved);
        Ok(())
    }

    /// Hears a member prove the newest generation.
    pub(super) async fn hear(
        &self,
        peer: PeerId,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), Error> {
        let talk = self.inner.talk().listen(peer, &mut stream);
        let proved = tokio::time::timeout(LIMIT, talk).await.map_err(|_| Error::TimedOut)??;
        self.renewed(peer, proved);
        Ok(())
    }

    fn renewed(&self, peer: PeerId, Proved { clock_ahead_ms, generation }: Proved) {
        if let Some(mut standing) = self.inner.standings.get_mut(&peer)
            && let Standing::Member { further, .. } = *standing
        {
            *standing = Standing::Member { clock_ahead_ms, further, generation };
        }
    }

    /// Discovery told of `peer`, so in a compat network it may be a node of edgevpn's.
    pub(super) fn expect(&self, peer: PeerId) {
        let expected = &self.inner.expected;
        if !self.inner.strangers.legacy || expected.contains(&peer) {
            return;
        }
        if expected.len() >= REMEMBERED {
            // Whoever is forgotten is told of again.
            expected.clear();
        }
        expected.insert(peer);
    }

    /// Whether nodes of edgevpn are let through.
    pub(super) fn takes_legacy(&self) -> bool {
        self.inner.strangers.legacy
    }

    /// Says whether the next connection dialled to `peer` is a further one.
    pub(super) fn dials_further(&self, peer: PeerId, further: bool) {
        match further {
            true => drop(self.inner.further.insert(peer)),
            false => drop(self.inner.further.remove(&peer)),
        }
    }

    /// The next connection dialled to `peer` is a further one, unless one is being dialled already: then nothing is said.
    pub(super) fn begins_further(&self, peer: PeerId) -> bool {
        self.inner.further.insert(peer)
    }

    /// The step in the transport's upgrade: passes the connection on, or an error in its place.
    pub(super) async fn upgrade(
        self,
        output: (PeerId, StreamMuxerBox),
        point: ConnectedPoint,
    ) -> Result<(PeerId, StreamMuxerBox), NotAdmitted> {
        self.admit(output, point).await.map_err(NotAdmitted)
    }

    async fn admit(
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
        let (standing, muxer) = tokio::time::timeout(LIMIT, self.inner.exchange(peer, muxer, &point))
            .await
            .map_err(|_| Error::TimedOut)??;
        self.remember(peer, standing);
        Ok((peer, muxer))
    }

    fn remember(&self, peer: PeerId, standing: Standing) {
        let standings = &self.inner.standings;
        if standings.len() >= REMEMBERED && !standings.contains_key(&peer) {
            // Anybody who is no member, as strangers come with as many keys as they like; then anybody.
            let is_member = |standing: &Standing| matches!(standing, Standing::Member { .. });
            let outsider = standings.iter().find(|entry| !is_member(entry.value())).map(|entry| *entry.key());
            let victim = outsider.or_else(|| standings.iter().next().map(|entry| *entry.key()));
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
            Standing::Legacy | Standing::Stranger => {
                let mut known = standings.entry(peer).or_insert(standing);
                if !matches!(*known, Standing::Member { .. }) {
                    *known = standing;
                }
            }
        }
    }
}

impl Inner {
    async fn exchange(
        &self,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        point: &ConnectedPoint,
    ) -> Result<(Standing, StreamMuxerBox), Error> {
        if speaks_first(point) {
            let stream = future::poll_fn(|cx| drive(&mut muxer, cx, |muxer, cx| muxer.poll_outbound_unpin(cx))).await?;
            return match beside(&mut muxer, self.dial(peer, stream)).await {
                Ok(member) => Ok((member, muxer)),
                Err(Error::NotAMember) => {
                    let standing = self.strangers.standing(&peer, self.is_expected(&peer, point));
                    Ok((standing.ok_or(Error::NotAMember)?, muxer))
                }
                Err(error) => Err(error),
            };
        }
        let stream = future::poll_fn(|cx| drive(&mut muxer, cx, |muxer, cx| muxer.poll_inbound_unpin(cx))).await?;
        if !self.strangers.legacy {
            return Ok((beside(&mut muxer, self.listen(peer, stream)).await?, muxer));
        }
        let looked = async { first::proposal(stream).await.map_err(hung_up) };
        let (proposed, stream) = beside(&mut muxer, looked).await?;
        match [PROTOCOL, FURTHER].iter().any(|protocol| protocol.as_bytes() == proposed) {
            true => Ok((beside(&mut muxer, self.listen(peer, stream)).await?, muxer)),
            false => Ok((Standing::Legacy, Returned::muxer(stream, muxer))),
        }
    }

    /// Whether discovery told of `peer`, or the user named where it was dialled.
    fn is_expected(&self, peer: &PeerId, point: &ConnectedPoint) -> bool {
        self.expected.contains(peer) || self.strangers.named.contains(&listen::without_peer(point.get_remote_address()))
    }

    /// The dialler's part; returns what the listener is.
    async fn dial(&self, peer: PeerId, stream: SubstreamBox) -> Result<Standing, Error> {
        let further = self.further.contains(&peer);
        let protocol = if further { FURTHER } else { PROTOCOL };
        // Lazy: the proposal travels with the nonce, so that all of it is one round trip. A node of edgevpn's would take the
        // nonce for another proposal and end the stream, perhaps before its answer to the first one was read.
        let version = if self.strangers.legacy { Version::V1 } else { Version::V1Lazy };
        let (_, mut stream) = dialer_select_proto(stream, [protocol], version).await.map_err(not_spoken)?;
        let nonce = nonce();
        stream.write_all(&nonce).await?;
        stream.flush().await?;
        let mut stream = stream.complete().await.map_err(not_spoken)?;
        let Proved { clock_ahead_ms, generation } = self.talk().dial(peer, &mut stream, nonce).await?;
        Ok(Standing::Member { clock_ahead_ms, further, generation })
    }

    /// The listener's part; returns what the dialler is.
    async fn listen(
        &self,
        peer: PeerId,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    ) -> Result<Standing, Error> {
        let (protocol, mut stream) = listener_select_proto(stream, [PROTOCOL, FURTHER]).await.map_err(not_spoken)?;
        let Proved { clock_ahead_ms, generation } = self.talk().listen(peer, &mut stream).await?;
        Ok(Standing::Member { clock_ahead_ms, further: protocol == FURTHER, generation })
    }

    fn talk(&self) -> Talk<'_> {
        Talk { local: self.local, keyring: &self.keyring, guests: self.guests.as_ref() }
    }
}

/// Whether this end speaks first. Where both ends dial, to open their NATs, one of them takes the listener's part.
fn speaks_first(point: &ConnectedPoint) -> bool {
    match point {
        ConnectedPoint::Dialer { role_override, .. } => role_override.is_dialer(),
        ConnectedPoint::Listener { .. } => false,
    }
}

/// Has `talk` on a stream of `muxer`, which moves bytes only while it is polled, and so runs beside it.
async fn beside<T>(muxer: &mut StreamMuxerBox, talk: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut talk = std::pin::pin!(talk);
    future::poll_fn(|cx| {
        if let Poll::Ready(result) = talk.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        match drive(muxer, cx, |_, _| Poll::Pending::<Result<(), io::Error>>) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(hung_up(error))),
            _ => Poll::Pending,
        }
    })
    .await
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

/// A peer of another network ends the stream or the connection when our proof does not fit. Muxers say so in many ways.
fn hung_up(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Error::Io(error),
        _ => Error::HungUp,
    }
}

fn already_closed(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected | io::ErrorKind::WriteZero => Ok(()),
        _ => Err(error),
    }
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
