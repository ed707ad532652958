//! Entries of the ledger, seen from both sides.

use serde_json::json;

use crate::{
    SOON,
    foreign::{Foreign, VERSIONS, Version},
    network::Network,
    node::Node,
    within,
};

#[tokio::test]
#[ignore = "make interop"]
async fn entries_are_seen_both_ways_and_by_way_of_ours() {
    for version in VERSIONS {
        let network = Network::new().await;
        let ours = Node::start(&network, "ours", &["serve", "ssh@127.0.0.1:0"]).await;
        // They know of each other through ours alone.
        let mut one = Foreign::start(&network, version, &[]).await;
        let mut other = Foreign::start(&network, version, &[]).await;
        for peer in [&mut one, &mut other] {
            peer.ask(json!({"do": "connect", "address": ours.address()})).await;
        }
        let what = format!("{version:?} knows ours");
        let user = within(SOON, &what, async || one.entry("users", ours.id()).await).await;
        assert!(user.0.contains(ours.id()), "{user:?}");
        within(SOON, "our heartbeat", async || one.entry("healthcheck", ours.id()).await).await;
        one.tells(&mut other, SOON, "k", json!({"said": "by one"})).await;
        assert_eq!(one.peers().await, [ours.id()]);
        let service = json!({"PeerID": one.id(), "Name": "ssh"});
        within(SOON, "a service that one wrote", async || {
            one.ask(json!({"do": "put", "bucket": "services", "key": "ssh", "value": service})).await;
            let seen = |status: p2p_fed::api::Status| status.services.into_iter().any(|it| !it.workers.is_empty());
            seen(ours.status().await).then_some(())
        })
        .await;
        ours.worker("ssh", one.id()).await;
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn what_we_said_is_said_again_when_others_erase_it() {
    let network = Network::new().await;
    let ours = Node::start(&network, "ours", &["serve", "ssh@127.0.0.1:0"]).await;
    let mut theirs = Foreign::start(&network, Version::V034, &["-bootstrap", ours.address(), "-dht"]).await;
    within(SOON, "our word", async || theirs.entry("users", ours.id()).await).await;
    theirs.ask(json!({"do": "delete", "bucket": "users", "key": ours.id()})).await;
    assert_eq!(theirs.entry("users", ours.id()).await, None);
    within(SOON, "our word again", async || theirs.entry("users", ours.id()).await).await;
    let id = ours.id().to_owned();
    ours.stop().await;
    within(SOON, "our word taken back", async || theirs.entry("users", &id).await.is_none().then_some(())).await;
}

#[tokio::test]
#[ignore = "make interop"]
async fn a_node_that_starts_late_learns_what_was_said_before() {
    let network = Network::new().await;
    let mut theirs = Foreign::start(&network, Version::V034, &[]).await;
    for n in 0..50 {
        theirs.ask(json!({"do": "put", "bucket": "test", "key": "count", "value": n})).await;
    }
    let before = theirs.index().await;
    let ours = Node::start(&network, "ours", &["serve", "ssh@127.0.0.1:0", "--peer", theirs.address()]).await;
    within(SOON, "our word", async || theirs.entry("users", ours.id()).await).await;
    assert_eq!(theirs.entry("test", "count").await, Some(("49".to_owned(), false)), "nothing was erased");
    let index = ours.status().await.edgevpn.unwrap().index;
    assert!(u64::try_from(index).unwrap() > before, "{index}");
}
