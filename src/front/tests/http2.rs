//! Clients and backends that speak HTTP/2.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::{Frame, Incoming},
    client::conn::http2,
    header::HeaderValue,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::lab::{Lab, Reply, Worker, body, field, http_backend, named, status, tcp_backend, text, within};
use crate::{
    front::{End, Mode},
    ledger::Protocol,
    tunnel::{Class, TunnelStream},
};

type Body = BoxBody<Bytes, Infallible>;
type Sender = http2::SendRequest<Body>;

fn empty() -> Body {
    Empty::new().boxed()
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A client that speaks HTTP/2 from its first byte.
async fn h2(lab: &Lab) -> Sender {
    let stream = TcpStream::connect(lab.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(format!("http://a.example{path}")).body(body).unwrap()
}

async fn get(sender: &mut Sender, path: &str) -> (StatusCode, String) {
    let response = within(sender.send_request(request("GET", path, empty()))).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(within(response.collect()).await.unwrap().to_bytes().to_vec()).unwrap())
}

/// A backend that speaks HTTP/2 without TLS, and how many connections it got.
async fn h2_backend<F>(serve: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> (Worker, Arc<AtomicUsize>)
where
    F: Future<Output = Reply> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let worker = tcp_backend(move |socket| {
        count.fetch_add(1, Ordering::Relaxed);
        let serve = serve.clone();
        async move {
            let service = service_fn(move |request| serve(request).map(Ok::<_, Infallible>));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A front that leaves is no fault of the backend.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        }
    })
    .await;
    (worker, connections)
}

/// A lab whose workers announce HTTP/2.
fn h2_lab(workers: impl IntoIterator<Item = Worker>) -> Lab {
    let lab = Lab::new(workers);
    lab.reconcile_as(0, Protocol::Http2);
    lab
}

/// Says what it was asked, sends the body back, and trailers behind it.
async fn reflect(request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let collected = body.collect().await.unwrap();
    let sum = collected.trailers().and_then(|trailers| trailers.get("x-sum").cloned());
    let said = format!(
        "{} {} {:?} {}",
        head.method,
        head.uri,
        head.version,
        head.headers.get("te").map_or("", |te| te.to_str().unwrap())
    );
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let frames = [Ok(Frame::data(collected.to_bytes())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed());
    response.headers_mut().insert("x-said", said.parse().unwrap());
    response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
    if let Some(sum) = sum {
        response.headers_mut().insert("x-sum", sum);
    }
    response
}

#[tokio::test]
async fn requests_of_one_connection_are_spread_over_the_workers() {
    for mode in [Mode::Auto, Mode::Http] {
        let lab = Lab::with([named("a").await, named("b").await], |config| config.mode = mode);
        let mut sender = h2(&lab).await;
        for _ in 0..4 {
            assert_eq!(get(&mut sender, "/").await.0, 200);
        }
        assert_eq!((lab.endpoint(1).requests_total, lab.endpoint(2).requests_total), (2, 2));
        assert_eq!(lab.front.counters().in_flight, 0);
        assert!(lab.paths.headers.lock().unwrap().iter().all(|header| header.class == Class::Http));
    }
}

#[tokio::test]
async fn a_request_becomes_one_of_http_1_as_meant() {
    let backend = http_backend(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let collected = body.collect().await.unwrap();
        let value = |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let fields = ["host", "cookie", "x-forwarded-for", "x-forwarded-proto", "content-length", "transfer-encoding"];
        let fields: Vec<_> = fields.into_iter().map(value).collect();
        let body = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
        text(format!("{} {} {:?} {} [{body}]", head.method, head.uri, head.version, fields.join(" ")))
    });
    let lab = Lab::new([backend.await]);
    let mut sender = h2(&lab).await;
    let mut asked = request("GET", "/x?y=1", empty());
    asked.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    asked.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    asked.headers_mut().append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    let response = within(sender.send_request(asked)).await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    let said = within(response.collect()).await.unwrap().to_bytes();
    assert_eq!(said, "GET /x?y=1 HTTP/1.1 a.example a=1; b=2 127.0.0.1 http - - []");

    // Of a known length, and of an unknown one, also where a body is unusual.
    let response = within(sender.send_request(request("POST", "/", full("hello")))).await.unwrap();
    let said = within(response.collect()).await.unwrap().to_bytes();
    assert_eq!(said, "POST / HTTP/1.1 a.example - 127.0.0.1 http 5 - [hello]");
    let unknown = StreamBody::new(futures::stream::iter([Ok(Frame::data(Bytes::from("hello")))]));
    let response = within(sender.send_request(request("GET", "/", unknown.boxed()))).await.unwrap();
    let said = within(response.collect()).await.unwrap().to_bytes();
    assert_eq!(said, "GET / HTTP/1.1 a.example - 127.0.0.1 http - chunked [hello]");
}

#[tokio::test]
async fn one_tunnel_carries_many_requests_to_a_backend_of_http_2() {
    const TOGETHER: usize = 20;
    let go = Arc::new(tokio::sync::Barrier::new(TOGETHER));
    let (backend, connections) = h2_backend(move |request| {
        let go = Arc::clone(&go);
        async move {
            assert_eq!(request.version(), Version::HTTP_2);
            // Answers none before all are there.
            go.wait().await;
            text(request.uri().to_string())
        }
    })
    .await;
    let lab = h2_lab([backend]);
    let mut sender = h2(&lab).await;
    let asking: Vec<_> = (0..TOGETHER / 2)
        .map(|i| {
            let mut sender = sender.clone();
            tokio::spawn(async move { get(&mut sender, &format!("/{i}")).await })
        })
        .collect();
    let over_http_1 = futures::future::join_all((TOGETHER / 2..TOGETHER).map(|i| {
        let lab = &lab;
        async move { lab.get(&format!("/{i}")).await }
    }));
    for (i, response) in within(over_http_1).await.into_iter().enumerate() {
        assert_eq!((status(&response), body(&response)), (200, &*format!("http://a/{}", i + TOGETHER / 2)));
    }
    for (i, asked) in asking.into_iter().enumerate() {
        assert_eq!(asked.await.unwrap(), (StatusCode::OK, format!("http://a.example/{i}")));
    }
    assert_eq!((lab.dials(1), connections.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(lab.paths.headers.lock().unwrap()[0].class, Class::Http2);
    lab.in_flight(1, 0).await;
    // Kept for later, but not for another connection to the worker.
    drop(sender.send_request(request("HEAD", "/", empty())));
    lab.reconcile(7);
    assert_eq!(lab.front.counters().requests_total, TOGETHER as u64);
}

#[tokio::test]
async fn trailers_cross_in_both_directions() {
    let (backend, _) = h2_backend(reflect).await;
    let lab = h2_lab([backend]);
    let mut sender = h2(&lab).await;
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("42"))]);
    let frames = [Ok(Frame::data(Bytes::from("question"))), Ok(Frame::trailers(trailers))];
    let mut asked = request("POST", "/pkg.Service/Call", StreamBody::new(futures::stream::iter(frames)).boxed());
    asked.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    asked.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let response = within(sender.send_request(asked)).await.unwrap();
    assert_eq!(response.headers()["x-said"], "POST http://a.example/pkg.Service/Call HTTP/2.0 trailers");
    assert_eq!(response.headers()["x-sum"], "42");
    let collected = within(response.collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "question");

    // The same from a client of HTTP/1, and to a backend of HTTP/1.
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\nTE: trailers\r\nTrailer: x-sum\r\n\
                   Transfer-Encoding: chunked\r\n\r\n8\r\nquestion\r\n0\r\nX-Sum: 42\r\n\r\n";
    let response = lab.raw(chunked).await;
    assert_eq!((status(&response), field(&response, "x-sum")), (200, Some("42")));
    assert!(response.ends_with("question\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{response}");
    let lab = Lab::new([http_backend(reflect).await]);
    let mut sender = h2(&lab).await;
    let mut asked = request("POST", "/", full("question"));
    asked.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let collected = within(within(sender.send_request(asked)).await.unwrap().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_cut_response_is_a_reset_stream_and_the_others_live_on() {
    let cut = Arc::new(Notify::new());
    let cut_now = Arc::clone(&cut);
    let cutting = Worker::does(move |mut tunnel: TunnelStream| {
        let cut = Arc::clone(&cut);
        async move {
            super::lab::read_until(&mut tunnel, "\r\n\r\n").await;
            tunnel.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
            tunnel.flush().await.unwrap();
            cut.notified().await;
        }
    });
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let slow = http_backend(move |_| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            text("whole")
        }
    });
    let lab = Lab::new([cutting, slow.await]);
    let mut sender = h2(&lab).await;
    // Each worker gets one of the two.
    let asking = [sender.clone(), sender.clone()].map(|mut sender| {
        tokio::spawn(async move { sender.send_request(request("POST", "/", full("x"))).await.unwrap() })
    });
    lab.in_flight(1, 1).await;
    lab.in_flight(2, 1).await;
    go.notify_one();
    let mut responses = within(futures::future::try_join_all(asking)).await.unwrap();
    let is_cut = |response: &Response<Incoming>| response.headers()["content-length"] == "10";
    let cut = responses.iter().position(is_cut).unwrap();
    let cut = responses.remove(cut);
    cut_now.notify_one();
    let cut = within(cut.collect()).await;
    let whole = within(responses.remove(0).collect()).await.unwrap().to_bytes();
    assert_eq!(whole, "whole");
    let error = cut.unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().downcast_ref::<h2::Error>().unwrap().reason();
    assert_eq!(reason, Some(h2::Reason::INTERNAL_ERROR));
    lab.kill(1);
    go.notify_one();
    assert_eq!(get(&mut sender, "/").await, (StatusCode::OK, "whole".to_owned()));
}

#[tokio::test]
async fn a_stream_that_the_client_resets_ends_at_the_worker_and_blames_nobody() {
    let gone = Arc::new(Notify::new());
    let tell = Arc::clone(&gone);
    let (backend, _) = h2_backend(move |_| {
        let tell = Arc::clone(&tell);
        async move {
            struct Gone(Arc<Notify>);
            impl Drop for Gone {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let _gone = Gone(tell);
            std::future::pending().await
        }
    })
    .await;
    let lab = h2_lab([backend]);
    let mut sender = h2(&lab).await;
    let asked = sender.send_request(request("GET", "/", empty()));
    let asking = tokio::spawn(asked);
    lab.in_flight(1, 1).await;
    asking.abort();
    within(gone.notified()).await;
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0);
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_in_its_own_words() {
    let lab = Lab::new([]);
    let mut sender = h2(&lab).await;
    let mut asked = request("POST", "/pkg.Service/Call", full("x"));
    asked.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let response = within(sender.send_request(asked)).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &HeaderValue::from_static("14"))
    );
    assert!(response.headers()["grpc-message"].to_str().unwrap().contains("no worker of service web"));
    assert!(hyper::body::Body::is_end_stream(response.body()), "nothing but trailers");
}

