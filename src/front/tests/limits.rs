//! What clients may take, and what they are told when they take more. Slow ones cannot take the service down.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::lab::{Lab, body, field, http_backend, named, read_to_end, read_until, status, tcp_backend, text, within};
use crate::front::Mode;

async fn echo() -> super::lab::Worker {
    http_backend(|request: Request<Incoming>| async move { Response::new(request.into_body().boxed()) }).await
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let taking = http_backend(|request: Request<Incoming>| async move {
        let body = request.into_body().collect().await;
        text(body.map(|body| body.to_bytes()).unwrap_or_default())
    });
    let lab = Lab::with([taking.await], |config| config.limits.body_bytes = Some(10));
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    for (request, expected) in [
        (post("Content-Length: 10\r\nConnection: close", "1234567890"), 200),
        (post("Content-Length: 11", "12345678901"), 413),
        (post("Content-Length: 11\r\nExpect: 100-continue", ""), 413),
        (post("Transfer-Encoding: chunked", "b\r\n12345678901\r\n0\r\n\r\n"), 413),
        (post("Transfer-Encoding: chunked", &"6\r\n123456\r\n".repeat(100_000)), 413),
    ] {
        let mut client = lab.connect().await;
        let (mut reading, mut writing) = client.split();
        let mut response = Vec::new();
        let (_, read) = tokio::join!(writing.write_all(request.as_bytes()), within(reading.read_to_end(&mut response)));
        read.unwrap();
        let response = String::from_utf8(response).unwrap();
        assert_eq!(status(&response), expected, "{response}");
        assert!(expected == 200 || field(&response, "connection") == Some("close"), "{response}");
    }
    assert_eq!(lab.endpoint(1).failures_total, 0, "no worker is to blame");

    // Over HTTP/2 only its stream ends.
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(lab.connect().await)).await.unwrap();
    tokio::spawn(connection);
    for (frames, expected) in [(3, StatusCode::PAYLOAD_TOO_LARGE), (1, StatusCode::OK)] {
        let frames = futures::stream::iter((0..frames).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from("12345")))));
        let request = Request::post("http://a/").body(StreamBody::new(frames)).unwrap();
        assert_eq!(within(sender.send_request(request)).await.unwrap().status(), expected);
    }
}

#[tokio::test]
async fn other_limits_than_the_usual_ones_hold() {
    let lab = Lab::with([named("a").await], |config| {
        config.limits.head_bytes = 2048;
        config.limits.fields = 5;
        config.limits.target_bytes = 100;
    });
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (request, expected) in [
        (get("/", "Connection: close\r\n"), 200),
        (get(&format!("/{}", "x".repeat(100)), ""), 414),
        (get("/", &format!("X: {}\r\n", "x".repeat(2048))), 431),
        (get("/", &"X: y\r\n".repeat(5)), 431),
    ] {
        assert_eq!(status(&lab.raw(request).await), expected);
    }
}

/// As slowhttptest does, with its heads, its bodies and its reads: a thousand at once that take as long as they can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h_08_a_thousand_slow_clients_do_not_keep_others_from_service() {
    const EACH: usize = 334;
    let bytes = Bytes::from(vec![b'x'; 16 << 20]);
    let large = http_backend(move |request: Request<Incoming>| {
        let bytes = bytes.clone();
        async move {
            match request.uri().path() {
                "/large" => text(bytes),
                "/fast" => text("fast"),
                _ => Response::new(request.into_body().boxed()),
            }
        }
    });
    let lab = Lab::with([large.await], |config| {
        // All come at once, and the machine may have other things to do: a client whose first bytes are late is still one
        // that speaks HTTP.
        config.mode = Mode::Http;
        config.connect_timeout = Duration::from_secs(60);
        config.limits.head_timeout = Duration::from_millis(1500);
        config.limits.body_grace = Duration::from_millis(1500);
        config.limits.write_timeout = Duration::from_millis(1500);
    });
    let address = lab.address();
    let ended = Arc::new(AtomicUsize::new(0));
    let slow = |kind: usize| {
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut client = socket.connect(address).await.unwrap();
            let begin = [
                "GET / HTTP/1.1\r\nHost: a\r\n",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
                "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
            ][kind];
            client.write_all(begin.as_bytes()).await.unwrap();
            match kind {
                2 => {
                    while client.writable().await.is_ok() {
                        // It reads nothing at all; when it was cut, the next write fails.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        if client.try_write(b"\r\n").is_err() {
                            break;
                        }
                    }
                }
                _ => {
                    let more: &[u8] = if kind == 0 { b"X: y\r\n" } else { b"x" };
                    while client.write_all(more).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
            ended.fetch_add(1, Ordering::Relaxed);
        })
    };
    let slow: Vec<_> = (0..3 * EACH).map(|i| slow(i % 3)).collect();
    let mut served = 0;
    while ended.load(Ordering::Relaxed) < 3 * EACH {
        let response = lab.get("/fast").await;
        assert_eq!((status(&response), body(&response)), (200, "fast"));
        served += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    within(join_all(slow)).await;
    assert!(served > 0);
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0, "no worker is to blame");
}

#[tokio::test]
async fn a_slow_body_over_http_2_ends_its_stream_alone() {
    let lab = Lab::with([echo().await], |config| config.limits.body_grace = Duration::from_millis(50));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(lab.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let never = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let request = Request::post("http://a/").body(StreamBody::new(never).boxed()).unwrap();
    let response = within(sender.send_request(request)).await;
    let cut = match response {
        Ok(response) => within(response.collect()).await.is_err(),
        Err(_) => true,
    };
    assert!(cut);
    let request = Request::post("http://a/").body(http_body_util::Full::new(Bytes::from("x")).boxed()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(within(response.collect()).await.unwrap().to_bytes(), "x");
    assert_eq!(lab.endpoint(1).failures_total, 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_and_a_connection_at_rest_is_not() {
    let lab = Lab::with([named("a").await], |config| config.limits.body_grace = Duration::from_millis(50));
    let mut client = lab.connect().await;
    let request = |length| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nx");
    client.write_all(request(1).as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\na").await;
    assert!(
        tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await.is_err(),
        "at rest nothing is late"
    );
    let taking = http_backend(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        text("taken")
    });
    let lab = Lab::with([taking.await], |config| config.limits.body_grace = Duration::from_millis(50));
    let response = lab.raw(request(2)).await;
    assert_eq!((status(&response), field(&response, "connection")), (408, Some("close")), "{response}");
    assert_eq!(lab.endpoint(1).failures_total, 0, "no worker is to blame");
}

#[tokio::test]
async fn who_waits_for_100_hears_it_when_a_worker_is_there_or_the_final_answer_at_once() {
    let waiting = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    // Without a worker nobody takes the body.
    let response = Lab::new([]).raw(waiting).await;
    assert_eq!(status(&response), 503, "{response}");
    // A backend that has its answer without the body.
    let refuses = tcp_backend(|mut socket: TcpStream| async move {
        read_until(&mut socket, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        socket.write_all(answer).await.unwrap();
    });
    let lab = Lab::new([refuses.await]);
    let mut client = lab.connect().await;
    client.write_all(waiting.as_bytes()).await.unwrap();
    let response = within(read_to_end(&mut client)).await;
    let last = &response[response.rfind("HTTP/1.1").unwrap()..];
    assert_eq!((status(last), body(last)), (401, "no"), "{response}");
    assert_eq!(lab.endpoint(1).failures_total, 0);
}
