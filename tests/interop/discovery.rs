//! How nodes of both kinds find each other.

use serde_json::json;

use crate::{
    SOON,
    foreign::{Foreign, VERSIONS, Version},
    network::Network,
    node::Node,
    space::cable,
    within,
};

#[tokio::test]
#[ignore = "make interop"]
async fn a_node_of_edgevpn_bootstraps_at_one_of_ours() {
    for version in VERSIONS {
        let network = Network::new().await;
        let ours = Node::start(&network, "ours", &["serve", "@127.0.0.1:0"]).await;
        let theirs = Foreign::start(&network, version, &["-dht", "-bootstrap", ours.address()]).await;
        let peer = within(SOON, &format!("{version:?} at ours"), async || ours.peer(theirs.id()).await).await;
        assert!(peer.legacy && peer.carrier == "edgevpn", "{peer:?}");
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn one_of_ours_bootstraps_at_a_node_of_edgevpn_with_and_without_its_id() {
    for version in VERSIONS {
        let network = Network::new().await;
        let theirs = Foreign::start(&network, version, &[]).await;
        let without_id = theirs.address().split("/p2p/").next().unwrap();
        for (name, address) in [("with-id", theirs.address()), ("without-id", without_id)] {
            let ours = Node::start(&network, name, &["serve", "@127.0.0.1:0", "--peer", address]).await;
            within(SOON, &format!("{version:?} {name}"), async || ours.peer(theirs.id()).await).await;
        }
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn nodes_of_edgevpn_find_each_other_in_the_dht_that_ours_serve() {
    let network = Network::new().await;
    let ours = Node::start(&network, "ours", &["serve", "@127.0.0.1:0"]).await;
    let args = ["-dht", "-dht-interval", "3s", "-bootstrap", ours.address()];
    let mut one = Foreign::start(&network, Version::V034, &args).await;
    let other = Foreign::start(&network, Version::V034, &args).await;
    within(SOON, "each other", async || one.peers().await.contains(&other.id().to_owned()).then_some(())).await;
}

#[tokio::test]
#[ignore = "make interop"]
async fn both_kinds_find_each_other_by_mdns_whoever_comes_first() {
    let [here, there] = cable();
    for (version, ours_first) in [(Version::V034, true), (Version::V034, false), (Version::V035, true)] {
        let network = Network::new().await;
        let listen = |address: &str| format!("/ip4/{address}/tcp/0");
        let (our_address, their_address) = (listen(here.address()), listen(there.address()));
        let our_args = ["serve", "@127.0.0.1:0", "--dht", "off", "--listen-addr", our_address.as_str()];
        let their_args = ["-mdns", "-listen", their_address.as_str()];
        let (ours, theirs) = if ours_first {
            let ours = Node::start_in(&network, Some(&here), "ours", &our_args).await;
            (ours, Foreign::start_in(&network, Some(&there), version, &their_args).await)
        } else {
            let theirs = Foreign::start_in(&network, Some(&there), version, &their_args).await;
            (Node::start_in(&network, Some(&here), "ours", &our_args).await, theirs)
        };
        let what = format!("{version:?} by mDNS, ours first: {ours_first}");
        within(SOON, &what, async || ours.peer(theirs.id()).await).await;
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn a_peer_of_another_kind_is_parted_with() {
    // The gossip of a network whose token is another one, on a connection that anybody can make.
    let (network, other) = (Network::new().await, Network::new().await);
    let ours = Node::start(&network, "ours", &["serve", "@127.0.0.1:0"]).await;
    let mut theirs = Foreign::start(&other, Version::V034, &[]).await;
    theirs.ask(json!({"do": "connect", "address": ours.address()})).await;
    within(SOON, "the connection", async || ours.peer(theirs.id()).await).await;
    theirs
        .ask(json!({"do": "put", "bucket": "services", "key": "ssh", "value": {"PeerID": theirs.id(), "Name": "ssh"}}))
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let status = ours.status().await;
    assert!(status.services.iter().all(|service| service.workers.is_empty()), "{:?}", status.services);
    assert_eq!(status.edgevpn.unwrap().heard_total, 0, "another topic");
}

#[tokio::test]
#[ignore = "make interop"]
async fn a_strict_network_lets_no_node_of_edgevpn_in() {
    let strict = Network::strict().await;
    let ours = Node::start(&strict, "ours", &["serve", "@127.0.0.1:0"]).await;
    let mut theirs = Foreign::start(&strict, Version::V034, &["-bootstrap", ours.address(), "-dht"]).await;
    within(SOON, "a refusal", async || {
        let checkup = ours.log();
        checkup.contains("inbound connection refused").then_some(())
    })
    .await;
    assert!(ours.status().await.peers.is_empty() && ours.status().await.edgevpn.is_none());
    assert!(theirs.peers().await.is_empty());
}
