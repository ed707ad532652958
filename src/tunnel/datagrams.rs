//! Datagrams as the bytes that a tunnel of class udp carries: each behind its length, a big-endian `u16`.
//!
//! Either end of such a tunnel splices it with [`Datagrams`], which reads and writes bytes like any socket, so that idle
//! times, counting and cancellation are those of every tunnel. Boundaries are kept, empty datagrams too. What is lost is
//! what UDP may lose; within the tunnel nothing is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Bytes of a datagram at most: what IPv4 leaves of 65 535 (RFC 768, RFC 791).
pub const MAX_DATAGRAM: usize = 65_507;

/// How long answers are still waited for when the other side has said its last: longer than most questions take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes of a length.
const LENGTH: usize = 2;

/// Where datagrams come from and go to.
pub trait Packets: Unpin {
    /// The next one, at most [`MAX_DATAGRAM`] bytes; `None` if no more will come.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// Sends one.
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>>;
}

/// Packets as a byte stream.
#[derive(Debug)]
pub struct Datagrams<P> {
    packets: P,
    /// What of the datagram read last, length first, was not taken yet.
    ahead: Bytes,
    /// The beginning of the datagram to send next, length first.
    next: BytesMut,
    /// Set when nothing more is to be sent.
    last_words: Option<Pin<Box<Sleep>>>,
    /// Sending failed: nothing is to be expected either, and whoever reads hears of it.
    broken: Option<io::ErrorKind>,
    reader: Option<Waker>,
}

impl<P: Packets> Datagrams<P> {
    /// Over `packets`, at the beginning of a tunnel.
    pub fn new(packets: P) -> Self {
        Self { packets, ahead: Bytes::new(), next: BytesMut::new(), last_words: None, broken: None, reader: None }
    }

    /// Where they come from and go to.
    pub fn packets_mut(&mut self) -> &mut P {
        &mut self.packets
    }

    /// Bytes that `next` wants in all, as far as it is known.
    fn wanted(&self) -> io::Result<usize> {
        match self.next.first_chunk::<LENGTH>() {
            None => Ok(LENGTH),
            Some(length) => match usize::from(u16::from_be_bytes(*length)) {
                length @ 0..=MAX_DATAGRAM => Ok(LENGTH + length),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram is longer than UDP carries")),
            },
        }
    }

    /// Sends what is complete.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.next.len() >= LENGTH && self.next.len() == self.wanted()? {
            let datagram = self.next.get(LENGTH..).unwrap_or_default();
            if let Err(error) = ready!(self.packets.poll_send(cx, datagram)) {
                self.broken = Some(error.kind());
                self.reader.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(Err(error));
            }
            // The room is given back: most sessions rest.
            self.next = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<P: Packets> AsyncRead for Datagrams<P> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(kind) = this.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if this.ahead.is_empty() {
            if let Poll::Ready(received) = this.packets.poll_recv(cx) {
                let Some(datagram) = received? else { return Poll::Ready(Ok(())) };
                let Ok(length) = u16::try_from(datagram.len()) else {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                };
                let mut ahead = BytesMut::with_capacity(LENGTH + datagram.len());
                ahead.extend_from_slice(&length.to_be_bytes());
                ahead.extend_from_slice(&datagram);
                this.ahead = ahead.freeze();
            } else {
                return match &mut this.last_words {
                    Some(last_words) => last_words.as_mut().poll(cx).map(Ok),
                    None => {
                        this.reader = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
        }
        let part = this.ahead.len().min(buf.remaining());
        buf.put_slice(this.ahead.get(..part).unwrap_or_default());
        this.ahead.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl<P: Packets> AsyncWrite for Datagrams<P> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut rest = data;
        while !rest.is_empty() {
            match this.poll_next(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending if rest.len() == data.len() => return Poll::Pending,
                Poll::Pending => break,
            }
            let (part, behind) = rest.split_at(rest.len().min(this.wanted()? - this.next.len()));
            this.next.extend_from_slice(part);
            rest = behind;
        }
        // One that is complete and can't leave yet does so with the next write or flush.
        let _ = this.poll_next(cx)?;
        Poll::Ready(Ok(data.len() - rest.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_next(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_next(cx))?;
        if this.last_words.is_none() {
            this.last_words = Some(Box::pin(sleep(LAST_WORDS)));
            this.reader.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Gives what it has, then nothing more; takes everything.
    #[derive(Default)]
    struct Deck {
        gives: VecDeque<Bytes>,
        ends: bool,
        took: Vec<Vec<u8>>,
        /// Every other send has to wait.
        hesitates: bool,
        turn: bool,
    }

    impl Packets for Deck {
        fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
            match self.gives.pop_front() {
                None if !self.ends => Poll::Pending,
                datagram => Poll::Ready(Ok(datagram)),
            }
        }

        fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
            self.turn = !self.turn;
            if self.hesitates && self.turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.took.push(datagram.to_vec());
            Poll::Ready(Ok(()))
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_the_bytes_are_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cut in 1..300usize,
            hesitates: bool,
        ) {
            let gives = sent.iter().cloned().map(Bytes::from).collect();
            let took = block_on(async {
                let mut near = Datagrams::new(Deck { gives, ends: true, ..Deck::default() });
                let mut far = Datagrams::new(Deck { hesitates, ..Deck::default() });
                let mut bytes = Vec::new();
                near.read_to_end(&mut bytes).await.unwrap();
                for part in bytes.chunks(cut) {
                    far.write_all(part).await.unwrap();
                }
                far.flush().await.unwrap();
                far.packets.took
            });
            prop_assert_eq!(took, sent);
        }
    }

    #[test]
    fn the_largest_is_carried_and_a_larger_one_ends_the_tunnel() {
        block_on(async {
            let mut far = Datagrams::new(Deck::default());
            far.write_all(&(MAX_DATAGRAM as u16).to_be_bytes()).await.unwrap();
            far.write_all(&vec![7; MAX_DATAGRAM]).await.unwrap();
            assert_eq!(far.packets.took, [vec![7; MAX_DATAGRAM]]);
            let error = far.write_all(&[0xff, 0xff, 0]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_waited_for_a_moment_after_the_last_words() {
        let mut far = Datagrams::new(Deck::default());
        far.shutdown().await.unwrap();
        far.packets.gives.push_back(Bytes::from_static(b"late"));
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"\0\x04late");
    }
}
