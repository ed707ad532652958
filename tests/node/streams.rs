//! Many streams to one peer: none is lost, none stands still, and there is no number at which it ends.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::BoxFuture};
use libp2p::PeerId;
use p2p_fed::{
    ledger::NodeId,
    net::{Stream, Streams, TUNNEL, peer_of},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{
    network::{Member, quiet, token},
    soon,
};

/// Two members connected over one transport; the second dialled the first. Each serves the streams of the other.
struct Pair {
    ends: [End; 2],
    _serving: JoinSet<()>,
}

struct End {
    net: p2p_fed::net::Net,
    id: NodeId,
    _stop: tokio_util::sync::DropGuard,
}

impl Pair {
    async fn over(transport: &str, serve: impl Fn(Stream) -> BoxFuture<'static, ()> + Clone + Send + 'static) -> Self {
        let token = token();
        let listener = Member::join(&token, quiet(vec![])).await;
        let dialler = Member::join(&token, quiet(listener.addresses_over(transport))).await;
        dialler.meets(listener.id).await;
        listener.meets(dialler.id).await;
        let mut serving = JoinSet::new();
        let ends = [listener, dialler].map(|member| {
            let Member { net, mut arrivals, id, task: _, stop } = member;
            let serve = serve.clone();
            serving.spawn(async move {
                let mut served = JoinSet::new();
                while let Some(inbound) = arrivals.tunnels.recv().await {
                    served.spawn(serve(inbound.stream));
                    while served.try_join_next().is_some() {}
                }
            });
            End { net, id, _stop: stop }
        });
        Self { ends, _serving: serving }
    }

    /// Both ends as those who open streams: to whom, and with what.
    fn ways(&self) -> [(Streams, PeerId); 2] {
        let [listener, dialler] = &self.ends;
        [(listener, dialler), (dialler, listener)]
            .map(|(from, to)| (from.net.streams().clone(), peer_of(&to.id).unwrap()))
    }

    /// What each end takes for the number of its connection to the other.
    fn numbers(&self) -> [Option<u64>; 2] {
        let [listener, dialler] = &self.ends;
        [(listener, dialler), (dialler, listener)]
            .map(|(from, to)| from.net.peers().borrow().connected.get(&to.id).map(|peer| peer.number))
    }
}

/// Sends back what comes, until the other end closes or goes.
fn echo(mut stream: Stream) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut bytes = [0; 4];
        while stream.read_exact(&mut bytes).await.is_ok() {
            if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        // The other end may have gone without a good-bye.
        drop(stream.close().await);
    })
}

async fn ask(stream: &mut Stream, question: u32) -> io::Result<()> {
    stream.write_all(&question.to_be_bytes()).await?;
    stream.flush().await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    assert_eq!(answer, question.to_be_bytes(), "an answer to another question");
    Ok(())
}

