//! Networks whose ledger is signed by its owners (edgevpn ≥ 0.35).

use crate::{
    SOON,
    backend::{get, web},
    foreign::{Foreign, Version},
    network::{Network, address},
    node::Node,
    within,
};

#[tokio::test]
#[ignore = "make interop"]
async fn where_ownership_is_enforced_ours_are_signed_and_work_both_ways() {
    let (network, front, local) = (Network::new().await, address(), address());
    let (ours_web, theirs_web) = (web("ours").await, web("theirs").await);
    let (serve, export) = (format!("theirs@{front}"), format!("ours={ours_web}"));
    let at_front = Node::start(&network, "front", &["serve", &serve]).await;
    let at_worker = Node::start(&network, "worker", &["expose", &export, "--peer", at_front.address()]).await;
    let (service, connect) = (format!("theirs={theirs_web}"), format!("ours={local}"));
    let args =
        ["-ownership", "enforce", "-service", &service, "-connect", &connect, "-bootstrap", at_front.address(), "-dht"];
    let mut theirs = Foreign::start(&network, Version::V035, &args).await;
    let (_, signed) = within(SOON, "our service, accepted", async || theirs.entry("services", "ours").await).await;
    assert!(signed);
    within(SOON, "theirs at ours", async || get(front).await.filter(|answer| answer.1 == "theirs")).await;
    within(SOON, "ours at theirs", async || get(local).await.filter(|answer| answer.1 == "ours")).await;
    for node in [&at_front, &at_worker] {
        within(SOON, "the signed form", async || (node.status().await.edgevpn?.form == "signed").then_some(())).await;
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn a_network_in_which_some_cannot_read_signatures_goes_on_without() {
    let network = Network::new().await;
    let ours = Node::start(&network, "ours", &["serve", "ssh@127.0.0.1:0"]).await;
    let at = ["-bootstrap", ours.address(), "-dht"];
    let mut old = Foreign::start(&network, Version::V034, &at).await;
    within(SOON, "our word, at the old one", async || old.entry("users", ours.id()).await).await;
    let args = [&at[..], &["-ownership", "enforce"]].concat();
    let new = Foreign::start(&network, Version::V035, &args).await;
    within(SOON, "the new one's connection", async || ours.peer(new.id()).await).await;
    let index = old.index().await;
    within(SOON, "the old one goes on", async || (old.index().await > index + 3).then_some(())).await;
    assert_eq!(ours.status().await.edgevpn.unwrap().form, "legacy");
    assert_eq!(old.entry("users", ours.id()).await.map(|(_, signed)| signed), Some(false));
}
