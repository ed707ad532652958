//! The framing that makes half-close and reset mean the same on every carrier.
//!
//! Each frame is a big-endian `u32` and what it says:
//!
//! | value | means |
//! |---|---|
//! | 1 to [`MAX_FRAME`] | that many bytes follow |
//! | 0 | the end of this direction |
//! | `0xffff_fffe` | a report of [`Load::BYTES`] bytes follows; it is no part of what the tunnel carries |
//! | `0xffff_ffff` | a reset: this direction ends, and what came may not be all |
//!
//! A report leaves ahead of the next frame or mark, in one piece with it: it costs no write of its own.
//!
//! A carrier that ends without an end mark was cut: the reader gets `ConnectionReset`, never a short but well-formed body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Load, message::Fields};

/// Bytes in one frame at most. 64 KiB is where larger writes stop paying, and bounds what a slow peer makes us hold.
pub const MAX_FRAME: usize = 64 * 1024;

/// Bytes before each frame's own.
pub(super) const HEADER: usize = 4;

const END: u32 = 0;
const REPORT: u32 = u32::MAX - 1;
const RESET: u32 = u32::MAX;

/// What the outgoing buffer may keep while nothing is on its way. Ten thousand quiet tunnels then hold 10 MiB, not 640.
const KEPT: usize = 1024;

/// Any reliable byte stream that can carry a tunnel.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {
    /// The concrete type, for whoever lent the carrier and takes it back.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for T {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

/// Takes the reports that come on a tunnel. It is called while the tunnel is read, so it must not wait.
pub type ReportSink = Arc<dyn Fn(Load) + Send + Sync>;

/// A carrier that speaks frames: ordinary bytes in, ordinary bytes out.
///
/// Writes may stay in a buffer of one frame until `flush`. Shutting down writes the end mark and leaves the carrier open.
pub(super) struct Framed {
    pub(super) carrier: Box<dyn Carrier>,
    reading: Reading,
    /// The part of a frame that the carrier has not taken; `sent` bytes of it have left.
    out: Vec<u8>,
    sent: usize,
    writing: Writing,
    /// Leaves with whatever is written next. A newer one takes its place.
    pub(super) report: Option<Box<Load>>,
    /// Told of the peer's reports; they are dropped while there is none.
    pub(super) sink: Option<ReportSink>,
}

#[derive(Clone, Copy)]
enum Reading {
    Header { got: usize, bytes: [u8; HEADER] },
    Data { left: usize },
    Report { got: usize, bytes: [u8; Load::BYTES] },
    Ended,
    Reset,
}

#[derive(Clone, Copy, PartialEq)]
enum Writing {
    Open,
    /// The mark is in the buffer or beyond.
    Ending,
    Ended,
}

impl Framed {
    /// Speaks frames over `carrier`, of which nothing beyond the verdict may have been read.
    pub(super) fn new(carrier: Box<dyn Carrier>) -> Self {
        Self {
            carrier,
            reading: Reading::Header { got: 0, bytes: [0; HEADER] },
            out: Vec::new(),
            sent: 0,
            writing: Writing::Open,
            report: None,
            sink: None,
        }
    }

    /// After a verdict that refused, at the front: nothing comes any more.
    pub(super) fn refused(carrier: Box<dyn Carrier>) -> Self {
        Self { reading: Reading::Ended, ..Self::new(carrier) }
    }

    /// The same at the worker: nothing is sent any more, and what the front sent ahead of the verdict is still to come.
    pub(super) fn refusing(carrier: Box<dyn Carrier>) -> Self {
        Self { writing: Writing::Ended, ..Self::new(carrier) }
    }

    /// Both directions ended, and the marks have left: the carrier stands where another tunnel may begin.
    pub(super) fn is_over(&self) -> bool {
        self.has_been_read() && self.writing == Writing::Ended
    }

    /// The peer's direction ended, one way or the other.
    pub(super) fn has_been_read(&self) -> bool {
        matches!(self.reading, Reading::Ended | Reading::Reset)
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

    /// Puts the report that is due, if there is one, behind what waits already.
    fn push_report(&mut self) {
        if let Some(load) = self.report.take() {
            self.out.extend_from_slice(&REPORT.to_be_bytes());
            load.encode(&mut self.out);
        }
    }

    /// Ends this node's direction with a reset, unless it has ended. Ready when the mark has left.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_mark(cx, RESET)
    }

