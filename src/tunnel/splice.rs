//! Copying both directions until both end.
//!
//! One task, no spawn: each poll moves what it can in either direction. The two directions are alike ([`Flow`]).
//!
//! Faults: a side that can't be *read* any more ends the splice. A side that can't be *written* has perhaps still
//! something to say (an HTTP server that answers 413 and closes), so what it says is carried to its end first.

use std::{fmt, io, pin::pin, task::Poll, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    TunnelStream, Watch,
    flow::{Flow, with_chunk},
};

/// When an idle time is too long to be represented: not in the life of this process.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// What a splice carried, and how it ended.
#[derive(Debug)]
pub struct Transferred {
    /// Bytes from the local side into the tunnel.
    pub up: u64,
    /// Bytes from the tunnel to the local side.
    pub down: u64,
    /// Why it stopped.
    pub end: End,
}

/// How a splice ended.
#[derive(Debug)]
pub enum End {
    /// Both directions ended cleanly.
    Complete,
    /// No byte moved in either direction for the idle time.
    Idle,
    /// The caller's token was cancelled.
    Cancelled,
    /// Reading from or writing to the local side failed.
    Local(io::Error),
    /// Reading from or writing to the tunnel failed.
    Tunnel(io::Error),
}

impl End {
    /// Whether both directions ended cleanly. If not, the caller drops the tunnel, which resets it at the peer, and resets
    /// the local side, for a socket with [`abort`].
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Idle => f.write_str("idle"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Local(error) => write!(f, "local side failed: {error}"),
            Self::Tunnel(error) => write!(f, "tunnel failed: {error}"),
        }
    }
}

/// Copies `local` to `tunnel` and back until both directions ended, nothing moved for `idle`, or `cancel` fires.
///
/// An end of file on one side becomes a shutdown of the other's write half, and the other direction goes on. Written bytes
/// are flushed whenever there is nothing more to read. What [`Transferred`] counts was taken by the writer, however the
/// splice ended.
///
/// Give each splice a child token: waiting on one token shared by thousands contends for its lock.
pub async fn splice<L: AsyncRead + AsyncWrite + Unpin>(
    local: &mut L,
    tunnel: &mut TunnelStream,
    idle: Duration,
    cancel: &CancellationToken,
) -> Transferred {
    splice_watched(local, tunnel, idle, cancel, &mut ()).await
}

