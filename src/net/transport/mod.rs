//! How bytes reach a peer: TCP and WebSocket (TLS 1.3 or Noise, yamux), QUIC and relays, names resolved, and admission
//! on top of each. A transport that the user switched off ([`Transports`]) neither listens nor dials.
//!
//! What goes by a relay has the same handshake and the same admission from end to end as any other connection.

mod kind;
mod stagger;
mod websocket;

use std::{io, time::Duration};

use either::Either;
use futures::{AsyncRead, AsyncWrite, FutureExt, TryFutureExt, future, future::BoxFuture};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OptionalTransport, OrTransport, timeout::TransportTimeout},
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, SelectUpgrade, UpgradeInfo, Version},
    },
    dns, identity, noise, quic, relay, tcp, tls,
    websocket::Config as Web,
    yamux,
};
use stagger::Stagger;

pub use self::{
    kind::{Transport as Kind, Transports, UnknownTransport},
    websocket::WebSocket,
};
use super::{
    Config,
    admission::Admission,
    door::Door,
    meter::{Meter, Metered},
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
/// When no certificate can be made of the key, or those in files can't be used.
pub(super) fn build(
    config: &Config,
    keypair: &identity::Keypair,
    admission: &Admission,
    relays: relay::client::Transport,
    door: Door,
    meter: Meter,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let relayed = muxed(relays, keypair)?;
    let direct = direct(config, keypair, door, meter)?;
    let all = Stagger(OrTransport::new(relayed, direct).map(|either, _| either.into_inner()));
    let admission = admission.clone();
    let admitted = all.and_then(move |output, point| admission.upgrade(output, point));
    Ok(TransportTimeout::new(admitted, SETUP_LIMIT).boxed())
}

/// The transport of somebody who asks nobody for a token, and goes by no relay.
///
/// # Errors
/// As [`build`].
pub(super) fn unguarded(
    config: &Config,
    keypair: &identity::Keypair,
    door: Door,
    meter: Meter,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    Ok(TransportTimeout::new(direct(config, keypair, door, meter)?, SETUP_LIMIT).boxed())
}

fn direct(
    config: &Config,
    keypair: &identity::Keypair,
    door: Door,
    meter: Meter,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let web = web(config, keypair, meter.clone())?;
    let plain = named(|| addressed(config, keypair, door.clone(), meter.clone()))?;
    Ok(OrTransport::new(web, plain).map(|either, _| either.into_inner()).boxed())
}

/// TCP and QUIC, for addresses without names.
fn addressed(
    config: &Config,
    keypair: &identity::Keypair,
    door: Door,
    meter: Meter,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let counted = meter.clone();
    let tcp = config.transports.has(Kind::Tcp).then(sockets);
    let tcp = optional(tcp)
        .and_then(move |socket, point| door.open(socket, point))
        .map(move |socket, _| Metered::tcp(socket, counted))
        .map_err(|error| SocketError(error.into_inner()));
    let tcp = muxed(tcp, keypair)?;

    let mut datagram = quic::Config::new(keypair);
    datagram.max_concurrent_stream_limit = MAX_STREAMS as u32;
    datagram.max_stream_data = QUIC_STREAM_WINDOW;
    datagram.max_connection_data = QUIC_WINDOW;
    datagram.max_idle_timeout = QUIC_IDLE.as_millis() as u32;
    datagram.keep_alive_interval = QUIC_KEEP_ALIVE;
    let quic = config.transports.has(Kind::Quic).then(|| quic::tokio::Transport::new(datagram));
    let quic =
        optional(quic).map(move |(peer, connection), _| (peer, StreamMuxerBox::new(Metered::quic(connection, meter))));

    Ok(OrTransport::new(quic, tcp).map(|either, _| either.into_inner()).boxed())
}

/// WebSocket. It has to see names before they are resolved: a certificate is for a name.
fn web(config: &Config, keypair: &identity::Keypair, meter: Meter) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let web = match config.transports.has(Kind::WebSocket) {
        true => {
            let mut web = Web::new(named(|| Ok(sockets().boxed()))?);
            web.set_max_data_size(websocket::MAX_MESSAGE);
            web.set_tls_config(config.websocket.tls().map_err(io::Error::other)?);
            Some(web)
        }
        false => None,
    };
    let web = optional(web).map(move |socket, _| Metered::tcp(socket, meter));
    Ok(muxed(web, keypair)?.boxed())
}

/// The system's word. `Either` hides a cause that is not the source of something, so it is one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SocketError(#[source] io::Error);

fn sockets() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true).listen_backlog(BACKLOG))
}

fn optional<T: Transport>(transport: Option<T>) -> OptionalTransport<T> {
    transport.map_or_else(OptionalTransport::none, OptionalTransport::some)
}

/// The transport that `make` makes, with names resolved.
fn named<O: Send + 'static>(make: impl Fn() -> io::Result<Boxed<O>>) -> io::Result<Boxed<O>> {
    match dns::tokio::Transport::system(make()?) {
        Ok(named) => Ok(named.boxed()),
        Err(error) => {
            // Two machines on a LAN without DNS, or a container without resolv.conf, must still meet.
            tracing::warn!(%error, "no system resolver; names in multiaddrs will not resolve");
            make()
        }
    }
}

/// Secured from end to end, and with many streams on one connection.
fn muxed<T>(
    transport: T,
    keypair: &identity::Keypair,
) -> io::Result<
    impl Transport<Output = (PeerId, StreamMuxerBox), Error: Send + Sync, Dial: Send, ListenerUpgrade: Send>
    + Send
    + Unpin
    + use<T>,
>
where
    T: Transport<
            Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
            Error: Send + Sync + 'static,
            Dial: Send,
            ListenerUpgrade: Send,
        > + Send
        + Unpin
        + 'static,
{
    Ok(transport
        .upgrade(Version::V1Lazy)
        .authenticate(secure(keypair)?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))))
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
