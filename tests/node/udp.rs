//! Datagrams from clients of a front to the backends of workers, and back.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use p2p_fed::{
    balance::{self, Balancer, Connected},
    front::{self, End, Front, Mode},
    ledger::{Entry, NetworkId, NodeId, Protocol, Record, Service, Statement, View},
    tunnel::{Class, Dial, DialError, Early, Header, MAX_DATAGRAM, Refusal, TraceId, Tunnel},
    worker::{self, Export, Worker},
};
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const SERVICE: &str = "dns";

fn node(id: u8) -> NodeId {
    NodeId::from_bytes([id; 32])
}

/// Workers without a network between them and the front.
struct Workers(BTreeMap<NodeId, Worker>);

impl Dial for Workers {
    fn dial<'a>(&'a self, node: NodeId, header: Header, _: &'a Early) -> BoxFuture<'a, Result<Tunnel, DialError>> {
        Box::pin(async move {
            match self.0.get(&node) {
                Some(worker) => worker.dial_local(node, header).await,
                None => Err(DialError::Refused { node, reason: Refusal::NoSuchService }),
            }
        })
    }
}

/// A worker whose backend answers each datagram with its own name before it.
async fn worker(name: &'static str) -> (Worker, JoinHandle<()>) {
    let backend = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("udp://{}", backend.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let mut room = vec![0; MAX_DATAGRAM];
        while let Ok((length, client)) = backend.recv_from(&mut room).await {
            let answer = [name.as_bytes(), &room[..length]].concat();
            let _ = backend.send_to(&answer[..answer.len().min(MAX_DATAGRAM)], client).await;
        }
    });
    let exports = vec![Export::new(SERVICE, target.parse().unwrap())];
    let config = worker::Config { exports, ..worker::Config::default() };
    (Worker::spawn(config, CancellationToken::new()).unwrap(), answering)
}

struct Lab {
    front: Front,
    running: JoinHandle<End>,
    workers: BTreeMap<NodeId, Worker>,
    _backends: Vec<JoinHandle<()>>,
}

impl Lab {
    async fn new(names: &[&'static str], change: impl FnOnce(&mut front::Config)) -> Self {
        let (mut workers, mut backends, mut nodes) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (id, name) in (1..).zip(names) {
            let (worker, backend) = worker(name).await;
            let statement = Statement {
                name: (*name).into(),
                services: vec![Service::new(SERVICE, Protocol::Udp)],
                ..Statement::default()
            };
            let record = Record {
                network: NetworkId([0; 16]),
                generation: 0,
                owner: node(id),
                seq: 1,
                issued_ms: 0,
                ttl: Duration::from_secs(60),
                statement,
                credential: None,
            };
            nodes.insert(node(id), Entry { record: Arc::new(record), fresh: true, quarantined: false, legacy: false });
            workers.insert(node(id), worker);
            backends.push(backend);
        }
        let mut config = front::Config::new(SERVICE, ([127, 0, 0, 1], 0).into());
        config.mode = Mode::Udp;
        change(&mut config);
        let balancer = Balancer::new(balance::Config::new(SERVICE), 7);
        let (front, listener) = Front::bind(config, Arc::new(Workers(workers.clone())), balancer).unwrap();
        let connected: Connected = nodes.keys().map(|node| (*node, 0)).collect();
        front.reconcile(&View { revision: 1, nodes }, &connected);
        let running = tokio::spawn(listener.run());
        Self { front, running, workers, _backends: backends }
    }

    async fn client(&self) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.front.address()).await.unwrap();
        Client(socket)
    }
}

struct Client(UdpSocket);

impl Client {
    async fn ask(&self, question: &[u8]) -> Vec<u8> {
        self.0.send(question).await.unwrap();
        self.hear().await
    }

    async fn hear(&self) -> Vec<u8> {
        let mut room = vec![0; MAX_DATAGRAM];
        let length = timeout(PATIENCE, self.0.recv(&mut room)).await.expect("an answer").unwrap();
        room.truncate(length);
        room
    }
}

