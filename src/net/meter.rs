//! What the network costs: bytes and messages, counted since the node started.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

/// Counts. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    tcp: Flow,
    quic: Flow,
    published: Count,
    passed_on: Count,
    received: Count,
    dropped: AtomicU64,
    sync_sent: Count,
    sync_received: Count,
}

/// Bytes, each way.
#[derive(Debug, Default)]
struct Flow {
    sent: AtomicU64,
    received: AtomicU64,
}

#[derive(Debug, Default)]
struct Count {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What a [`Meter`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that left over libp2p's TCP and WebSocket connections: tunnels on streams and encryption included, direct connections and
    /// what the kernel adds not.
    pub tcp_sent: u64,
    /// Bytes that came over them.
    pub tcp_received: u64,
    /// Bytes that left over streams of libp2p's QUIC connections, without what carries and secures them.
    pub quic_sent: u64,
    /// Bytes that came over them.
    pub quic_received: u64,
    /// This node's own rumours, as often as they were sent: once to each peer of the mesh.
    pub published: Volume,
    /// Other nodes' rumours, as often as they were passed on: once to each peer of the mesh but the one they came from.
    pub passed_on: Volume,
    /// Rumours that came, the same one from several peers included.
    pub received: Volume,
    /// Of those, dropped because the ledger had too many waiting.
    pub dropped: u64,
    /// Frames of sync sessions that were sent.
    pub sync_sent: Volume,
    /// Frames of sync sessions that came.
    pub sync_received: Volume,
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// How many.
    pub messages: u64,
    /// Their sizes in all, without what carries them.
    pub bytes: u64,
}

impl Meter {
    /// What was counted until now.
    pub fn traffic(&self) -> Traffic {
        let counts = &self.counts;
        Traffic {
            tcp_sent: counts.tcp.sent.load(Ordering::Relaxed),
            tcp_received: counts.tcp.received.load(Ordering::Relaxed),
            quic_sent: counts.quic.sent.load(Ordering::Relaxed),
            quic_received: counts.quic.received.load(Ordering::Relaxed),
            published: counts.published.volume(),
            passed_on: counts.passed_on.volume(),
            received: counts.received.volume(),
            dropped: counts.dropped.load(Ordering::Relaxed),
            sync_sent: counts.sync_sent.volume(),
            sync_received: counts.sync_received.volume(),
        }
    }

    /// A sync session sent a frame.
    pub fn sync_sent(&self, bytes: usize) {
        self.counts.sync_sent.add(1, bytes);
    }

    /// A sync session got a frame.
    pub fn sync_received(&self, bytes: usize) {
        self.counts.sync_received.add(1, bytes);
    }

    pub(super) fn gossip_published(&self, peers: usize, bytes: usize) {
        self.counts.published.add(peers, bytes);
    }

    pub(super) fn gossip_passed_on(&self, peers: usize, bytes: usize) {
        self.counts.passed_on.add(peers, bytes);
    }

    pub(super) fn gossip_received(&self, bytes: usize) {
        self.counts.received.add(1, bytes);
    }

    pub(super) fn gossip_dropped(&self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    /// `times` messages of `bytes` each.
    fn add(&self, times: usize, bytes: usize) {
        self.messages.fetch_add(times as u64, Ordering::Relaxed);
        self.bytes.fetch_add((times * bytes) as u64, Ordering::Relaxed);
    }

    fn volume(&self) -> Volume {
        Volume { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// Which of the transports carries a connection.
type Way = fn(&Counts) -> &Flow;

/// A TCP connection, a QUIC connection, or one of its streams, whose bytes are counted.
#[derive(Debug)]
pub(super) struct Metered<S> {
    inner: S,
    meter: Meter,
    way: Way,
}

impl<S> Metered<S> {
    /// A TCP connection.
    pub(super) fn tcp(socket: S, meter: Meter) -> Self {
        Self { inner: socket, meter, way: |counts| &counts.tcp }
    }

    /// A QUIC connection.
    pub(super) fn quic(connection: S, meter: Meter) -> Self {
        Self { inner: connection, meter, way: |counts| &counts.quic }
    }

    fn sent(&self, bytes: usize) {
        (self.way)(&self.meter.counts).sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn received(&self, bytes: usize) {
        (self.way)(&self.meter.counts).received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.received(read);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, buffers))?;
        self.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<M: StreamMuxer<Substream: Unpin> + Unpin> StreamMuxer for Metered<M> {
    type Substream = Metered<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(Metered { inner, meter: self.meter.clone(), way: self.way }))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(Metered { inner, meter: self.meter.clone(), way: self.way }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, AsyncWriteExt, io::Cursor};

    use super::*;

    #[tokio::test]
    async fn a_metered_connection_counts_both_ways() {
        let meter = Meter::default();
        let mut socket = Metered::tcp(Cursor::new(vec![0; 10]), meter.clone());
        socket.write_all(&[7; 4]).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        let traffic = meter.traffic();
        assert_eq!((traffic.tcp_sent, traffic.tcp_received), (4, 6));
    }

    #[test]
    fn what_goes_to_several_peers_counts_as_often() {
        let meter = Meter::default();
        meter.gossip_published(5, 300);
        meter.gossip_passed_on(4, 100);
        assert_eq!(meter.traffic().published, Volume { messages: 5, bytes: 1500 });
        assert_eq!(meter.traffic().passed_on, Volume { messages: 4, bytes: 400 });
    }
}
