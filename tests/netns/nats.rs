//! NATs and firewalls of each kind, and ones that forget.

use std::time::{Duration, Instant};

use p2p_fed_netns::Quality;

use crate::{
    lab::{Family, Host, Lab},
    measured,
    node::{Network, Node, backend, body, get, words},
    relays::{PRIVATE, relay},
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

/// Two sites, a relay on the internet, a worker at one site and a front at the other, which has had an answer.
struct Sites {
    front: Node,
    _worker: Node,
    _relay: Node,
    _backend: tokio::process::Child,
    one: Host,
    other: Host,
    lab: Lab,
    _network: Network,
}

impl Sites {
    /// `without`: what the worker's router blocks.
    async fn new(family: Family, nats: [Nat; 2], listen: &[&str], without: &[&str]) -> Self {
        let (mut lab, network) = (Lab::of(family, 1), Network::new().await);
        let relay = relay(&mut lab, &network, "relay").await;
        let (one, other) = (lab.site("one", nats[0]), lab.site("other", nats[1]));
        without.iter().for_each(|protocol| lab.without(protocol, &one));
        let backend = backend(&one).await;
        let peers = ["--peer", relay.address("udp"), "--peer", relay.address("tcp")];
        let args = |first: &[&'static str]| [first, listen, &PRIVATE[..]].concat();
        let worker = network.start(&one, "worker", &[&args(&["expose", "8000"]), &peers[..]].concat()).await;
        let front = network.start(&other, "front", &[&args(&["serve"]), &peers[..]].concat()).await;
        within(15 * S, "an answer", async || get(&other, "/quick", 5 * S).await.filter(|it| *it == body())).await;
        Self { front, _worker: worker, _relay: relay, _backend: backend, one, other, lab, _network: network }
    }

    /// How the front is connected to the worker once it is not by a relay; its transport.
    async fn without_relay(&self, what: &str) -> String {
        let is_better = async || self.front.peer("worker").await.filter(|peer| peer.path != "relayed");
        let (peer, _) = within(20 * S, &format!("a way without a relay, {what}"), is_better).await;
        assert_eq!(get(&self.other, "/quick", 5 * S).await, Some(body()));
        peer.transport
    }
}

const TCP: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/tcp/0"];
const QUIC: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/udp/0/quic-v1"];

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn whom_a_nat_lets_in_from_another_port_is_reached_by_one_that_changes_ports() {
    let meet = async |nat: Nat, listen: &[&str]| {
        let what = format!("{nat:?} to symmetric {listen:?}");
        Sites::new(Family::V4, [nat, Nat::Symmetric], listen, &[]).await.without_relay(&what).await;
    };
    tokio::join!(meet(Nat::Open, &TCP), meet(Nat::Open, &QUIC));
    tokio::join!(meet(Nat::Restricted, &TCP), meet(Nat::Restricted, &QUIC));
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn whom_a_nat_lets_in_from_one_port_alone_is_not_reached_by_one_that_changes_ports() {
    let sites = Sites::new(Family::V4, [Nat::Cone, Nat::Symmetric], &[], &[]).await;
    // Nor is it so after the first tries to find a better way.
    tokio::time::sleep(6 * S).await;
    assert_eq!(sites.front.peer("worker").await.unwrap().path, "relayed");
    assert_eq!(get(&sites.other, "/quick", 5 * S).await, Some(body()));
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn where_one_site_lets_no_datagrams_pass_tcp_is_punched() {
    let sites = Sites::new(Family::V4, [Nat::Cone, Nat::Cone], &[], &["udp"]).await;
    assert_eq!(sites.without_relay("one site without datagrams").await, "tcp");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn where_one_site_lets_nothing_but_datagrams_pass_quic_is_punched() {
    let sites = Sites::new(Family::V4, [Nat::Cone, Nat::Cone], &[], &["tcp"]).await;
    assert_eq!(sites.without_relay("one site without TCP").await, "quic");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn two_firewalls_of_ipv6_are_punched() {
    let meet = async |without: &[&str], transport: &str| {
        let sites = Sites::new(Family::V6, [Nat::Cone, Nat::Cone], &[], without).await;
        assert_eq!(sites.without_relay(&format!("IPv6 without {without:?}")).await, transport);
    };
    tokio::join!(meet(&["udp"], "tcp"), meet(&["tcp"], "quic"));
}

/// A download on a punched way that breaks in the middle, while the relay is there.
async fn cut_in_the_middle(listen: &[&str]) {
    let sites = Sites::new(Family::V4, [Nat::Cone, Nat::Cone], listen, &[]).await;
    sites.without_relay(&format!("{listen:?}")).await;
    let host = sites.other.clone();
    let running = tokio::spawn(async move { get(&host, "/", 120 * S).await });
    let is_running = async || sites.front.status().await.filter(|status| status.fronts[0].in_flight == 1);
    within(5 * S, "a running stream", is_running).await;
    sites.lab.part(&sites.one, &sites.other);
    let is_over = async || running.is_finished().then_some(());
    within(30 * S, &format!("{listen:?}: the download's end"), is_over).await;
    assert_eq!(running.await.unwrap(), None);
    let is_there = async || get(&sites.other, "/quick", 5 * S).await.filter(|it| *it == body());
    within(30 * S, &format!("{listen:?}: an answer by the relay"), is_there).await;
    assert_eq!(sites.front.peer("worker").await.unwrap().path, "relayed");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_download_on_a_way_that_breaks_ends_and_the_next_goes_by_the_relay() {
    tokio::join!(cut_in_the_middle(&TCP), cut_in_the_middle(&QUIC));
}

/// A download over a punched way whose sender has 160 kbit/s. Answers to pings wait behind it, for longer than a silence is borne.
async fn slow_download(listen: &[&str]) {
    const BYTES: u32 = 640 << 10;
    let sites = Sites::new(Family::V4, [Nat::Cone, Nat::Cone], listen, &[]).await;
    sites.without_relay(&format!("{listen:?}")).await;
    sites.lab.one_way(&sites.one, &sites.other, Quality { rate: Some(20_000), ..Quality::default() });
    let began = Instant::now();
    let answer = get(&sites.other, &format!("/{BYTES}"), 120 * S).await;
    measured(&format!("{listen:?}: 640 KiB over a slow line"), began.elapsed());
    assert!(answer == Some(words(BYTES)), "it is whole");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_download_that_fills_a_slow_line_is_not_taken_for_silence() {
    tokio::join!(slow_download(&TCP), slow_download(&QUIC));
}

/// How long it may take until a client has the rest of a download, or knows that it will not: 30 s until its end asks, at most
/// as long again until the sender tries again, and the download of 20 s.
const ENDED: Duration = Duration::from_secs(90);

/// A front behind a NAT that forgets everything in the middle of a download from a worker outside. The body, if it came.
async fn forgotten_in_the_middle(nat: Nat, listen: &[&str]) -> Option<Vec<u8>> {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let (public, one) = (lab.public("public"), lab.site("one", nat));
    let _backend = backend(&public).await;
    let worker = network.start(&public, "worker", &[&["expose", "8000"], listen, &PRIVATE[..]].concat()).await;
    let peer = worker.address(if listen == QUIC { "udp" } else { "tcp" });
    let front = network.start(&one, "front", &[&["serve", "--peer", peer], listen, &PRIVATE[..]].concat()).await;
    within(10 * S, "an answer", async || get(&one, "/quick", 5 * S).await).await;
    let host = one.clone();
    let began = Instant::now();
    let running = tokio::spawn(async move { get(&host, "/", 150 * S).await });
    let is_running = async || front.status().await.filter(|status| status.fronts[0].in_flight == 1);
    within(5 * S, "a running stream", is_running).await;
    lab.reboot(&one);
    let what = format!("{nat:?} {listen:?}: the next answer");
    within(30 * S, &what, async || get(&one, "/quick", 2 * S).await.filter(|it| *it == body())).await;
    let answer = running.await.unwrap();
    assert!(began.elapsed() < ENDED, "its client is told");
    let end = if answer.is_some() { "whole" } else { "lost" };
    measured(&format!("{nat:?} {listen:?}: the download {end}"), began.elapsed());
    answer
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_nat_that_forgot_a_download_keeps_nobody_waiting() {
    let (tcp, quic, other_tcp, other_quic) = tokio::join!(
        forgotten_in_the_middle(Nat::Cone, &TCP),
        forgotten_in_the_middle(Nat::Cone, &QUIC),
        forgotten_in_the_middle(Nat::Symmetric, &TCP),
        forgotten_in_the_middle(Nat::Symmetric, &QUIC),
    );
    // A NAT that keeps ports does not matter.
    assert_eq!((tcp, quic), (Some(body()), Some(body())));
    // One that does not is another client for the other end: the stream is lost, and the client is told so.
    assert!(other_tcp.is_none_or(|answer| answer == body()));
    assert!(other_quic.is_none_or(|answer| answer == body()));
}
