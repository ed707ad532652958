//! A carrier, and where it goes when its tunnel is over.
//!
//! Most carriers serve one tunnel: a libp2p stream is opened for it and closed with it. Others are dear to make and are
//! *lent*: when the tunnel is over, the carrier goes back **home**, to carry the next one.

use std::{fmt, io, task::Poll, time::Duration};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Carrier, flow::with_chunk, frame::Framed};

/// How long a reset may take to settle. Longer than the bytes under way need; a peer that is gone must not hold the carrier.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// Bytes of a reset tunnel that are read and thrown away before the carrier is given up instead: what sockets hold.
const SETTLE_BYTES: usize = 8 << 20;

/// Takes a lent carrier back. Called at most once, and not at all if the carrier broke.
pub type Home = Box<dyn FnOnce(Leftover) + Send>;

/// What a tunnel is opened on.
pub struct Line {
    pub(super) carrier: Box<dyn Carrier>,
    pub(super) home: Option<Home>,
}

impl Line {
    /// A carrier that goes `home` when its tunnel is over, however that ended.
    pub fn lent(carrier: Box<dyn Carrier>, home: Home) -> Self {
        Self { carrier, home: Some(home) }
    }
}

impl<C: Carrier + 'static> From<C> for Line {
    /// A carrier that serves one tunnel.
    fn from(carrier: C) -> Self {
        Self { carrier: Box::new(carrier), home: None }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("lent", &self.home.is_some()).finish_non_exhaustive()
    }
}

/// A lent carrier after its tunnel. It may have to be settled before it can carry the next one.
pub struct Leftover(pub(super) Box<Framed>);

impl Leftover {
    /// The carrier, if it can carry the next tunnel as it is.
    ///
    /// # Errors
    /// The leftover again: it is to be [settled](Self::settle).
    pub fn clean(self) -> Result<Box<dyn Carrier>, Self> {
        if self.0.is_over() { Ok(self.0.carrier) } else { Err(self) }
    }

    /// Resets what did not end and reads away what the peer still sends, up to its own end. None if the peer does not play
    /// along, within a time and a number of bytes; the carrier is closed then, which is a reset as well.
    pub async fn settle(self) -> Option<Box<dyn Carrier>> {
        let (mut framed, mut discarded) = (*self.0, 0);
        // Both at once: the peer may take our reset only once we took what it sends.
        let settled = std::future::poll_fn(|cx| {
            let reset = framed.poll_reset(cx)?;
            while !framed.has_been_read() {
                let read = with_chunk(|chunk| {
                    let mut read = ReadBuf::new(chunk);
                    std::pin::Pin::new(&mut framed).poll_read(cx, &mut read).map_ok(|()| read.filled().len())
                });
                match read {
                    Poll::Ready(Ok(read)) => discarded += read,
                    // A reset of the peer's is an end like another.
                    Poll::Ready(Err(_)) if framed.has_been_read() => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
                if discarded > SETTLE_BYTES {
                    return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
                }
            }
            reset.map(Ok)
        });
        match tokio::time::timeout(SETTLE_LIMIT, settled).await {
            Ok(Ok(())) => Some(framed.carrier),
            _ => None,
        }
    }
}

impl fmt::Debug for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leftover").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::oneshot,
    };

    use super::*;
    use crate::tunnel::TunnelStream;

    /// A tunnel over a lent carrier, and where the carrier comes back.
    fn lent(carrier: DuplexStream) -> (TunnelStream, oneshot::Receiver<Leftover>) {
        let (home, back) = oneshot::channel();
        let line = Line::lent(Box::new(carrier), Box::new(move |leftover| drop(home.send(leftover))));
        (TunnelStream::over(line), back)
    }

    #[tokio::test]
    async fn a_tunnel_that_ended_gives_its_carrier_back_as_it_is() {
        let (near, far) = duplex(64);
        let ((mut a, back), (mut b, _)) = (lent(near), lent(far));
        a.write_all(b"question").await.unwrap();
        a.shutdown().await.unwrap();
        let mut text = String::new();
        b.read_to_string(&mut text).await.unwrap();
        b.shutdown().await.unwrap();
        a.read_to_string(&mut text).await.unwrap();
        drop(a);
        let mut carrier = back.await.unwrap().clean().ok().unwrap();
        // It was not closed.
        carrier.write_all(b"next").await.unwrap();
    }

    #[tokio::test]
    async fn one_that_was_dropped_half_way_resets_the_peer_and_both_get_their_carriers_back() {
        let (near, far) = duplex(1024);
        let ((mut a, a_back), (mut b, b_back)) = (lent(near), lent(far));
        a.write_all(b"half a question").await.unwrap();
        b.write_all(&[7; 3000]).now_or_never();
        drop(a);
        let a_settles = tokio::spawn(a_back.await.unwrap().clean().err().unwrap().settle());
        let mut read = Vec::new();
        assert_eq!(b.read_to_end(&mut read).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(read, b"half a question");
        drop(b);
        let b_settles = b_back.await.unwrap().clean().err().unwrap().settle();
        let (a, b) = tokio::join!(a_settles, b_settles);
        let (mut a, mut b) = (a.unwrap().unwrap(), b.unwrap());
        a.write_all(b"next").await.unwrap();
        let mut next = [0; 4];
        b.read_exact(&mut next).await.unwrap();
        assert_eq!(&next, b"next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_play_along_costs_the_carrier_and_no_more() {
        let (near, _silent) = duplex(64);
        let (a, back) = lent(near);
        drop(a);
        assert!(back.await.unwrap().clean().err().unwrap().settle().await.is_none());

        let (near, mut far) = duplex(1 << 20);
        let (a, back) = lent(near);
        drop(a);
        let flood = tokio::spawn(async move {
            let mut frame = (1_u32 << 16).to_be_bytes().to_vec();
            frame.resize(4 + (1 << 16), 0);
            while far.write_all(&frame).await.is_ok() {}
        });
        assert!(back.await.unwrap().clean().err().unwrap().settle().await.is_none());
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn a_carrier_that_broke_is_not_taken_for_whole() {
        let (near, far) = duplex(64);
        let (a, back) = lent(near);
        drop((a, far));
        assert!(back.await.unwrap().clean().err().unwrap().settle().await.is_none());
    }
}
