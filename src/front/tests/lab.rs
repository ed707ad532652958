//! A front, workers at the other end of [`Dial`], backends, and clients.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    balance::{self, Balancer, Connected, EndpointStatus, Pin},
    front::{Config, End, Front, Mode},
    ledger::{Entry, Model, NetworkId, NodeId, Protocol, Record, Service, Statement, View},
    tunnel::{Class, Dial, DialError, Early, Header, Load, Refusal, Tunnel, TunnelStream, abort, splice},
};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(in crate::front) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

pub(in crate::front) fn node(id: u8) -> NodeId {
    NodeId::from_bytes([id; 32])
}

/// How a worker takes tunnels.
#[derive(Clone)]
pub(in crate::front) enum Worker {
    /// Like a real one: connects to the backend and splices.
    Backend(SocketAddr),
    /// Answers with a refusal.
    Refuses(Refusal),
    /// There is no path to it.
    Unreachable,
    /// Never answers.
    Hangs,
    /// Accepts, and does this with its end of the tunnel.
    Does(Arc<dyn Fn(TunnelStream) -> BoxFuture<'static, ()> + Send + Sync>),
}

impl Worker {
    pub(in crate::front) fn does<F: Future<Output = ()> + Send + 'static>(
        act: impl Fn(TunnelStream) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::Does(Arc::new(move |tunnel| act(tunnel).boxed()))
    }
}

/// The way to all workers.
#[derive(Default)]
pub(in crate::front) struct Paths {
    workers: Mutex<BTreeMap<NodeId, (Worker, CancellationToken)>>,
    dials: Mutex<BTreeMap<NodeId, usize>>,
    pub(in crate::front) headers: Mutex<Vec<Header>>,
    /// Subscriptions that were asked for.
    pub(in crate::front) subscriptions: AtomicUsize,
    /// What each worker that gives reports says now. The others know nothing of reports.
    pub(in crate::front) reports: Mutex<BTreeMap<NodeId, watch::Sender<Load>>>,
}

impl Paths {
    /// A tunnel for reports, to a worker that gives some.
    fn subscribe(&self, node: NodeId) -> Result<Tunnel, DialError> {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        let sent = self.reports.lock().unwrap();
        let reports = sent.get(&node).ok_or(DialError::Refused { node, reason: Refusal::Malformed })?;
        let (near, mut far) = TunnelStream::pair();
        let mut reports = reports.subscribe();
        let first = *reports.borrow_and_update();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = reports.changed() => if changed.is_err() {
                        return far.shutdown().await;
                    },
                    // The front has enough of it.
                    _ = far.read_u8() => return Ok(()),
                }
                let load = *reports.borrow_and_update();
                far.report(load);
                far.flush().await?;
            }
        });
        Ok(Tunnel { stream: near, load: first })
    }
}

impl Dial for Paths {
    fn dial<'a>(&'a self, node: NodeId, header: Header, _: &'a Early) -> BoxFuture<'a, Result<Tunnel, DialError>> {
        async move {
            if header.class == Class::Load {
                return self.subscribe(node);
            }
            *self.dials.lock().unwrap().entry(node).or_default() += 1;
            self.headers.lock().unwrap().push(header);
            let (worker, alive) = self.workers.lock().unwrap().get(&node).cloned().expect("a known worker");
            let (near, mut far) = TunnelStream::pair();
            let refused = |reason| DialError::Refused { node, reason };
            let work: BoxFuture<'static, ()> = match worker {
                Worker::Hangs => std::future::pending().await,
                Worker::Refuses(reason) => return Err(refused(reason)),
                Worker::Unreachable => {
                    return Err(DialError::Unreachable { node, source: io::ErrorKind::HostUnreachable.into() });
                }
                Worker::Does(act) => act(far),
                Worker::Backend(address) => {
                    let connected = TcpStream::connect(address).await;
                    let mut backend = connected.map_err(|_| refused(Refusal::BackendUnreachable))?;
                    async move {
                        let never = CancellationToken::new();
                        let done = splice(&mut backend, &mut far, Duration::from_secs(3600), &never).await;
                        if !done.end.is_complete() {
                            abort(backend);
                        }
                    }
                    .boxed()
                }
            };
            tokio::spawn(alive.run_until_cancelled_owned(work));
            Ok(Tunnel { stream: near, load: Load::default() })
        }
        .boxed()
    }
}

