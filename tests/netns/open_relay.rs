//! A relay that has no token, and the members of two networks that meet there.

use std::time::Duration;

use crate::{
    lab::Lab,
    node::{Network, Node, backend, body, get},
    relays::PRIVATE,
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn members_of_two_networks_meet_at_a_relay_that_has_no_token() {
    let mut lab = Lab::new();
    let public = lab.public("relay");
    let listen = format!("{0}/tcp/4001,{0}/udp/4001/quic-v1", public.multiaddr());
    let relay = Node::without_token(&public, &["relay", "--no-token", "--listen-addr", &listen]).await;
    let there = ["--relay", relay.address("tcp"), "--peer", relay.address("tcp")];

    let (ours, theirs) = (Network::new().await, Network::new().await);
    let (one, other) = (lab.site("one", Nat::Symmetric), lab.site("other", Nat::Symmetric));
    let third = lab.site("third", Nat::Symmetric);
    let _backend = backend(&one).await;
    let _worker = ours.start(&one, "worker", &[&["expose", "8000"], &there[..], &PRIVATE].concat()).await;
    let front = ours.start(&other, "front", &[&["serve"], &there[..], &PRIVATE].concat()).await;
    let foreign = theirs.start(&third, "foreign", &[&["serve"], &there[..], &PRIVATE].concat()).await;
    assert_eq!(within(30 * S, "an answer", async || get(&other, "/quick", 5 * S).await).await.0, body());
    let peer = front.peer("worker").await.unwrap();
    assert_eq!(peer.path, "relayed");
    assert!(peer.address.contains(&public.address), "{}", peer.address);
    assert!(!foreign.by_relays().await.is_empty());
    // They share the relay and its DHT, and nothing else.
    assert!(foreign.status().await.unwrap().peers.is_empty());
    assert_eq!(get(&third, "/quick", 2 * S).await, None);
}
