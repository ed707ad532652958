//! Ten nodes on one host.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use rustix::process::Signal;

use crate::{
    backend::Backend,
    host::Host,
    machine,
    network::Network,
    node::{Join, Node, Plan},
    until,
};

const NODES: usize = 10;

#[tokio::test]
async fn ten_nodes_agree_within_five_seconds_and_hear_of_a_new_service_within_one() {
    let _machine = machine::alone().await;
    let network = Network::new().await;
    let backend = Backend::start("hyper").await;
    let host = Arc::new(Host::new());
    let target = backend.address;
    let exports = |names: &[&str]| {
        let exports: Vec<_> = names.iter().map(|name| format!("{{name: {name}, target: '{target}'}}")).collect();
        format!("exports: [{}]\n", exports.join(", "))
    };
    let config = host.write("config.yaml", &exports(&["first"]));
    let plan = |number: usize| {
        let name = format!("n{number}");
        let plan = match number {
            0 => Plan::run(&name, config.display()),
            _ => Plan::expose(&name, format_args!("first={target}")),
        };
        network.start_on(&host, plan.join(Join::Mdns))
    };
    let nodes = join_all((0..NODES).map(plan)).await;

    let ready = Instant::now();
    until("ten equal ledgers", async || {
        let ledgers = join_all(nodes.iter().map(records)).await;
        let is_whole = ledgers[0].len() == NODES && ledgers[0].iter().all(|(.., services)| services == "first");
        (is_whole && ledgers.iter().all(|ledger| *ledger == ledgers[0])).then_some(())
    })
    .await;
    let agreed = ready.elapsed();

    host.write("config.yaml", &exports(&["first", "second"]));
    nodes[0].process.signal(Signal::HUP);
    let changed = Instant::now();
    until("the new service everywhere", async || {
        let seen = join_all(nodes.iter().map(|node| node.workers("second"))).await;
        seen.iter().all(|workers| !workers.is_empty()).then_some(())
    })
    .await;
    let heard = changed.elapsed();

    println!(
        "measured: ten nodes agreed {agreed:.2?} after the last was ready; a new service was everywhere after {heard:.2?}"
    );
    assert!(agreed <= Duration::from_secs(5), "ten nodes took {agreed:?} to agree");
    assert!(heard <= Duration::from_secs(1), "a new service took {heard:?} to all");
}

/// What a node holds: whose record, its number and what it offers.
async fn records(node: &Node) -> BTreeSet<(String, u64, String)> {
    let records = node.ledger().await.records;
    records.into_iter().map(|record| (record.node, record.seq, record.services.join(","))).collect()
}
