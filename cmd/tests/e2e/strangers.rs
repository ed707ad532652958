//! Who holds another token learns nothing and disturbs nobody.

use crate::{
    backend::Backend,
    client, machine,
    network::Network,
    node::{Join, Node, Plan},
    until,
};

/// Names that a stranger must not come to know.
const SERVICE: &str = "secretservice";
const WORKER: &str = "secretworker";

#[tokio::test]
async fn a_wrong_token_teaches_a_stranger_nothing() {
    let _machine = machine::shared().await;
    let (network, other) = (Network::new().await, Network::new().await);
    let backend = Backend::start("secret").await;
    let front = network.start(Plan::serve("front").arg(format_args!("{SERVICE}@127.0.0.1:0"))).await;
    let worker = Plan::expose(WORKER, format_args!("{SERVICE}={}", backend.address)).join(front.peer());
    let worker = network.start(worker).await;
    until("the front to know the service", async || (!front.workers(SERVICE).await.is_empty()).then_some(())).await;

    let addresses = [&front, &worker].map(|node| node.addresses()[0].clone());
    let stranger = Plan::serve("stranger").join(Join::Peers(addresses.to_vec())).arg("--log-level=trace");
    let stranger = other.start(stranger).await;
    // It has been to both, and was told in one line why not.
    for address in &addresses {
        let complaint = "bootstrap peer not reached";
        let tried = async || {
            let stderr = stranger.process.stderr();
            stderr.lines().find(|line| line.contains(complaint) && line.contains(address)).map(str::to_owned)
        };
        let line = until(&format!("the stranger to be turned away at {address}"), tried).await;
        assert!(line.contains("the peer does not hold this network's token"), "{line}");
    }

    knows_nothing(&stranger, &[&front, &worker]).await;
    // Nor do they take it for one of them.
    for node in [&front, &worker] {
        let status = node.status().await;
        assert_eq!(status.peers.len(), 1, "{:?}", status.peers);
        assert_eq!(node.ledger().await.records.len(), 2);
    }
    let service = front.status().await.fronts.into_iter().find(|front| front.service == SERVICE).unwrap();
    assert_eq!(client::who(service.listen.parse().unwrap()).await.unwrap(), "secret");
}

async fn knows_nothing(stranger: &Node, members: &[&Node]) {
    let status = stranger.status().await;
    assert!(status.peers.is_empty(), "{:?}", status.peers);
    // The one that it would balance itself.
    assert!(status.services.iter().all(|service| service.workers.is_empty()), "{:?}", status.services);
    let records = stranger.ledger().await.records;
    assert!(records.iter().all(|record| record.node == status.node.id), "{records:?}");
    let heard = stranger.process.stderr() + &stranger.process.stdout();
    for secret in [SERVICE, WORKER] {
        assert!(!heard.contains(secret), "the stranger heard of {secret}");
    }
    for member in members {
        let log = member.process.stderr();
        assert!(!log.contains("stranger"), "{} took notice of the stranger's name", member.name);
    }
}
