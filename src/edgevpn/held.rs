//! A stream of edgevpn's, which knows no half-close.
//!
//! When either direction ends, edgevpn closes both, and whatever the other still had to say is lost. A client that has sent
//! all it has to send and waits for the answer would never get it. So the end of what goes there is held back: until the
//! other direction has ended too, or has been silent for [`SILENCE`], because some backends answer nothing before that end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Longer than a backend pauses in the middle of an answer over a bad line; a client that waits for one that answers nothing
/// before the end waits so much longer.
const SILENCE: Duration = Duration::from_secs(5);

/// `S`, whose end is held back, with bytes that were read from it already.
pub(super) struct Held<S> {
    stream: S,
    /// Read before, and not given yet.
    first: Vec<u8>,
    has_ended: bool,
    /// Since when nothing has come while the end is held back.
    silence: Option<Pin<Box<Sleep>>>,
    /// Told when the first bytes come.
    on_answer: Option<Box<dyn FnOnce() + Send>>,
}

impl<S> Held<S> {
    /// `first` was read from `stream` before. `on_answer` is called once, when the first bytes come.
    pub(super) fn new(stream: S, first: Vec<u8>, on_answer: impl FnOnce() + Send + 'static) -> Self {
        Self { stream, first, has_ended: false, silence: None, on_answer: Some(Box::new(on_answer)) }
    }

    /// Whether the peer has said anything at all.
    pub(super) fn has_received(&self) -> bool {
        self.on_answer.is_none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.first.is_empty() {
            std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let count = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..count]);
            this.first.drain(..count);
        }
        let count = buf.filled().len() - before;
        this.has_ended |= count == 0 && buf.remaining() > 0;
        if count > 0
            && let Some(tell) = this.on_answer.take()
        {
            tell();
        }
        if let Some(silence) = &mut this.silence {
            silence.as_mut().reset(Instant::now() + SILENCE);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.has_ended {
            std::task::ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
            let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
            std::task::ready!(silence.as_mut().poll(cx));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_answer() {
        let (near, mut far) = duplex(64);
        let (mut reading, mut writing) = split(Held::new(near, b"be".to_vec(), || ()));
        let start = Instant::now();
        let answering = async {
            let mut asked = [0; 3];
            far.read_exact(&mut asked).await.unwrap();
            for _ in 0..10 {
                tokio::time::sleep(SILENCE / 2).await;
                far.write_all(b".").await.unwrap();
            }
            far.shutdown().await.unwrap();
            assert_eq!(far.read(&mut asked).await.unwrap(), 0, "the end comes after the answer");
        };
        let asking = async {
            writing.write_all(b"ask").await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let mut answer = String::new();
        let (_, (), ()) = tokio::join!(reading.read_to_string(&mut answer), answering, asking);
        assert_eq!(answer, "be..........");
        assert_eq!(start.elapsed(), SILENCE * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_nothing_before_the_end_gets_it_after_a_while() {
        let (near, mut far) = duplex(64);
        let mut held = Held::new(near, Vec::new(), || ());
        let start = Instant::now();
        held.write_all(b"ask").await.unwrap();
        let closing = held.shutdown();
        let mut asked = String::new();
        let (closed, _) = tokio::join!(closing, far.read_to_string(&mut asked));
        closed.unwrap();
        assert_eq!((asked.as_str(), start.elapsed()), ("ask", SILENCE));
        assert!(!held.has_received());
    }
}
