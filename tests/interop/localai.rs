//! LocalAI's federation: its workers behind our front, and ours behind its.

use std::{collections::BTreeSet, time::Duration};

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
async fn our_front_balances_over_instances_of_localai_services_of_edgevpn_and_ours() {
    let (network, front) = (Network::new().await, address());
    let listen = front.to_string();
    let ours = Node::start(&network, "front", &["federated", "--address", &listen, "--policy", "round-robin"]).await;
    let (one, two, three) = (web("localai").await.to_string(), web("edgevpn").await, web("ours").await.to_string());
    let at = ["-bootstrap", ours.address(), "-dht"];
    let _localai =
        Foreign::start(&network, Version::V034, &[&["-as", "localai", "-worker", &one], &at[..]].concat()).await;
    let service = format!("federated={two}");
    let _edgevpn = Foreign::start(&network, Version::V034, &[&["-service", &service], &at[..]].concat()).await;
    let _worker = Node::start(&network, "worker", &["expose", &three, "--peer", ours.address()]).await;
    let mut seen = BTreeSet::new();
    within(SOON, "all three", async || {
        let (status, body) = get(front).await?;
        assert!(status == 200 || status == 503, "{status}");
        seen.insert(body);
        ["localai", "edgevpn", "ours"].iter().all(|name| seen.contains(*name)).then_some(())
    })
    .await;
    let services = ours.status().await.services;
    let legacy = services[0].workers.iter().filter(|worker| worker.legacy).count();
    assert_eq!((services[0].workers.len(), legacy), (3, 2), "{services:?}");
    for _ in 0..60 {
        assert_eq!(get(front).await.map(|answer| answer.0), Some(200), "{}", ours.log());
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn our_worker_is_one_to_localais_front() {
    let (network, backend, front) = (Network::new().await, web("ours").await.to_string(), address());
    let ours = Node::start(&network, "gpu1", &["expose", &backend]).await;
    let listen = front.to_string();
    let args =
        ["-as", "localai", "-federated", &listen, "-discover-interval", "1s", "-bootstrap", ours.address(), "-dht"];
    let mut theirs = Foreign::start(&network, Version::V034, &args).await;
    assert_eq!(get(front).await.map(|answer| answer.0), Some(503));
    let workers =
        within(SOON, "a worker of ours", async || Some(theirs.workers().await).filter(|all| !all.is_empty())).await;
    assert!(workers.len() == 1 && workers[0].starts_with("gpu1-"), "{workers:?}");
    within(SOON, "an answer", async || get(front).await.filter(|answer| *answer == (200, "ours".to_owned()))).await;
    // It is online while it says so again and again: LocalAI forgets it after 40 s.
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(theirs.workers().await.len(), 1);
    assert_eq!(get(front).await, Some((200, "ours".to_owned())));
    ours.stop().await;
    within(SOON, "its end", async || theirs.workers().await.is_empty().then_some(())).await;
}

#[tokio::test]
#[ignore = "make interop"]
async fn an_instance_of_localai_that_dies_is_out_at_once_and_no_request_is_lost() {
    let (network, front) = (Network::new().await, address());
    let ours = Node::start(&network, "front", &["serve", &front.to_string().replacen("", "federated@", 1)]).await;
    let at = ["-as", "localai", "-bootstrap", ours.address(), "-dht"];
    let (one, two) = (web("one").await.to_string(), web("two").await.to_string());
    let dies = Foreign::start(&network, Version::V034, &[&at[..], &["-worker", &one]].concat()).await;
    let stays = Foreign::start(&network, Version::V034, &[&at[..], &["-worker", &two]].concat()).await;
    ours.worker("federated", dies.id()).await;
    ours.worker("federated", stays.id()).await;
    for n in 0..20 {
        assert_eq!(get(front).await.map(|answer| answer.0), Some(200), "request {n}: {}", ours.log());
    }
    dies.kill().await;
    for n in 0..20 {
        assert_eq!(get(front).await, Some((200, "two".to_owned())), "request {n} after its end: {}", ours.log());
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn networks_of_localai_on_one_token_are_kept_apart_by_their_ids() {
    let (network, front) = (Network::new().await, address());
    let listen = format!("federated@{front}");
    let ours = Node::start(&network, "front", &["serve", &listen, "--localai-network-id", "lab"]).await;
    let at = ["-as", "localai", "-bootstrap", ours.address(), "-dht"];
    let (one, two) = (web("other").await.to_string(), web("lab").await.to_string());
    let other = Foreign::start(&network, Version::V034, &[&at[..], &["-worker", &one]].concat()).await;
    let lab =
        Foreign::start(&network, Version::V034, &[&at[..], &["-worker", &two, "-network-id", "lab"]].concat()).await;
    ours.worker("federated", lab.id()).await;
    within(SOON, "the other one", async || ours.peer(other.id()).await).await;
    for _ in 0..10 {
        assert_eq!(get(front).await, Some((200, "lab".to_owned())));
    }
}

#[tokio::test]
#[ignore = "make interop"]
async fn an_instance_of_localai_that_freezes_gets_no_more_requests_until_it_goes_on() {
    let (network, front) = (Network::new().await, address());
    let listen = format!("federated@{front}");
    let ours = Node::start(&network, "front", &["serve", &listen, "--policy", "round-robin"]).await;
    let at = ["-as", "localai", "-bootstrap", ours.address(), "-dht"];
    let (one, two) = (web("one").await.to_string(), web("two").await.to_string());
    let freezes = Foreign::start(&network, Version::V034, &[&at[..], &["-worker", &one]].concat()).await;
    let stays = Foreign::start(&network, Version::V034, &[&at[..], &["-worker", &two]].concat()).await;
    ours.worker("federated", freezes.id()).await;
    ours.worker("federated", stays.id()).await;
    freezes.signal("-STOP").await;
    within(SOON, "it is found out", async || {
        let services = ours.status().await.services;
        services[0].workers.iter().any(|worker| worker.node == freezes.id() && worker.state != "ready").then_some(())
    })
    .await;
    for n in 0..20 {
        assert_eq!(get(front).await, Some((200, "two".to_owned())), "request {n} while it is frozen: {}", ours.log());
    }
    freezes.signal("-CONT").await;
    ours.worker("federated", freezes.id()).await;
    within(SOON, "it serves again", async || get(front).await.filter(|answer| answer.1 == "one")).await;
}
