//! Both ends of the control socket, against each other and against clients that misbehave.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{client::Error, explain::tests::request, *};
use crate::{
    ledger::{DECREE_MAX, WireError},
    net::facts::Facts,
};

#[derive(Default)]
struct Sample {
    draining: AtomicBool,
}

impl Source for Sample {
    fn status(&self) -> Status {
        let worker = Worker {
            legacy: false,
            node: "12D3KooWA".into(),
            name: "gpu1".into(),
            state: "ready".into(),
            in_flight: 1,
            load: Some(3),
            requests_total: 12,
            failures_total: 0,
            latency_ms: Some(Latency { p50: 3.1, p99: 9.7 }),
            slots: 4,
            rate: 2048.0,
            tier: 0,
            models: vec![Model { name: "llama".into(), loaded: true }],
            weight: 100,
            labels: [("model".to_owned(), "llama".to_owned())].into(),
        };
        Status {
            edgevpn: None,
            version: "0.1.0".into(),
            network: "k7qd-93ma".into(),
            node: Node { id: "12D3KooWB".into(), name: "laptop".into(), addresses: vec![], uptime_s: 7 },
            ready: !self.draining.load(Ordering::Acquire),
            peers: vec![],
            services: vec![Service { name: "federated".into(), protocol: "http".into(), workers: vec![worker] }],
            fronts: vec![],
            exports: vec![],
        }
    }

    fn peers(&self) -> Peers {
        Peers { peers: vec![], barred: vec![] }
    }

    fn ledger(&self) -> Ledger {
        Ledger { revision: 3, ..Ledger::default() }
    }

    fn explain(&self, wanted: &Wanted) -> Result<Explained, Unexplained> {
        let requests = [request("llm", 1, 10), request("llm", 2, 30), request("web", 2, 20)];
        let requests = requests.into_iter().filter(|request| wanted.takes(&request.service, request.number));
        wanted.answer(&["llm", "web"], requests.collect())
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        let Status { version, network, node, .. } = self.status();
        let checkup = Checkup {
            version,
            network,
            node,
            unix_ms: 7,
            token: TokenFacts { interval_s: 360, ..TokenFacts::default() },
            peers: vec![],
            barred: vec![],
            members: vec![],
            refusals: vec![],
            net: Facts { mdns: Some(vec![]), ..Facts::default() },
            mtus: vec![Mtu { node: "12D3KooWA".into(), ip: "192.0.2.7".into(), bytes: 1500 }],
            files: Files { limit: Some(1024), open: None, wanted: 9 },
        };
        Box::pin(async { checkup })
    }

    fn ping(&self, asked: Ping) -> BoxFuture<'_, Result<Round, Unpinged>> {
        let answer = match &*asked.whom {
            "gpu1" => Ok(Round { trips: vec![trip(Some(asked.patience_ms as f64))] }),
            "gpu" => Err(Unpinged::Several { whom: asked.whom, ids: "12D3KooWA, 12D3KooWB".into() }),
            "llm" => Err(Unpinged::NoWorker(asked.whom)),
            _ => Err(Unpinged::Unknown(asked.whom)),
        };
        Box::pin(async { answer })
    }

    fn issued(&self) -> Issued {
        let member = Member { node: "12D3KooWB".into(), name: "laptop".into(), invitation: Some("07".repeat(16)) };
        Issued {
            network: "k7qd-93ma".into(),
            network_id: "01".repeat(16),
            issuer: Some("09".repeat(32)),
            node: "12D3KooWB".into(),
            decree: None,
            members: vec![member],
        }
    }

    fn decide(&self, signed: Vec<u8>) -> BoxFuture<'_, Result<u64, Declined>> {
        let answer = match *signed {
            [] => Err(Declined::Malformed(WireError::Truncated)),
            [0, ..] => Err(Declined::Forged),
            [1, ..] => Err(Declined::Outdated { number: 9 }),
            [2, ..] => Err(Declined::Unavailable),
            _ => Ok(signed.len() as u64),
        };
        Box::pin(async { answer })
    }
}

fn trip(time_ms: Option<f64>) -> Trip {
    let way = Way { path: "direct".into(), transport: "quic".into(), address: "/ip4/192.0.2.7".into(), connection: 3 };
    Trip { node: "12D3KooWA".into(), name: Some("gpu1".into()), way: Some(way), time_ms, fault: None }
}

struct Running {
    source: Arc<Sample>,
    path: PathBuf,
    task: JoinHandle<()>,
    stop: DropGuard,
}

