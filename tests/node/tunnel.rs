//! Tunnels over real libp2p streams: what holds in memory must hold on each carrier.

use std::io::ErrorKind;

use p2p_fed::{
    ledger::NodeId,
    net::{TUNNEL, Transport, node_of, peer_of},
    tunnel::{self, Class, Header, OpenError, Refusal, TraceId, TunnelStream},
    worker::{self, Export, Worker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken};

use crate::{
    network::{Member, only, token},
    soon,
};

/// A front and a worker, connected by one transport alone.
struct Pair {
    front: Member,
    worker: NodeId,
    backend: TcpListener,
    _worker: tokio::task::JoinHandle<()>,
}

impl Pair {
    async fn over(transport: Transport) -> Self {
        let token = token();
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("tcp://{}", backend.local_addr().unwrap()).parse().unwrap();
        let mut export = Export::new("echo", target);
        export.health = "off".parse().unwrap();
        let config = worker::Config { exports: vec![export], ..worker::Config::default() };
        let exposed = Worker::spawn(config, CancellationToken::new()).unwrap();
        let member = Member::join(&token, only(transport, vec![])).await;
        let front = Member::join(&token, only(transport, member.addresses())).await;
        front.meets(member.id).await;
        let worker = member.id;
        let serving = tokio::spawn(async move {
            // All of it, or the part left behind would stop the node.
            let mut member = member;
            while let Some(inbound) = member.arrivals.tunnels.recv().await {
                let (exposed, from) = (exposed.clone(), node_of(&inbound.peer).unwrap());
                tokio::spawn(async move { exposed.serve(inbound.stream.compat(), from).await });
            }
        });
        Self { front, worker, backend, _worker: serving }
    }

    async fn open(&self, service: &str) -> Result<TunnelStream, OpenError> {
        let peer = peer_of(&self.worker).unwrap();
        let stream = self.front.net.streams().open(peer, TUNNEL).await.unwrap();
        let header = Header { service: service.to_owned(), class: Class::Tcp, trace: TraceId::random(), client: None };
        tunnel::open(stream.compat(), &header).await.map(|(stream, _)| stream)
    }
}

async fn half_close_reaches_the_backend_and_its_reply_comes_back(transport: Transport) {
    let pair = Pair::over(transport).await;
    let mut tunnel = pair.open("echo").await.unwrap();
    let (mut backend, _) = pair.backend.accept().await.unwrap();
    tunnel.write_all(b"question").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut heard = Vec::new();
    soon("the end of the question", backend.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"question");
    backend.write_all(&vec![7; 300_000]).await.unwrap();
    backend.shutdown().await.unwrap();
    let mut reply = Vec::new();
    soon("the reply", tunnel.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(reply, vec![7; 300_000]);
}

async fn a_reset_is_no_clean_end(transport: Transport) {
    let pair = Pair::over(transport).await;

    let mut tunnel = pair.open("echo").await.unwrap();
    let (backend, _) = pair.backend.accept().await.unwrap();
    backend.set_zero_linger().unwrap();
    drop(backend);
    let mut bytes = Vec::new();
    let error = soon("the backend's reset", tunnel.read_to_end(&mut bytes)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let mut tunnel = pair.open("echo").await.unwrap();
    let (mut backend, _) = pair.backend.accept().await.unwrap();
    tunnel.write_all(b"half a").await.unwrap();
    tunnel.flush().await.unwrap();
    drop(tunnel);
    let error = soon("the client's reset", backend.read_to_end(&mut bytes)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// yamux says nothing when a stream is dropped that was half-closed before; the backend was left writing for ever.
async fn who_goes_after_its_half_close_is_gone(transport: Transport) {
    let pair = Pair::over(transport).await;
    let mut tunnel = pair.open("echo").await.unwrap();
    let (mut backend, _) = pair.backend.accept().await.unwrap();
    tunnel.write_all(b"question").await.unwrap();
    tunnel.shutdown().await.unwrap();
    soon("the end of the question", backend.read_to_end(&mut Vec::new())).await.unwrap();
    drop(tunnel);
    soon("the backend to hear of it", async { while backend.write_all(&[7; 65_536]).await.is_ok() {} }).await;
}

#[tokio::test]
async fn half_close_over_tcp() {
    half_close_reaches_the_backend_and_its_reply_comes_back(Transport::Tcp).await;
}

#[tokio::test]
async fn half_close_over_quic() {
    half_close_reaches_the_backend_and_its_reply_comes_back(Transport::Quic).await;
}

#[tokio::test]
async fn half_close_over_websocket() {
    half_close_reaches_the_backend_and_its_reply_comes_back(Transport::WebSocket).await;
}

#[tokio::test]
async fn reset_over_tcp() {
    a_reset_is_no_clean_end(Transport::Tcp).await;
}

#[tokio::test]
async fn reset_over_quic() {
    a_reset_is_no_clean_end(Transport::Quic).await;
}

#[tokio::test]
async fn reset_over_websocket() {
    a_reset_is_no_clean_end(Transport::WebSocket).await;
}

#[tokio::test]
async fn gone_after_half_close_over_tcp() {
    who_goes_after_its_half_close_is_gone(Transport::Tcp).await;
}

#[tokio::test]
async fn gone_after_half_close_over_quic() {
    who_goes_after_its_half_close_is_gone(Transport::Quic).await;
}

#[tokio::test]
async fn gone_after_half_close_over_websocket() {
    who_goes_after_its_half_close_is_gone(Transport::WebSocket).await;
}

#[tokio::test]
async fn what_is_not_exposed_is_refused() {
    let pair = Pair::over(Transport::Tcp).await;
    let refused = pair.open("ssh").await;
    assert!(matches!(refused, Err(OpenError::Refused(Refusal::NoSuchService))), "{refused:?}");
}
