//! The framing that makes half-close and reset mean the same on every carrier.
//!
//! Each frame is a big-endian `u32` length and that many bytes, 1 to [`MAX_FRAME`]. A length of zero is the end of that
//! direction. A carrier that ends without it was cut: the reader gets `ConnectionReset`, never a short but well-formed
//! body. That is why dropping a [`TunnelStream`] before [`shutdown`](tokio::io::AsyncWriteExt::shutdown) *is* the reset:
//! yamux tells the peer so by itself, QUIC would otherwise let it look like a clean end.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes in one frame at most. 64 KiB is where larger writes stop paying, and bounds what a slow peer makes us hold.
pub const MAX_FRAME: usize = 64 * 1024;

const HEADER: usize = 4;

/// Any reliable byte stream that can carry a tunnel.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// One end of a tunnel after the verdict: ordinary bytes in, ordinary bytes out.
///
/// Writes may stay in a buffer of one frame until `flush`. Dropping it before `shutdown` resets the tunnel.
pub struct TunnelStream {
    carrier: Box<dyn Carrier>,
    reading: Reading,
    /// The frame on its way out; `sent` bytes of it have left.
    out: Vec<u8>,
    sent: usize,
    writing: Writing,
}

#[derive(Clone, Copy)]
enum Reading {
    Header { got: usize, bytes: [u8; HEADER] },
    Data { left: usize },
    Ended,
}

#[derive(Clone, Copy, PartialEq)]
enum Writing {
    Open,
    /// The end mark is in the buffer or beyond.
    Ending,
    Ended,
}

impl TunnelStream {
    /// Speaks frames over `carrier`, of which nothing beyond the verdict may have been read.
    pub fn new(carrier: impl Carrier + 'static) -> Self {
        Self {
            carrier: Box::new(carrier),
            reading: Reading::Header { got: 0, bytes: [0; HEADER] },
            out: Vec::new(),
            sent: 0,
            writing: Writing::Open,
        }
    }

    /// Two ends of one tunnel in memory: front and worker in the same node.
    pub fn pair() -> (Self, Self) {
        let (a, b) = tokio::io::duplex(MAX_FRAME);
        (Self::new(a), Self::new(b))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let n = ready!(Pin::new(&mut self.carrier).poll_write(cx, &self.out[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the tunnel was reset")
}

impl AsyncRead for TunnelStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut this.reading {
                Reading::Ended => return Poll::Ready(Ok(())),
                Reading::Header { got, bytes } => {
                    let mut part = ReadBuf::new(&mut bytes[*got..]);
                    ready!(Pin::new(&mut this.carrier).poll_read(cx, &mut part))?;
                    let n = part.filled().len();
                    if n == 0 {
                        return Poll::Ready(Err(cut()));
                    }
                    *got += n;
                    if *got == HEADER {
                        this.reading = match u32::from_be_bytes(*bytes) as usize {
                            0 => Reading::Ended,
                            left @ 1..=MAX_FRAME => Reading::Data { left },
                            _ => {
                                let text = "a tunnel frame over 64 KiB";
                                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                            }
                        };
                    }
                }
                Reading::Data { left } => {
                    let wanted = (*left).min(buf.remaining());
                    let mut part = ReadBuf::new(buf.initialize_unfilled_to(wanted));
                    ready!(Pin::new(&mut this.carrier).poll_read(cx, &mut part))?;
                    let n = part.filled().len();
                    if n == 0 {
                        return Poll::Ready(Err(cut()));
                    }
                    buf.advance(n);
                    *left -= n;
                    if *left == 0 {
                        this.reading = Reading::Header { got: 0, bytes: [0; HEADER] };
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.writing != Writing::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_drain(cx))?;
        let n = data.len().min(MAX_FRAME);
        self.out.extend_from_slice(&(n as u32).to_be_bytes());
        self.out.extend_from_slice(&data[..n]);
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(n)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.writing {
                Writing::Open => {
                    ready!(self.poll_drain(cx))?;
                    self.out.extend_from_slice(&0u32.to_be_bytes());
                    self.writing = Writing::Ending;
                }
                Writing::Ending => {
                    ready!(self.poll_drain(cx))?;
                    ready!(Pin::new(&mut self.carrier).poll_shutdown(cx))?;
                    self.writing = Writing::Ended;
                }
                Writing::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream").finish_non_exhaustive()
    }
}
