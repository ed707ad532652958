//! A worker between real sockets and in-memory carriers.

mod reports;
mod udp;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;
use crate::{
    ledger::NodeId,
    tunnel::{Class, End, Header, OpenError, Refusal, TraceId, Tunnel, TunnelStream, open},
};

const FRONT: NodeId = NodeId::from_bytes([1; 32]);
const STRANGER: NodeId = NodeId::from_bytes([2; 32]);
const SELF: NodeId = NodeId::from_bytes([3; 32]);

/// Far longer than anything here takes; only so that a failure is not a hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn header(service: &str) -> Header {
    Header { service: service.into(), class: Class::Tcp, trace: TraceId::random(), client: None }
}

fn unprobed(service: &str, target: impl ToString) -> Export {
    unasked(Export { health: Health::Off, ..Export::new(service, target.to_string().parse().unwrap()) })
}

/// A backend here takes the connections that its test is about, and no others.
fn unasked(export: Export) -> Export {
    Export { inspect: false, ..export }
}

fn worker(exports: impl Into<Vec<Export>>) -> Worker {
    let config = Config { exports: exports.into(), ..Config::default() };
    Worker::spawn(config, CancellationToken::new()).unwrap()
}

/// A tunnel as it comes from another node, and the task that serves it.
async fn dial(worker: &Worker, from: NodeId, service: &str) -> (Result<Tunnel, OpenError>, JoinHandle<Served>) {
    let (front, carrier) = duplex(4096);
    let worker = worker.clone();
    let served = tokio::spawn(async move { worker.serve(carrier, from).await });
    let opened = open(front, &header(service)).await.map(|(stream, load)| Tunnel { stream, load });
    (opened, served)
}

async fn refusal(worker: &Worker, from: NodeId, service: &str) -> Refusal {
    let (opened, served) = dial(worker, from, service).await;
    let Err(OpenError::Refused(told)) = opened else { panic!("{opened:?}") };
    assert!(matches!(served.await.unwrap(), Served::Refused(reason) if reason == told));
    told
}

async fn offered(worker: &Worker, names: &[&str]) {
    let mut offers = worker.offers();
    let wanted = |offers: &Arc<Vec<Service>>| offers.iter().map(|offer| offer.name.as_str()).eq(names.iter().copied());
    timeout(PATIENCE, offers.wait_for(wanted)).await.expect("the offers to change").unwrap();
}

/// Answers each connection, after its end, with `name` and what it said.
async fn parrot(name: &'static str) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut talks = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            talks.spawn(answer_after_the_end(tcp, name));
        }
    });
    (address, task)
}

async fn answer_after_the_end(mut socket: impl AsyncRead + AsyncWrite + Unpin, name: &str) {
    let mut said = Vec::new();
    socket.read_to_end(&mut said).await.unwrap();
    socket.write_all(name.as_bytes()).await.unwrap();
    socket.write_all(&said).await.unwrap();
    socket.shutdown().await.unwrap();
}

async fn say(stream: &mut TunnelStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

/// One accepted tunnel, and everything around it.
struct Bench {
    worker: Worker,
    stream: TunnelStream,
    served: JoinHandle<Served>,
    backend: TcpStream,
    /// Takes further connections.
    _listener: TcpListener,
}

async fn bench(export: impl FnOnce(&str) -> Export) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let worker = worker([export(&listener.local_addr().unwrap().to_string())]);
    let (opened, served) = dial(&worker, FRONT, "llm").await;
    let (backend, _) = listener.accept().await.unwrap();
    Bench { worker, stream: opened.unwrap().stream, served, backend, _listener: listener }
}

async fn plain_bench() -> Bench {
    bench(|target| unprobed("llm", target)).await
}

