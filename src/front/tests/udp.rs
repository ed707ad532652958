//! Datagrams.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

use super::lab::{Lab, Worker, within};
use crate::{
    front::{Config, End, Loss, Mode},
    ledger::Protocol,
    tunnel::{MAX_DATAGRAM, TunnelStream},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Sends back what it gets, with its name before it; ends at `end`, and says nothing to `hush`.
fn echo(name: &'static str) -> Worker {
    Worker::does(move |mut tunnel: TunnelStream| async move {
        while let Ok(length) = tunnel.read_u16().await {
            let mut datagram = vec![0; length.into()];
            tunnel.read_exact(&mut datagram).await.unwrap();
            match datagram.as_slice() {
                b"end" => break,
                b"hush" => continue,
                _ => {}
            }
            if datagram.len() < 100 {
                datagram.splice(..0, name.bytes());
            }
            tunnel.write_u16(datagram.len() as u16).await.unwrap();
            tunnel.write_all(&datagram).await.unwrap();
            tunnel.flush().await.unwrap();
        }
        let _ = tunnel.shutdown().await;
    })
}

fn lab(workers: impl IntoIterator<Item = Worker>, change: impl FnOnce(&mut Config)) -> Lab {
    let lab = Lab::with(workers, |config| {
        config.mode = Mode::Udp;
        change(config);
    });
    lab.reconcile_as(0, Protocol::Udp);
    lab
}

async fn client(lab: &Lab) -> UdpSocket {
    from("127.0.0.1", lab.address()).await
}

async fn from(ip: &str, front: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    socket.connect(front).await.unwrap();
    socket
}

async fn ask(client: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    client.send(datagram).await.unwrap();
    heard(client).await
}

async fn heard(client: &UdpSocket) -> Vec<u8> {
    let mut room = vec![0; MAX_DATAGRAM];
    let length = within(client.recv(&mut room)).await.unwrap();
    room.truncate(length);
    room
}

/// Waits until so many were dropped for this reason.
async fn dropped(lab: &Lab, why: Loss, wanted: u64) {
    within(async {
        while lab.front.datagrams_dropped().find(|(reason, _)| *reason == why).unwrap().1 != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_keeps_its_worker_and_gets_another_one_when_that_dies() {
    let lab = lab([echo("1"), echo("2")], |_| {});
    let client = client(&lab).await;
    let first = ask(&client, b"x").await;
    for _ in 0..5 {
        assert_eq!(ask(&client, b"x").await, first);
    }
    assert_eq!(lab.all_dials(), 1);
    lab.kill(first[0] - b'0');
    lab.in_flight(first[0] - b'0', 0).await;
    let other = ask(&client, b"x").await;
    assert_ne!(other, first);
}

#[tokio::test]
async fn datagrams_of_every_size_keep_their_bounds() {
    let lab = lab([echo("")], |_| {});
    let client = client(&lab).await;
    for length in [0, 1, 1472, 9000, MAX_DATAGRAM] {
        let datagram = vec![length as u8; length];
        assert_eq!(ask(&client, &datagram).await, datagram);
    }
    assert_eq!(lab.front.counters().datagrams_dropped_total, 0);
}

#[tokio::test]
async fn what_no_worker_takes_is_counted() {
    let lab = lab([Worker::Unreachable], |_| {});
    let client = client(&lab).await;
    client.send(b"x").await.unwrap();
    dropped(&lab, Loss::Worker, 1).await;
}

#[tokio::test]
async fn workers_that_take_bytes_are_not_even_asked() {
    let lab = lab([echo("1")], |_| {});
    lab.reconcile_as(0, Protocol::Http);
    let client = client(&lab).await;
    client.send(b"x").await.unwrap();
    dropped(&lab, Loss::Worker, 1).await;
    assert_eq!(lab.all_dials(), 0);
    assert_eq!(lab.front.journal(1)[0].outcome, "no worker speaks the protocol");
}

#[tokio::test]
async fn a_burst_beyond_the_queue_is_dropped_and_counted() {
    let lab = lab([Worker::Hangs], |config| config.connect_timeout = HOUR);
    let client = client(&lab).await;
    for _ in 0..64 + 3 {
        client.send(b"x").await.unwrap();
        // Nothing overtakes it, so that the socket's own buffer loses none.
        tokio::task::yield_now().await;
    }
    dropped(&lab, Loss::Queue, 3).await;
    assert_eq!(within(lab.front.drain(Duration::ZERO)).await, End::CutOff { connections: 1 });
    dropped(&lab, Loss::Ended, 64).await;
}

#[tokio::test]
async fn one_client_gets_so_many_sessions_and_leaves_the_rest_to_others() {
    let lab = lab([echo("")], |config| config.limits.connections_per_client = 2);
    let clients = [client(&lab).await, client(&lab).await, client(&lab).await];
    for client in &clients[..2] {
        assert_eq!(ask(client, b"x").await, b"x");
    }
    clients[2].send(b"x").await.unwrap();
    dropped(&lab, Loss::Client, 1).await;
    assert_eq!(ask(&from("127.0.0.2", lab.address()).await, b"y").await, b"y");
    clients[0].send(b"end").await.unwrap();
    lab.in_flight(1, 2).await;
    assert_eq!(ask(&clients[2], b"z").await, b"z");
}

#[tokio::test]
async fn who_was_never_answered_gives_way_when_the_table_is_full() {
    let lab = lab([echo("")], |config| config.max_connections = 2);
    let (real, flood, late) = (client(&lab).await, client(&lab).await, client(&lab).await);
    assert_eq!(ask(&real, b"x").await, b"x");
    flood.send(b"hush").await.unwrap();
    lab.in_flight(1, 2).await;
    // The flood's session may still be answered for a moment: a client that asks again gets in.
    let answer = within(async {
        loop {
            late.send(b"y").await.unwrap();
            let mut room = [0; 8];
            if let Ok(length) = tokio::time::timeout(Duration::from_millis(50), late.recv(&mut room)).await {
                return room[..length.unwrap()].to_vec();
            }
        }
    })
    .await;
    assert_eq!(answer, b"y");
    assert_eq!(ask(&real, b"x").await, b"x");
    assert_eq!(lab.dials(1), 3, "the session that was answered went on");
    lab.in_flight(1, 2).await;
    assert!(lab.front.datagrams_dropped().any(|(why, count)| why == Loss::Sessions && count > 0));
}

#[tokio::test]
async fn a_drain_lets_sessions_go_on_to_their_end_and_begins_none() {
    let lab = lab([echo("")], |_| {});
    let (old, new) = (client(&lab).await, client(&lab).await);
    assert_eq!(ask(&old, b"x").await, b"x");
    let (end, ()) = within(async {
        tokio::join!(lab.front.drain(HOUR), async {
            // A new one is refused once the drain has begun.
            while lab.front.datagrams_dropped().all(|(why, count)| why != Loss::Draining || count == 0) {
                new.send(b"end").await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for _ in 0..3 {
                assert_eq!(ask(&old, b"y").await, b"y");
            }
            old.send(b"end").await.unwrap();
        })
    })
    .await;
    assert_eq!(end, End::Drained);
}

#[tokio::test]
async fn after_the_deadline_sessions_are_cut_off() {
    let lab = lab([echo("")], |_| {});
    let client = client(&lab).await;
    assert_eq!(ask(&client, b"x").await, b"x");
    assert_eq!(within(lab.front.drain(Duration::from_millis(30))).await, End::CutOff { connections: 1 });
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0);
}
