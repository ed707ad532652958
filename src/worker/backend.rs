//! The local socket behind a worker.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};

use super::{Target, offering::Counters, target::Place, udp};
use crate::{
    ledger::Protocol,
    proxy_protocol::{Header, Version},
    tunnel::{Datagrams, abort},
};

/// Addresses of one host name that are tried at most. More than both families of a few interfaces are not a backend.
const MAX_ADDRESSES: usize = 8;

/// A connection to a backend.
#[derive(Debug)]
pub(super) enum Backend {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(Datagrams<udp::Socket>),
}

/// Why a backend took no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot connect to {target}: {why}")]
pub(super) struct ConnectError {
    target: String,
    why: String,
    /// Nobody listens: known at once and for sure, unlike a timeout.
    pub(super) is_refused: bool,
}

impl Backend {
    /// Connects for the worker itself within `limit`, of which each address of a host name gets its share.
    pub(super) async fn connect(target: &Target, limit: Duration) -> Result<Self, ConnectError> {
        Self::connect_for(target, limit, None).await
    }

    /// Connects for `client`, and says so if the backend wants to be told.
    pub(super) async fn connect_for(
        target: &Target,
        limit: Duration,
        client: Option<SocketAddr>,
    ) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + limit;
        let connected = match &target.place {
            Place::Unix(path) => within(deadline, UnixStream::connect(path)).await.map(Self::Unix),
            Place::Host { host, port } if target.protocol() == Protocol::Udp => {
                within(deadline, connect_udp(host, *port)).await.map(|socket| Self::Udp(Datagrams::new(socket)))
            }
            Place::Host { host, port } => connect_any(host, *port, deadline).await.map(Self::Tcp),
        };
        let connected = match (connected, target.send_proxy) {
            (Ok(mut backend), Some(version)) => {
                within(deadline, backend.introduce(version, client)).await.map(|()| backend)
            }
            (connected, _) => connected,
        };
        connected.map_err(|error| ConnectError {
            target: target.to_string(),
            is_refused: matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
            why: match error.raw_os_error() {
                Some(_) => error.kind().to_string(),
                None => error.to_string(),
            },
        })
    }

    /// The first thing that it is sent: for whom the connection is.
    async fn introduce(&mut self, version: Version, client: Option<SocketAddr>) -> io::Result<()> {
        let destination = match self {
            Self::Tcp(tcp) => tcp.peer_addr()?,
            // What an export never asks of a backend that takes datagrams.
            Self::Udp(_) => return Ok(()),
            Self::Unix(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        };
        let header = Header { addresses: client.map(|client| (client, destination)) };
        self.write_all(&header.encode(version)).await
    }

    /// Has the datagrams counted that are lost on the way to it or from it.
    pub(super) fn count_in(&mut self, counters: &Arc<Counters>) {
        if let Self::Udp(datagrams) = self {
            datagrams.packets_mut().count_in(Arc::clone(counters));
        }
    }

    /// Closes it so that the backend does not take what it got for whole.
    pub(super) fn reset(self) {
        match self {
            Self::Tcp(tcp) => abort(tcp),
            Self::Unix(unix) => drop(unix),
            Self::Udp(datagrams) => drop(datagrams),
        }
    }
}

async fn connect_any(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let resolved = within(deadline, tokio::net::lookup_host((host, port))).await?;
    let addresses: Vec<SocketAddr> = resolved.take(MAX_ADDRESSES).collect();
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(1);
        let share = Instant::now() + deadline.saturating_duration_since(Instant::now()) / untried;
        match within(share, connect_one(*address)).await {
            Ok(tcp) => return Ok(tcp),
            // One address that did not answer in time leaves it open whether somebody listens.
            Err(error) if failure.kind() != io::ErrorKind::TimedOut => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// The first address that there is a way to: whether somebody listens there does not show before something is sent.
async fn connect_udp(host: &str, port: u16) -> io::Result<udp::Socket> {
    udp::Socket::connect(tokio::net::lookup_host((host, port)).await?.take(MAX_ADDRESSES))
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    // A local port in the ephemeral range that nobody listens on can be given to the caller's own end, and TCP then
    // connects the socket to itself (simultaneous open, RFC 9293 §3.5).
    if tcp.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Frames arrive whole, and a token of a stream must not wait for the next one.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn within<T>(deadline: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Backend {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Udp(datagrams) => Pin::new(datagrams).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Backend {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, data),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, data),
            Self::Udp(datagrams) => Pin::new(datagrams).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::Udp(datagrams) => Pin::new(datagrams).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Udp(datagrams) => Pin::new(datagrams).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpSocket, UnixListener},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn connect(target: &str) -> Result<Backend, ConnectError> {
        Backend::connect(&target.parse().unwrap(), LIMIT).await
    }

    #[tokio::test]
    async fn a_name_with_several_addresses_is_reached_at_the_one_that_listens() {
        // `localhost` has ::1 as well on most hosts, and nobody listens there.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(connect(&format!("localhost:{port}")).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_listening_is_a_refusal() {
        // Bound, so that nobody else gets the port, and not listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = connect(&socket.local_addr().unwrap().to_string()).await.unwrap_err();
        assert!(error.is_refused);
        assert!(error.to_string().ends_with("connection refused"), "{error}");

        let error = connect("unix:/nonexistent/socket").await.unwrap_err();
        assert!(error.is_refused, "{error}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_no_refusal() {
        let error = connect("a..b:80").await.unwrap_err();
        assert!(!error.is_refused, "{error}");
    }

    #[tokio::test]
    async fn a_backend_that_wants_to_know_is_told_for_whom_a_connection_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target: Target = port.to_string().parse().unwrap();
        let target = target.with_proxy_protocol(Version::V1);
        let client = Some("192.0.2.1:5".parse().unwrap());
        let told = format!("PROXY TCP4 192.0.2.1 127.0.0.1 5 {port}\r\nx");
        for (client, told) in [(client, told.as_str()), (None, "PROXY UNKNOWN\r\nx")] {
            let mut backend = Backend::connect_for(&target, LIMIT, client).await.unwrap();
            backend.write_all(b"x").await.unwrap();
            drop(backend);
            let mut text = String::new();
            listener.accept().await.unwrap().0.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, told);
        }
    }

    #[tokio::test]
    async fn a_unix_socket_carries_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backend.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut backend = connect(&format!("unix:{}", path.display())).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        backend.write_all(b"hello").await.unwrap();
        backend.shutdown().await.unwrap();
        let mut text = String::new();
        accepted.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
}
