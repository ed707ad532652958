//! What the tunnel carries over lines that lose, delay and reorder, and what becomes of it when they are cut.

use std::time::{Duration, Instant};

use p2p_fed_netns::Quality;

use crate::{
    lab::{Family, Host, Lab},
    node::{Network, Node, ask, backend, body, get, words},
    relays::PRIVATE,
    within,
};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A bad day of a mobile network at the edge of its cell, in each direction.
const BAD: Quality = Quality {
    delay: (Duration::from_millis(50), Duration::from_millis(150)),
    loss: 0.1,
    doubled: 0.0,
    strays: 0.02,
    rate: None,
    cut: false,
};

/// With these listeners alone a node speaks QUIC alone.
const QUIC: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// Two hosts on the internet, with a front and a worker.
struct Pair {
    front: Node,
    _worker: Node,
    _backend: tokio::process::Child,
    near: Host,
    far: Host,
}

impl Pair {
    /// Over good lines, so far.
    async fn new(lab: &mut Lab, network: &Network, number: u8, listen: &[&str]) -> Self {
        let (near, far) = (lab.public(&format!("near{number}")), lab.public(&format!("far{number}")));
        let backend = backend(&far).await;
        let (front, worker) = (format!("front{number}"), format!("worker{number}"));
        let front = network.start(&near, &front, &[&["serve"], listen, &PRIVATE[..]].concat()).await;
        let peer = front.address(if listen.is_empty() { "tcp" } else { "udp" });
        let args = [&["expose", "8000", "--peer", peer], listen, &PRIVATE[..]].concat();
        let worker = network.start(&far, &worker, &args).await;
        within(10 * S, "an answer", async || get(&near, "/quick", 5 * S).await).await;
        Self { front, _worker: worker, _backend: backend, near, far }
    }

    /// How long so many bytes take through the tunnel.
    async fn tunnelled(&self, bytes: u32, limit: Duration) -> Duration {
        let began = Instant::now();
        assert!(get(&self.near, &format!("/{bytes}"), limit).await == Some(words(bytes)), "all bytes, in order");
        began.elapsed()
    }

    /// How long they take without it, by TCP.
    async fn plain(&self, bytes: u32, limit: Duration) -> Duration {
        let (url, began) = (format!("http://{}:8000/{bytes}", self.far.address), Instant::now());
        assert!(ask(&self.near, &url, limit).await == Some(words(bytes)), "all bytes, in order");
        began.elapsed()
    }
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn what_is_lost_late_and_out_of_order_arrives_whole() {
    const BYTES: u32 = 256 << 10;
    for (transport, listen) in [("tcp", &[][..]), ("quic", &QUIC[..])] {
        let (mut lab, network) = (Lab::of(Family::V4, 1), Network::new().await);
        let pair = Pair::new(&mut lab, &network, 1, listen).await;
        lab.usually(BAD);
        let took = pair.tunnelled(BYTES, 180 * S).await;
        println!("measured: {} KiB by {transport} in {:.1} s", BYTES >> 10, took.as_secs_f64());
        let counts = lab.counts(&pair.far, &pair.near);
        assert!(counts.lost > 0, "{counts:?}");
    }
}

#[tokio::test]
#[ignore = "needs root, and minutes: make netns-weather"]
async fn the_table_of_bad_weather() {
    let bytes = std::env::var("BYTES").ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(10 << 20);
    let limit = 3600 * S;
    for (transport, listen) in [("tcp", &[][..]), ("quic", &QUIC[..])] {
        let (mut lab, network) = (Lab::of(Family::V4, 1), Network::new().await);
        let pair = Pair::new(&mut lab, &network, 1, listen).await;
        lab.usually(BAD);
        let (tunnelled, plain) = tokio::join!(pair.tunnelled(bytes, limit), pair.plain(bytes, limit));
        println!("measured: {bytes} by {transport} in {tunnelled:?}, plain {plain:?}");
        println!("measured: {:?}", pair.front.peer("worker1").await);
    }
    let _ = (MS, body());
}
