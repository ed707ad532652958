//! Observers against made-up bytes and against hyper.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1::SendRequest,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::{io::duplex, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    ledger::NodeId,
    tunnel::{TunnelStream, splice_watched},
    worker::tally::Tally,
};

const FRONT: NodeId = NodeId::from_bytes([1; 32]);
const HOUR: Duration = Duration::from_secs(3600);

fn observer(class: Class) -> (Observer, Arc<Tally>) {
    let tally = Arc::new(Tally::new());
    (Observer::new(class, Account::new(Arc::clone(&tally), FRONT)), tally)
}

/// Requests under way, and requests so far.
fn counts(tally: &Tally) -> (u32, u64) {
    tally.activity()
}

fn pass(observer: &mut Observer, up: bool, bytes: &[u8]) {
    if up {
        observer.up(bytes);
    } else {
        observer.down(bytes);
    }
}

/// An exchange: what is said, what is answered, and whether more may follow.
const EXCHANGES: [(&str, &str); 12] = [
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/"),
    (
        "POST / HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n",
    ),
    (
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: 1\r\n\r\n",
    ),
    ("HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
    ("HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
    ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"),
    (
        "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ),
    ("\r\nGET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 404 Not Found\nContent-Length: 2\n\nno"),
    ("CONNECT a:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    (
        "POST / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
];

/// Cuts `text` as `cuts` says, again and again.
fn cut<'a>(text: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut cuts) = (text, cuts.iter().cycle());
    std::iter::from_fn(move || {
        let (part, later) = rest.split_at((*cuts.next()?).min(rest.len()));
        rest = later;
        (!part.is_empty()).then_some(part)
    })
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_each_exchange_is_busy_from_its_head_to_the_end_of_its_response(
        chosen in prop::collection::vec(0..EXCHANGES.len(), 1..12),
        cuts in prop::collection::vec(1..60usize, 1..20),
    ) {
        let (mut observer, tally) = observer(Class::Http);
        for (done, index) in chosen.iter().enumerate() {
            let (request, response) = EXCHANGES[*index];
            cut(request.as_bytes(), &cuts).for_each(|part| observer.down(part));
            prop_assert_eq!(counts(&tally), (1, done as u64 + 1), "{}", request);
            let mut reports = Vec::new();
            for part in cut(response.as_bytes(), &cuts) {
                prop_assert!(reports.is_empty(), "told before the last byte of {response}");
                reports.extend(observer.up(part));
            }
            let [report] = reports[..] else { panic!("{} reports of {response}", reports.len()) };
            prop_assert_eq!((report.in_flight, report.yours, report.received), (0, 0, done as u64 + 1));
            prop_assert_eq!(counts(&tally), (0, done as u64 + 1));
        }
        prop_assert!(matches!(observer.follows, Follows::Http1(_)));
    }

    #[test]
    fn requests_sent_ahead_are_all_under_way_and_end_one_by_one(
        chosen in prop::collection::vec(0..EXCHANGES.len(), 1..60),
        cuts in prop::collection::vec(1..60usize, 1..20),
    ) {
        let (mut observer, tally) = observer(Class::Http);
        let requests: String = chosen.iter().map(|index| EXCHANGES[*index].0).collect();
        cut(requests.as_bytes(), &cuts).for_each(|part| observer.down(part));
        prop_assert_eq!(counts(&tally), (chosen.len() as u32, chosen.len() as u64));
        for (ended, index) in chosen.iter().enumerate() {
            cut(EXCHANGES[*index].1.as_bytes(), &cuts).for_each(|part| pass(&mut observer, true, part));
            prop_assert_eq!(counts(&tally).0 as usize, chosen.len() - ended - 1);
        }
    }

    #[test]
    fn no_bytes_can_hurt_and_nothing_is_left_behind(
        parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..30),
        mixed in prop::collection::vec((any::<bool>(), 0..EXCHANGES.len(), 0..200usize), 0..30),
        preface: bool,
    ) {
        for class in [Class::Http, Class::Http2, Class::Tcp] {
            let (mut observer, tally) = observer(class);
            if preface {
                observer.down(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            }
            for (up, bytes) in &parts {
                pass(&mut observer, *up, bytes);
                observer.stalled(*up);
            }
            for (up, index, length) in &mixed {
                let text = if *up { EXCHANGES[*index].1 } else { EXCHANGES[*index].0 };
                let part = text.get(..*length).unwrap_or(text).as_bytes();
                pass(&mut observer, *up, part);
            }
            drop(observer);
            prop_assert_eq!(counts(&tally).0, 0);
            prop_assert!(tally.load(FRONT).rate.is_finite());
        }
    }

    #[test]
    fn streams_are_counted_however_their_frames_are_cut(
        acts in prop::collection::vec((0..4u8, 0..8usize, 0..300usize), 0..60),
        cuts in prop::collection::vec(1..40usize, 1..20),
    ) {
        let (mut observer, tally) = observer(Class::Http2);
        observer.down(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        observer.down(&frame(4, 0, 0, 18));
        let (mut open, mut next, mut total) = (Vec::new(), 1, 0);
        for (act, which, length) in acts {
            let mut reports = 0;
            let mut up = |observer: &mut Observer, bytes: &[u8]| {
                cut(bytes, &cuts).for_each(|part| reports += usize::from(observer.up(part).is_some()));
            };
            match (act, open.is_empty()) {
                (0, _) | (_, true) => {
                    // A request with a body of two frames, whose trailers end it.
                    let frames = [frame(1, 4, next, length), frame(0, 0, next, length), frame(1, 5, next, 3)].concat();
                    cut(&frames, &cuts).for_each(|part| observer.down(part));
                    open.push(next);
                    (next, total) = (next + 2, total + 1);
                }
                (1, _) => {
                    let stream = open.remove(which % open.len());
                    up(&mut observer, &[frame(1, 4, stream, 9), frame(0, 0, stream, length), frame(1, 5, stream, 9)].concat());
                    prop_assert_eq!(reports, 1);
                }
                (2, _) => {
                    let stream = open.remove(which % open.len());
                    up(&mut observer, &[frame(0, 1, stream, length), frame(3, 0, stream, 4)].concat());
                    prop_assert_eq!(reports, 1, "the reset of one that ended is nothing new");
                }
                _ => {
                    let stream = open.remove(which % open.len());
                    cut(&frame(3, 0, stream, 4), &cuts).for_each(|part| observer.down(part));
                }
            }
            prop_assert_eq!(counts(&tally), (open.len() as u32, total));
        }
        prop_assert!(matches!(observer.follows, Follows::Http2(_)));
        // A backend that is gone answers nobody.
        observer.up(&[]);
        prop_assert_eq!(counts(&tally).0, 0);
    }
}

/// A frame of HTTP/2 with a payload of `length` bytes.
fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    // The reserved bit means nothing.
    bytes.extend_from_slice(&(stream | 1 << 31).to_be_bytes());
    bytes.resize(bytes.len() + length, 7);
    bytes
}

#[test]
fn a_tunnel_is_busy_from_the_verdict_on_and_free_if_nothing_was_sent() {
    for class in [Class::Http, Class::Http2] {
        let (mut observer, tally) = observer(class);
        assert_eq!(counts(&tally), (1, 1));
        observer.down(&[]);
        assert_eq!(counts(&tally), (0, 1));
    }
}

#[test]
fn a_response_until_the_end_ends_with_the_backend() {
    let (mut observer, tally) = observer(Class::Http);
    observer.down(b"GET / HTTP/1.1\r\n\r\n");
    assert!(observer.up(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_none());
    observer.down(&[]);
    assert_eq!(counts(&tally), (1, 1), "the front has nothing more to ask, and waits");
    assert_eq!(observer.up(&[]).map(|load| (load.in_flight, load.received)), Some((0, 1)));
}

#[test]
fn an_early_response_frees_the_slot_though_the_request_goes_on() {
    let (mut observer, tally) = observer(Class::Http);
    observer.down(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
    assert!(observer.up(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").is_some());
    assert_eq!(counts(&tally), (0, 1));
}

#[test]
fn a_farewell_that_nobody_asked_for_ends_nothing() {
    let (mut observer, tally) = observer(Class::Http);
    observer.down(b"GET / HTTP/1.1\r\n\r\n");
    assert!(observer.up(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_some());
    assert!(observer.up(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").is_none());
    assert_eq!(counts(&tally), (0, 1));
}

#[test]
fn another_protocol_is_busy_until_both_directions_ended() {
    let upgrades = [
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n"),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
    ];
    for (request, response) in upgrades {
        let (mut observer, tally) = observer(Class::Http);
        observer.down(request.as_bytes());
        assert!(observer.up(response.as_bytes()).is_none());
        observer.down(b"\x81\x05hello GET / HTTP/1.1\r\n\r\n");
        assert!(observer.up(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_none());
        observer.down(&[]);
        assert_eq!(counts(&tally), (1, 1));
        assert!(observer.up(&[]).is_some());
        assert_eq!(counts(&tally), (0, 1));
    }
}

#[test]
fn who_loses_the_place_counts_one_until_the_end() {
    let unreadable: [(&str, &str); 5] = [
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ""),
        ("GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH\r\n\r\n"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    ];
    for (request, response) in unreadable {
        let (mut observer, tally) = observer(Class::Http);
        observer.down(b"GET / HTTP/1.1\r\n\r\n");
        observer.up(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        observer.down(request.as_bytes());
        observer.up(response.as_bytes());
        assert_eq!(counts(&tally).0, 1, "{request}{response}");
        observer.down(b"GET / HTTP/1.1\r\n\r\n");
        observer.up(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(counts(&tally).0, 1, "{request}{response}");
        drop(observer);
        assert_eq!(counts(&tally).0, 0);
    }
    let (mut observer, tally) = observer(Class::Http2);
    observer.down(b"GET / HTTP/1.1\r\n\r\n");
    observer.down(&frame(1, 5, 1, 10));
    observer.down(&frame(1, 5, 3, 10));
    assert_eq!(counts(&tally), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_of_responses_alone_and_not_of_slow_clients() {
    let (mut observer, tally) = observer(Class::Http);
    let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 940\r\n\r\n";
    for _ in 0..5 {
        pass(100).await;
        observer.down(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
        // The client takes its time to ask, and to listen.
        pass(100).await;
        observer.down(b"abc");
        pass(5).await;
        observer.up(head);
        observer.stalled(true);
        pass(100).await;
        observer.stalled(false);
        pass(5).await;
        observer.up(&[b'x'; 940]);
    }
    pass(60).await;
    let (rate, wanted) = (tally.load(FRONT).rate, (940.0 + head.len() as f32) / 10.0);
    assert!((rate / wanted - 1.0).abs() < 0.05, "{rate} where {wanted} is right");
}

#[tokio::test(start_paused = true)]
async fn what_gives_no_answers_has_no_rate() {
    let (mut observer, tally) = observer(Class::Tcp);
    observer.down(b"hello");
    tokio::time::advance(Duration::from_secs(5)).await;
    observer.up(&[0; 5000]);
    drop(observer);
    assert_eq!(tally.load(FRONT).rate, 0.0, "a connection that rests is not slow");
}

type Body = BoxBody<Bytes, Infallible>;

/// A method, a path, and what makes the body.
type Asked = (Method, &'static str, fn() -> Body);

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

fn chunks(text: &'static str) -> Body {
    let parts = text.as_bytes().chunks(3).map(|part| Ok(Frame::data(Bytes::from_static(part))));
    StreamBody::new(futures::stream::iter(parts.collect::<Vec<_>>())).boxed()
}

/// What the backend says to each path.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    // A client that leaves half way is not answered, whatever is said here.
    let read = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut response = Response::new(match path.as_str() {
        "/chunks" => chunks("the answer in little pieces"),
        "/echo" => whole(read),
        "/empty" | "/unchanged" => whole(""),
        _ => whole("the answer"),
    });
    match path.as_str() {
        "/empty" => *response.status_mut() = StatusCode::NO_CONTENT,
        "/unchanged" => *response.status_mut() = StatusCode::NOT_MODIFIED,
        _ => {}
    }
    Ok(response)
}

/// hyper, a worker's splice, and hyper.
async fn hyper_pair(tasks: &mut JoinSet<()>) -> (SendRequest<Body>, Arc<Tally>) {
    let (backend, mut local) = duplex(100);
    let (near, mut tunnel) = TunnelStream::pair();
    let (mut observer, tally) = observer(Class::Http);
    tasks.spawn(async move {
        let serving = hyper::server::conn::http1::Builder::new();
        let _ = serving.serve_connection(TokioIo::new(backend), service_fn(answer)).await;
    });
    tasks.spawn(async move {
        splice_watched(&mut local, &mut tunnel, HOUR, &CancellationToken::new(), &mut observer).await;
    });
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tasks.spawn(async move { drop(connection.await) });
    (sender, tally)
}

#[tokio::test]
async fn hyper_s_exchanges_are_counted_one_by_one() {
    let mut tasks = JoinSet::new();
    let (mut sender, tally) = hyper_pair(&mut tasks).await;
    let plan: [Asked; 8] = [
        (Method::GET, "/", || whole("")),
        (Method::GET, "/chunks", || whole("")),
        (Method::HEAD, "/chunks", || whole("")),
        (Method::HEAD, "/", || whole("")),
        (Method::POST, "/echo", || whole(vec![7; 300_000])),
        (Method::POST, "/echo", || chunks("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")),
        (Method::DELETE, "/empty", || whole("")),
        (Method::GET, "/unchanged", || whole("")),
    ];
    let mut asked = 0;
    for (method, path, body) in plan.iter().cycle().take(40) {
        sender.ready().await.unwrap();
        let request = Request::builder().method(method).uri(*path).header("Host", "a").body(body()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        asked += 1;
        assert_eq!(counts(&tally).1, asked, "{method} {path}");
        response.into_body().collect().await.unwrap();
        // The observer saw the last byte before the client did.
        assert_eq!(counts(&tally), (0, asked), "{method} {path}");
    }
    drop(sender);
    tasks.join_all().await;
    assert_eq!(counts(&tally), (0, 40));
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing_behind() {
    let mut tasks = JoinSet::new();
    let (mut sender, tally) = hyper_pair(&mut tasks).await;
    let never_ending = StreamBody::new(futures::stream::pending()).boxed();
    let request = Request::post("/echo").header("Host", "a").body(never_ending).unwrap();
    let sending = sender.send_request(request);
    assert!(tokio::time::timeout(Duration::from_millis(50), sending).await.is_err());
    assert_eq!(counts(&tally), (1, 1));
    drop(sender);
    tasks.join_all().await;
    assert_eq!(counts(&tally).0, 0);
}

#[test]
fn bodies_cost_nothing_per_byte() {
    // A mebibyte a thousand times over is skipped in the time that reading it all would take many times.
    let (mut observer, _tally) = observer(Class::Http);
    observer.down(b"GET / HTTP/1.1\r\n\r\n");
    observer.up(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576000\r\n\r\n");
    let chunk = vec![b'\n'; 1 << 20];
    let start = Instant::now();
    let told = (0..1000).filter_map(|_| observer.up(&chunk)).count();
    assert_eq!(told, 1);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