/// The same, while `watch` looks on.
pub async fn splice_watched<L: AsyncRead + AsyncWrite + Unpin>(
    local: &mut L,
    tunnel: &mut TunnelStream,
    idle: Duration,
    cancel: &CancellationToken,
    watch: &mut impl Watch,
) -> Transferred {
    let mut stalled = false;
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let mut cancelled = pin!(cancel.cancelled());
    // The clock is read when something moved; the timer is set again only when it fires.
    let mut moved_at = Instant::now();
    let mut timer = pin!(sleep_until(later(moved_at, idle)));
    let end = std::future::poll_fn(|cx| {
        if cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Cancelled);
        }
        let before = (up.place(), down.place());
        let (upward, downward) = with_chunk(|chunk| {
            let upward = up.poll(cx, local, tunnel, chunk, |tunnel, bytes| {
                if let Some(load) = watch.up(bytes) {
                    tunnel.report(load);
                }
            });
            (upward, down.poll(cx, tunnel, local, chunk, |_, bytes| watch.down(bytes)))
        });
        if stalled != up.is_stalled() {
            stalled = !stalled;
            watch.stalled(stalled);
        }
        match (upward, downward) {
            (Poll::Ready(Err(error)), _) => return Poll::Ready(End::Local(error)),
            (_, Poll::Ready(Err(error))) => return Poll::Ready(End::Tunnel(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                return Poll::Ready(match (up.unwritable.take(), down.unwritable.take()) {
                    (None, None) => End::Complete,
                    (Some(error), _) => End::Tunnel(error),
                    (None, Some(error)) => End::Local(error),
                });
            }
            _ => {}
        }
        if before != (up.place(), down.place()) {
            moved_at = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let due = later(moved_at, idle);
            if due <= Instant::now() {
                return Poll::Ready(End::Idle);
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    })
    .await;
    Transferred { up: up.carried, down: down.carried, end }
}

/// Closes a socket with a reset instead of an orderly end, so that its peer can't take a cut body for a whole one. A Unix
/// socket knows no such thing: dropping it is all there is.
pub fn abort(tcp: TcpStream) {
    // It fails on a socket that is gone already.
    let _ = tcp.set_zero_linger();
}

fn later(from: Instant, idle: Duration) -> Instant {
    from.checked_add(idle.min(NEVER)).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Context,
    };

    use sha2::{Digest, Sha256};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::tunnel::{MAX_FRAME, flow::CHUNK};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A client, a splice of it, and the tunnel's other end.
    struct Bench {
        client: DuplexStream,
        far: TunnelStream,
        cancel: CancellationToken,
        splice: JoinHandle<Transferred>,
    }

    fn bench(buffer: usize, idle: Duration) -> Bench {
        let (client, mut local) = duplex(buffer);
        let (near, far) = duplex(buffer);
        let mut tunnel = TunnelStream::new(near);
        let cancel = CancellationToken::new();
        let child = cancel.child_token();
        let splice = tokio::spawn(async move { splice(&mut local, &mut tunnel, idle, &child).await });
        Bench { client, far: TunnelStream::new(far), cancel, splice }
    }

    async fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    async fn send_pattern(mut to: impl AsyncWrite + Unpin, seed: u8, total: usize) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 10_007];
        let mut left = total;
        let mut value = seed;
        while left > 0 {
            for byte in &mut chunk {
                value = value.wrapping_mul(31).wrapping_add(7);
                *byte = value ^ seed;
            }
            let n = left.min(chunk.len());
            hash.update(&chunk[..n]);
            to.write_all(&chunk[..n]).await.unwrap();
            left -= n;
        }
        to.shutdown().await.unwrap();
        hash.finalize().to_vec()
    }

    async fn hash_all(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 8192];
        loop {
            match from.read(&mut chunk).await.unwrap() {
                0 => return hash.finalize().to_vec(),
                n => hash.update(&chunk[..n]),
            }
        }
    }

    #[tokio::test]
    async fn a_reply_after_the_end_of_the_question_arrives_whole() {
        let Bench { mut client, mut far, splice, .. } = bench(16, HOUR);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");

        let reply = "a reply longer than any buffer here ".repeat(100);
        let (_, read) = tokio::join!(
            async {
                far.write_all(reply.as_bytes()).await.unwrap();
                far.shutdown().await.unwrap();
            },
            async {
                text.clear();
                client.read_to_string(&mut text).await
            }
        );
        read.unwrap();
        assert_eq!(text, reply);
        let Transferred { up, down, end } = splice.await.unwrap();
        assert_eq!((up, down), (8, reply.len() as u64));
        assert!(end.is_complete(), "{end}");
    }

    #[tokio::test]
    async fn sixteen_mebibytes_both_ways_at_once_come_out_as_they_went_in() {
        const TOTAL: usize = 16 << 20;
        let Bench { client, far, splice, .. } = bench(1021, HOUR);
        let (client_read, client_write) = tokio::io::split(client);
        let (far_read, far_write) = tokio::io::split(far);
        let (sent_up, sent_down, got_up, got_down) = tokio::join!(
            tokio::spawn(send_pattern(client_write, 1, TOTAL)),
            tokio::spawn(send_pattern(far_write, 2, TOTAL)),
            tokio::spawn(hash_all(far_read)),
            tokio::spawn(hash_all(client_read)),
        );
        assert_eq!(sent_up.unwrap(), got_up.unwrap());
        assert_eq!(sent_down.unwrap(), got_down.unwrap());
        let Transferred { up, down, end } = splice.await.unwrap();
        assert_eq!((up, down), (TOTAL as u64, TOTAL as u64));
        assert!(end.is_complete(), "{end}");
    }

    #[tokio::test]
    async fn a_reader_that_stops_stops_the_writer() {
        let Bench { mut client, mut far, splice, .. } = bench(1024, HOUR);
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let writer = tokio::spawn(async move {
            let chunk = [9; 4096];
            while counter.load(Ordering::Relaxed) < 8 << 20 {
                counter.fetch_add(client.write(&chunk).await.unwrap(), Ordering::Relaxed);
            }
            client.shutdown().await.unwrap();
            client
        });
        // Let everything run until nothing moves any more.
        let mut before = usize::MAX;
        while before != accepted.load(Ordering::Relaxed) {
            before = accepted.load(Ordering::Relaxed);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        }
        // One chunk held, one frame on its way out, and the two pipes.
        assert!((1..=CHUNK + MAX_FRAME + 2 * 1024).contains(&before), "the writer got rid of {before} bytes");

        // And the pace picks up again with the reader.
        let mut sink = vec![0; 65536];
        let mut total = 0;
        loop {
            match far.read(&mut sink).await.unwrap() {
                0 => break,
                n => total += n,
            }
        }
        assert_eq!(total, accepted.load(Ordering::Relaxed));
        far.shutdown().await.unwrap();
        let _client = writer.await.unwrap();
        assert!(splice.await.unwrap().end.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_for_the_idle_time_ends_it_and_a_byte_in_either_direction_puts_that_off() {
        let Bench { mut client, mut far, splice, .. } = bench(64, Duration::from_secs(10));
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(9)).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        tokio::time::sleep(Duration::from_secs(9)).await;
        far.write_all(b"y").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'y');
        let Transferred { up, down, end } = splice.await.unwrap();
        assert!(matches!(end, End::Idle), "{end}");
        assert_eq!((up, down), (1, 1));
        let lasted = start.elapsed();
        assert!((Duration::from_secs(28)..Duration::from_millis(28_100)).contains(&lasted), "{lasted:?}");
        assert_eq!(far.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_time_without_end_is_no_overflow() {
        let Bench { client, mut far, splice, .. } = bench(64, Duration::MAX);
        tokio::time::sleep(HOUR * 1000).await;
        assert!(!splice.is_finished());
        drop(client);
        far.shutdown().await.unwrap();
        // A dropped in-memory pipe is an end, not a reset.
        assert!(splice.await.unwrap().end.is_complete());
    }

    #[tokio::test]
    async fn cancelling_ends_it_with_the_counts_so_far() {
        let Bench { mut client, mut far, cancel, splice } = bench(64, HOUR);
        client.write_all(b"abc").await.unwrap();
        let mut got = [0; 3];
        far.read_exact(&mut got).await.unwrap();
        cancel.cancel();
        let Transferred { up, down, end } = splice.await.unwrap();
        assert!(matches!(end, End::Cancelled), "{end}");
        assert_eq!((up, down), (3, 0));
        assert_eq!(far.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_reset_of_the_tunnel_is_named_and_passed_on_to_the_socket() {
        let (mut client, mut local) = tcp_pair().await;
        let (mut tunnel, mut far) = TunnelStream::pair();
        far.write_all(b"half").await.unwrap();
        far.flush().await.unwrap();
        drop(far);
        let done = splice(&mut local, &mut tunnel, HOUR, &CancellationToken::new()).await;
        assert!(matches!(done.end, End::Tunnel(_)), "{}", done.end);
        assert_eq!(done.down, 4);
        let mut got = [0; 4];
        client.read_exact(&mut got).await.unwrap();
        abort(local);
        assert_eq!(client.read(&mut got).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_reset_of_the_socket_is_named_and_passed_on_to_the_tunnel() {
        let (client, mut local) = tcp_pair().await;
        let (mut tunnel, mut far) = TunnelStream::pair();
        abort(client);
        let done = splice(&mut local, &mut tunnel, HOUR, &CancellationToken::new()).await;
        assert!(matches!(done.end, End::Local(_)), "{}", done.end);
        drop(tunnel);
        assert_eq!(far.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_a_side_says_before_it_hangs_up_arrives_although_it_reads_no_more() {
        /// Says its last words once it was written to, and takes nothing.
        struct Deaf(DuplexStream);
        impl AsyncRead for Deaf {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_read(cx, buf)
            }
        }
        impl AsyncWrite for Deaf {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }

        let (mut server, local) = duplex(64);
        let (mut tunnel, mut far) = TunnelStream::pair();
        let splice =
            tokio::spawn(async move { splice(&mut Deaf(local), &mut tunnel, HOUR, &CancellationToken::new()).await });
        far.write_all(&[0; 1000]).await.unwrap();
        far.flush().await.unwrap();
        server.write_all(b"413 too large").await.unwrap();
        drop(server);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "413 too large");
        let done = splice.await.unwrap();
        assert!(matches!(done.end, End::Local(_)), "{}", done.end);
    }

    #[tokio::test]
    async fn a_single_byte_is_not_kept_waiting_for_more() {
        let Bench { mut client, mut far, .. } = bench(64, HOUR);
        for byte in 0..100 {
            client.write_all(&[byte]).await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), byte);
            far.write_all(&[byte]).await.unwrap();
            far.flush().await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), byte);
        }
    }
}