pub(in crate::front) struct Lab {
    pub(in crate::front) front: Front,
    pub(in crate::front) paths: Arc<Paths>,
    pub(in crate::front) running: JoinHandle<End>,
    ids: Mutex<Vec<u8>>,
    /// What each worker says of its service beside the protocol.
    services: Mutex<BTreeMap<u8, Service>>,
    revision: AtomicUsize,
}

impl Lab {
    /// A front over `workers`, which are nodes 1, 2, 3….
    pub(in crate::front) fn new(workers: impl IntoIterator<Item = Worker>) -> Self {
        Self::with(workers, |_| {})
    }

    pub(in crate::front) fn with(workers: impl IntoIterator<Item = Worker>, change: impl FnOnce(&mut Config)) -> Self {
        Self::build(workers, change, None)
    }

    /// A front that uses worker `id` alone.
    pub(in crate::front) fn pinned(workers: impl IntoIterator<Item = Worker>, id: u8) -> Self {
        Self::build(workers, |_| {}, Some(Pin::Node(node(id))))
    }

    fn build(workers: impl IntoIterator<Item = Worker>, change: impl FnOnce(&mut Config), pin: Option<Pin>) -> Self {
        let mut config = Config::new("web", ([127, 0, 0, 1], 0).into());
        change(&mut config);
        let balancer = Balancer::new(balance::Config { pin, ..balance::Config::new("web") }, rand::random());
        let paths = Arc::new(Paths::default());
        let (front, listener) = Front::bind(config, Arc::clone(&paths) as Arc<dyn Dial>, balancer).unwrap();
        let running = tokio::spawn(listener.run());
        let lab = Self {
            front,
            paths,
            running,
            ids: Mutex::default(),
            services: Mutex::default(),
            revision: AtomicUsize::new(0),
        };
        for (worker, id) in workers.into_iter().zip(1..) {
            lab.set(id, worker);
            lab.ids.lock().unwrap().push(id);
        }
        lab.reconcile(0);
        lab
    }

    pub(in crate::front) fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// From now on worker `id` is like this; its open tunnels stay.
    pub(in crate::front) fn set(&self, id: u8, worker: Worker) {
        self.paths.workers.lock().unwrap().insert(node(id), (worker, CancellationToken::new()));
    }

    /// `kill -9`: its tunnels break at once and there is no path to it.
    pub(in crate::front) fn kill(&self, id: u8) {
        let gone = (Worker::Unreachable, CancellationToken::new());
        let before = self.paths.workers.lock().unwrap().insert(node(id), gone);
        before.expect("a known worker").1.cancel();
    }

    /// The view without worker `id`.
    pub(in crate::front) fn withdraw(&self, id: u8) {
        self.ids.lock().unwrap().retain(|listed| *listed != id);
        self.reconcile(0);
    }

    /// The view with worker `id` again.
    pub(in crate::front) fn offer(&self, id: u8) {
        self.ids.lock().unwrap().push(id);
        self.reconcile(0);
    }

    /// Worker `id` says that it has these models, and that it works on so many requests at once.
    pub(super) fn announce(&self, id: u8, models: &[(&str, bool)], slots: u16) {
        let models = models.iter().map(|(name, loaded)| Model { name: (*name).to_owned(), loaded: *loaded }).collect();
        let service = Service { models, slots, ..Service::new("web", Protocol::Http) };
        self.services.lock().unwrap().insert(id, service);
        self.reconcile(0);
    }

    /// Worker `id` is used only while none that stayed as they were can be.
    pub(super) fn second_choice(&self, id: u8) {
        let service = Service { tier: 1, ..Service::new("web", Protocol::Http) };
        self.services.lock().unwrap().insert(id, service);
        self.reconcile(0);
    }

    /// Tells the front who is there; `connection` is the number of every connection.
    pub(in crate::front) fn reconcile(&self, connection: u64) {
        self.reconcile_as(connection, Protocol::Tcp);
    }

