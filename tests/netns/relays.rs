//! Relays: nodes that nobody can dial, and what becomes of them when a relay goes.

use std::time::Duration;

use crate::{
    lab::Lab,
    node::{Network, Node, backend, body, get},
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

/// What every node of these tests is started with.
pub const PRIVATE: [&str; 3] = ["--no-mdns", "--dht", "private"];

/// A relay on a public host.
pub async fn relay(lab: &mut Lab, network: &Network, name: &str) -> Node {
    let host = lab.public(name);
    let listen = format!("{0}/tcp/4001,{0}/udp/4001/quic-v1", host.multiaddr());
    network.start(&host, name, &["relay", "--no-mdns", "--listen-addr", &listen]).await
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_02_behind_two_symmetric_nats_data_flows_by_the_relay() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Symmetric), lab.site("other", Nat::Symmetric));
    let _backend = backend(&one).await;
    let peer = relay.address("tcp");
    let _worker = network.start(&one, "worker", &[&["expose", "8000", "--peer", peer], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    let (answer, _) = within(10 * S, "an answer", async || get(&other, "/quick", 5 * S).await).await;
    assert_eq!(answer, body());
    assert_eq!(front.peer("worker").await.unwrap().path, "relayed");
    // Nor is it so after the first tries to find a better way.
    tokio::time::sleep(6 * S).await;
    assert_eq!(front.peer("worker").await.unwrap().path, "relayed");
    assert_eq!(get(&other, "/quick", 5 * S).await, Some(body()));
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_10_when_a_relay_is_killed_another_one_carries_the_next_request() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let first = relay(&mut lab, &network, "first").await;
    let second = relay(&mut lab, &network, "second").await;
    let (one, other) = (lab.site("one", Nat::Symmetric), lab.site("other", Nat::Symmetric));
    let _backend = backend(&one).await;
    let peers = ["--peer", first.address("tcp"), "--peer", second.address("tcp")];
    let worker = network.start(&one, "worker", &[&["expose", "8000"], &peers[..], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve"], &peers[..], &PRIVATE[..]].concat()).await;
    let both = async || {
        let addresses = worker.by_relays().await;
        let has = |relay: &Node| addresses.iter().any(|address| address.contains(&relay.host.address));
        (has(&first) && has(&second)).then_some(())
    };
    within(10 * S, "two reservations", both).await;
    within(10 * S, "an answer", async || get(&other, "/quick", 5 * S).await).await;
    let address = front.peer("worker").await.unwrap().address;
    let (gone, left) = if address.contains(&first.host.address) { (first, second) } else { (second, first) };
    gone.kill().await;
    within(15 * S, "an answer by the other relay", async || get(&other, "/quick", 5 * S).await).await;
    let peer = front.peer("worker").await.unwrap();
    assert_eq!(peer.path, "relayed");
    assert!(peer.address.contains(&left.host.address), "{}", peer.address);
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn any_member_with_an_address_of_the_internet_is_a_relay() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let public = lab.public("public");
    let (one, other) = (lab.site("one", Nat::Symmetric), lab.site("other", Nat::Symmetric));
    let _backend = backend(&one).await;
    let third = network.start(&public, "third", &[&["serve"], &PRIVATE[..]].concat()).await;
    let peer = third.address("tcp");
    let _worker = network.start(&one, "worker", &[&["expose", "8000", "--peer", peer], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    assert_eq!(within(10 * S, "an answer", async || get(&other, "/quick", 5 * S).await).await.0, body());
    assert_eq!(front.peer("worker").await.unwrap().path, "relayed");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_10_a_stranger_gets_no_reservation() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Cone), lab.site("other", Nat::Cone));
    let address = relay.address("tcp");
    let strangers = Network::new().await;
    let args = [&["expose", "8000", "--health", "off", "--relay", address], &PRIVATE[..]].concat();
    let stranger = strangers.start(&one, "stranger", &args).await;
    let member = network.start(&other, "member", &args).await;
    within(10 * S, "a member's reservation", async || (!member.by_relays().await.is_empty()).then_some(())).await;
    // It began before, was there, and was turned away.
    let came = async || {
        relay
            .log()
            .lines()
            .any(|line| line.contains("inbound connection refused") && line.contains(&one.address))
            .then_some(())
    };
    within(10 * S, "the stranger to be turned away", came).await;
    assert!(stranger.by_relays().await.is_empty());
    assert!(relay.status().await.unwrap().peers.iter().all(|peer| peer.name.as_deref() != Some("stranger")));
}
