//! Where nothing but the web gets through: WebSocket over TLS, by way of nginx.

use std::sync::Arc;

use crate::{
    backend::Backend, client, host::Host, machine, network::Network, nginx::Nginx, node::Join, node::Plan, tls::certify,
};

#[tokio::test]
async fn a_front_that_may_use_the_web_alone_reaches_a_worker_behind_nginx() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let backend = Backend::start("hyper").await;
    let plan = Plan::expose("w", backend.address).arg("--listen-addr").arg("/ip4/127.0.0.1/tcp/0/ws");
    let worker = network.start(plan).await;
    let by_web = worker.addresses().iter().find(|address| address.contains("/ws")).unwrap();
    let port = by_web.split('/').nth(4).unwrap();
    let id = by_web.rsplit('/').next().unwrap();

    let host = Arc::new(Host::new());
    let (certificate, key) = certify(&host, "web").await;
    let (_nginx, address) = Nginx::before(format!("127.0.0.1:{port}").parse().unwrap(), &certificate, &key).await;
    let by_nginx = format!("/dns4/localhost/tcp/{}/tls/ws/p2p/{id}", address.port());
    let plan = Plan::serve("front").by_web().arg("--ws-ca").arg(&certificate);
    let front = network.start_on(&host, plan.join(Join::Peers(vec![by_nginx]))).await;
    front.has_available("w").await;
    let address = front.front().await;
    for _ in 0..20 {
        assert_eq!(client::who(address).await.unwrap(), "hyper");
    }
    let peer = front.status().await.peers.remove(0);
    assert_eq!((peer.transport.as_str(), peer.path.as_str()), ("ws", "direct"));
    assert!(peer.address.contains("/tls/ws"), "{}", peer.address);
}
