//! A TLS connection after its handshake: a plain byte stream that seals and opens on the way.
//!
//! It reads and writes large pieces, and what it holds between two polls is a buffer that is lent while bytes wait in it
//! (see [`Buffer`]).

use std::{
    fmt,
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use futures::task::AtomicWaker;
use rustls::{
    ExtractedSecrets, HandshakeType, client::ClientConnectionData, kernel::KernelConnection,
    server::ServerConnectionData,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

use super::{
    buffer::{Buffer, MAX_PLAIN_AT_ONCE},
    record::{Broken, Content, HEADER, Key, MAX_PLAIN, TRAILER, length_of},
};

/// `update_not_requested` in a `KeyUpdate` message (RFC 8446 §4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// One end of a connection between two members.
pub(super) struct TlsStream {
    socket: TcpStream,
    keys: Keys,
    opener: Key,
    sealer: Key,
    /// Bytes received: first the plaintext that was opened and not taken, then what is still sealed.
    incoming: Option<Buffer>,
    plain: Range<usize>,
    /// Sealed bytes that the socket did not take.
    outgoing: Option<Buffer>,
    /// The peer asked for fresh keys.
    owes_update: bool,
    cut: Arc<Cut>,
    /// Its handshake needed no signatures, thanks to an earlier one.
    pub(super) is_resumed: bool,
    /// What it counts for, until it is dropped.
    place: Option<OwnedSemaphorePermit>,
}

/// What is left of the handshake: makes the next keys, and keeps tickets.
pub(super) enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// Ends a connection from outside.
#[derive(Debug, Default)]
pub(super) struct Cut {
    is_cut: AtomicBool,
    reader: AtomicWaker,
}

impl Cut {
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.reader.wake();
    }
}

impl TlsStream {
    /// Goes on where a handshake ended; `received` are bytes that came behind it.
    pub(super) fn new(
        socket: TcpStream,
        secrets: ExtractedSecrets,
        keys: Keys,
        received: &[u8],
        is_resumed: bool,
    ) -> Result<Self, Broken> {
        let mut incoming = None;
        if !received.is_empty() {
            let buffer = incoming.insert(Buffer::take());
            buffer.room().get_mut(..received.len()).ok_or(Broken)?.copy_from_slice(received);
            buffer.end = received.len();
        }
        Ok(Self {
            socket,
            keys,
            opener: Key::new(secrets.rx)?,
            sealer: Key::new(secrets.tx)?,
            incoming,
            plain: 0..0,
            outgoing: None,
            owes_update: false,
            cut: Arc::default(),
            is_resumed,
            place: None,
        })
    }

    /// Holds `place` from now on.
    pub(super) fn take_place(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// To end it while somebody else has it.
    pub(super) fn cutter(&self) -> Arc<Cut> {
        Arc::clone(&self.cut)
    }

    /// Ready when at least a byte can be read, or the peer has ended it (false).
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.plain.is_empty() {
            if self.open_next()? {
                continue;
            }
            if !ready!(self.poll_receive(cx))? {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Nothing has come since the last tunnel and the peer has not ended it, as far as is known here.
    pub(super) fn is_at_rest(&mut self) -> bool {
        self.poll_readable(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Opens the next record if it is there as a whole. Anything but data is dealt with here.
    fn open_next(&mut self) -> io::Result<bool> {
        let Some(buffer) = &mut self.incoming else { return Ok(false) };
        let Some(length) = length_of(buffer.filled()).map_err(broken)? else { return Ok(false) };
        let start = buffer.start;
        let Some(record) = buffer.filled_mut().get_mut(..length) else { return Ok(false) };
        let (content, plain) = self.opener.open(record).map_err(broken)?;
        buffer.start += length;
        self.plain = start + HEADER..start + HEADER + plain;
        match content {
            Content::Data => {}
            Content::Handshake => {
                let message = std::mem::take(&mut self.plain);
                let bytes = self.incoming.as_ref().and_then(|buffer| buffer.whole().get(message)).unwrap_or_default();
                self.owes_update |= self.keys.told(bytes, &mut self.opener).map_err(broken)?;
            }
            Content::Alert => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the peer closed it")),
        }
        Ok(true)
    }

    /// Takes more from the socket; false at its end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let buffer = self.incoming.get_or_insert_with(Buffer::take);
        buffer.compact();
        let mut read = ReadBuf::new(buffer.room());
        let polled = Pin::new(&mut self.socket).poll_read(cx, &mut read);
        let received = read.filled().len();
        buffer.end += received;
        if polled.is_pending() {
            self.cut.reader.register(cx.waker());
            if self.cut.is_cut.load(Ordering::Acquire) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        if buffer.is_empty() {
            self.incoming = None;
        }
        polled.map_ok(|()| received > 0)
    }

    /// Gives the socket what it did not take yet.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(buffer) = &mut self.outgoing else { return Poll::Ready(Ok(())) };
        while !buffer.is_empty() {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, buffer.filled()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            buffer.start += n;
        }
        self.outgoing = None;
        Poll::Ready(Ok(()))
    }

    /// Seals `slices` behind what waits already: as much of them as one buffer holds, or nothing if there is no room for
    /// that. Returns how much it was.
    fn seal(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Broken> {
        let total = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MAX_PLAIN_AT_ONCE);
        let changes_keys = self.owes_update || self.sealer.is_worn();
        let buffer = self.outgoing.get_or_insert_with(Buffer::take);
        let around = (total.div_ceil(MAX_PLAIN) + usize::from(changes_keys)) * (HEADER + TRAILER);
        if buffer.room().len() < total + around + KEY_UPDATE.len() {
            return Ok(0);
        }
        if changes_keys {
            seal_record(buffer, &mut self.sealer, Content::Handshake, KEY_UPDATE.len(), |plain| {
                plain.copy_from_slice(&KEY_UPDATE);
            })?;
            self.sealer = self.keys.next_sealer()?;
            self.owes_update = false;
        }
        let (mut gather, mut left) = (Gather { slices, taken: 0 }, total);
        while left > 0 {
            let length = left.min(MAX_PLAIN);
            seal_record(buffer, &mut self.sealer, Content::Data, length, |plain| gather.fill(plain))?;
            left -= length;
        }
        Ok(total)
    }
}

/// Appends one record to `buffer`.
fn seal_record(
    buffer: &mut Buffer,
    key: &mut Key,
    content: Content,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), Broken> {
    let record = buffer.room().get_mut(..HEADER + length + TRAILER).ok_or(Broken)?;
    fill(record.get_mut(HEADER..HEADER + length).ok_or(Broken)?);
    key.seal(content, record)?;
    buffer.end += HEADER + length + TRAILER;
    Ok(())
}

/// Several slices as one.
struct Gather<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes taken of the first.
    taken: usize,
}

impl Gather<'_> {
    fn fill(&mut self, mut room: &mut [u8]) {
        while let Some((first, others)) = self.slices.split_first() {
            let rest = first.get(self.taken..).unwrap_or_default();
            let length = rest.len().min(room.len());
            let (now, later) = room.split_at_mut(length);
            now.copy_from_slice(rest.get(..length).unwrap_or_default());
            room = later;
            if length < rest.len() {
                self.taken += length;
                return;
            }
            (self.slices, self.taken) = (others, 0);
        }
    }
}

impl Keys {
    /// Heeds a message that came after the handshake. Whether the peer wants this side to change its keys as well.
    fn told(&mut self, mut messages: &[u8], opener: &mut Key) -> Result<bool, Broken> {
        let mut is_wanted = false;
        while let Some((&[kind, a, b, c], rest)) = messages.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let (body, rest) = rest.split_at_checked(length).ok_or(Broken)?;
            messages = rest;
            match (HandshakeType::from(kind), &mut *self, body) {
                (HandshakeType::NewSessionTicket, Self::Client(keys), ticket) => {
                    keys.handle_new_session_ticket(ticket).map_err(|_| Broken)?;
                }
                (HandshakeType::KeyUpdate, keys, [wanted @ (0 | 1)]) => {
                    let next = match keys {
                        Self::Client(keys) => keys.update_rx_secret(),
                        Self::Server(keys) => keys.update_rx_secret(),
                    };
                    *opener = Key::new(next.map_err(|_| Broken)?)?;
                    is_wanted |= *wanted == 1;
                }
                _ => return Err(Broken),
            }
        }
        if messages.is_empty() { Ok(is_wanted) } else { Err(Broken) }
    }

    fn next_sealer(&mut self) -> Result<Key, Broken> {
        let next = match self {
            Self::Client(keys) => keys.update_tx_secret(),
            Self::Server(keys) => keys.update_tx_secret(),
        };
        Key::new(next.map_err(|_| Broken)?)
    }
}

fn broken(error: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            if this.plain.is_empty() && !this.open_next()? {
                // What is there is handed on before the socket is asked for more.
                if buf.filled().len() > before || !ready!(this.poll_receive(cx))? {
                    break;
                }
                continue;
            }
            let Some(buffer) = &this.incoming else { break };
            let length = this.plain.len().min(buf.remaining());
            buf.put_slice(buffer.whole().get(this.plain.start..this.plain.start + length).unwrap_or_default());
            this.plain.start += length;
            if this.plain.is_empty() && buffer.is_empty() {
                this.incoming = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut taken = self.seal(slices).map_err(broken)?;
        if taken == 0 {
            ready!(self.poll_drain(cx))?;
            taken = self.seal(slices).map_err(broken)?;
        }
        // Small pieces wait for each other until somebody flushes: a last answer and the end behind it leave together.
        let waiting = self.outgoing.as_ref().map_or(0, |buffer| buffer.filled().len());
        if waiting >= MAX_PLAIN {
            match self.poll_drain(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::direct::{certificate::Certificate, handshake, record::KEY_LIMIT};

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), async {
            listener.accept().await.unwrap().0
        });
        (near.unwrap(), far)
    }

    async fn pair() -> (TlsStream, TlsStream) {
        let (front, worker) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let (near, far) = sockets().await;
        let (client, server) = (front.client(worker.fingerprint()).unwrap(), worker.server().unwrap());
        let expected = front.fingerprint();
        let (near, far) = tokio::join!(
            handshake::client(near, Arc::new(client), b""),
            handshake::server(far, Arc::new(server), &expected)
        );
        (near.unwrap(), far.unwrap())
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    async fn carries(from: &mut TlsStream, to: &mut TlsStream, sent: &[u8]) {
        let mut got = vec![0; sent.len()];
        let write = async {
            from.write_all(sent).await.unwrap();
            from.flush().await.unwrap();
        };
        let (_, read) = tokio::join!(write, to.read_exact(&mut got));
        read.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn bytes_arrive_as_they_were_sent_in_both_directions_and_nothing_is_held_at_rest() {
        let (mut a, mut b) = pair().await;
        for length in [1, 4, MAX_PLAIN - 1, MAX_PLAIN, MAX_PLAIN + 1, MAX_PLAIN_AT_ONCE, 3_000_000] {
            carries(&mut a, &mut b, &pattern(length)).await;
            carries(&mut b, &mut a, &pattern(length)).await;
        }
        assert!(a.is_at_rest() && b.is_at_rest());
        assert!([&a, &b].iter().all(|end| end.incoming.is_none() && end.outgoing.is_none()));
    }

    #[tokio::test]
    async fn keys_are_changed_when_they_are_worn_and_when_the_peer_asks() {
        let (mut a, mut b) = pair().await;
        carries(&mut a, &mut b, b"before").await;
        // What so many records would do. The peer's number has to follow, or it could not open them.
        (a.sealer.next, b.opener.next) = (KEY_LIMIT, KEY_LIMIT);
        carries(&mut a, &mut b, &pattern(100_000)).await;
        assert!(!a.sealer.is_worn());
        a.owes_update = true;
        carries(&mut a, &mut b, b"asked").await;
        assert!(!a.owes_update);
        carries(&mut b, &mut a, b"and back").await;
    }

    #[tokio::test]
    async fn a_changed_byte_is_noticed() {
        let (near, far) = sockets().await;
        let (through, behind) = sockets().await;
        let (front, worker) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let (client, server) = (front.client(worker.fingerprint()).unwrap(), worker.server().unwrap());
        let expected = front.fingerprint();
        // Somebody on the path who changes what is no handshake: a record as short as the one sent below.
        let meddling = tokio::spawn(async move {
            let (mut from_front, mut to_front) = far.into_split();
            let (mut from_worker, mut to_worker) = through.into_split();
            let up = async {
                let mut bytes = [0; 4096];
                while let Ok(n) = from_front.read(&mut bytes).await {
                    if n == HEADER + 3 + TRAILER {
                        bytes[n - 1] ^= 1;
                    }
                    if n == 0 || to_worker.write_all(&bytes[..n]).await.is_err() {
                        break;
                    }
                }
            };
            // The end is a reset, as it should be.
            let _ = tokio::join!(up, tokio::io::copy(&mut from_worker, &mut to_front));
        });
        let (near, behind) = tokio::join!(
            handshake::client(near, Arc::new(client), b""),
            handshake::server(behind, Arc::new(server), &expected)
        );
        let (mut near, mut behind) = (near.unwrap(), behind.unwrap());
        near.write_all(b"abc").await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(behind.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop((near, behind));
        meddling.abort();
    }

    #[tokio::test]
    async fn a_peer_that_leaves_everything_to_rustls_understands_us() {
        let (front, worker) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let (near, far) = sockets().await;
        let config = Arc::new(worker.server().unwrap());
        let stock = std::thread::spawn(move || {
            let far = far.into_std().unwrap();
            far.set_nonblocking(false).unwrap();
            let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), far);
            let mut bytes = vec![0; 200_000];
            tls.read_exact(&mut bytes).unwrap();
            tls.conn.refresh_traffic_keys().unwrap();
            tls.write_all(&bytes).unwrap();
            tls.read_exact(&mut bytes[..5]).unwrap();
            bytes.truncate(5);
            bytes
        });
        let client = front.client(worker.fingerprint()).unwrap();
        let mut stream = handshake::client(near, Arc::new(client), b"").await.unwrap();
        let sent = pattern(200_000);
        let mut got = vec![0; sent.len()];
        stream.write_all(&sent).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut got).await.unwrap();
        assert!(got == sent);
        stream.owes_update = true;
        stream.write_all(b"fresh").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stock.join().unwrap(), b"fresh");
    }

    #[tokio::test]
    async fn another_certificate_is_refused_on_either_side() {
        let (front, worker, other) =
            (Certificate::generate().unwrap(), Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let (near, far) = sockets().await;
        let (client, server) = (front.client(other.fingerprint()).unwrap(), worker.server().unwrap());
        let expected = front.fingerprint();
        let (near, far) = tokio::join!(
            handshake::client(near, Arc::new(client), b""),
            handshake::server(far, Arc::new(server), &expected)
        );
        assert!(near.is_err() && far.is_err());

        let (near, far) = sockets().await;
        let (client, server) = (front.client(worker.fingerprint()).unwrap(), worker.server().unwrap());
        let expected = other.fingerprint();
        let (_, far) = tokio::join!(
            handshake::client(near, Arc::new(client), b""),
            handshake::server(far, Arc::new(server), &expected)
        );
        assert_eq!(far.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[tokio::test]
    async fn the_second_connection_resumes_and_knows_its_peer_as_well() {
        let (front, worker) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let client = Arc::new(front.client(worker.fingerprint()).unwrap());
        let server = Arc::new(worker.server().unwrap());
        let expected = front.fingerprint();
        for resumed in [false, true] {
            let (near, far) = sockets().await;
            let (near, far) = tokio::join!(
                handshake::client(near, Arc::clone(&client), b""),
                handshake::server(far, Arc::clone(&server), &expected)
            );
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            assert_eq!((near.is_resumed, far.is_resumed), (resumed, resumed));
            // The ticket for the next one comes before this.
            carries(&mut far, &mut near, b"hello").await;
        }
    }

    #[tokio::test]
    async fn a_cut_wakes_whoever_waits_for_bytes() {
        let (mut a, _b) = pair().await;
        let cutter = a.cutter();
        let waiting = tokio::spawn(async move { a.read(&mut [0]).await });
        tokio::task::yield_now().await;
        cutter.cut();
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn arbitrary_bytes_end_a_connection_in_good_order(bytes in prop::collection::vec(any::<u8>(), 1..2000)) {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let (mut a, b) = pair().await;
                let mut socket = b.socket;
                socket.write_all(&bytes).await.unwrap();
                socket.shutdown().await.unwrap();
                let mut got = Vec::new();
                let _ = a.read_to_end(&mut got).await;
                assert!(got.is_empty());
            });
        }
    }
}
