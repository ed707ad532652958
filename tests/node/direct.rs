//! Tunnels over direct connections between two members, and what strangers meet at the same port.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use libp2p::{Multiaddr, multiaddr::Protocol};
use p2p_fed::{
    direct::{Direct, Pool},
    ledger::NodeId,
    net::{Config, KNOCK, Net},
    tunnel::{self, Class, Header, Refusal, TraceId, TunnelStream},
    worker::{self, Export, Worker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    network::{Member, quiet, token},
    soon,
};

/// Bytes of a knock.
const KNOCK_LENGTH: usize = 41;

/// A front's pool and a worker with an echo.
struct Pair {
    front: Member,
    pool: Pool,
    worker: NodeId,
    worker_net: Net,
    port: SocketAddr,
    exposed: Worker,
    /// Keeps the worker in the network.
    network: Option<DropGuard>,
    _serving: JoinHandle<()>,
    _stop: DropGuard,
}

impl Pair {
    async fn new() -> Self {
        Self::with(|worker| worker, |peers| peers).await
    }

    /// `worker` may change how the worker joins, `dial` which of its addresses the front is given.
    async fn with(worker: impl FnOnce(Config) -> Config, dial: impl FnOnce(Vec<Multiaddr>) -> Vec<Multiaddr>) -> Self {
        let token = token();
        let mut export = Export::new("echo", format!("tcp://{}", echo().await).parse().unwrap());
        export.health = "off".parse().unwrap();
        let config = worker::Config { exports: vec![export], ..worker::Config::default() };
        let exposed = Worker::spawn(config, CancellationToken::new()).unwrap();
        let member = Member::join(&token, worker(quiet(vec![]))).await;
        let (id, addresses, worker_net) = (member.id, member.addresses(), member.net.clone());
        let port = addresses.iter().find_map(socket_of).unwrap_or(([127, 0, 0, 1], 1).into());
        let stop = CancellationToken::new();
        let direct = Direct::new(member.net.clone(), stop.clone()).unwrap();
        let Member { arrivals, stop: network, task, .. } = member;
        let serving = {
            let (exposed, stop) = (exposed.clone(), stop.clone());
            tokio::spawn(async move {
                let _task = task;
                let serve = move |line, from| {
                    let exposed = exposed.clone();
                    async move { drop(exposed.serve(line, from).await) }
                };
                direct.serve(arrivals.knocks, arrivals.directs, serve, stop).await.unwrap();
            })
        };
        let front = Member::join(&token, quiet(dial(addresses))).await;
        front.meets(id).await;
        let direct = Direct::new(front.net.clone(), stop.clone()).unwrap();
        tokio::spawn(direct.keep());
        let pool = direct.pool().clone();
        Self {
            front,
            pool,
            worker: id,
            worker_net,
            port,
            exposed,
            network: Some(network),
            _serving: serving,
            _stop: stop.drop_guard(),
        }
    }

    async fn open(&self, service: &str) -> Result<TunnelStream, tunnel::OpenError> {
        let lent = soon("a line", self.pool.line(self.worker)).await.expect("a direct connection");
        let header = Header { service: service.to_owned(), class: Class::Tcp, trace: TraceId::random(), client: None };
        tunnel::open(lent.line, &header).await.map(|(stream, _)| stream)
    }

    async fn echoes(&self, message: &[u8]) {
        let mut tunnel = self.open("echo").await.unwrap();
        tunnel.write_all(message).await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut heard = Vec::new();
        soon("the echo", tunnel.read_to_end(&mut heard)).await.unwrap();
        assert!(heard == message);
    }

    /// Returns when the worker serves `count` tunnels.
    async fn serves(&self, count: usize) {
        soon("tunnels to begin or end", async {
            while self.exposed.in_flight() != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Sends back what it gets, after all of it came.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await.is_ok() && write.shutdown().await.is_ok()
            });
        }
    });
    address
}

fn socket_of(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Tcp(port)) => Some((ip, port).into()),
        _ => None,
    }
}

fn over(transport: &str) -> impl FnOnce(Vec<Multiaddr>) -> Vec<Multiaddr> {
    move |addresses| addresses.into_iter().filter(|address| address.to_string().contains(transport)).collect()
}

