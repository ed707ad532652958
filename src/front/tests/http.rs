//! What crosses the front, and how.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::{HeaderMap, Request, Response, body::Frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

use super::lab::{
    Lab, Reply, Worker, body, config, field, http_backend, named, read_to_end, read_until, status, tcp_backend, text,
    within,
};
use crate::{
    front::Mode,
    ledger::Protocol,
    tunnel::{Class, TunnelStream},
};

fn stream(frames: mpsc::Receiver<Frame<Bytes>>) -> Reply {
    let frames = futures::stream::unfold(frames, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((Ok::<_, hyper::Error>(frame), frames))
    });
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

#[tokio::test]
async fn a_backend_sees_the_request_and_who_sent_it() {
    let seen = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&seen);
    let backend = http_backend(move |request: Request<_>| {
        *tell.lock().unwrap() = Some((request.method().clone(), request.uri().clone(), request.headers().clone()));
        async { text("here") }
    });
    let lab = Lab::new([backend.await]);
    let request = "POST http://shop.example/a%20b?c=d HTTP/1.1\r\nHost: ignored\r\nContent-Length: 2\r\nX-Mine: 1\r\n\
                   Connection: close, x-hop\r\nX-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\nhi";
    let response = lab.raw(request).await;
    assert_eq!((status(&response), body(&response)), (200, "here"));
    assert_eq!(field(&response, "content-length"), Some("4"));

    let (method, uri, headers) = seen.lock().unwrap().take().unwrap();
    assert_eq!((method.as_str(), uri.to_string()), ("POST", "/a%20b?c=d".to_owned()));
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(value("host"), Some("shop.example"));
    assert_eq!(value("x-mine"), Some("1"));
    assert_eq!(value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(value("x-forwarded-host"), Some("shop.example"));
    assert_eq!(value("x-forwarded-proto"), Some("http"));
    assert_eq!((value("x-hop"), value("forwarded"), value("connection")), (None, None, None));
    let tunnels = lab.paths.headers.lock().unwrap();
    assert!(tunnels.iter().all(|tunnel| tunnel.class == Class::Http && tunnel.service == "web"));
}

#[tokio::test]
async fn requests_share_a_tunnel_across_clients() {
    let lab = Lab::new([named("a").await]);
    let mut client = lab.connect().await;
    for _ in 0..20 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(status(&read_until(&mut client, "\r\n\r\na").await), 200);
    }
    for _ in 0..20 {
        assert_eq!(status(&lab.get("/").await), 200);
    }
    assert_eq!(lab.dials(1), 1);
    assert_eq!(lab.front.counters().requests_total, 40);
    assert_eq!(lab.endpoint(1).requests_total, 40);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = http_backend(|request| async move { text(request.uri().path().to_owned()) });
    let lab = Lab::new([backend.await]);
    let requests = ["/1", "/2", "/3"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).concat();
    let mut client = lab.connect().await;
    client.write_all(requests.as_bytes()).await.unwrap();
    let mut text = String::new();
    for path in ["/1", "/2", "/3"] {
        text += &read_until(&mut client, &format!("\r\n\r\n{path}")).await;
    }
    assert_eq!(text.matches("200 OK").count(), 3);
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let (to_backend, frames) = mpsc::channel(1);
    let frames = Arc::new(Mutex::new(Some(frames)));
    let lab = Lab::new([http_backend(move |_| {
        let mut reply = stream(frames.lock().unwrap().take().unwrap());
        reply.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        async { reply }
    })
    .await]);
    let mut client = lab.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    // Each is sent only after the one before has arrived.
    for i in 0..5 {
        let event = format!("data: {i}\n\n");
        to_backend.send(Frame::data(event.clone().into())).await.unwrap();
        read_until(&mut client, &format!("{event}\r\n")).await;
        assert_eq!(lab.endpoint(1).in_flight, 1, "charged until the response has ended");
        assert_eq!(lab.front.counters().in_flight, 1);
    }
    drop(to_backend);
    read_until(&mut client, "0\r\n\r\n").await;
    lab.in_flight(1, 0).await;
    assert_eq!(lab.front.counters().in_flight, 0);
    assert!(lab.endpoint(1).latency.is_some());
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let echo = http_backend(|request| async move { Response::new(request.into_body().boxed()) });
    let lab = Lab::new([echo.await]);
    let mut client = lab.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    client.write_all(b"5\r\nfirst\r\n").await.unwrap();
    read_until(&mut client, "5\r\nfirst\r\n").await;
    client.write_all(b"6\r\nsecond\r\n").await.unwrap();
    read_until(&mut client, "6\r\nsecond\r\n").await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut client, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_large_body_comes_back_whole() {
    let echo = http_backend(|request| async move { Response::new(request.into_body().boxed()) });
    let lab = Lab::new([echo.await]);
    let payload: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8 % 26 + b'a').collect();
    let (mut reading, mut writing) = lab.connect().await.into_split();
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", payload.len());
    let mut response = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writing.write_all(head.as_bytes()).await?;
            writing.write_all(&payload).await
        },
        within(reading.read_to_end(&mut response)),
    );
    written.unwrap();
    read.unwrap();
    assert!(response.ends_with(&payload), "{} bytes", response.len());
}