#[tokio::test]
async fn a_call_of_grpc_goes_to_no_backend_that_cannot_answer_it() {
    let lab = Lab::new([named("speaks HTTP/1").await]);
    lab.reconcile_as(0, Protocol::Http);
    let mut sender = h2(&lab).await;
    let mut asked = request("POST", "/pkg.Service/Call", full("x"));
    asked.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let response = within(sender.send_request(asked)).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(lab.all_dials(), 0);
    assert_eq!(get(&mut sender, "/").await, (StatusCode::OK, "speaks HTTP/1".to_owned()));
}

#[tokio::test]
async fn a_drain_lets_streams_end() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let lab = Lab::new([http_backend(move |_| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            text("done")
        }
    })
    .await]);
    let mut sender = h2(&lab).await;
    let asking = tokio::spawn(async move { get(&mut sender, "/").await });
    lab.in_flight(1, 1).await;
    let (end, ()) = within(async {
        tokio::join!(lab.front.drain(std::time::Duration::from_secs(3600)), async {
            while TcpStream::connect(lab.address()).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            go.notify_one();
        })
    })
    .await;
    assert_eq!(end, End::Drained);
    assert_eq!(asking.await.unwrap(), (StatusCode::OK, "done".to_owned()));
}

#[tokio::test]
async fn who_takes_nothing_of_a_response_loses_that_stream_alone() {
    let backend = http_backend(|request: Request<Incoming>| async move {
        let size = if request.uri().path() == "/large" { 1 << 24 } else { 5 };
        text(vec![b'x'; size])
    });
    let lab = Lab::with([backend.await], |config| {
        config.limits.write_timeout = std::time::Duration::from_millis(50);
    });
    let mut sender = h2(&lab).await;
    let stuck = within(sender.send_request(request("GET", "/large", empty()))).await.unwrap();
    lab.in_flight(1, 0).await;
    assert!(within(stuck.collect()).await.is_err());
    assert_eq!(get(&mut sender, "/").await, (StatusCode::OK, "xxxxx".to_owned()));
    assert_eq!(lab.endpoint(1).failures_total, 0);
}

#[tokio::test]
async fn a_backend_that_refuses_a_stream_did_nothing_with_it() {
    // Resets its first stream with REFUSED_STREAM, as one does that has too many.
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    let refusing = tcp_backend(move |socket| {
        let count = Arc::clone(&count);
        async move {
            let mut connection = h2::server::handshake(socket).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        }
    });
    let (good, _) = h2_backend(|_| async { text("good") }).await;
    let lab = h2_lab([refusing.await, good]);
    for _ in 0..2 {
        let response = lab.send("POST", b"").await;
        assert_eq!((status(&response), body(&response)), (200, "good"));
    }
    assert!(refusals.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn what_no_connection_of_http_2_may_do_ends_it() {
    let lab = Lab::new([named("a").await]);
    let mut client = lab.connect().await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within(client.read_to_end(&mut answer)).await;
    assert!(!answer.is_empty() && !answer.starts_with(b"HTTP/1"), "a GOAWAY");
    assert_eq!(lab.all_dials(), 0);
}
