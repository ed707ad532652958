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

/// What the outgoing buffer may keep while nothing is on its way. Ten thousand quiet tunnels then hold 10 MiB, not 640.
const KEPT: usize = 1024;

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

    /// Two ends of one tunnel in memory.
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
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
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
                    ready!(self.as_mut().poll_flush(cx))?;
                    // The end mark says it all. The peer may already be done and gone, so that closing the carrier
                    // fails; that is no failure of the tunnel.
                    let _ = ready!(Pin::new(&mut self.carrier).poll_shutdown(cx));
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A tunnel end, and the raw carrier at its other side.
    fn raw(buffer: usize) -> (TunnelStream, DuplexStream) {
        let (carrier, far) = duplex(buffer);
        (TunnelStream::new(carrier), far)
    }

    async fn read_error(bytes: &[u8]) -> (Vec<u8>, io::ErrorKind) {
        let (mut tunnel, mut far) = raw(1024);
        far.write_all(bytes).await.unwrap();
        drop(far);
        let mut read = Vec::new();
        let error = tunnel.read_to_end(&mut read).await.unwrap_err();
        (read, error.kind())
    }

    #[tokio::test]
    async fn the_bytes_are_as_documented() {
        let (mut tunnel, mut far) = raw(1024);
        tunnel.write_all(b"abc").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"\0\0\0\x03abc\0\0\0\0");
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut a, mut b) = TunnelStream::pair();
        a.write_all(b"question").await.unwrap();
        a.shutdown().await.unwrap();
        let mut text = String::new();
        b.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        assert_eq!(b.read(&mut [0; 8]).await.unwrap(), 0, "an end stays an end");

        b.write_all(b"answer").await.unwrap();
        b.shutdown().await.unwrap();
        b.shutdown().await.unwrap();
        drop(b);
        text.clear();
        a.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    }

    #[tokio::test]
    async fn any_cut_is_a_reset_and_what_came_before_it_is_kept() {
        for (bytes, kept) in [
            (&b""[..], &b""[..]),
            (b"\0\0", b""),
            (b"\0\0\0\x05", b""),
            (b"\0\0\0\x05abc", b"abc"),
            (b"\0\0\0\x03abc", b"abc"),
        ] {
            assert_eq!(read_error(bytes).await, (kept.to_vec(), io::ErrorKind::ConnectionReset));
        }
    }

    #[tokio::test]
    async fn a_frame_over_the_bound_is_refused_before_its_body() {
        let over = (MAX_FRAME as u32 + 1).to_be_bytes();
        assert_eq!(read_error(&over).await, (Vec::new(), io::ErrorKind::InvalidData));
        assert_eq!(read_error(&[0xff; 4]).await, (Vec::new(), io::ErrorKind::InvalidData));
    }

    #[tokio::test]
    async fn dropping_before_shutdown_resets_the_peer() {
        let (mut a, mut b) = TunnelStream::pair();
        a.write_all(b"half a body").await.unwrap();
        a.flush().await.unwrap();
        drop(a);
        let mut read = Vec::new();
        assert_eq!(b.read_to_end(&mut read).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(read, b"half a body");
    }

    #[tokio::test]
    async fn nothing_follows_the_end_mark() {
        let (mut a, _b) = TunnelStream::pair();
        a.shutdown().await.unwrap();
        assert_eq!(a.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_large_write_is_cut_into_frames_and_arrives_whole_over_any_carrier() {
        let sent: Vec<u8> = (0..3 * MAX_FRAME + 17).map(|i| (i % 251) as u8).collect();
        for buffer in [1, 5, 4096] {
            let (near, far) = duplex(buffer);
            let (mut a, mut b) = (TunnelStream::new(near), TunnelStream::new(far));
            let write = async {
                a.write_all(&sent).await.unwrap();
                a.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let (_, result) = tokio::join!(write, b.read_to_end(&mut read));
            result.unwrap();
            assert!(read == sent, "carrier of {buffer} bytes");
        }
    }

    #[tokio::test]
    async fn a_quiet_tunnel_holds_no_frame() {
        let (mut a, mut b) = TunnelStream::pair();
        let mut sink = vec![0; MAX_FRAME];
        let write = async {
            a.write_all(&vec![1; MAX_FRAME]).await.unwrap();
            assert!(a.out.capacity() >= MAX_FRAME);
            a.flush().await.unwrap();
        };
        let (_, result) = tokio::join!(write, b.read_exact(&mut sink));
        result.unwrap();
        assert!(a.out.capacity() <= KEPT);
    }
}
