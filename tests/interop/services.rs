//! TCP services, in both directions.

use std::time::Duration;

use crate::{
    SOON,
    backend::{echo, echoes, get, web},
    foreign::{Foreign, VERSIONS, Version},
    network::{Network, address},
    node::Node,
    within,
};

/// Enough that a window fills several times.
const BYTES: usize = 4 << 20;

#[tokio::test]
#[ignore = "make interop"]
async fn a_service_of_edgevpn_is_served_by_our_front() {
    for version in VERSIONS {
        let (network, backend, front) = (Network::new().await, echo().await, address());
        let listen = format!("echo@{front}");
        let ours = Node::start(&network, "ours", &["serve", &listen, "--mode", "tcp"]).await;
        let service = format!("echo={backend}");
        let args = ["-service", service.as_str(), "-bootstrap", ours.address(), "-dht"];
        let theirs = Foreign::start(&network, version, &args).await;
        let worker = ours.worker("echo", theirs.id()).await;
        assert!(worker.legacy, "{worker:?}");
        for count in [1, 1000, BYTES] {
            assert!(echoes(front, count).await, "{count} bytes by {version:?}: {}", ours.log());
        }
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn our_service_is_connected_to_by_edgevpn() {
    for version in VERSIONS {
        let (network, backend, local) = (Network::new().await, web("ours").await, address());
        let export = format!("web={backend}");
        let ours = Node::start(&network, "ours", &["expose", &export]).await;
        let connect = format!("web={local}");
        let args = ["-connect", connect.as_str(), "-bootstrap", ours.address(), "-dht"];
        let mut theirs = Foreign::start(&network, version, &args).await;
        within(SOON, &format!("{version:?} knows the service"), async || theirs.entry("services", "web").await).await;
        within(SOON, "an answer", async || get(local).await.filter(|answer| *answer == (200, "ours".to_owned()))).await;
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn a_name_that_two_of_ours_expose_is_held_by_one_and_taken_over() {
    let (network, local) = (Network::new().await, address());
    let (first, second) = (web("first").await, web("second").await);
    let one = Node::start(&network, "one", &["expose", &format!("web={first}")]).await;
    let connect = format!("web={local}");
    let args = ["-connect", connect.as_str(), "-bootstrap", one.address(), "-dht"];
    let mut theirs = Foreign::start(&network, Version::V034, &args).await;
    within(SOON, "the first", async || get(local).await.filter(|answer| answer.1 == "first")).await;
    let other = Node::start(&network, "other", &["expose", &format!("web={second}"), "--peer", one.address()]).await;
    within(SOON, "the second in the ledger", async || theirs.entry("healthcheck", other.id()).await).await;
    let before = theirs.index().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(theirs.index().await - before < 20, "they fight over the name");
    let logs = format!("{}\n{}", one.log(), other.log());
    assert_eq!(get(local).await, Some((200, "first".to_owned())), "{logs}");
    one.kill().await;
    within(SOON, "the second", async || get(local).await.filter(|answer| answer.1 == "second")).await;
}

#[tokio::test]
#[ignore = "make interop"]
async fn a_worker_of_edgevpn_that_starts_again_is_used_again() {
    let (network, backend, front) = (Network::new().await, web("theirs").await, address());
    let ours = Node::start(&network, "ours", &["serve", &format!("web@{front}")]).await;
    let service = format!("web={backend}");
    let key = network.folder().join("key");
    let args = ["-service", service.as_str(), "-key", key.to_str().unwrap(), "-bootstrap", ours.address(), "-dht"];
    for round in 0..3 {
        let theirs = Foreign::start(&network, Version::V034, &args).await;
        within(SOON, &format!("an answer, round {round}"), async || get(front).await.filter(|answer| answer.0 == 200))
            .await;
        theirs.kill().await;
        within(SOON, "its end", async || get(front).await.filter(|answer| answer.0 == 503)).await;
    }
}