#[tokio::test]
async fn one_tunnel_after_another_goes_over_the_same_connection() {
    let pair = Pair::new().await;
    for length in [1, 70_000, 2_000_000] {
        pair.echoes(&vec![7; length]).await;
    }
    for _ in 0..20 {
        pair.echoes(b"again").await;
    }
    assert!(pair.pool.is_direct(pair.worker));
    let made = pair.pool.made_total();
    assert!((1..=2).contains(&made), "one, and one to spare: {made}");
}

#[tokio::test]
async fn a_worker_that_libp2p_reaches_over_quic_is_reached_directly_at_the_address_it_tells() {
    let pair = Pair::with(|worker| worker, over("quic")).await;
    pair.echoes(b"hello").await;
}

#[tokio::test]
async fn a_burst_loses_no_tunnel() {
    let pair = Pair::new().await;
    join_all((0..500).map(|number: u32| {
        let pair = &pair;
        async move { pair.echoes(&number.to_be_bytes()).await }
    }))
    .await;
    pair.serves(0).await;
}

#[tokio::test]
async fn a_reset_is_no_clean_end_and_the_connection_carries_the_next_tunnel() {
    let pair = Pair::new().await;
    for _ in 0..10 {
        let mut tunnel = pair.open("echo").await.unwrap();
        tunnel.write_all(b"half a").await.unwrap();
        tunnel.flush().await.unwrap();
        let mut half = [0; 6];
        soon("the echo", tunnel.read_exact(&mut half)).await.unwrap();
        drop(tunnel);
        pair.serves(0).await;
    }
    pair.echoes(b"whole").await;
    assert!(pair.pool.made_total() <= 3, "{}", pair.pool.made_total());
}

