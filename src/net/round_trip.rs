//! Round trips that a person asks for, on the way that the next tunnel would take.
//!
//! A few bytes go to the peer on a stream of their own and come back as they were. The stream takes its place where any new one
//! does, so what is measured is what tunnels on streams get. That is what [`super::ping`] does not tell: it looks at each
//! connection, at its own pace, whether the peer lives.
//!
//! **Absent on purpose.** No packets of their own: on a lossy path the connection repeats what was lost, and the round trip is
//! longer instead.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{PeerId, StreamProtocol};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Inbound, Streams};

/// A few bytes and back, one stream for each.
pub(super) const ROUND_TRIP: StreamProtocol = StreamProtocol::new("/p2p-fed/round-trip/1");

/// Bytes that go and come back. They are random, so that no other answer is taken for the right one.
const SIZE: usize = 32;

/// Answers under way at once, over all members; further ones wait. A member that says nothing for [`LIMIT`] has as many of them
/// as [`Allowance`] grants in that time, so it takes three such to keep the others waiting.
const AT_ONCE: usize = 1024;

/// How long an answer may take. What is to be sent back comes with the stream.
const LIMIT: Duration = Duration::from_secs(2);

/// Between two answers to one member, in the long run.
const PERIOD: Duration = Duration::from_millis(5);

/// Answers to one member that may follow each other at once.
const BURST: u32 = 200;

/// Asks a member. The stream needs no orderly end: all was said and heard.
///
/// # Errors
/// It is not connected, answers no such question, has been asked too often, or the connection broke. The caller bounds the
/// wait, and may drop it at any time.
pub(super) async fn ask(streams: &Streams, peer: PeerId) -> io::Result<Duration> {
    let mut stream = streams.open(peer, ROUND_TRIP).await?;
    let said: [u8; SIZE] = rand::random();
    let asked = Instant::now();
    let heard = exchange(&mut stream, &said).await?;
    let took = asked.elapsed();
    match said == heard {
        true => Ok(took),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent something else back")),
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), said: &[u8; SIZE]) -> io::Result<[u8; SIZE]> {
    stream.write_all(said).await?;
    stream.flush().await?;
    let mut heard = [0; SIZE];
    stream.read_exact(&mut heard).await?;
    Ok(heard)
}

/// Answers what arrives until `cancel`.
pub(super) async fn answer(mut arriving: mpsc::Receiver<Inbound>, cancel: CancellationToken) {
    let started = Instant::now();
    let mut allowance = Allowance::default();
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = answers.join_next() => {}
            Some(Inbound { peer, mut stream }) = arriving.recv(), if answers.len() < AT_ONCE => {
                // Dropped, the stream is reset, which is how the peer learns that it asks too often.
                if allowance.grants(started.elapsed(), peer) {
                    answers.spawn(async move {
                        if !matches!(timeout(LIMIT, send_back(&mut stream)).await, Ok(Ok(()))) {
                            tracing::debug!(%peer, "round trip not answered");
                        }
                    });
                }
            }
            else => break,
        }
    }
    answers.shutdown().await;
}

async fn send_back(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut bytes = [0; SIZE];
    stream.read_exact(&mut bytes).await?;
    stream.write_all(&bytes).await?;
    stream.close().await
}

/// How often each member may ask: when what it has used up will be made good. Those for whom it is are forgotten, so there are
/// no more than have asked within a second.
#[derive(Debug, Default)]
struct Allowance(HashMap<PeerId, Duration>);

impl Allowance {
    fn grants(&mut self, now: Duration, peer: PeerId) -> bool {
        if !self.0.contains_key(&peer) {
            self.0.retain(|_, good_at| *good_at > now);
        }
        let good_at = self.0.entry(peer).or_default();
        if *good_at > now + PERIOD * (BURST - 1) {
            return false;
        }
        *good_at = now.max(*good_at) + PERIOD;
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test]
    async fn what_is_said_comes_back() {
        let (near, far) = tokio::io::duplex(4096);
        let (mut near, mut far) = (near.compat(), far.compat());
        let said = [7; SIZE];
        let (heard, sent_back) = tokio::join!(exchange(&mut near, &said), send_back(&mut far));
        sent_back.unwrap();
        assert_eq!(heard.unwrap(), said);
    }

    #[tokio::test]
    async fn a_question_that_is_cut_off_gets_no_answer() {
        let (near, far) = tokio::io::duplex(4096);
        let (mut near, mut far) = (near.compat(), far.compat());
        near.write_all(&[7; SIZE - 1]).await.unwrap();
        near.close().await.unwrap();
        assert_eq!(send_back(&mut far).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn each_member_has_its_own_allowance_and_it_comes_back() {
        let (mut allowance, now) = (Allowance::default(), Duration::from_secs(9));
        let [often, other, late] = [(); 3].map(|()| PeerId::random());
        let granted = |allowance: &mut Allowance, now| (0..1000).filter(|_| allowance.grants(now, often)).count();
        assert_eq!(granted(&mut allowance, now), BURST as usize);
        assert!(allowance.grants(now, other));
        assert_eq!(granted(&mut allowance, now + 10 * PERIOD), 10);
        assert_eq!(granted(&mut allowance, now + Duration::from_secs(60)), BURST as usize, "and no more");
        assert!(allowance.grants(now + Duration::from_secs(120), late));
        assert_eq!(allowance.0.len(), 1, "who rests is forgotten");
    }
}
