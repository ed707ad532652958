//! One stream, with its place.

use std::{
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::{AsyncRead, AsyncWrite};

use super::{end::End, heard::Heard, room::Place};

/// A byte stream to or from a member. Dropped before it was closed, it is reset; either way its place is free again.
#[derive(Debug)]
pub struct Stream {
    // Dropped in this order: the muxer hears of the end before the place can be given away.
    bytes: libp2p::Stream,
    _place: Place,
    /// Comes with the connection's.
    end: Arc<End>,
    heard: Arc<Heard>,
}

impl Stream {
    pub(super) fn new(bytes: libp2p::Stream, place: Place, end: Arc<End>, heard: Arc<Heard>) -> Self {
        Self { bytes, _place: place, end, heard }
    }
}

impl Stream {
    fn read(&self, polled: Poll<io::Result<usize>>, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.heard.note(Instant::now());
        }
        self.end.or_read(polled, cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.bytes).poll_read(cx, buffer);
        self.read(polled, cx)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.bytes).poll_read_vectored(cx, buffers);
        self.read(polled, cx)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.bytes).poll_write(cx, bytes);
        self.end.or_write(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.bytes).poll_write_vectored(cx, bytes);
        self.end.or_write(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.bytes).poll_flush(cx);
        self.end.or_write(polled, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.bytes).poll_close(cx);
        self.end.or_write(polled, cx)
    }
}
