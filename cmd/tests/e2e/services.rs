//! Which worker, and which of its services: neither is ever mistaken.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use hyper::StatusCode;

use crate::{backend::Backend, client, host::Host, machine, network::Network, node::Plan, until};

#[tokio::test]
async fn a_front_shares_between_its_own_service_and_those_of_others() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let (own, other) = (Backend::start("own").await, Backend::start("other").await);
    let host = Arc::new(Host::new());
    let text = format!("exports: [{{target: '{}'}}]\nfronts: [{{listen: 127.0.0.1:0}}]\n", own.address);
    let config = host.write("config.yaml", &text);
    let both = network.start_on(&host, Plan::run("both", config.display())).await;
    both.has_ready(&["both"]).await;
    let _other = network.start(Plan::expose("other", other.address).join(both.peer())).await;
    both.has_ready(&["both", "other"]).await;

    let mut answers = BTreeMap::new();
    for _ in 0..20 {
        *answers.entry(client::who(both.front().await).await.unwrap()).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([("other".to_owned(), 10), ("own".to_owned(), 10)]));
}

#[tokio::test]
async fn two_services_of_one_worker_are_kept_apart() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let (left, right) = (Backend::start("left").await, Backend::start("right").await);
    let fronts = Plan::serve("front").arg("left@127.0.0.1:0").arg("right@127.0.0.1:0");
    let front = network.start(fronts).await;
    let worker = Plan::expose("w", format_args!("left={}", left.address)).arg(format_args!("right={}", right.address));
    let _worker = network.start(worker.join(front.peer())).await;
    for service in ["left", "right"] {
        until(service, async || (front.workers(service).await.len() == 1).then_some(())).await;
    }
    let fronts = front.status().await.fronts;
    let listener = |service: &str| -> SocketAddr {
        fronts.iter().find(|front| front.service == service).unwrap().listen.parse().unwrap()
    };
    for service in ["left", "right"].repeat(10) {
        assert_eq!(client::who(listener(service)).await.unwrap(), service);
    }
}

#[tokio::test]
async fn a_pinned_front_uses_that_worker_or_none() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let (one, other) = (Backend::start("one").await, Backend::start("other").await);
    let front = network.start(Plan::serve("front").arg("--worker=w1")).await;
    let pinned = network.start(Plan::expose("w1", one.address).join(front.peer())).await;
    let _other = network.start(Plan::expose("w2", other.address).join(front.peer())).await;
    front.has_ready(&["w1"]).await;
    until("both workers to be known", async || (front.workers("federated").await.len() == 2).then_some(())).await;
    let address = front.front().await;
    for _ in 0..10 {
        assert_eq!(client::who(address).await.unwrap(), "one");
    }
    pinned.terminate().await;
    assert_eq!(client::get(address, "/who").await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}