fn start(folder: &TempDir, name: &str) -> Running {
    let path = folder.path().join(format!("{name}.sock"));
    let (source, cancel) = (Arc::new(Sample::default()), CancellationToken::new());
    let server = bind(&path, source.clone()).unwrap();
    Running { source, path, task: tokio::spawn(server.run(cancel.clone())), stop: cancel.drop_guard() }
}

/// What is answered to these bytes.
async fn raw(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn get(path: &Path, route: &str) -> String {
    raw(path, &format!("GET {route} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
}

/// A socket of which nobody accepts any more.
fn stale(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[tokio::test]
async fn the_client_reads_what_the_source_says() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let client = Client::at(&node.path);
    assert_eq!(client.status().await.unwrap(), node.source.status());
    assert_eq!(client.services().await.unwrap().services, node.source.status().services);
    assert_eq!(client.peers().await.unwrap().peers, []);
    assert_eq!(client.ledger().await.unwrap(), node.source.ledger());
    assert_eq!(client.checkup().await.unwrap(), node.source.checkup().await);
    assert_eq!(client.issued().await.unwrap(), node.source.issued());
}

#[tokio::test]
async fn requests_are_explained_and_those_that_cannot_be_are_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let client = Client::at(&node.path);
    let explain = async |service: Option<&str>, number| {
        client.explain(&Wanted { service: service.map(str::to_owned), number, count: 2 }).await
    };
    assert_eq!(explain(None, None).await.unwrap().requests, [request("web", 2, 20), request("llm", 2, 30)]);
    assert_eq!(explain(Some("llm"), None).await.unwrap().requests.len(), 2);
    assert_eq!(explain(Some("llm"), Some(2)).await.unwrap().requests, [request("llm", 2, 30)]);
    assert_eq!(explain(None, Some(1)).await.unwrap().requests, [request("llm", 1, 10)]);
    let error = explain(None, Some(2)).await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("llm/2, web/2"), "{error}");
    for (service, number, part) in
        [(None, Some(9), "request 9 is not known"), (Some("x"), None, "no front for service x")]
    {
        let error = explain(service, number).await.unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains(part), "{error}");
    }
    for route in ["/v1/explain/x", "/v1/explain?count=0", "/v1/explain?x=1", "/v1/explain/"] {
        let answer = get(&node.path, route).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("ask for /v1/explain"), "{route}: {answer}");
    }
    assert!(get(&node.path, "/v1/explained").await.starts_with("HTTP/1.1 404 "));
    let post = raw(&node.path, "POST /v1/explain HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
}

#[tokio::test]
async fn a_ping_reaches_the_node_and_its_answer_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let client = Client::at(&node.path);
    let ping =
        async |whom: &str, patience_ms| client.ping(&Ping { whom: whom.to_owned(), service: false, patience_ms }).await;
    assert_eq!(ping("gpu1", 7).await.unwrap().trips, [trip(Some(7.0))]);
    for (whom, is_usage, part) in [
        ("gpu", true, "several nodes go by gpu: name one by its id: 12D3KooWA, 12D3KooWB"),
        ("llm", false, "no other node offers service llm"),
        ("nobody/../\u{7f}é", true, "no node and no service nobody/../\u{7f}é is known here"),
    ] {
        let error = ping(whom, 1).await.unwrap_err();
        assert!(error.is_usage() == is_usage && error.to_string().starts_with(part), "{error}");
    }
    for patience_ms in [0, PATIENCE_MS_MAX + 1] {
        let error = ping("gpu1", patience_ms).await.unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains("the body is not"), "{error}");
    }
    assert!(get(&node.path, "/v1/ping").await.contains("allow: POST"));
}

#[tokio::test]
async fn a_decree_reaches_the_node_and_its_answer_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let client = Client::at(&node.path);
    assert_eq!(client.decide(&[7; DECREE_MAX]).await.unwrap(), DECREE_MAX as u64, "the longest fits");
    for (signed, reason) in [
        (&[][..], "it is no decree: the message ends inside a field"),
        (&[0], "it is not signed by the network's issuer"),
        (&[1], "a later one is in force, number 9: try again, so that the next one is made from that"),
        (&[2], "it is stopping"),
        (&[7; 2 * DECREE_MAX], "the body is cut off, or larger than any decree"),
    ] {
        let error = client.decide(signed).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the node at {} declined the decree: {reason}", node.path.display()),
            "{:?}",
            signed.first()
        );
        assert!(!error.is_usage());
    }
}

#[tokio::test]
async fn what_is_no_proposal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    for body in ["", "{}", "{\"signed\":\"?\"}", "[]"] {
        let length = body.len();
        let answer =
            raw(&node.path, &format!("POST /v1/decree HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"))
                .await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("BASE64"), "{answer}");
    }
    let put = raw(&node.path, "PUT /v1/decree HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    assert!(put.starts_with("HTTP/1.1 405 ") && put.contains("allow: GET, HEAD, POST"), "{put}");
}

