//! How a front begins and ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, body::Frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::lab::{
    Lab, Paths, Worker, config, http_backend, named, read_to_end, read_until, status, tcp_backend, text, within,
};
use crate::{
    balance::{self, Balancer},
    front::{Config, End, Front, Mode},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Answers when told.
async fn waits_for(go: &Arc<Notify>) -> Worker {
    let go = Arc::clone(go);
    http_backend(move |_| {
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            text("done")
        }
    })
    .await
}

#[tokio::test]
async fn an_address_in_use_is_said_in_one_line() {
    let lab = Lab::new([]);
    let config = Config::new("web", lab.address());
    let balance = balance::Config::new("web");
    let error = Front::bind(config, Arc::new(Paths::default()), Balancer::new(balance, 1)).err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {} for service web: the address is in use", lab.address())));
    assert!(!text.contains('\n') && text.contains("web@HOST:PORT"), "{text}");
}

#[tokio::test]
async fn a_worker_is_waited_for() {
    let lab = Lab::new([]);
    assert!(tokio::time::timeout(Duration::from_millis(20), lab.front.available()).await.is_err());
    let lab = Lab::new([named("a").await]);
    within(lab.front.available()).await;
}

#[tokio::test]
async fn a_drain_refuses_new_clients_and_lets_requests_end() {
    let go = Arc::new(Notify::new());
    let lab = Lab::new([waits_for(&go).await]);
    let mut asking = lab.connect().await;
    asking.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    lab.in_flight(1, 1).await;
    let (end, ()) = within(async {
        tokio::join!(lab.front.drain(HOUR), async {
            while TcpStream::connect(lab.address()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            go.notify_one();
            let response = read_to_end(&mut asking).await;
            assert_eq!(status(&response), 200);
            assert!(response.contains("connection: close"), "{response}");
        })
    })
    .await;
    assert_eq!(end, End::Drained);
    assert_eq!(within(lab.running).await.unwrap(), End::Drained);
}

#[tokio::test]
async fn a_drain_closes_connections_that_rest() {
    let lab = Lab::new([named("a").await]);
    let mut resting = lab.connect().await;
    resting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut resting, "\r\n\r\na").await;
    let mut silent = lab.connect().await;
    assert_eq!(within(lab.front.drain(HOUR)).await, End::Drained);
    assert_eq!(read_to_end(&mut resting).await, "");
    let _ = within(silent.read(&mut [0])).await;
}

#[tokio::test]
async fn after_the_deadline_the_rest_is_cut_off() {
    let go = Arc::new(Notify::new());
    let lab = Lab::new([waits_for(&go).await]);
    let mut asking = lab.connect().await;
    asking.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    lab.in_flight(1, 1).await;
    assert_eq!(within(lab.front.drain(Duration::from_millis(30))).await, End::CutOff { connections: 1 });
    let error = within(asking.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0);
    assert_eq!(lab.front.counters().in_flight, 0);
}

#[tokio::test]
async fn a_second_drain_may_be_more_impatient() {
    let backend = tcp_backend(|mut socket| async move {
        socket.write_all(b"hello").await.unwrap();
        let _ = socket.read_u8().await;
    });
    let lab = Lab::with([backend.await], config(Mode::Tcp));
    let mut client = lab.connect().await;
    read_until(&mut client, "hello").await;
    let (first, second) = within(async {
        tokio::join!(lab.front.drain(HOUR), async {
            while TcpStream::connect(lab.address()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            lab.front.drain(Duration::ZERO).await
        })
    })
    .await;
    assert_eq!((first, second), (End::CutOff { connections: 1 }, End::CutOff { connections: 1 }));
    let error = within(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn opaque_connections_and_streams_end_by_themselves_in_a_drain() {
    let (frames, streaming) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
    let streaming = Arc::new(std::sync::Mutex::new(Some(streaming)));
    let lab = Lab::new([http_backend(move |_| {
        let frames = streaming.lock().unwrap().take().unwrap();
        let frames = futures::stream::unfold(frames, |mut frames| async move {
            Some((Ok::<_, hyper::Error>(frames.recv().await?), frames))
        });
        async { Response::new(StreamBody::new(frames).boxed()) }
    })
    .await]);
    let mut client = lab.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    frames.send(Frame::data("one".into())).await.unwrap();
    read_until(&mut client, "one\r\n").await;
    let (end, ()) = within(async {
        tokio::join!(lab.front.drain(HOUR), async {
            while TcpStream::connect(lab.address()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            frames.send(Frame::data("two".into())).await.unwrap();
            read_until(&mut client, "two\r\n").await;
            drop(frames);
            assert_eq!(read_to_end(&mut client).await, "0\r\n\r\n");
        })
    })
    .await;
    assert_eq!(end, End::Drained);
}

#[tokio::test]
async fn a_front_whose_task_is_gone_does_not_keep_its_drain_waiting() {
    let lab = Lab::new([]);
    lab.running.abort();
    assert_eq!(within(lab.front.drain(HOUR)).await, End::CutOff { connections: 0 });
}