#[tokio::test]
async fn an_upload_goes_on_while_the_client_does_not_read_its_response() {
    // More than all buffers hold, both ways; the response begins before the request has ended.
    const SIZE: usize = 16 << 20;
    let backend = tcp_backend(|mut socket| async move {
        read_until(&mut socket, "\r\n\r\n").await;
        let (mut reading, mut writing) = socket.split();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        let (mut request, response) = (vec![0; SIZE], vec![b'y'; SIZE]);
        let (read, written) = tokio::join!(reading.read_exact(&mut request), async {
            writing.write_all(head.as_bytes()).await?;
            writing.write_all(&response).await
        });
        read.unwrap();
        written.unwrap();
    });
    let lab = Lab::new([backend.await]);
    let mut client = lab.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'x'; 1024]).await.unwrap();
    let answer = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(status(&answer), 200);
    within(client.write_all(&vec![b'x'; SIZE - 1024])).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.len(), SIZE);
}

#[tokio::test]
async fn responses_without_a_body_keep_their_head() {
    let backend = http_backend(|request: Request<_>| async move {
        let mut reply = if request.method() == "HEAD" { text("12345") } else { text("") };
        match request.uri().path() {
            "/304" => *reply.status_mut() = hyper::StatusCode::NOT_MODIFIED,
            "/204" => *reply.status_mut() = hyper::StatusCode::NO_CONTENT,
            _ => {}
        }
        reply.headers_mut().insert("etag", "\"x\"".parse().unwrap());
        reply
    });
    let lab = Lab::new([backend.await]);
    let head = lab.raw("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status(&head), field(&head, "content-length"), body(&head)), (200, Some("5"), ""));
    for code in [304, 204] {
        let response = lab.get(&format!("/{code}")).await;
        assert_eq!((status(&response), field(&response, "etag"), body(&response)), (code, Some("\"x\""), ""));
    }
    assert_eq!(lab.dials(1), 1, "the tunnel is as good as after any other response");
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let backend = http_backend(|request| async move {
        let mut frames = BodyStream::new(request.into_body());
        let mut sum = None;
        while let Some(Ok(frame)) = frames.next().await {
            sum = frame.into_trailers().ok().and_then(|trailers| trailers.get("x-up").cloned()).or(sum);
        }
        let (sender, frames) = mpsc::channel(2);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-down", sum.unwrap());
        sender.send(Frame::data("body".into())).await.unwrap();
        sender.send(Frame::trailers(trailers)).await.unwrap();
        let mut reply = stream(frames);
        reply.headers_mut().insert("trailer", "x-down".parse().unwrap());
        reply
    });
    let lab = Lab::new([backend.await]);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\nTrailer: x-up\r\n\
                   Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Up: 42\r\n\r\n";
    let response = lab.raw(request).await;
    assert!(response.ends_with("0\r\nx-down: 42\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let echo = http_backend(|request| async move { Response::new(request.into_body().boxed()) });
    let lab = Lab::new([echo.await]);
    let mut client = lab.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status(&read_until(&mut client, "\r\n\r\n").await), 100);
    client.write_all(b"body").await.unwrap();
    assert_eq!(status(&read_until(&mut client, "\r\n\r\nbody").await), 200);
}

#[tokio::test]
async fn a_body_of_a_get_in_chunks_is_not_lost() {
    let echo = http_backend(|request| async move { Response::new(request.into_body().boxed()) });
    let lab = Lab::new([echo.await]);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nquery\r\n0\r\n\r\n";
    assert!(lab.raw(request).await.contains("5\r\nquery\r\n"));
}

#[tokio::test]
async fn old_clients_and_old_backends_are_understood() {
    // A backend as Python's http.server: HTTP/1.0, the body ends with the connection.
    let backend = tcp_backend(|mut socket| async move {
        read_until(&mut socket, "\r\n\r\n").await;
        socket.write_all(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nold body").await.unwrap();
    });
    let lab = Lab::new([backend.await]);
    let response = lab.raw("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((status(&response), body(&response)), (200, "old body"));
    let response = lab.get("/").await;
    assert!(response.ends_with("8\r\nold body\r\n0\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn a_body_that_breaks_never_looks_whole() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\n\r\npart",
    ] {
        for version in ["1.1", "1.0"] {
            let (break_now, breaking) = mpsc::channel::<()>(1);
            let breaking = Arc::new(tokio::sync::Mutex::new(breaking));
            let lab = Lab::new([Worker::does(move |mut tunnel: TunnelStream| {
                let breaking = Arc::clone(&breaking);
                async move {
                    read_until(&mut tunnel, "\r\n\r\n").await;
                    tunnel.write_all(response.as_bytes()).await.unwrap();
                    tunnel.flush().await.unwrap();
                    breaking.lock().await.recv().await;
                }
            })]);
            let mut client = lab.connect().await;
            client.write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            read_until(&mut client, "part").await;
            break_now.send(()).await.unwrap();
            let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{response:?} {version}");
            lab.in_flight(1, 0).await;
            assert_eq!(lab.endpoint(1).failures_total, 1);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_backend_at_once() {
    for response in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let (tell, mut told) = mpsc::channel(1);
        let lab = Lab::new([Worker::does(move |mut tunnel: TunnelStream| {
            let tell = tell.clone();
            async move {
                read_until(&mut tunnel, "\r\n\r\n").await;
                tunnel.write_all(response.as_bytes()).await.unwrap();
                tunnel.flush().await.unwrap();
                // The model thinks; only a reset, not an orderly end, says that nobody waits any more.
                let _ = tell.send(tunnel.read_u8().await.unwrap_err().kind()).await;
            }
        })]);
        let mut client = lab.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        if response.is_empty() {
            lab.in_flight(1, 1).await;
        } else {
            read_until(&mut client, "part").await;
        }
        drop(client);
        assert_eq!(within(told.recv()).await, Some(std::io::ErrorKind::ConnectionReset));
        lab.in_flight(1, 0).await;
        assert_eq!(lab.endpoint(1).failures_total, 0, "the client left, the worker did not fail");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_its_upload_is_no_fault_of_the_worker() {
    let lab = Lab::new([named("a").await, named("b").await]);
    let mut client = lab.connect().await;
    client.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n").await.unwrap();
    let _ = within(client.read_to_end(&mut Vec::new())).await;
    lab.in_flight(1, 0).await;
    lab.in_flight(2, 0).await;
    assert_eq!(lab.endpoint(1).failures_total + lab.endpoint(2).failures_total, 0);
}

#[tokio::test]
async fn without_workers_the_answer_says_so_in_the_clients_language() {
    let lab = Lab::new([]);
    let response = lab.get("/").await;
    assert_eq!(status(&response), 503);
    assert_eq!(field(&response, "retry-after"), Some("1"));
    assert_eq!(field(&response, "content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(field(&response, "content-length"), Some(body(&response).len().to_string().as_str()));
    assert!(body(&response).starts_with("no worker of service web is available"), "{response}");

    for request in [
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let response = lab.raw(request).await;
        assert_eq!((status(&response), field(&response, "content-type")), (503, Some("application/json")));
        let json: serde_json::Value = serde_json::from_str(body(&response)).unwrap();
        assert_eq!((&json["error"]["type"], &json["error"]["code"]), (&"no_worker".into(), &503.into()));
        assert!(json["error"]["message"].as_str().unwrap().contains("service web"));
    }
    let head = lab.raw("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status(&head), body(&head)), (503, ""));
}

#[tokio::test]
async fn after_an_answer_the_connection_goes_on() {
    let lab = Lab::new([]);
    let mut client = lab.connect().await;
    for _ in 0..3 {
        client.write_all(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
        assert_eq!(status(&read_until(&mut client, "}\n").await), 503);
    }
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_large_upload_gets_its_answer() {
    let lab = Lab::new([]);
    let mut client = lab.connect().await;
    let size = 8 << 20;
    client.write_all(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes()).await.unwrap();
    // It reads only once it has sent everything, as simple clients do.
    within(client.write_all(&vec![b'x'; size])).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(status(&read_to_end(&mut client).await), 503);
}

#[tokio::test]
async fn what_is_no_http_response_is_a_502() {
    for response in [
        "220 smtp.example ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let backend = tcp_backend(move |mut socket| async move {
            read_until(&mut socket, "\r\n\r\n").await;
            socket.write_all(response.as_bytes()).await.unwrap();
            let _ = socket.read_u8().await;
        });
        let lab = Lab::new([backend.await]);
        let answer = lab.get("/v1/x").await;
        assert_eq!(status(&answer), 502, "{response:?}");
        let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(json["error"]["type"], "bad_gateway");
        assert_eq!(lab.endpoint(1).failures_total, 1);
    }
}

#[tokio::test]
async fn a_worker_that_stays_silent_is_a_504() {
    let silent = tcp_backend(|mut socket| async move {
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    let lab = Lab::with([silent.await], |config| config.idle_timeout = Duration::from_millis(50));
    assert_eq!(status(&lab.get("/").await), 504);
    assert_eq!(lab.endpoint(1).failures_total, 1);
}

#[tokio::test]
async fn an_upload_that_moves_is_not_silence() {
    let idle = Duration::from_millis(500);
    let echo = http_backend(|request| async move { text(request.into_body().collect().await.unwrap().to_bytes()) });
    let lab = Lab::with([echo.await], |config| config.idle_timeout = idle);
    let mut client = lab.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(idle / 5).await;
        client.write_all(b"x").await.unwrap();
    }
    assert_eq!(body(&read_to_end(&mut client).await), "xxxxxxxxxx");
}

#[tokio::test]
async fn in_auto_mode_a_split_first_line_is_still_http() {
    let lab = Lab::new([named("a").await]);
    let mut client = lab.connect().await;
    for part in ["G", "ET", " / HTTP/1.1\r\nHost: a\r\n", "Connection: close\r\n\r\n"] {
        client.write_all(part.as_bytes()).await.unwrap();
        client.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&read_to_end(&mut client).await), 200);
    assert_eq!(lab.paths.headers.lock().unwrap()[0].class, Class::Http);
}

#[tokio::test]
async fn a_browser_that_connects_ahead_is_not_mistaken_where_all_backends_are_http() {
    let lab = Lab::new([named("a").await]);
    lab.reconcile_as(0, Protocol::Http);
    let mut client = lab.connect().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(lab.all_dials(), 0);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_to_end(&mut client).await), 200);
    assert_eq!(lab.paths.headers.lock().unwrap()[0].class, Class::Http);
}

#[tokio::test]
async fn a_method_of_the_clients_own_needs_http_mode() {
    let echo = http_backend(|request: Request<_>| async move { text(request.method().to_string()) });
    let lab = Lab::with([echo.await], config(Mode::Http));
    let response = lab.raw("BREW /pot HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(body(&response), "BREW");
}

#[tokio::test]
async fn three_hundred_at_once_go_a_hundred_each() {
    let (arrived, mut arrivals) = mpsc::channel::<oneshot::Sender<()>>(300);
    let mut workers = Vec::new();
    for name in ["a", "b", "c"] {
        let arrived = arrived.clone();
        workers.push(
            http_backend(move |_| {
                let arrived = arrived.clone();
                async move {
                    let (go, going) = oneshot::channel();
                    arrived.send(go).await.unwrap();
                    going.await.unwrap();
                    text(name)
                }
            })
            .await,
        );
    }
    let lab = Lab::new(workers);
    let gate = tokio::spawn(async move {
        let mut waiting = Vec::new();
        while waiting.len() < 300 {
            waiting.push(arrivals.recv().await.unwrap());
        }
        waiting.into_iter().for_each(|go| go.send(()).unwrap());
    });
    let responses = within(futures::future::join_all((0..300).map(|_| lab.get("/")))).await;
    within(gate).await.unwrap();
    for name in ["a", "b", "c"] {
        let count = responses.iter().filter(|response| status(response) == 200 && body(response) == name).count();
        assert_eq!(count, 100, "all 300 were in flight together");
    }
    assert_eq!(lab.front.endpoints().iter().map(|endpoint| endpoint.requests_total).collect::<Vec<_>>(), [100; 3]);
}