#[tokio::test]
async fn readiness_ends_with_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    assert!(get(&node.path, "/readyz").await.starts_with("HTTP/1.1 200 "));
    node.source.draining.store(true, Ordering::Release);
    assert!(get(&node.path, "/readyz").await.starts_with("HTTP/1.1 503 "));
    assert!(get(&node.path, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn only_get_and_only_known_routes() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let unknown = get(&node.path, "/v1/secrets").await;
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains(r#"{"error":"no such route"}"#), "{unknown}");
    let post = raw(&node.path, "POST /v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
    let head = raw(&node.path, "HEAD /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(raw(&node.path, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let mut endless = UnixStream::connect(&node.path).await.unwrap();
    let _ = endless.write_all(format!("GET /{}", "x".repeat(1 << 20)).as_bytes()).await;
    assert!(get(&node.path, "/healthz").await.starts_with("HTTP/1.1 200 "), "still there");
}

#[tokio::test]
async fn the_socket_is_this_users_alone_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    assert_eq!(std::fs::metadata(&node.path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    drop(node.stop);
    node.task.await.unwrap();
    assert!(!node.path.exists());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let mut idle = UnixStream::connect(&node.path).await.unwrap();
    assert!(get(&node.path, "/healthz").await.starts_with("HTTP/1.1 200 "));
    drop(node.stop);
    timeout(Duration::from_secs(2), node.task).await.unwrap().unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn what_a_dead_process_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    stale(&folder.path().join("laptop.sock"));
    stale(&folder.path().join("laptop.sock~"));
    let node = start(&folder, "laptop");
    assert_eq!(Client::at(&node.path).ledger().await.unwrap().revision, 3);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let path = Path::new("/nonexistent/laptop.sock");
    let error = bind(path, Arc::new(Sample::default())).unwrap_err().to_string();
    assert!(error.starts_with("cannot open the control socket /nonexistent/laptop.sock: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn silent_clients_lose_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, "laptop");
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(UnixStream::connect(&node.path).await.unwrap());
    }
    // More than there are places for; this one is answered when the first lost theirs.
    assert!(get(&node.path, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

// === Which node ===

async fn find(folder: &TempDir, node: Option<&str>) -> Result<Client, Error> {
    Client::find(folder.path(), node).await
}

#[tokio::test]
async fn with_one_node_none_needs_to_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = find(&folder, None).await.unwrap_err();
    assert!(matches!(error, Error::NoneRunning) && !error.is_usage());
    assert!(matches!(find(&folder, Some("laptop")).await, Err(Error::NoneRunning)));
    stale(&folder.path().join("dead.sock"));
    std::fs::write(folder.path().join("laptop.lock"), "").unwrap();
    assert!(matches!(find(&folder, None).await, Err(Error::NoneRunning)));
    let node = start(&folder, "laptop");
    assert_eq!(find(&folder, None).await.unwrap().path(), node.path);
    assert_eq!(find(&folder, Some("laptop")).await.unwrap().path(), node.path);
    assert_eq!(find(&folder, node.path.to_str()).await.unwrap().path(), node.path);
}

#[tokio::test]
async fn with_several_the_names_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let _nodes = [start(&folder, "one"), start(&folder, "two")];
    let error = find(&folder, None).await.unwrap_err();
    assert!(error.is_usage());
    assert_eq!(error.to_string(), "several nodes are running here: choose one with --node NAME: one, two");
    let error = find(&folder, Some("three")).await.unwrap_err();
    assert!(error.is_usage());
    assert_eq!(error.to_string(), "no node three is running here: choose one with --node NAME: one, two");
    assert!(find(&folder, Some("two")).await.unwrap().path().ends_with("two.sock"));
}

#[tokio::test]
async fn a_runtime_folder_that_is_not_there_holds_no_node() {
    assert!(matches!(Client::find(Path::new("/nonexistent"), None).await, Err(Error::NoneRunning)));
}

#[tokio::test]
async fn a_socket_where_nobody_answers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.sock");
    stale(&path);
    let error = Client::at(&path).status().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains("dead.sock"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hung.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Client::at(&path).status().await.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error}");
    assert!(find(&folder, None).await.is_ok(), "it runs all the same");
}

#[tokio::test]
async fn another_answer_than_expected_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        "SSH-2.0-OpenSSH\r\n",
        "",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let serve = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            assert_ne!(stream.read(&mut head).await.unwrap(), 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = Client::at(&path).status().await.unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }), "{answer:?}: {error}");
        serve.await.unwrap();
    }
}
