//! One end of a tunnel after the verdict.

use std::{
    fmt, io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Carrier, Line, Load, MAX_FRAME,
    frame::{Framed, ReportSink},
    line::{Home, Leftover},
};

/// Ordinary bytes in, ordinary bytes out, framed on the way.
///
/// Writes may stay in a buffer of one frame until `flush`. Dropping it before
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown) *is* the reset: on a carrier of its own because the carrier then ends
/// without an end mark, on a lent one because whoever takes it back says so.
pub struct TunnelStream {
    framed: Framed,
    home: Option<Home>,
}

impl TunnelStream {
    /// Speaks frames over a carrier of its own, of which nothing beyond the verdict may have been read.
    pub fn new(carrier: impl Carrier + 'static) -> Self {
        Self::over(Line::from(carrier))
    }

    /// Speaks frames over `line`, of which nothing beyond the verdict may have been read.
    pub(super) fn over(line: Line) -> Self {
        Self { framed: Framed::new(line.carrier), home: line.home }
    }

    /// Two ends of one tunnel in memory.
    pub fn pair() -> (Self, Self) {
        let (a, b) = tokio::io::duplex(MAX_FRAME);
        (Self::new(a), Self::new(b))
    }
}

impl TunnelStream {
    /// Sends `load` along with whatever leaves next: bytes, the end, or a flush. One that waits already is replaced. After
    /// [`shutdown`](tokio::io::AsyncWriteExt::shutdown) it goes nowhere.
    pub fn report(&mut self, load: Load) {
        self.framed.report = Some(Box::new(load));
    }

    /// Has the peer's reports told to `sink`. Those that came before are lost, and so are those that come when the tunnel is
    /// not read.
    pub fn on_report(&mut self, sink: ReportSink) {
        self.framed.sink = Some(sink);
    }

    /// Closes a carrier of its own once both directions have ended, and not before: of a stream that was closed for writing
    /// and then dropped, yamux tells the peer nothing, and the peer would go on sending to nobody.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.home.is_none() && self.framed.is_over() {
            // The end marks say it all. The peer may be done and gone, so that closing fails; that is no failure.
            let _ = ready!(Pin::new(&mut self.framed.carrier).poll_shutdown(cx));
        }
        Poll::Ready(())
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.framed).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            // If it can't be done at once, the drop that follows does as well.
            let _ = self.poll_close(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.framed).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.framed).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.framed).poll_shutdown(cx))?;
        self.poll_close(cx).map(Ok)
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let nothing = Framed::new(Box::new(tokio::io::empty()));
            home(Leftover(Box::new(mem::replace(&mut self.framed, nothing))));
        }
    }
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream").field("lent", &self.home.is_some()).finish_non_exhaustive()
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
        drop(tunnel);
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
        assert_eq!(read_error(&[0xff, 0xff, 0xff, 0xfd]).await, (Vec::new(), io::ErrorKind::InvalidData));
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
}
