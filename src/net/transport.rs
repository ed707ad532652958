//! How bytes reach a peer: TCP (TLS 1.3 or Noise, yamux), QUIC, and relays, names resolved, and admission on top of each.
//!
//! What goes by a relay has the same handshake and the same admission from end to end as any other connection.

use std::{io, time::Duration};

use either::Either;
use futures::{AsyncRead, AsyncWrite, FutureExt, TryFutureExt, future, future::BoxFuture};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OrTransport, timeout::TransportTimeout},
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, SelectUpgrade, UpgradeInfo, Version},
    },
    dns, identity, noise, quic, relay, tcp, tls, yamux,
};

use super::{
    admission::Admission,
    door::Door,
    meter::{Meter, Metered},
    stagger::Stagger,
};

/// Streams on one connection. The library aborts beyond 4096: its connection window is 1 GiB and it sets aside 256 KiB
/// for each. Reaching it ends the connection, so [`super::streams`] stays well below.
const MAX_STREAMS: usize = 4096;

/// Connecting, both handshakes and admission together.
const SETUP_LIMIT: Duration = Duration::from_secs(10);

/// A silent QUIC peer is gone. TCP peers are found out by ping; this is the same bound for both.
const QUIC_IDLE: Duration = Duration::from_secs(8);

/// What may lie unread on one QUIC stream, and on a connection: as much as yamux grants, so that no reader that pauses
/// holds up the other streams. The library's own 10 and 15 MB let two do it.
///
/// The stream's is that low for another reason as well: quinn keeps 10 MB of a connection that are not acknowledged, and
/// once they are full it serves those that wait last come, first served. Forty streams of this size that all send at
/// once stay below; with larger windows some of them stood still for as long as the others had something to send.
const QUIC_STREAM_WINDOW: u32 = 256 << 10;
const QUIC_WINDOW: u32 = 1 << 30;

/// Keeps a NAT's UDP mapping, and the other end's idle clock, alive.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(3);

/// A burst of new connections waits in the kernel rather than being refused.
const BACKLOG: u32 = 1024;

/// The transport of a node. `relays` makes connections by relays, together with its behaviour.
///
/// # Errors
/// When no certificate can be made of the key.
pub(super) fn build(
    keypair: &identity::Keypair,
    admission: &Admission,
    relays: relay::client::Transport,
    door: Door,
    meter: Meter,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let named = match dns::tokio::Transport::system(addressed(keypair, door.clone(), meter.clone())?) {
        Ok(named) => named.boxed(),
        Err(error) => {
            // Two machines on a LAN without DNS, or a container without resolv.conf, must still meet.
            tracing::warn!(%error, "no system resolver; names in multiaddrs will not resolve");
            addressed(keypair, door, meter)?.boxed()
        }
    };
    let relayed = relays
        .upgrade(Version::V1Lazy)
        .authenticate(secure(keypair)?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let all = Stagger(OrTransport::new(relayed, named).map(|either, _| either.into_inner()));
    let admission = admission.clone();
    let admitted = all.and_then(move |output, point| admission.upgrade(output, point));
    Ok(TransportTimeout::new(admitted, SETUP_LIMIT).boxed())
}

/// TCP and QUIC, for addresses without names.
fn addressed(
    keypair: &identity::Keypair,
    door: Door,
    meter: Meter,
) -> io::Result<
    impl Transport<Output = (PeerId, StreamMuxerBox), Error: Send + Sync, Dial: Send, ListenerUpgrade: Send>
    + Send
    + Unpin
    + use<>,
> {
    let counted = meter.clone();
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true).listen_backlog(BACKLOG))
        .and_then(move |socket, point| door.open(socket, point))
        .map(move |socket, _| Metered::tcp(socket, counted))
        .map_err(Either::into_inner)
        .upgrade(Version::V1Lazy)
        .authenticate(secure(keypair)?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let mut datagram = quic::Config::new(keypair);
    datagram.max_concurrent_stream_limit = MAX_STREAMS as u32;
    datagram.max_stream_data = QUIC_STREAM_WINDOW;
    datagram.max_connection_data = QUIC_WINDOW;
    datagram.max_idle_timeout = QUIC_IDLE.as_millis() as u32;
    datagram.keep_alive_interval = QUIC_KEEP_ALIVE;
    let quic = quic::tokio::Transport::new(datagram)
        .map(move |(peer, connection), _| (peer, StreamMuxerBox::new(Metered::quic(connection, meter))));

    Ok(OrTransport::new(quic, tcp).map(|either, _| either.into_inner()))
}

fn secure(keypair: &identity::Keypair) -> io::Result<Secure> {
    Ok(Secure(SelectUpgrade::new(
        tls::Config::new(keypair).map_err(io::Error::other)?,
        noise::Config::new(keypair).map_err(io::Error::other)?,
    )))
}

fn muxer() -> yamux::Config {
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(MAX_STREAMS);
    muxer
}

/// TLS 1.3 first, Noise for peers without it, as one step.
#[derive(Clone)]
struct Secure(SelectUpgrade<tls::Config, noise::Config>);

impl UpgradeInfo for Secure {
    type Info = <SelectUpgrade<tls::Config, noise::Config> as UpgradeInfo>::Info;
    type InfoIter = <SelectUpgrade<tls::Config, noise::Config> as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

type Secured<C> = future::Either<tls::TlsStream<C>, noise::Output<C>>;

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Secure {
    type Output = (PeerId, Secured<C>);
    type Error = Either<tls::UpgradeError, noise::Error>;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(socket, info).map_ok(future::Either::factor_first).boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Secure {
    type Output = (PeerId, Secured<C>);
    type Error = Either<tls::UpgradeError, noise::Error>;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(socket, info).map_ok(future::Either::factor_first).boxed()
    }
}
