//! Topics and keys that turn.

use std::time::Duration;

use serde_json::json;

use crate::{
    SOON,
    backend::{get, web},
    foreign::{Foreign, VERSIONS, Version},
    network::{Network, address},
    node::Node,
    within,
};

/// Seconds in a window. Edgevpn looks once in a second whether it has ended.
const WINDOW: u32 = 4;

/// Windows to go through.
const TURNS: u32 = 50;

#[tokio::test]
#[ignore = "make interop"]
async fn fifty_rotations_and_neither_loses_the_other() {
    let lives = VERSIONS.map(async |version| {
        let (network, front) = (Network::turning(WINDOW).await, address());
        let ours = Node::start(&network, "ours", &["serve", &format!("web@{front}")]).await;
        let backend = format!("web={}", web("theirs").await);
        let args = [
            "-service",
            &backend,
            "-sync-interval",
            "1s",
            "-alive-interval",
            "2s",
            "-bootstrap",
            ours.address(),
            "-dht",
        ];
        let mut theirs = Foreign::start(&network, version, &args).await;
        within(SOON, &format!("{version:?} is there"), async || get(front).await.filter(|answer| answer.0 == 200))
            .await;
        let mut heard = ours.status().await.edgevpn.unwrap().heard_total;
        let mut our_beat = None;
        for turn in 0..TURNS {
            tokio::time::sleep(Duration::from_secs(WINDOW.into())).await;
            let now = ours.status().await.edgevpn.unwrap().heard_total;
            assert!(now > heard, "{version:?}: nothing was heard in window {turn}: {}", ours.log());
            heard = now;
            assert_eq!(get(front).await.map(|answer| answer.0), Some(200), "{version:?}, window {turn}");
            // Our heartbeat is written every 30 s.
            if turn % 10 == 9 {
                let beat = theirs.entry("healthcheck", ours.id()).await;
                assert!(beat.is_some() && beat != our_beat, "{version:?}: ours was not heard in window {turn}");
                our_beat = beat;
            }
        }
    });
    let [one, other] = lives;
    tokio::join!(one, other);
}

#[tokio::test]
#[ignore = "make interop"]
async fn two_of_theirs_hear_each_other_through_rotations_by_way_of_ours() {
    let network = Network::turning(WINDOW).await;
    let ours = Node::start(&network, "ours", &["serve", "ssh@127.0.0.1:0"]).await;
    let args = ["-sync-interval", "1s", "-bootstrap", ours.address()];
    let mut one = Foreign::start(&network, Version::V034, &args).await;
    let mut other = Foreign::start(&network, Version::V034, &args).await;
    for peer in [&mut one, &mut other] {
        peer.ask(json!({"do": "connect", "address": ours.address()})).await;
    }
    one.ask(json!({"do": "connect", "address": other.address()})).await;
    for turn in 0..12 {
        tokio::time::sleep(Duration::from_secs(WINDOW.into())).await;
        one.tells(&mut other, Duration::from_secs(30), "turn", json!(turn)).await;
    }
}
