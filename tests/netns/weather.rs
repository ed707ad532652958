//! What the tunnel carries over lines that lose, delay and reorder, and what becomes of it when they are cut.

use std::time::{Duration, Instant};

use p2p_fed_netns::Quality;
use tokio::task::JoinSet;

use crate::{
    lab::{Host, Lab},
    measured,
    node::{Network, Node, ask, backend, get, words},
    relays::PRIVATE,
    within,
};

const S: Duration = Duration::from_secs(1);

/// A bad day of a mobile network at the edge of its cell, in each direction.
const BAD: Quality = Quality {
    delay: (Duration::from_millis(50), Duration::from_millis(150)),
    loss: 0.1,
    doubled: 0.0,
    strays: 0.02,
    rate: None,
    cut: false,
};

/// Until a node misses one that it has no use for, as a worker has none for fronts: a ping every 15 s, a quarter more at times, whose
/// answer it waits 4 s for, and some for the machine.
const NOTICED: Duration = Duration::from_secs(25);

/// Until nodes are connected again of which one was told where the other is: the longest wait for those, 10 s, a quarter more at
/// times, and a try that began before and takes 10 s.
const BACK: Duration = Duration::from_secs(25);

/// With these listeners alone a node speaks QUIC alone.
const QUIC: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// Two hosts on the internet, with a front and a worker.
struct Pair {
    front: Node,
    worker: Node,
    _backend: tokio::process::Child,
    near: Host,
    far: Host,
}

impl Pair {
    /// `control` is how the far host's TCP paces itself; the kernel's usual one without it.
    async fn new(lab: &mut Lab, network: &Network, number: &str, listen: &[&str], control: Option<&str>) -> Self {
        let (near, far) = (lab.public(&format!("near{number}")), lab.public(&format!("far{number}")));
        if let Some(control) = control {
            lab.paced(&far, control);
        }
        let backend = backend(&far).await;
        let (front, worker) = (format!("front{number}"), format!("worker{number}"));
        let front = network.start(&near, &front, &[&["serve"], listen, &PRIVATE[..]].concat()).await;
        let peer = front.address(if listen.is_empty() { "tcp" } else { "udp" });
        let args = [&["expose", "8000", "--peer", peer], listen, &PRIVATE[..]].concat();
        let worker = network.start(&far, &worker, &args).await;
        within(60 * S, "an answer", async || get(&near, "/4096", 5 * S).await).await;
        Self { front, worker, _backend: backend, near, far }
    }

    /// Waits until tunnels ride on direct connections: on lines as slow as these the first ones don't.
    async fn is_direct(&self, worker: &str) {
        let is_direct = async || {
            get(&self.near, "/4096", 5 * S).await?;
            self.front.peer(worker).await.filter(|peer| peer.carrier == "direct")
        };
        within(120 * S, "a direct connection", is_direct).await;
    }

    /// How long so many bytes take through the tunnel; none where it broke.
    async fn tunnelled(&self, bytes: u32, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let body = get(&self.near, &format!("/{bytes}"), limit).await?;
        assert!(body == words(bytes), "all bytes, in order");
        Some(began.elapsed())
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
        let (mut lab, network) = (Lab::new(), Network::new().await);
        lab.usually(BAD);
        let pair = Pair::new(&mut lab, &network, "", listen, None).await;
        let took = pair.tunnelled(BYTES, 180 * S).await.expect("all of it");
        measured(&format!("{} KiB by {transport}", BYTES >> 10), took);
        let counts = lab.counts(&pair.far, &pair.near);
        assert!(counts.lost > 0, "{counts:?}");
    }
}

