//! The TLS handshake on a fresh socket, by rustls; what it leaves is a [`TlsStream`].

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, Error, HandshakeKind, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::CertificateDer,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    certificate::{Certificate, Fingerprint, fingerprint},
    record::length_of,
    stream::{Keys, TlsStream},
};

/// Bytes of a peer's part of a handshake at most; ours has well under two kilobytes.
const LIMIT: usize = 16 * 1024;

/// Bytes asked of the socket at a time: a whole flight.
const READ: usize = 4 * 1024;

/// As the client, after `knock`, which leaves with the first flight.
pub(super) async fn client(mut socket: TcpStream, config: Arc<ClientConfig>, knock: &[u8]) -> io::Result<TlsStream> {
    let mut connection = UnbufferedClientConnection::new(config, Certificate::name().map_err(tls)?).map_err(tls)?;
    let received = talk(&mut socket, &mut connection, knock.to_vec()).await?;
    let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let (secrets, keys) = connection.dangerous_into_kernel_connection().map_err(tls)?;
    TlsStream::new(socket, secrets, Keys::Client(keys), &received, is_resumed).map_err(io::Error::other)
}

/// As the server; the client must hold the certificate with `expected` fingerprint.
pub(super) async fn server(
    mut socket: TcpStream,
    config: Arc<ServerConfig>,
    expected: &Fingerprint,
) -> io::Result<TlsStream> {
    let mut connection = UnbufferedServerConnection::new(config).map_err(tls)?;
    let received = talk(&mut socket, &mut connection, Vec::new()).await?;
    let presented = connection.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
    if presented.map(fingerprint).as_ref() != Some(expected) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the certificate is not the one vouched for"));
    }
    let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let (secrets, keys) = connection.dangerous_into_kernel_connection().map_err(tls)?;
    TlsStream::new(socket, secrets, Keys::Server(keys), &received, is_resumed).map_err(io::Error::other)
}

fn tls(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What client and server have in common.
trait Side {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn is_handshaking(&self) -> bool;
}

impl Side for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn is_handshaking(&self) -> bool {
        (**self).is_handshaking()
    }
}

impl Side for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn is_handshaking(&self) -> bool {
        (**self).is_handshaking()
    }
}

/// What a connection wants next.
enum Want {
    Nothing,
    Send,
    More,
    End,
}

/// Talks to the end of the handshake; returns what was received behind it. `outgoing` leaves with the first flight.
///
/// Records are shown to rustls one at a time: what comes behind the handshake is for the stream to open.
async fn talk<S: Side>(socket: &mut TcpStream, connection: &mut S, mut outgoing: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut incoming = Vec::new();
    let mut shown = 0;
    loop {
        let UnbufferedStatus { discard, state } = connection.process(incoming.get_mut(..shown).unwrap_or_default());
        let want = match state.map_err(tls)? {
            ConnectionState::EncodeTlsData(mut data) => {
                let at = outgoing.len();
                if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
                    data.encode(&mut [])
                {
                    outgoing.resize(at + required_size, 0);
                    data.encode(outgoing.get_mut(at..).unwrap_or_default()).map_err(io::Error::other)?;
                }
                Want::Nothing
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Want::Send
            }
            ConnectionState::BlockedHandshake => Want::More,
            ConnectionState::WriteTraffic(_) => Want::End,
            other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("not in a handshake: {other:?}"))),
        };
        incoming.drain(..discard);
        shown -= discard;
        match want {
            Want::Nothing => {}
            Want::Send => {
                socket.write_all(&outgoing).await?;
                outgoing.clear();
            }
            Want::End if !connection.is_handshaking() => {
                incoming.drain(..shown);
                return Ok(incoming);
            }
            Want::End | Want::More => shown += next_record(socket, &mut incoming, shown).await?,
        }
    }
}

/// The length of the record behind the first `shown` bytes, which is received if it is not there.
async fn next_record(socket: &mut TcpStream, incoming: &mut Vec<u8>, shown: usize) -> io::Result<usize> {
    loop {
        let behind = incoming.get(shown..).unwrap_or_default();
        match length_of(behind).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Some(length) if length <= behind.len() => return Ok(length),
            _ => {}
        }
        if incoming.len() > LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for a handshake"));
        }
        incoming.reserve(READ);
        if socket.read_buf(incoming).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
