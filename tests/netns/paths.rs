//! Ways between two nodes, and better ones.

use std::time::Duration;

use crate::{
    lab::Lab,
    node::{Network, backend, body, get},
    relays::{PRIVATE, relay},
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

/// Both nodes behind cone NATs, with these listeners; how long it takes until the front has punched through.
async fn cone_to_cone(transport: &str, listen: &[&str]) {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Cone), lab.site("other", Nat::Cone));
    let _backend = backend(&one).await;
    let peer = relay.address(transport);
    let _worker =
        network.start(&one, "worker", &[&["expose", "8000", "--peer", peer], listen, &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve", "--peer", peer], listen, &PRIVATE[..]].concat()).await;
    let is_punched = async || front.peer("worker").await.filter(|peer| peer.path == "punched");
    let (seen, _) = within(10 * S, &format!("a way through both NATs by {transport}"), is_punched).await;
    assert_eq!(seen.transport, if transport == "udp" { "quic" } else { "tcp" });
    assert_eq!(get(&other, "/quick", 5 * S).await, Some(body()));
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_01_two_cone_nats_are_punched_over_tcp() {
    cone_to_cone("tcp", &["--listen-addr", "/ip4/0.0.0.0/tcp/0"]).await;
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_01_two_cone_nats_are_punched_over_udp() {
    cone_to_cone("udp", &["--listen-addr", "/ip4/0.0.0.0/udp/0/quic-v1"]).await;
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_03_a_relayed_path_is_left_for_a_better_one_and_what_runs_on_it_is_whole() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Cone), lab.site("other", Nat::Cone));
    lab.part(&one, &other);
    let _backend = backend(&one).await;
    let peer = relay.address("tcp");
    let _worker = network.start(&one, "worker", &[&["expose", "8000", "--peer", peer], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    within(10 * S, "an answer", async || get(&other, "/quick", 5 * S).await).await;
    assert_eq!(front.peer("worker").await.unwrap().path, "relayed");

    let host = other.clone();
    let running = tokio::spawn(async move { get(&host, "/", 60 * S).await });
    let is_running = async || front.status().await.filter(|status| status.fronts[0].in_flight == 1);
    within(5 * S, "a running stream", is_running).await;
    lab.heal(&one, &other);
    let is_better = async || front.peer("worker").await.filter(|peer| peer.path == "punched");
    within(30 * S, "a better way", is_better).await;
    assert!(!running.is_finished(), "it runs on where it began");
    assert_eq!(get(&other, "/quick", 5 * S).await, Some(body()));
    assert_eq!(running.await.unwrap(), Some(body()));
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_04_where_no_datagrams_pass_tcp_does() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Cone), lab.site("other", Nat::Cone));
    [&relay.host, &one, &other].into_iter().for_each(|host| lab.without("udp", host));
    let _backend = backend(&one).await;
    let peers = ["--peer", relay.address("udp"), "--peer", relay.address("tcp")];
    let _worker = network.start(&one, "worker", &[&["expose", "8000"], &peers[..], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve"], &peers[..], &PRIVATE[..]].concat()).await;
    let is_there = async || get(&other, "/quick", 5 * S).await;
    assert_eq!(within(10 * S, "an answer", is_there).await.0, body());
    assert_eq!(front.peer("worker").await.unwrap().transport, "tcp");
    let is_punched = async || front.peer("worker").await.filter(|peer| peer.path == "punched");
    assert_eq!(within(20 * S, "a way through both NATs", is_punched).await.0.transport, "tcp");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_09_without_internet_and_dns_a_lan_is_enough() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let [one, other] = lab.lan(["one", "other"], ("10.9.0.", "/24"));
    let _backend = backend(&one).await;
    let _worker = network.start(&one, "worker", &["expose", "8000"]).await;
    let _front = network.start(&other, "front", &["serve"]).await;
    let is_there = async || get(&other, "/quick", 5 * S).await;
    assert_eq!(within(5 * S, "an answer", is_there).await.0, body());
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn with_ipv6_alone_a_lan_is_enough() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let [one, other] = lab.lan(["one", "other"], ("fd00:9::", "/64"));
    let _backend = backend(&one).await;
    let _worker = network.start(&one, "worker", &["expose", "8000"]).await;
    let front = network.start(&other, "front", &["serve"]).await;
    let is_there = async || get(&other, "/quick", 5 * S).await;
    assert_eq!(within(5 * S, "an answer", is_there).await.0, body());
    assert!(front.peer("worker").await.unwrap().address.starts_with("/ip6/"));
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_worker_with_another_address_is_back_within_fifteen_seconds() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let [mut one, other] = lab.lan(["one", "other"], ("10.9.0.", "/24"));
    let _backend = backend(&one).await;
    let _worker = network.start(&one, "worker", &["expose", "8000"]).await;
    let front = network.start(&other, "front", &["serve"]).await;
    within(5 * S, "an answer", async || get(&other, "/quick", 2 * S).await).await;
    lab.readdress(&mut one, "10.9.0.77", "/24");
    let is_back = async || {
        let peer = front.peer("worker").await.filter(|peer| peer.address.contains("10.9.0.77"))?;
        get(&other, "/quick", 2 * S).await.filter(|answer| *answer == body()).map(|_| peer)
    };
    within(15 * S, "the worker at its new address", is_back).await;
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_stream_outlives_a_nat_that_forgot_it() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let (public, one) = (lab.public("public"), lab.site("one", Nat::Cone));
    let _backend = backend(&one).await;
    let front = network.start(&public, "front", &[&["serve"], &PRIVATE[..]].concat()).await;
    let peer = front.address("tcp");
    let _worker = network.start(&one, "worker", &[&["expose", "8000", "--peer", peer], &PRIVATE[..]].concat()).await;
    within(10 * S, "an answer", async || get(&public, "/quick", 5 * S).await).await;
    let host = public.clone();
    let running = tokio::spawn(async move { get(&host, "/", 60 * S).await });
    let is_running = async || front.status().await.filter(|status| status.fronts[0].in_flight == 1);
    within(5 * S, "a running stream", is_running).await;
    lab.reboot(&one);
    assert_eq!(running.await.unwrap(), Some(body()));
}
