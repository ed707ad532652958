//! Four processes with one token find each other, by each way alone, and share the work.

use std::{collections::BTreeMap, net::SocketAddr};

use futures::future::join_all;

use crate::{
    client,
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
    let answers = at_once(fleet.address, 300).await;
    println!("measured: 300 concurrent requests: {answers:?}");
    for name in NAMES {
        assert!((95..=105).contains(&answers[name]), "not 100 ± 5 each: {answers:?}");
    }
    let counted: BTreeMap<_, _> =
        fleet.front.workers("federated").await.into_iter().map(|worker| (worker.name, worker.requests_total)).collect();
    assert_eq!(counted, answers, "the front's own count differs");
}

/// Who answered `count` requests that were sent together.
pub async fn at_once(front: SocketAddr, count: usize) -> BTreeMap<String, u64> {
    let answers = join_all((0..count).map(|_| client::who(front))).await;
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer.unwrap()).or_default() += 1;
    }
    tally
}