#[tokio::test]
async fn a_reply_after_the_end_of_the_question_arrives() {
    let (address, _parrot) = parrot("heard: ").await;
    let worker = worker([unprobed("llm", address)]);
    let (opened, served) = dial(&worker, FRONT, "llm").await;
    assert_eq!(say(&mut opened.unwrap().stream, "question").await.unwrap(), "heard: question");
    let Served::Carried(done) = served.await.unwrap() else { panic!("not carried") };
    assert!(done.end.is_complete(), "{}", done.end);
    assert_eq!((done.down, done.up), (8, 15));
}

#[tokio::test]
async fn sixteen_mebibytes_come_back_as_they_went() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let worker = worker([unprobed("echo", listener.local_addr().unwrap())]);
    let echo = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = tcp.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let Tunnel { stream, .. } = worker.dial_local(SELF, header("echo")).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let send = tokio::spawn(async move {
        let mut hash = Sha256::new();
        for i in 0..2048_u32 {
            let block: Vec<u8> = (0..8192_u32).map(|j| (i.wrapping_mul(31) ^ j.wrapping_mul(17)) as u8).collect();
            hash.update(&block);
            write.write_all(&block).await.unwrap();
        }
        write.shutdown().await.unwrap();
        hash.finalize()
    });
    let mut hash = Sha256::new();
    let mut block = vec![0; 5000];
    loop {
        match read.read(&mut block).await.unwrap() {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    assert_eq!(hash.finalize(), send.await.unwrap());
    echo.await.unwrap();
    worker.wait_idle().await;
}

#[tokio::test]
async fn two_services_of_one_worker_are_never_mixed_up() {
    let ((one, _one), (two, _two)) = (parrot("one ").await, parrot("two ").await);
    let worker = worker([unprobed("one", one), unprobed("two", two)]);
    let mut talks = JoinSet::new();
    for i in 0..200 {
        let worker = worker.clone();
        let service = if i % 2 == 0 { "one" } else { "two" };
        talks.spawn(async move {
            let (opened, _served) = dial(&worker, FRONT, service).await;
            let heard = say(&mut opened.unwrap().stream, &i.to_string()).await.unwrap();
            assert_eq!(heard, format!("{service} {i}"));
        });
    }
    talks.join_all().await;
    worker.wait_idle().await;
    let totals: Vec<_> = worker.status().iter().map(|status| (status.in_flight, status.total)).collect();
    assert_eq!(totals, [(0, 100), (0, 100)]);
}

#[tokio::test]
async fn a_front_that_gives_up_resets_the_backend() {
    let Bench { mut stream, served, mut backend, .. } = plain_bench().await;
    stream.write_all(b"half").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(backend.read_u32().await.unwrap().to_be_bytes(), *b"half");
    drop(stream);
    assert_eq!(backend.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let Served::Carried(done) = served.await.unwrap() else { panic!("not carried") };
    assert!(matches!(done.end, End::Tunnel(_)), "{}", done.end);
}

#[tokio::test]
async fn a_backend_that_gives_up_resets_the_front() {
    let Bench { mut stream, served, mut backend, .. } = plain_bench().await;
    backend.write_all(b"half").await.unwrap();
    assert_eq!(stream.read_u32().await.unwrap().to_be_bytes(), *b"half");
    crate::tunnel::abort(backend);
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let Served::Carried(done) = served.await.unwrap() else { panic!("not carried") };
    assert!(matches!(done.end, End::Local(_)), "{}", done.end);
}

#[tokio::test]
async fn a_tunnel_over_the_cap_is_refused_until_a_slot_is_free() {
    let capped = |target: &str| Export { max_connections: 1, ..unprobed("llm", target) };
    let Bench { worker, stream, served, _listener, .. } = bench(capped).await;
    assert_eq!(refusal(&worker, FRONT, "llm").await, Refusal::Full);
    let status = &worker.status()[0];
    assert_eq!((status.in_flight, status.slots, status.total, status.refused), (1, 1, 1, 1));

    drop(stream);
    served.await.unwrap();
    let (opened, _served) = dial(&worker, FRONT, "llm").await;
    let load = opened.unwrap().load;
    assert_eq!((load.in_flight, load.slots), (1, 1));
}

#[tokio::test]
async fn a_worker_without_room_refuses_before_it_reads() {
    let config = Config { exports: vec![unprobed("llm", "127.0.0.1:9")], max_tunnels: 1 };
    let worker = Worker::spawn(config, CancellationToken::new()).unwrap();
    let (silent, carrier) = duplex(64);
    let holder = worker.clone();
    let held = tokio::spawn(async move { holder.serve(carrier, FRONT).await });
    while worker.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(refusal(&worker, FRONT, "llm").await, Refusal::Full);
    let local = worker.dial_local(SELF, header("llm")).await.unwrap_err();
    assert!(local.to_string().contains("all connections are in use"), "{local}");
    drop(silent);
    assert!(matches!(held.await.unwrap(), Served::Abandoned(_)));
    assert_eq!(worker.in_flight(), 0);
}

#[tokio::test]
async fn what_is_not_offered_or_not_allowed_is_refused() {
    let (address, _parrot) = parrot("").await;
    let worker = worker([Export { allow: vec![FRONT], ..unprobed("llm", address) }]);
    assert_eq!(refusal(&worker, FRONT, "other").await, Refusal::NoSuchService);
    assert_eq!(refusal(&worker, STRANGER, "llm").await, Refusal::NotAllowed);
    assert!(worker.dial_local(SELF, header("llm")).await.is_err(), "the same checks hold at home");
    assert!(dial(&worker, FRONT, "llm").await.0.is_ok());
    assert_eq!(worker.status()[0].refused, 2);
}

#[tokio::test]
async fn a_header_that_makes_no_sense_is_refused_and_a_broken_one_abandoned() {
    let worker = worker([]);
    let speak = async |bytes: &[u8]| {
        let (mut front, carrier) = duplex(4096);
        front.write_all(bytes).await.unwrap();
        front.shutdown().await.unwrap();
        let mut verdict = Vec::new();
        let (served, _) = tokio::join!(worker.serve(carrier, FRONT), front.read_to_end(&mut verdict));
        assert!(matches!(served, Served::Abandoned(_)), "{served:?}");
        verdict
    };
    let malformed = [1, 0, 2, 1, 1];
    assert_eq!(speak(&[1, 0, 1, 9]).await, malformed);
    assert_eq!(speak(&[77, 0, 1, 9]).await, malformed);
    assert_eq!(speak(b"GET / HTTP/1.1\r\n\r\n").await, malformed);
    assert!(speak(&[1, 0, 9, 0]).await.is_empty());
    assert!(speak(&[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_front_that_sends_no_header_is_dropped_after_five_seconds() {
    let worker = worker([]);
    let (mut front, carrier) = duplex(64);
    front.write_all(&[1, 0]).await.unwrap();
    let start = Instant::now();
    assert!(matches!(worker.serve(carrier, FRONT).await, Served::Abandoned(_)));
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(front.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(worker.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_ends_after_the_idle_time_of_its_service() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let idle_timeout = Duration::from_secs(60);
    let worker = worker([Export { idle_timeout, ..unprobed("llm", format!("unix:{}", path.display())) }]);
    let (opened, served) = dial(&worker, FRONT, "llm").await;
    let (mut backend, _) = listener.accept().await.unwrap();
    let Served::Carried(done) = served.await.unwrap() else { panic!("not carried") };
    assert!(matches!(done.end, End::Idle), "{}", done.end);
    assert_eq!(backend.read(&mut [0; 8]).await.unwrap(), 0);
    let cut = opened.unwrap().stream.read_u8().await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::ConnectionReset);
}

fn at(path: &Path) -> Target {
    format!("unix:{}", path.display()).parse().unwrap()
}

#[tokio::test]
async fn a_unix_backend_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let worker = worker([unprobed("llm", at(&path))]);
    let backend = tokio::spawn(async move { answer_after_the_end(listener.accept().await.unwrap().0, "unix ").await });
    let (opened, _served) = dial(&worker, FRONT, "llm").await;
    assert_eq!(say(&mut opened.unwrap().stream, "x").await.unwrap(), "unix x");
    backend.await.unwrap();
}

/// Time is paused, and connecting to a socket that is not there waits for nothing: that no time passes shows that the tunnel
/// made the probe hurry.
#[tokio::test(start_paused = true)]
async fn a_tunnel_that_finds_the_backend_gone_has_it_withdrawn_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let worker = worker([unasked(Export::new("llm", at(&path)))]);
    offered(&worker, &["llm"]).await;

    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let start = Instant::now();
    assert_eq!(refusal(&worker, FRONT, "llm").await, Refusal::BackendUnreachable);
    offered(&worker, &[]).await;
    assert!(start.elapsed() < probe::HASTE, "{:?}", start.elapsed());
    let status = &worker.status()[0];
    assert!(!status.is_healthy && status.why_not.as_deref().unwrap_or_default().contains("cannot connect to unix:"));

    let _listener = UnixListener::bind(&path).unwrap();
    offered(&worker, &["llm"]).await;
    assert!(dial(&worker, FRONT, "llm").await.0.is_ok());
    assert_eq!(worker.status()[0].why_not, None);
    worker.shutdown().await;
}

#[tokio::test]
async fn a_tcp_backend_is_withdrawn_while_it_does_not_listen() {
    // Two sockets hold one port: the one that never listens keeps it from others while the other is gone.
    let bound = |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket
    };
    let keeper = bound("127.0.0.1:0");
    let address = keeper.local_addr().unwrap().to_string();
    let worker = worker([unasked(Export::new("llm", address.parse().unwrap()))]);
    assert_eq!(refusal(&worker, FRONT, "llm").await, Refusal::BackendUnreachable);
    assert!(worker.offers().borrow().is_empty());

    let listener = bound(&address).listen(16).unwrap();
    offered(&worker, &["llm"]).await;
    drop(listener);
    offered(&worker, &[]).await;
    assert!(worker.status()[0].why_not.as_deref().unwrap_or_default().contains("refused"));
    let _listener = bound(&address).listen(16).unwrap();
    offered(&worker, &["llm"]).await;
    worker.shutdown().await;
}

#[tokio::test]
async fn a_backend_that_answers_500_on_its_health_path_is_withdrawn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string().parse().unwrap();
    let status = Arc::new(AtomicU16::new(200));
    let said = Arc::clone(&status);
    let server = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(tcp.read_u8().await.unwrap());
            }
            assert!(asked.starts_with(b"GET /healthz "));
            let answer = format!("HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n", said.load(Ordering::Relaxed));
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let worker = worker([unasked(Export { health: Health::Path("/healthz".into()), ..Export::new("llm", target) })]);
    offered(&worker, &["llm"]).await;
    status.store(500, Ordering::Relaxed);
    offered(&worker, &[]).await;
    assert_eq!(worker.status()[0].why_not.as_deref(), Some("GET /healthz was answered with 500"));
    status.store(200, Ordering::Relaxed);
    offered(&worker, &["llm"]).await;
    worker.shutdown().await;
    server.abort();
}

#[tokio::test]
async fn draining_refuses_new_tunnels_and_lets_open_ones_end() {
    let Bench { worker, mut stream, served, backend, _listener } = plain_bench().await;
    offered(&worker, &["llm"]).await;
    worker.drain();
    offered(&worker, &[]).await;
    assert_eq!(refusal(&worker, FRONT, "llm").await, Refusal::Draining);
    assert_eq!(worker.in_flight(), 1);
    let (heard, ()) = tokio::join!(say(&mut stream, "last words"), answer_after_the_end(backend, "heard "));
    assert_eq!(heard.unwrap(), "heard last words");
    timeout(PATIENCE, worker.wait_idle()).await.unwrap();
    assert!(matches!(served.await.unwrap(), Served::Carried(done) if done.end.is_complete()));
}

#[tokio::test]
async fn shutting_down_cuts_tunnels_off_and_ends_the_probes() {
    let Bench { worker, mut stream, served, mut backend, _listener } = plain_bench().await;
    let local = worker.dial_local(SELF, header("llm")).await.unwrap();
    timeout(PATIENCE, worker.shutdown()).await.unwrap();
    assert!(matches!(served.await.unwrap(), Served::Carried(done) if matches!(done.end, End::Cancelled)));
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(backend.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(worker.in_flight(), 0);
    drop(local);
    assert!(worker.dial_local(SELF, header("llm")).await.is_err());
}

#[tokio::test]
async fn tunnels_from_home_are_counted_like_others() {
    let (address, _parrot) = parrot("home ").await;
    let worker = worker([unprobed("llm", address)]);
    let mut tunnel = worker.dial_local(SELF, header("llm")).await.unwrap();
    assert_eq!((tunnel.load.in_flight, worker.in_flight()), (1, 1));
    assert_eq!(say(&mut tunnel.stream, "sweet").await.unwrap(), "home sweet");
    worker.wait_idle().await;
    let status = &worker.status()[0];
    assert_eq!((status.in_flight, status.total), (0, 1));
    let error = worker.dial_local(SELF, header("nope")).await.unwrap_err();
    assert_eq!(error.node(), SELF);
    assert!(error.to_string().ends_with("refused: no such service here"), "{error}");
}

#[tokio::test]
async fn replacing_exports_keeps_what_stays_and_lets_tunnels_of_the_rest_end() {
    let ((stays, _a), (goes, _b), (comes, _c)) =
        (parrot("stays ").await, parrot("goes ").await, parrot("comes ").await);
    let worker = worker([unprobed("stays", stays), unprobed("goes", goes)]);
    let mut kept = dial(&worker, FRONT, "stays").await.0.unwrap();
    let mut removed = dial(&worker, FRONT, "goes").await.0.unwrap();

    let twice = vec![unprobed("stays", stays), unprobed("stays", goes)];
    assert!(matches!(worker.replace_exports(twice), Err(ExportError::Duplicate(_))));
    offered(&worker, &["goes", "stays"]).await;

    let reweighed = Export { weight: 7, ..unprobed("stays", stays) };
    worker.replace_exports(vec![reweighed, unprobed("comes", comes)]).unwrap();
    offered(&worker, &["comes", "stays"]).await;
    assert_eq!(worker.offers().borrow()[1].weight, 7);
    assert_eq!(refusal(&worker, FRONT, "goes").await, Refusal::NoSuchService);
    let counts: Vec<_> = worker.status().iter().map(|status| (status.in_flight, status.total)).collect();
    assert_eq!(counts, [(0, 0), (1, 1)]);
    assert_eq!(worker.in_flight(), 2);

    assert_eq!(say(&mut kept.stream, "x").await.unwrap(), "stays x");
    assert_eq!(say(&mut removed.stream, "x").await.unwrap(), "goes x");
    worker.wait_idle().await;
    assert_eq!(worker.status()[1].in_flight, 0);
}

#[tokio::test]
async fn a_worker_does_not_start_with_two_exports_of_one_name() {
    let config = Config { exports: vec![unprobed("llm", "1"), unprobed("llm", "2")], ..Config::default() };
    assert!(matches!(Worker::spawn(config, CancellationToken::new()), Err(ExportError::Duplicate(_))));
}

#[tokio::test]
async fn with_its_last_handle_a_worker_is_gone() {
    let (address, _parrot) = parrot("").await;
    let worker = worker([unasked(Export::new("llm", address.to_string().parse().unwrap()))]);
    offered(&worker, &["llm"]).await;
    let mut offers = worker.offers();
    offers.mark_unchanged();
    drop(worker);
    assert!(timeout(PATIENCE, offers.changed()).await.unwrap().is_err());
}
