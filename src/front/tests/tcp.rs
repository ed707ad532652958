//! Opaque connections.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::lab::{Lab, Worker, config, read_to_end, read_until, tcp_backend, within};
use crate::{
    balance::State,
    front::Mode,
    tunnel::{Class, Refusal, TunnelStream},
};

/// Replies once the client has ended its side.
async fn replies_after_eof(mut socket: TcpStream) {
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    socket.write_all(format!("got {text}").as_bytes()).await.unwrap();
}

/// Greets, then sends back one line.
async fn greets(mut socket: TcpStream) {
    socket.write_all(b"220 ready\r\n").await.unwrap();
    let line = read_until(&mut socket, "\n").await;
    socket.write_all(line.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_reply_after_the_end_of_the_question_arrives() {
    for mode in [Mode::Tcp, Mode::Auto] {
        let lab = Lab::with([tcp_backend(replies_after_eof).await], config(mode));
        let mut client = lab.connect().await;
        client.write_all(b"x").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "got x");
        lab.in_flight(1, 0).await;
        let header = lab.paths.headers.lock().unwrap().pop().unwrap();
        assert_eq!((header.class, header.client), (Class::Tcp, Some(client.local_addr().unwrap())));
        assert_eq!(lab.front.counters().requests_total, 1);
    }
}

#[tokio::test]
async fn in_auto_mode_a_server_may_speak_first() {
    let lab = Lab::new([tcp_backend(greets).await]);
    let mut client = lab.connect().await;
    read_until(&mut client, "220 ready\r\n").await;
    client.write_all(b"GET / no http here\n").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "GET / no http here\n");
}

#[tokio::test]
async fn a_client_that_only_listens_is_served() {
    let lab = Lab::new([tcp_backend(replies_after_eof).await]);
    let mut client = lab.connect().await;
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "got ");
}

#[tokio::test]
async fn connections_go_round_by_what_is_in_flight() {
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(tcp_backend(greets).await);
    }
    let lab = Lab::with(workers, config(Mode::Tcp));
    let mut clients = Vec::new();
    for _ in 0..9 {
        let mut client = lab.connect().await;
        read_until(&mut client, "\n").await;
        clients.push(client);
    }
    assert!(lab.front.endpoints().iter().all(|endpoint| endpoint.in_flight == 3));
    clients.truncate(0);
    for id in 1..=3 {
        lab.in_flight(id, 0).await;
        assert_eq!(lab.endpoint(id).failures_total, 0);
    }
}

#[tokio::test]
async fn a_worker_that_does_not_take_it_costs_the_client_nothing() {
    let bad = [
        Worker::Unreachable,
        Worker::Hangs,
        Worker::Refuses(Refusal::Full),
        Worker::Refuses(Refusal::Draining),
        Worker::Refuses(Refusal::NoSuchService),
        Worker::Refuses(Refusal::BackendUnreachable),
    ];
    for (i, bad) in bad.into_iter().enumerate() {
        let good = tcp_backend(replies_after_eof).await;
        let lab = Lab::with([bad, good], |config| {
            config.mode = Mode::Tcp;
            config.connect_timeout = Duration::from_millis(50);
        });
        // Equal at first, so that the bad one is tried by one of the two.
        for _ in 0..2 {
            let mut client = lab.connect().await;
            client.write_all(b"x").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, "got x", "case {i}");
        }
        assert_eq!(lab.dials(1), 1, "case {i}");
        let ejected = [0, 1, 5].contains(&i);
        assert_eq!(lab.endpoint(1).state == State::Ejected, ejected, "case {i}");
        assert_eq!(lab.endpoint(1).failures_total, u64::from(ejected), "a refusal is no failure");
    }
}

#[tokio::test]
async fn without_workers_the_connection_closes_cleanly() {
    let lab = Lab::with([], config(Mode::Tcp));
    let mut client = lab.connect().await;
    // Unread bytes at our end would make the kernel answer with a reset.
    let _ = client.write_all(&[b'x'; 100_000]).await;
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test]
async fn no_more_workers_are_tried_than_allowed() {
    let lab = Lab::with(vec![Worker::Unreachable; 8], |config| {
        config.mode = Mode::Tcp;
        config.retries = 2;
    });
    let mut client = lab.connect().await;
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(lab.all_dials(), 3);
    assert!((1..=8).all(|id| lab.dials(id) <= 1), "never the same twice");
}

#[tokio::test]
async fn a_reset_of_the_backend_reaches_the_client() {
    let backend = tcp_backend(|mut socket| async move {
        socket.write_all(b"part").await.unwrap();
        socket.read_u8().await.unwrap();
        socket.set_zero_linger().unwrap();
    });
    let lab = Lab::with([backend.await], config(Mode::Tcp));
    let mut client = lab.connect().await;
    read_until(&mut client, "part").await;
    client.write_all(b"x").await.unwrap();
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 1);
}

#[tokio::test]
async fn a_reset_of_the_client_reaches_the_backend() {
    let (tell, mut told) = mpsc::channel(1);
    let lab = Lab::with(
        [Worker::does(move |mut tunnel: TunnelStream| {
            let tell = tell.clone();
            async move {
                tunnel.read_u8().await.unwrap();
                let _ = tell.send(tunnel.read_u8().await.unwrap_err().kind()).await;
            }
        })],
        config(Mode::Tcp),
    );
    let mut client = lab.connect().await;
    client.write_all(b"x").await.unwrap();
    lab.in_flight(1, 1).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(within(told.recv()).await, Some(io::ErrorKind::ConnectionReset));
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0);
}

#[tokio::test]
async fn an_idle_connection_is_cut() {
    let lab = Lab::with([tcp_backend(greets).await], |config| {
        config.mode = Mode::Tcp;
        config.idle_timeout = Duration::from_millis(50);
    });
    let mut client = lab.connect().await;
    read_until(&mut client, "\n").await;
    let error = within(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn beyond_the_limit_clients_wait_for_their_turn() {
    let lab = Lab::with([tcp_backend(greets).await], |config| {
        config.mode = Mode::Tcp;
        config.max_connections = 1;
    });
    let mut first = lab.connect().await;
    read_until(&mut first, "220 ready\r\n").await;
    let mut second = lab.connect().await;
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(early.is_err(), "served beyond the limit");
    assert_eq!(lab.dials(1), 1);
    drop(first);
    read_until(&mut second, "220 ready\r\n").await;
}