/// Returns once the front has that many sessions.
async fn sessions(front: &Front, count: usize) {
    let settled = async {
        while front.counters().in_flight != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("so many sessions");
}

#[tokio::test]
async fn datagrams_keep_their_boundaries_and_find_their_way_back() {
    let lab = Lab::new(&["a"], |_| {}).await;
    let client = lab.client().await;
    assert_eq!(client.ask(b"one").await, b"aone");
    assert_eq!(client.ask(b"").await, b"a", "an empty one is one");
    let large = vec![7; MAX_DATAGRAM - 1];
    assert_eq!(client.ask(&large).await, [b"a", &large[..]].concat());
    for text in [&b"x"[..], b"yy", b"zzz"] {
        client.0.send(text).await.unwrap();
    }
    let mut heard = [client.hear().await, client.hear().await, client.hear().await];
    heard.sort();
    assert_eq!(heard, [b"ax".to_vec(), b"ayy".to_vec(), b"azzz".to_vec()]);
    assert_eq!(lab.front.counters().requests_total, 1, "one session");
}

#[tokio::test]
async fn each_client_has_a_session_and_workers_share_them() {
    let lab = Lab::new(&["a", "b"], |_| {}).await;
    let mut answered = BTreeMap::<Vec<u8>, u32>::new();
    let mut clients = Vec::new();
    for number in 0..40u8 {
        let client = lab.client().await;
        let answer = client.ask(&[number]).await;
        assert_eq!(answer.last(), Some(&number), "nobody gets another one's answer");
        *answered.entry(answer[..1].to_vec()).or_default() += 1;
        clients.push(client);
    }
    assert_eq!(answered.into_values().collect::<Vec<_>>(), [20, 20]);
    assert_eq!(lab.front.counters().in_flight, 40);
    assert!(lab.workers.values().all(|worker| worker.in_flight() == 20));
}

#[tokio::test]
async fn more_clients_than_may_be_are_not_served_and_idle_ones_make_room() {
    let lab = Lab::new(&["a"], |config| {
        config.max_connections = 2;
        config.udp_idle_timeout = Duration::from_millis(300);
    })
    .await;
    let clients = [lab.client().await, lab.client().await, lab.client().await];
    assert_eq!(clients[0].ask(b"0").await, b"a0");
    assert_eq!(clients[1].ask(b"1").await, b"a1");
    clients[2].0.send(b"2").await.unwrap();
    // Received behind it: once it is answered the third client's was looked at.
    assert_eq!(clients[1].ask(b"1").await, b"a1");
    assert_eq!(lab.front.counters().requests_total, 2);
    sessions(&lab.front, 0).await;
    assert_eq!(clients[2].ask(b"again").await, b"aagain", "there is room at once");
    let newest = lab.front.journal(1).pop().unwrap();
    assert_eq!((newest.what.as_str(), newest.outcome.as_str()), ("udp", "idle"));
}

#[tokio::test]
async fn the_next_datagram_goes_to_another_worker_when_one_is_gone() {
    let lab = Lab::new(&["a", "b"], |_| {}).await;
    let client = lab.client().await;
    let first = client.ask(b"").await;
    let (gone, left) = if first == b"a" { (node(1), b"b") } else { (node(2), b"a") };
    lab.workers[&gone].shutdown().await;
    sessions(&lab.front, 0).await;
    assert_eq!(client.ask(b"").await, left);
}

#[tokio::test]
async fn a_drain_ends_sessions_in_order() {
    let lab = Lab::new(&["a"], |_| {}).await;
    let client = lab.client().await;
    client.ask(b"").await;
    assert_eq!(timeout(PATIENCE, lab.front.drain(PATIENCE)).await.unwrap(), End::Drained);
    assert_eq!(lab.running.await.unwrap(), End::Drained);
}

#[tokio::test]
async fn bytes_and_datagrams_do_not_mix() {
    let (worker, _backend) = worker("a").await;
    for class in [Class::Tcp, Class::Http, Class::Http2] {
        let client: Option<SocketAddr> = None;
        let header = Header { service: SERVICE.into(), class, trace: TraceId::random(), client };
        let refused = worker.dial_local(node(1), header).await.unwrap_err();
        assert!(matches!(refused, DialError::Refused { reason: Refusal::WrongProtocol, .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_ends_the_session_and_nothing_else() {
    let lab = Lab::new(&["a"], |_| {}).await;
    lab._backends[0].abort();
    let client = lab.client().await;
    client.0.send(b"into the void").await.unwrap();
    let ended = async {
        while lab.front.journal(1).is_empty() {
            let _ = client.0.send(b"again").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the session ends");
    assert!(!lab.running.is_finished());
}