    pub(in crate::front) fn reconcile_as(&self, connection: u64, protocol: Protocol) {
        let ids = self.ids.lock().unwrap().clone();
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let nodes = ids.iter().map(|id| {
            (
                node(*id),
                Entry {
                    record: Arc::new(record(*id, self.service(*id, protocol))),
                    fresh: true,
                    quarantined: false,
                    legacy: false,
                },
            )
        });
        let connected: Connected = ids.iter().map(|id| (node(*id), connection)).collect();
        self.front.reconcile(&View { revision, nodes: nodes.collect() }, &connected);
    }

    fn service(&self, id: u8, protocol: Protocol) -> Service {
        self.services.lock().unwrap().get(&id).cloned().unwrap_or_else(|| Service::new("web", protocol))
    }

    pub(in crate::front) fn dials(&self, id: u8) -> usize {
        self.paths.dials.lock().unwrap().get(&node(id)).copied().unwrap_or(0)
    }

    pub(in crate::front) fn all_dials(&self) -> usize {
        self.paths.dials.lock().unwrap().values().sum()
    }

    pub(in crate::front) fn endpoint(&self, id: u8) -> EndpointStatus {
        self.front.endpoints().into_iter().find(|endpoint| endpoint.node == node(id)).expect("a listed worker")
    }

    /// Waits until worker `id` has this many in flight.
    pub(in crate::front) async fn in_flight(&self, id: u8, wanted: usize) {
        within(async {
            while self.endpoint(id).in_flight != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    pub(in crate::front) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends `request` as it stands, and reads to the end of the connection.
    pub(in crate::front) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_ref()).await.unwrap();
        read_to_end(&mut client).await
    }

    /// One GET on a connection of its own.
    pub(in crate::front) async fn get(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await
    }

    /// One POST on a connection of its own.
    pub(in crate::front) async fn send(&self, method: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        self.raw([head.as_bytes(), body].concat()).await
    }
}

pub(in crate::front) fn config(mode: Mode) -> impl FnOnce(&mut Config) {
    move |config| config.mode = mode
}

fn record(id: u8, service: Service) -> Record {
    Record {
        network: NetworkId([0; 16]),
        generation: 0,
        owner: node(id),
        seq: 1,
        issued_ms: 0,
        ttl: Duration::from_secs(60),
        statement: Statement { name: format!("w{id}"), services: vec![service], ..Statement::default() },
        credential: None,
    }
}

pub(in crate::front) async fn read_to_end(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    within(client.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// Reads until what was read ends with `end`.
pub(in crate::front) async fn read_until(client: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = within(client.read_u8()).await;
        text.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&text))));
    }
    String::from_utf8(text).unwrap()
}

pub(in crate::front) fn status(response: &str) -> u16 {
    response.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no response: {response:?}"))
}

pub(in crate::front) fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {response:?}")).1
}

/// The response's field, whose name is given in lower case.
pub(in crate::front) fn field<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split("\r\n\r\n").next().unwrap();
    head.lines().filter_map(|line| line.split_once(": ")).find(|(field, _)| *field == name).map(|(_, value)| value)
}

pub(in crate::front) type Reply = Response<BoxBody<Bytes, hyper::Error>>;

pub(in crate::front) fn text(text: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed())
}

/// An HTTP backend on a socket of its own.
pub(in crate::front) async fn http_backend<F>(serve: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> Worker
where
    F: Future<Output = Reply> + Send + 'static,
{
    tcp_backend(move |socket| {
        let serve = serve.clone();
        async move {
            let service = service_fn(move |request| serve(request).map(Ok::<_, Infallible>));
            // A front that leaves is no fault of the backend.
            let _ = http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
                .await;
        }
    })
    .await
}

/// An HTTP backend that answers every request with its name.
pub(in crate::front) async fn named(name: &'static str) -> Worker {
    http_backend(move |_| async move { text(name) }).await
}

/// A backend that does this with each connection.
pub(in crate::front) async fn tcp_backend<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Worker
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    Worker::Backend(address)
}