async fn no_stream_of_a_burst_is_lost(transport: &str) {
    const STREAMS: u32 = 2000;
    let pair = Pair::over(transport, echo).await;
    let numbers = pair.numbers();
    for (streams, peer) in pair.ways() {
        let mut asking = JoinSet::new();
        for n in 0..STREAMS {
            let streams = streams.clone();
            asking.spawn(async move {
                let mut stream = streams.open(peer, TUNNEL).await?;
                ask(&mut stream, n).await?;
                stream.close().await
            });
        }
        let lost: Vec<_> = soon("all answers", asking.join_all()).await.into_iter().filter_map(Result::err).collect();
        assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), lost.first());
    }
    assert_eq!(pair.numbers(), numbers, "a connection more is nobody's news");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_of_a_burst_is_lost_over_tcp() {
    no_stream_of_a_burst_is_lost("tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_of_a_burst_is_lost_over_quic() {
    no_stream_of_a_burst_is_lost("quic").await;
}

/// More than one connection can carry (4096), all open at the same time, from one end; then once more, in the places that
/// came back.
async fn five_thousand_streams_are_open_at_once(transport: &str, from: usize) {
    const STREAMS: u32 = 5000;
    let pair = Pair::over(transport, echo).await;
    let numbers = pair.numbers();
    let [listening, dialling] = pair.ways();
    let (streams, peer) = if from == 0 { listening } else { dialling };
    for _ in 0..2 {
        let all_open = Arc::new(Barrier::new(STREAMS as usize));
        let mut held = JoinSet::new();
        for n in 0..STREAMS {
            let (streams, all_open) = (streams.clone(), Arc::clone(&all_open));
            held.spawn(async move {
                let mut stream = streams.open(peer, TUNNEL).await.unwrap();
                ask(&mut stream, n).await.unwrap();
                all_open.wait().await;
                ask(&mut stream, !n).await.unwrap();
                stream.close().await.unwrap();
            });
        }
        // A lost stream panics its task, and would leave the others waiting.
        soon("all streams", async {
            while let Some(done) = held.join_next().await {
                done.unwrap();
            }
        })
        .await;
    }
    assert_eq!(pair.numbers(), numbers, "a connection more is nobody's news");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_streams_over_tcp() {
    five_thousand_streams_are_open_at_once("tcp", 1).await;
}

/// The end that cannot dial gets its further connections from the other one.
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_streams_over_tcp_from_the_end_that_was_dialled() {
    five_thousand_streams_are_open_at_once("tcp", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_streams_over_quic() {
    five_thousand_streams_are_open_at_once("quic", 1).await;
}

// === soak ===

/// Streams that move data both ways at once; on QUIC they are what one connection serves evenly.
const SOAKED: usize = 32;

/// A stream that moves nothing for so long stands still. The slowest reader pauses for a few seconds at most.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Bytes received by one half of a stream.
type Received = Arc<AtomicU64>;

/// Moves data both ways over `stream` until `stop`, and to the end of what the other side sends.
async fn soak_stream(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    pace: usize,
    received: Received,
    stop: Arc<AtomicBool>,
) {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        let mut sent = 0u64;
        while !stop.load(Ordering::Relaxed) {
            // Lengths that fit no window and no frame.
            let chunk: Vec<u8> = (sent..sent + 40_961).map(pattern).collect();
            writer.write_all(&chunk).await.unwrap();
            sent += chunk.len() as u64;
        }
        writer.close().await.unwrap();
    };
    let read = async {
        let mut buffer = vec![0; 30_011];
        let mut at = 0u64;
        loop {
            let length = reader.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            assert!(buffer[..length].iter().zip(at..).all(|(byte, at)| *byte == pattern(at)), "bytes out of order");
            at += length as u64;
            received.store(at, Ordering::Relaxed);
            pause(pace, at).await;
        }
    };
    tokio::join!(write, read);
}

fn pattern(at: u64) -> u8 {
    (at % 251) as u8
}

/// Readers of three paces: as fast as it goes, a little slow all the time, and with long pauses in which all windows fill.
async fn pause(pace: usize, at: u64) {
    match pace % 3 {
        0 => tokio::task::yield_now().await,
        1 => sleep(Duration::from_millis(at % 7)).await,
        _ if at % 400_000 < 30_000 => sleep(Duration::from_millis(at % 2000)).await,
        _ => {}
    }
}

/// Streams whose windows all grow and fill at once must not wait for each other.
async fn no_stream_stands_still(transport: &str) {
    let seconds = std::env::var("SOAK").map_or(5, |text| text.parse().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Arc<[Received]> = (0..2 * SOAKED).map(|_| Received::default()).collect();
    let turn = Arc::new(AtomicU64::new(0));
    let pair = Pair::over(transport, {
        let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
        move |stream| {
            let nth = turn.fetch_add(1, Ordering::Relaxed) as usize;
            let received = Arc::clone(&counts[SOAKED + nth]);
            Box::pin(soak_stream(stream, nth / 2, received, Arc::clone(&stop)))
        }
    })
    .await;
    let mut soaking = JoinSet::new();
    for nth in 0..SOAKED {
        // From both ends in turn.
        let (streams, peer) = pair.ways()[nth % 2].clone();
        let (received, stop) = (Arc::clone(&counts[nth]), Arc::clone(&stop));
        soaking.spawn(async move {
            let stream = streams.open(peer, TUNNEL).await.unwrap();
            soak_stream(stream, nth, received, stop).await;
        });
    }
    let (end, mut look) = (Instant::now() + Duration::from_secs(seconds), interval(Duration::from_millis(500)));
    let mut moved: Vec<(u64, Instant)> = vec![(0, Instant::now()); counts.len()];
    loop {
        let now = look.tick().await;
        for (nth, (count, (before, since))) in counts.iter().zip(&mut moved).enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count != *before {
                (*before, *since) = (count, now);
            }
            assert!(now - *since < STANDSTILL, "stream {nth} stands still at {count} bytes");
        }
        if now >= end {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    soon("all streams to end", async {
        while let Some(done) = soaking.join_next().await {
            done.unwrap();
        }
    })
    .await;
    let (total, least) = counts.iter().fold((0, u64::MAX), |(total, least), count| {
        let count = count.load(Ordering::Relaxed);
        (total + count, least.min(count))
    });
    println!("{transport}: {} MiB in {seconds} s, the slowest stream {} KiB", total >> 20, least >> 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_over_tcp() {
    no_stream_stands_still("tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_over_quic() {
    no_stream_stands_still("quic").await;
}