#[tokio::test]
async fn a_reset_of_the_worker_reaches_the_front() {
    let pair = Pair::new().await;
    let mut tunnel = pair.open("echo").await.unwrap();
    tunnel.write_all(b"x").await.unwrap();
    tunnel.flush().await.unwrap();
    tunnel.read_exact(&mut [0]).await.unwrap();
    pair.exposed.shutdown().await;
    let error = soon("the reset", tunnel.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_is_not_exposed_is_refused_and_the_connection_goes_on() {
    let pair = Pair::new().await;
    for _ in 0..20 {
        let refused = pair.open("ssh").await;
        assert!(matches!(refused, Err(tunnel::OpenError::Refused(Refusal::NoSuchService))), "{refused:?}");
    }
    pair.echoes(b"hello").await;
    // One is still being given back when the next is wanted.
    assert!(pair.pool.made_total() <= 5, "{}", pair.pool.made_total());
}

#[tokio::test]
async fn a_worker_without_a_tcp_port_is_left_to_libp2p() {
    let quic = |worker: Config| Config { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()], ..worker };
    let pair = Pair::with(quic, |peers| peers).await;
    assert!(soon("an answer", pair.pool.line(pair.worker)).await.is_none());
    assert!(!pair.pool.is_direct(pair.worker));
}

#[tokio::test]
async fn a_way_that_swallows_direct_connections_is_left_to_libp2p_and_tried_again() {
    let path = OnPath::new().await;
    path.swallows(true);
    let pair = Pair::with(|worker| worker, |peers| path.instead_of(peers)).await;
    assert!(soon("an answer", pair.pool.line(pair.worker)).await.is_none());
    path.swallows(false);
    let mut look = tokio::time::interval(Duration::from_millis(50));
    soon("the next try", async {
        while pair.pool.line(pair.worker).await.is_none() {
            look.tick().await;
        }
    })
    .await;
    pair.echoes(b"now directly").await;
}

/// What a connection to `port` that says `bytes` gets.
async fn answer_to(port: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(port).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    // A reset is as silent as an end.
    let _ = soon("the door to close", socket.read_to_end(&mut heard)).await;
    heard
}

#[tokio::test]
async fn a_stranger_that_knocks_gets_no_byte() {
    let pair = Pair::new().await;
    pair.echoes(b"the door works").await;
    for knock in [vec![KNOCK; KNOCK_LENGTH], [&[KNOCK][..], &[0; 200]].concat(), vec![KNOCK; 4000]] {
        assert_eq!(answer_to(pair.port, &knock).await, b"");
    }
    // One that begins a knock and goes away, and one that waits.
    let mut slow = TcpStream::connect(pair.port).await.unwrap();
    slow.write_all(&[KNOCK, 1, 2]).await.unwrap();
    assert_eq!(soon("the end of patience", slow.read(&mut [0])).await.unwrap_or(0), 0);
    pair.echoes(b"and still does").await;
}

#[tokio::test]
async fn a_knock_that_was_overheard_opens_nothing() {
    let path = OnPath::new().await;
    let pair = Pair::with(|worker| worker, |peers| path.instead_of(peers)).await;
    pair.echoes(b"hello").await;
    let said = soon("a knock", path.overheard.lock().await.recv()).await.unwrap();
    assert!(said.len() > KNOCK_LENGTH, "the handshake follows in the same flight");
    assert_eq!(answer_to(pair.port, &said).await, b"");
    // With a number that was not used yet it would need the secret.
    let mut guessed = said;
    guessed[24] ^= 0x40;
    assert_eq!(answer_to(pair.port, &guessed).await, b"");
}

#[tokio::test]
async fn a_worker_that_is_gone_for_good_loses_its_connections() {
    let mut pair = Pair::new().await;
    let mut tunnel = pair.open("echo").await.unwrap();
    // As if it were frozen: libp2p loses it, and its kernel goes on as if nothing were.
    drop(pair.network.take());
    pair.front.loses(pair.worker).await;
    let error = soon("the cut", tunnel.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_front_that_is_barred_loses_its_direct_connections_and_its_ticket_opens_no_other() {
    let pair = Pair::new().await;
    let mut tunnel = pair.open("echo").await.unwrap();
    pair.worker_net.bar(pair.front.id, Duration::from_secs(600), "flood").await;
    let error = soon("the cut", tunnel.read(&mut [0])).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset), "{error}");
    pair.serves(0).await;
    // What rested is closed, and a knock with the ticket that the front still holds is not answered.
    soon("the end of what rested", async {
        while let Some(lent) = pair.pool.line(pair.worker).await {
            let header =
                Header { service: "echo".to_owned(), class: Class::Tcp, trace: TraceId::random(), client: None };
            assert!(tunnel::open(lent.line, &header).await.is_err());
        }
    })
    .await;
}

/// Somebody on the path: passes on what it gets, hears the first flight of direct connections, and may swallow them.
struct OnPath {
    listener: Arc<TcpListener>,
    is_swallowing: Arc<AtomicBool>,
    overheard: Mutex<mpsc::Receiver<Vec<u8>>>,
    heard: mpsc::Sender<Vec<u8>>,
}

impl OnPath {
    async fn new() -> Self {
        let (heard, overheard) = mpsc::channel(64);
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        Self { listener, is_swallowing: Arc::default(), overheard: Mutex::new(overheard), heard }
    }

    fn swallows(&self, is_swallowing: bool) {
        self.is_swallowing.store(is_swallowing, Ordering::Relaxed);
    }

    /// Stands between the front and the first of `peers` that is TCP.
    fn instead_of(&self, peers: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let to = peers.iter().find_map(socket_of).unwrap();
        let (listener, heard, is_swallowing) = (self.listener.clone(), self.heard.clone(), self.is_swallowing.clone());
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (heard, is_swallowing) = (heard.clone(), is_swallowing.clone());
                tokio::spawn(async move {
                    let mut first = vec![0; 4096];
                    let read = from.read(&mut first).await?;
                    first.truncate(read);
                    let is_knock = first.first() == Some(&KNOCK);
                    if is_knock && is_swallowing.load(Ordering::Relaxed) {
                        return std::future::pending().await;
                    }
                    if is_knock {
                        let _ = heard.try_send(first.clone());
                    }
                    let mut to = TcpStream::connect(to).await?;
                    to.write_all(&first).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        vec![format!("/ip4/127.0.0.1/tcp/{}", self.listener.local_addr().unwrap().port()).parse().unwrap()]
    }
}
