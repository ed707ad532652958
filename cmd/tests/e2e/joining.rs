//! Four processes with one token find each other, by each way alone, and share the work.

use crate::{
    dht::Dht,
    fleet::{Fleet, NAMES},
    machine,
    network::Network,
    node::{Join, Plan},
};

#[tokio::test]
async fn joined_by_mdns_alone_300_requests_are_100_each() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    shares_evenly(Fleet::start_as(&network, Plan::serve("front"), Some(Join::Mdns)).await).await;
}

#[tokio::test]
async fn joined_by_addresses_alone_300_requests_are_100_each() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    shares_evenly(Fleet::start(&network).await).await;
}

#[tokio::test]
async fn joined_by_a_dht_alone_300_requests_are_100_each() {
    let _machine = machine::shared().await;
    let dht = Dht::start().await;
    let network = Network::new().await;
    shares_evenly(Fleet::start_as(&network, Plan::serve("front"), Some(dht.join())).await).await;
}

async fn shares_evenly(fleet: Fleet) {
    let answers = fleet.at_once(300).await;
    println!("measured: 300 concurrent requests: {answers:?}");
    for name in NAMES {
        assert!((95..=105).contains(&answers[name]), "not 100 ± 5 each: {answers:?}");
    }
}