    fn poll_mark(&mut self, cx: &mut Context<'_>, mark: u32) -> Poll<io::Result<()>> {
        loop {
            match self.writing {
                Writing::Open => {
                    ready!(self.poll_drain(cx))?;
                    self.push_report();
                    self.out.extend_from_slice(&mark.to_be_bytes());
                    self.writing = Writing::Ending;
                }
                Writing::Ending => {
                    ready!(Pin::new(&mut *self).poll_flush(cx))?;
                    self.writing = Writing::Ended;
                }
                Writing::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Reads into `bytes` behind the `got` that came before.
fn poll_fill(
    carrier: &mut Box<dyn Carrier>,
    cx: &mut Context<'_>,
    bytes: &mut [u8],
    got: &mut usize,
) -> Poll<io::Result<()>> {
    let mut part = ReadBuf::new(bytes.get_mut(*got..).unwrap_or_default());
    ready!(Pin::new(carrier).poll_read(cx, &mut part))?;
    match part.filled().len() {
        0 => Poll::Ready(Err(cut())),
        n => {
            *got += n;
            Poll::Ready(Ok(()))
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the tunnel was reset")
}

impl AsyncRead for Framed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut this.reading {
                Reading::Ended => return Poll::Ready(Ok(())),
                Reading::Reset => return Poll::Ready(Err(cut())),
                Reading::Header { got, bytes } => {
                    ready!(poll_fill(&mut this.carrier, cx, bytes, got))?;
                    if *got == HEADER {
                        this.reading = match u32::from_be_bytes(*bytes) {
                            END => Reading::Ended,
                            RESET => Reading::Reset,
                            REPORT => Reading::Report { got: 0, bytes: [0; Load::BYTES] },
                            left if left as usize <= MAX_FRAME => Reading::Data { left: left as usize },
                            _ => {
                                let text = "a tunnel frame over 64 KiB";
                                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                            }
                        };
                    }
                }
                Reading::Report { got, bytes } => {
                    ready!(poll_fill(&mut this.carrier, cx, bytes, got))?;
                    if *got == Load::BYTES {
                        if let (Some(sink), Ok(load)) = (&this.sink, Load::decode(&mut Fields(bytes))) {
                            sink(load);
                        }
                        this.reading = Reading::Header { got: 0, bytes: [0; HEADER] };
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

impl AsyncWrite for Framed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.writing != Writing::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.poll_drain(cx))?;
        let (data, _) = data.split_at(data.len().min(MAX_FRAME));
        this.push_report();
        let length = (data.len() as u32).to_be_bytes();
        if this.carrier.is_write_vectored() {
            // Straight from the caller's buffer; what the carrier does not take is kept.
            let slices = [IoSlice::new(&this.out), IoSlice::new(&length), IoSlice::new(data)];
            let taken = ready!(Pin::new(&mut this.carrier).poll_write_vectored(cx, &slices))?;
            this.sent = taken.min(this.out.len());
            let taken = taken - this.sent;
            this.out.extend_from_slice(length.get(taken..).unwrap_or_default());
            this.out.extend_from_slice(data.get(taken.saturating_sub(HEADER)..).unwrap_or_default());
        } else {
            this.out.extend_from_slice(&length);
            this.out.extend_from_slice(data);
        }
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(data.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing == Writing::Open {
            self.push_report();
        }
        ready!(self.poll_drain(cx))?;
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_mark(cx, END)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Takes one slice at a time, as streams of libp2p's do.
    struct OneByOne(tokio::io::DuplexStream);

    impl AsyncRead for OneByOne {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for OneByOne {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn pair(buffer: usize) -> [(Framed, Framed); 2] {
        let ((a, b), (c, d)) = (duplex(buffer), duplex(buffer));
        let one_by_one = (Framed::new(Box::new(OneByOne(c))), Framed::new(Box::new(OneByOne(d))));
        [(Framed::new(Box::new(a)), Framed::new(Box::new(b))), one_by_one]
    }

    #[tokio::test]
    async fn whatever_the_carrier_takes_at_a_time_the_bytes_are_the_same() {
        let sent: Vec<u8> = (0..2 * MAX_FRAME + 17).map(|i| (i % 251) as u8).collect();
        for (mut a, mut b) in [1, 3, 5, 4096].into_iter().flat_map(pair) {
            let write = async {
                a.write_all(&sent).await.unwrap();
                a.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let (_, result) = tokio::join!(write, b.read_to_end(&mut read));
            result.unwrap();
            assert!(read == sent);
        }
    }

    #[tokio::test]
    async fn a_reset_mark_is_a_reset_and_leaves_the_carrier_usable() {
        for (mut a, mut b) in pair(64) {
            a.write_all(b"half").await.unwrap();
            std::future::poll_fn(|cx| a.poll_reset(cx)).await.unwrap();
            let mut read = Vec::new();
            assert_eq!(b.read_to_end(&mut read).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(read, b"half");
            assert_eq!(b.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "it stays one");
            assert_eq!(a.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            b.shutdown().await.unwrap();
            assert_eq!(a.read(&mut [0]).await.unwrap(), 0);
            assert!(a.is_over() && b.is_over());
            a.carrier.write_all(b"next").await.unwrap();
            let mut next = [0; 4];
            b.carrier.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"next");
        }
    }

    /// Every report that came out of `framed` from here on.
    fn reports_of(framed: &mut Framed) -> Arc<std::sync::Mutex<Vec<Load>>> {
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        framed.sink = Some(Arc::new(move |load| sink.lock().unwrap().push(load)));
        heard
    }

    fn report(number: u64) -> Load {
        Load { number, in_flight: 3, slots: 4, ..Load::default() }
    }

    #[tokio::test]
    async fn reports_reach_the_sink_and_nobody_who_reads() {
        for (mut a, mut b) in [1, 3, 64].into_iter().flat_map(pair) {
            let heard = reports_of(&mut b);
            let write = async {
                a.report = Some(Box::new(report(1)));
                a.write_all(b"half ").await.unwrap();
                a.write_all(b"and ").await.unwrap();
                a.report = Some(Box::new(report(2)));
                a.flush().await.unwrap();
                a.write_all(b"half").await.unwrap();
                a.report = Some(Box::new(report(3)));
                a.shutdown().await.unwrap();
                a.report = Some(Box::new(report(4)));
                a.flush().await.unwrap();
            };
            let mut read = Vec::new();
            let (_, result) = tokio::join!(write, b.read_to_end(&mut read));
            result.unwrap();
            assert_eq!(read, b"half and half");
            assert_eq!(*heard.lock().unwrap(), [report(1), report(2), report(3)], "nothing follows the end mark");
        }
    }

    #[tokio::test]
    async fn a_report_leaves_in_one_piece_with_what_follows_it() {
        let (near, mut far) = duplex(1024);
        let mut a = Framed::new(Box::new(near));
        a.report = Some(Box::new(report(1)));
        a.report = Some(Box::new(report(2)));
        a.write_all(b"abc").await.unwrap();
        let mut bytes = [0; 128];
        let n = far.read(&mut bytes).await.unwrap();
        let mut wanted = vec![0xff, 0xff, 0xff, 0xfe];
        report(2).encode(&mut wanted);
        wanted.extend_from_slice(b"\0\0\0\x03abc");
        assert_eq!(bytes[..n], wanted, "the newest, and once");
    }

    #[tokio::test]
    async fn a_report_that_was_cut_is_a_cut_tunnel_and_one_without_a_sink_is_dropped() {
        let (mut a, mut b) = pair(64).into_iter().next().unwrap();
        a.report = Some(Box::new(report(1)));
        a.write_all(b"x").await.unwrap();
        a.flush().await.unwrap();
        assert_eq!(b.read(&mut [0; 8]).await.unwrap(), 1);
        a.carrier.write_all(&[0xff, 0xff, 0xff, 0xfe, 0, 0]).await.unwrap();
        drop(a);
        assert_eq!(b.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_quiet_tunnel_holds_no_frame() {
        let (near, far) = duplex(MAX_FRAME);
        let (mut a, mut b) = (Framed::new(Box::new(OneByOne(near))), Framed::new(Box::new(far)));
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
