//! Requests and connections that wait for a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::lab::{
    Lab, Worker, body, config, field, http_backend, named, node, read_until, status, tcp_backend, text, within,
};
use crate::{front::Mode, tunnel::Refusal};

const FULL: Worker = Worker::Refuses(Refusal::Full);

/// Waits until worker `id` was asked `wanted` times.
async fn asked(lab: &Lab, id: u8, wanted: usize) {
    within(async {
        while lab.dials(id) < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_waits_for_workers_that_have_no_slot_free() {
    let lab = Lab::new([FULL, FULL]);
    let (response, ()) = tokio::join!(lab.send("POST", b"x"), async {
        asked(&lab, 1, 2).await;
        lab.set(2, named("free").await);
    });
    assert_eq!((status(&response), body(&response)), (200, "free"));
    assert_eq!(lab.endpoint(1).failures_total, 0);
}

#[tokio::test]
async fn a_connection_waits_for_workers_that_have_no_slot_free() {
    let lab = Lab::with([FULL], config(Mode::Tcp));
    let mut client = lab.connect().await;
    asked(&lab, 1, 2).await;
    lab.set(1, tcp_backend(|mut socket| async move { socket.write_all(b"hello").await.unwrap() }).await);
    read_until(&mut client, "hello").await;
}

#[tokio::test]
async fn who_waited_too_long_is_told_and_when_to_come_again() {
    let lab = Lab::with([FULL, FULL], |config| config.queue_timeout = Duration::from_millis(150));
    let response = lab.get("/v1/models").await;
    assert_eq!(status(&response), 429);
    let seconds: u64 = field(&response, "retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds));
    assert_eq!(field(&response, "content-length"), Some(&*body(&response).len().to_string()));
    let json: serde_json::Value = serde_json::from_str(body(&response)).unwrap();
    assert_eq!(json["error"]["type"], "busy");
    assert!(lab.all_dials() >= 2);
}

#[tokio::test]
async fn who_leaves_while_waiting_leaves_the_queue() {
    let lab = Lab::new([FULL]);
    let mut client = lab.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    asked(&lab, 1, 1).await;
    assert_eq!(lab.front.counters().in_flight, 1);
    drop(client);
    within(async {
        while lab.front.counters().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let entry = lab.front.journal(1).pop().unwrap();
    assert_eq!((entry.outcome.as_str(), entry.status), ("the client left", None));
    assert_eq!(entry.attempts[0].node, node(1));
}

#[tokio::test]
async fn where_it_is_wanted_a_request_waits_for_a_worker_to_come() {
    let lab = Lab::with([named("late").await], |config| config.hold = Duration::from_secs(20));
    lab.withdraw(1);
    let (response, ()) = tokio::join!(lab.get("/"), async {
        within(async {
            while lab.front.counters().in_flight == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        lab.offer(1);
    });
    assert_eq!(body(&response), "late");

    let lab = Lab::with([], |config| config.hold = Duration::from_millis(20));
    assert_eq!(status(&lab.get("/").await), 503);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_that_wait_for_a_slot_longer_than_it_may() {
    let lab = Lab::new([FULL]);
    let mut client = lab.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    asked(&lab, 1, 1).await;
    within(lab.front.drain(Duration::from_millis(20))).await;
    assert!(within(client.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_worker_with_one_slot_gets_one_request_after_another() {
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (highest, running) = (Arc::clone(&most), Arc::clone(&now));
    let slow = http_backend(move |_| {
        let (highest, running) = (Arc::clone(&highest), Arc::clone(&running));
        async move {
            highest.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            text("done")
        }
    });
    let lab = Lab::new([slow.await]);
    lab.announce(1, &[], 1);
    let responses = futures::future::join_all((0..20).map(|_| lab.send("POST", b"x"))).await;
    assert!(responses.iter().all(|response| status(response) == 200), "{responses:?}");
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let waited = lab.front.journal(20).iter().filter(|entry| !entry.attempts[0].choice.waited.is_zero()).count();
    assert!(waited > 0, "{waited} of 20 waited");
}