/// What lies between two nodes is cut in this direction or both; how long both need to notice, and to be back when it is mended.
async fn cut_and_mended(what: &str, listen: &[&str], (there, back): (bool, bool)) {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let pair = Pair::new(&mut lab, &network, what, listen, None).await;
    let has = async |node: &Node, name: &str| node.peer(name).await.is_some_and(|peer| peer.responsive);
    let (front, worker) = (format!("front{what}"), format!("worker{what}"));
    let cut = Quality { cut: true, ..Quality::default() };
    if there {
        lab.one_way(&pair.near, &pair.far, cut);
    }
    if back {
        lab.one_way(&pair.far, &pair.near, cut);
    }
    let is_noticed = async || (!has(&pair.front, &worker).await && !has(&pair.worker, &front).await).then_some(());
    within(NOTICED, &format!("{what}: both to miss each other"), is_noticed).await;
    assert_eq!(get(&pair.near, "/quick", 5 * S).await, None);
    lab.heal(&pair.near, &pair.far);
    let is_back = async || (has(&pair.front, &worker).await && has(&pair.worker, &front).await).then_some(());
    within(BACK, &format!("{what}: both to find each other"), is_back).await;
    within(5 * S, &format!("{what}: an answer"), async || get(&pair.near, "/quick", 2 * S).await).await;
}

/// At once, in labs of their own.
async fn each_cut_and_mended(listen: &[&str]) {
    tokio::join!(
        cut_and_mended("-both-ways", listen, (true, true)),
        cut_and_mended("-there", listen, (true, false)),
        cut_and_mended("-back", listen, (false, true)),
    );
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn after_a_cut_both_ways_or_one_nodes_find_each_other_over_tcp() {
    each_cut_and_mended(&[]).await;
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn after_a_cut_both_ways_or_one_nodes_find_each_other_over_quic() {
    each_cut_and_mended(&QUIC).await;
}

/// How much is moved for a row of the table, and how often. All at once: nothing limits the rate of the lines, so none is in
/// another's way.
const TABLE: (u32, u8) = (10 << 20, 5);

/// How long one download took through the tunnel, if it came, and without it.
type Took = (Option<Duration>, Duration);

#[tokio::test]
#[ignore = "needs root, and minutes: make netns-weather"]
async fn the_table_of_bad_weather() {
    const KINDS: [(&str, &[&str], &str); 3] =
        [("TCP, Reno", &[], "reno"), ("TCP, BBR", &[], "bbr"), ("QUIC alone", &QUIC, "reno")];
    let mut lab = Lab::new();
    lab.usually(BAD);
    let mut rows = Vec::new();
    for (kind, (what, listen, control)) in KINDS.iter().enumerate() {
        let mut pairs = Vec::new();
        for number in 0..TABLE.1 {
            let network = Network::new().await;
            let pair = Pair::new(&mut lab, &network, &format!("{kind}{number}"), listen, Some(control)).await;
            if listen.is_empty() {
                pair.is_direct(&format!("worker{kind}{number}")).await;
            }
            pairs.push((network, pair));
        }
        rows.push((what, pairs));
    }
    let limit = 3600 * S;
    let running: Vec<(&str, JoinSet<Took>)> = rows
        .into_iter()
        .map(|(what, pairs)| {
            let moves = pairs.into_iter().map(|(network, pair)| async move {
                let took = tokio::join!(pair.tunnelled(TABLE.0, limit), pair.plain(TABLE.0, limit));
                drop(network);
                took
            });
            (*what, moves.collect())
        })
        .collect();
    let mut broken = 0;
    println!("| | tunnel, KiB/s | plain TCP, KiB/s | ratio, median | worst | broken |\n|---|---|---|---|---|---|");
    for (what, moves) in running {
        let took = moves.join_all().await;
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let middle = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or_default();
        let speed = |took: Duration| f64::from(TABLE.0 >> 10) / took.as_secs_f64();
        let tunnel = sorted(took.iter().filter_map(|took| took.0).map(speed).collect());
        let plain = sorted(took.iter().map(|took| speed(took.1)).collect());
        let ratio = sorted(took.iter().filter_map(|took| Some(speed(took.0?) / speed(took.1))).collect());
        let lost = took.len() - tunnel.len();
        let worst = ratio.first().copied().unwrap_or_default();
        println!(
            "| {what} | {:.0} | {:.0} | {:.2} | {worst:.2} | {lost} of {} |",
            middle(&tunnel),
            middle(&plain),
            middle(&ratio),
            took.len()
        );
        broken += lost;
    }
    assert_eq!(broken, 0, "every download is whole");
}
