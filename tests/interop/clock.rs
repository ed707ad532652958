//! Clocks that differ by a few seconds.

use std::{sync::Arc, time::Duration};

use p2p_fed::{
    edgevpn, net,
    node::{Config, Node},
    token::Token,
};

use crate::{
    SOON,
    foreign::{Foreign, VERSIONS},
    network::Network,
    within,
};

/// Ours is ahead by so much; a quarter of a window.
const AHEAD: Duration = Duration::from_secs(5);
const WINDOW: u32 = 20;

#[tokio::test]
#[ignore = "make interop"]
async fn a_clock_that_is_a_few_seconds_wrong_loses_nobody() {
    for version in VERSIONS {
        let network = Network::turning(WINDOW).await;
        let token = Arc::new(Token::parse(network.token()).unwrap());
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let net = net::Config { listen, mdns: false, dht: net::Dht::Off, clock_ahead: AHEAD, ..net::Config::default() };
        let config = Config {
            name: Some("ahead".parse().unwrap()),
            state_dir: Some(network.folder().join("state")),
            runtime_dir: Some(network.folder().join("run")),
            identity: None,
            net,
            exports: Vec::new(),
            fronts: Vec::new(),
            edgevpn: edgevpn::Config::default(),
        };
        let ours = Node::start(config, Token::clone(&token)).await.unwrap();
        let address = ours.addresses()[0].to_string();
        let args = ["-sync-interval", "2s", "-alive-interval", "3s", "-bootstrap", &address];
        let mut theirs = Foreign::start(&network, version, &args).await;
        let (id, their_id) = (ours.id().to_string(), theirs.id().to_owned());
        let first =
            within(SOON, &format!("{version:?} hears ours"), async || theirs.entry("healthcheck", &id).await).await;
        // Over two windows, each with five seconds in which the two are on different topics.
        let beat = within(SOON, "our next heartbeat", async || {
            theirs.entry("healthcheck", &id).await.filter(|beat| *beat != first)
        })
        .await;
        assert_ne!(beat, first);
        let edgevpn = ours.status().edgevpn.unwrap();
        assert!(edgevpn.heard_total > 5 && edgevpn.dropped.is_empty(), "{edgevpn:?}");
        assert!(ours.peers().peers.iter().any(|peer| peer.id == their_id));
        ours.stop().await;
    }
}
