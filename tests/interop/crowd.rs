//! Ten nodes of each kind.

use crate::{
    SOON,
    backend::{get, web},
    foreign::{Foreign, VERSIONS},
    network::{Network, address},
    node::Node,
    within,
};

/// Of each kind.
const MANY: usize = 10;

#[tokio::test]
#[ignore = "make interop"]
async fn ten_of_each_kind_know_each_other_and_serve() {
    let (network, front) = (Network::new().await, address());
    let first =
        Node::start(&network, "front", &["serve", &format!("federated@{front}"), "--policy", "round-robin"]).await;
    let at = ["-as", "localai", "-bootstrap", first.address(), "-dht", "-dht-interval", "5s"];
    let mut theirs = Vec::new();
    for n in 0..MANY {
        let backend = web("theirs").await.to_string();
        theirs.push(Foreign::start(&network, VERSIONS[n % 2], &[&at[..], &["-worker", &backend]].concat()).await);
    }
    let mut ours = Vec::new();
    for n in 1..MANY {
        let backend = web("ours").await.to_string();
        let args = ["expose", &backend, "--peer", first.address()];
        ours.push(Node::start(&network, &format!("worker{n}"), &args).await);
    }
    within(2 * SOON, "all workers at our front", async || {
        let services = first.status().await.services;
        let workers = &services.iter().find(|service| service.name == "federated")?.workers;
        (workers.iter().filter(|worker| worker.state == "ready").count() == 2 * MANY - 1).then_some(())
    })
    .await;
    for n in 0..100 {
        assert_eq!(get(front).await.map(|answer| answer.0), Some(200), "request {n}: {}", first.log());
    }
    // Ten of theirs and nine of ours, under two names each at most, in the ledger of each of theirs.
    for peer in &mut theirs {
        within(2 * SOON, "all in the ledger of one of theirs", async || {
            (peer.bucket("federated").await.len() == 2 * MANY - 1).then_some(())
        })
        .await;
    }
    let edgevpn = first.status().await.edgevpn.unwrap();
    println!("at our front: {edgevpn:?}");
}
