//! `doctor` and `ping` where something is between the nodes.

use std::time::Duration;

use crate::{
    lab::Lab,
    node::{Network, Node},
    relays::{PRIVATE, relay},
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

/// Waits until the doctor says this of a check; returns the whole page and the exit code.
async fn diagnosed(node: &Node, check: &str, state: &str) -> (Option<i32>, String) {
    let what = format!("{check} {state}");
    let look = async || {
        let (code, page) = node.ask(&["doctor"]).await;
        let line = page.lines().find(|line| line.split_whitespace().next() == Some(check))?;
        (line.split_whitespace().nth(1) == Some(state)).then(|| (code, page.clone()))
    };
    within(20 * S, &what, look).await.0
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn nats_are_told_apart_by_what_two_peers_see() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let [first, second] = [relay(&mut lab, &network, "first").await, relay(&mut lab, &network, "second").await];
    let (one, other) = (lab.site("one", Nat::Cone), lab.site("other", Nat::Symmetric));
    // Over UDP all goes out by one port.
    let peers = ["--peer", first.address("udp"), "--peer", second.address("udp")];
    let cone = network.start(&one, "cone", &[&["serve"], &peers[..], &PRIVATE[..]].concat()).await;
    let (_, page) = diagnosed(&cone, "nat", "ok").await;
    assert!(
        page.contains(&format!("a NAT at {} that ", one.address)) && page.contains("holes can be punched"),
        "{page}"
    );
    let symmetric = network.start(&other, "symmetric", &[&["serve"], &peers[..], &PRIVATE[..]].concat()).await;
    let (code, page) = diagnosed(&symmetric, "nat", "warn").await;
    assert!(page.contains(&format!("a NAT at {} that gives each peer another port", other.address)), "{page}");
    assert!(page.contains("\n* nat: forward a port"), "{page}");
    let (_, page) = diagnosed(&symmetric, "relays", "ok").await;
    assert!(page.contains(&first.host.address) || page.contains(&second.host.address), "{page}");
    assert_eq!(code, Some(0), "{page}");
    println!("{page}");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn where_no_datagrams_pass_the_doctor_says_so() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let [first, second] = [relay(&mut lab, &network, "first").await, relay(&mut lab, &network, "second").await];
    let site = lab.site("one", Nat::Cone);
    lab.without("udp", &site);
    // Of two addresses of one node the second would not be tried for long: TCP is there first.
    let peers = ["--peer", first.address("udp"), "--peer", second.address("tcp")];
    let node = network.start(&site, "node", &[&["serve"], &peers[..], &PRIVATE[..]].concat()).await;
    let (code, page) = diagnosed(&node, "udp", "warn").await;
    assert!(page.contains("\n* udp: let UDP through the firewalls"), "{page}");
    assert!(page.contains("\ntcp        ok       1 peer over tcp"), "{page}");
    assert_eq!(code, Some(0), "TCP does: {page}");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_ping_goes_by_the_relay_where_tunnels_do() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Symmetric), lab.site("other", Nat::Symmetric));
    let peer = relay.address("tcp");
    let worker = network.start(&one, "worker", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    within(20 * S, "a way by the relay", async || front.peer("worker").await).await;
    let (code, page) = front.ask(&["ping", "worker", "-c", "5", "-i", "0.1"]).await;
    assert_eq!((code, page.matches("path=relayed").count()), (Some(0), 5), "{page}");
    println!("{page}");
    // One of the two begins to punch, the one with the smaller id.
    let look = async || {
        let pages = [front.ask(&["doctor"]).await.1, worker.ask(&["doctor"]).await.1];
        pages.into_iter().find(|page| page.contains("\npunching   warn     1 peer by a relay alone; 0 of "))
    };
    let (page, _) = within(30 * S, "a hole that does not open", look).await;
    println!("{page}");
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_ping_tells_when_a_relay_is_left() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = relay(&mut lab, &network, "relay").await;
    let (one, other) = (lab.site("one", Nat::Cone), lab.site("other", Nat::Cone));
    // Nothing passes between the two until it is allowed to, so that there is a way by the relay to be left.
    lab.part(&one, &other);
    let peer = relay.address("tcp");
    let worker = network.start(&one, "worker", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    let front = network.start(&other, "front", &[&["serve", "--peer", peer], &PRIVATE[..]].concat()).await;
    within(20 * S, "a way by the relay", async || front.peer("worker").await).await;
    let ping = front.ask(&["ping", "worker", "-c", "150", "-i", "0.2"]);
    let heal = async {
        within(10 * S, "the relay's way in use", async || {
            front.peer("worker").await.filter(|peer| peer.path == "relayed").map(drop)
        })
        .await;
        lab.heal(&one, &other);
    };
    let ((code, page), ()) = tokio::join!(ping, heal);
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("worker: path changed: punched over "), "{page}");
    assert!(page.contains("path=relayed") && page.contains("path=punched"), "{page}");
    drop(worker);
}
