//! Workers that fail, and what the client notices of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::lab::{Lab, Worker, body, field, http_backend, named, read_until, status, tcp_backend, text, within};
use crate::{
    balance::State,
    tunnel::{Refusal, TunnelStream},
};

/// Reads one request with its body, counts it, and dies before it says a word.
fn dies_before_its_first_byte(requests: &Arc<AtomicUsize>, body: usize) -> Worker {
    let requests = Arc::clone(requests);
    Worker::does(move |mut tunnel: TunnelStream| {
        let requests = Arc::clone(&requests);
        async move {
            read_until(&mut tunnel, "\r\n\r\n").await;
            requests.fetch_add(1, Ordering::Relaxed);
            tunnel.read_exact(&mut vec![0; body]).await.unwrap();
        }
    })
}

#[tokio::test]
async fn a_get_is_tried_elsewhere_whatever_happened_before_the_first_byte() {
    let requests = Arc::new(AtomicUsize::new(0));
    let bad = [
        Worker::Unreachable,
        Worker::Hangs,
        Worker::Refuses(Refusal::Full),
        Worker::Refuses(Refusal::Draining),
        Worker::Refuses(Refusal::BackendUnreachable),
        dies_before_its_first_byte(&requests, 0),
        Worker::does(|tunnel| async move { drop(tunnel) }),
        Worker::does(|mut tunnel: TunnelStream| async move {
            read_until(&mut tunnel, "\r\n\r\n").await;
            tunnel.write_all(b"HTTP/1.1 200 OK\r\nContent-").await.unwrap();
            tunnel.flush().await.unwrap();
        }),
        Worker::does(|mut tunnel: TunnelStream| async move {
            read_until(&mut tunnel, "\r\n\r\n").await;
            tunnel.shutdown().await.unwrap();
        }),
    ];
    for (i, bad) in bad.into_iter().enumerate() {
        let lab = Lab::with([bad, named("good").await], |config| config.connect_timeout = Duration::from_millis(50));
        for _ in 0..2 {
            let response = lab.get("/").await;
            assert_eq!((status(&response), body(&response)), (200, "good"), "case {i}");
        }
        // One of the two tries it for sure, the other may: one failed request ejects nobody.
        assert!((1..=2).contains(&lab.dials(1)), "case {i}");
    }
    assert!((1..=2).contains(&requests.load(Ordering::Relaxed)));
}

#[tokio::test]
async fn a_post_is_tried_elsewhere_only_while_nothing_of_it_was_sent() {
    for bad in [Worker::Unreachable, Worker::Refuses(Refusal::Full), Worker::Refuses(Refusal::BackendUnreachable)] {
        let echo = http_backend(|request| async move { Response::new(request.into_body().boxed()) });
        let lab = Lab::new([bad, echo.await]);
        for _ in 0..2 {
            assert_eq!(body(&lab.send("POST", b"once").await), "once");
        }
        assert_eq!(lab.dials(1), 1);
    }

    // Without a body it could be replayed; it is the method that forbids it.
    for payload in [&b"once"[..], b""] {
        let requests = Arc::new(AtomicUsize::new(0));
        let lab = Lab::new(vec![dies_before_its_first_byte(&requests, payload.len()); 2]);
        let response = lab.send("POST", payload).await;
        assert_eq!(status(&response), 502);
        assert_eq!(field(&response, "retry-after"), None);
        assert!(body(&response).starts_with("a worker of service web failed: the connection broke"), "{response}");
        assert_eq!(requests.load(Ordering::Relaxed), 1, "a backend may have acted on it");
    }
}

#[tokio::test]
async fn an_idempotent_request_is_replayed_with_its_whole_body_if_that_is_small() {
    for (size, expected) in [(0, 200), (10_000, 200), (64 * 1024, 200), (64 * 1024 + 1, 502), (1_000_000, 502)] {
        let payload: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
        let requests = Arc::new(AtomicUsize::new(0));
        let dying = dies_before_its_first_byte(&requests, size);
        let got = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&got);
        let taking = http_backend(move |request| {
            let keep = Arc::clone(&keep);
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                keep.lock().unwrap().push(body);
                text("taken")
            }
        });
        let lab = Lab::with([dying, taking.await], |config| config.replay_limit = 64 * 1024);
        let mut statuses = [status(&lab.send("PUT", &payload).await), status(&lab.send("PUT", &payload).await)];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, expected], "{size} bytes");
        assert!(got.lock().unwrap().iter().all(|body| *body == payload), "{size} bytes");
        assert!((1..=2).contains(&requests.load(Ordering::Relaxed)));
    }
}

#[tokio::test]
async fn no_more_workers_are_tried_than_allowed_and_none_twice() {
    let lab = Lab::with(vec![Worker::Unreachable; 8], |config| config.retries = 3);
    let response = lab.get("/").await;
    assert_eq!((status(&response), field(&response, "retry-after")), (503, Some("1")));
    assert!(body(&response).contains("no path to"), "{response}");
    assert_eq!(lab.all_dials(), 4);
    assert!((1..=8).all(|id| lab.dials(id) <= 1));

    let lab = Lab::with([Worker::Unreachable, named("good").await], |config| config.retries = 0);
    let mut statuses = [status(&lab.get("/").await), status(&lab.get("/").await)];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
}

#[tokio::test]
async fn an_idle_tunnel_that_the_backend_closed_goes_unnoticed() {
    // It answers one request per connection and closes without having said that it would.
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let backend = tcp_backend(move |mut socket| {
        count.fetch_add(1, Ordering::Relaxed);
        let tell = Arc::clone(&tell);
        async move {
            read_until(&mut socket, "\r\n\r\n").await;
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            drop(socket);
            tell.notify_one();
        }
    });
    let lab = Lab::new([backend.await]);
    for _ in 0..20 {
        assert_eq!(status(&lab.get("/").await), 200);
        // Whether the front has heard of it yet is left to chance: both ways must do.
        within(closed.notified()).await;
    }
    assert_eq!(lab.endpoint(1).failures_total, 0);
    assert_eq!(connections.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_get_over_an_idle_tunnel_that_breaks_is_sent_again_to_the_only_worker() {
    let answers = |mut tunnel: TunnelStream| async move {
        read_until(&mut tunnel, "\r\n\r\n").await;
        tunnel.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        tunnel.flush().await.unwrap();
        // The second request over the same tunnel kills it.
        read_until(&mut tunnel, "\r\n\r\n").await;
    };
    let lab = Lab::new([Worker::does(answers)]);
    for _ in 0..6 {
        assert_eq!(status(&lab.get("/").await), 200);
    }
    assert_eq!(lab.dials(1), 6);
    assert_eq!((lab.endpoint(1).requests_total, lab.endpoint(1).failures_total), (6, 0));
}

#[tokio::test]
async fn idle_tunnels_do_not_outlive_the_connection_that_carries_them() {
    let lab = Lab::new([named("a").await]);
    for (connection, dials) in [(0, 1), (0, 1), (7, 2), (7, 2)] {
        lab.reconcile(connection);
        assert_eq!(status(&lab.get("/").await), 200);
        assert_eq!(lab.dials(1), dials);
    }
}

#[tokio::test]
async fn a_worker_that_leaves_gets_no_more_and_finishes_what_it_has() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let slow = http_backend(move |_| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            text("slow")
        }
    });
    let lab = Lab::new([slow.await, named("other").await]);
    let (slow_response, ()) = within(async {
        tokio::join!(
            async {
                loop {
                    let response = lab.get("/").await;
                    if body(&response) == "slow" {
                        break response;
                    }
                }
            },
            async {
                lab.in_flight(1, 1).await;
                lab.withdraw(1);
                assert_eq!(lab.endpoint(1).state, State::Draining);
                for _ in 0..10 {
                    assert_eq!(body(&lab.get("/").await), "other");
                }
                go.notify_one();
            }
        )
    })
    .await;
    assert_eq!(status(&slow_response), 200);
    assert_eq!(lab.front.endpoints().len(), 1, "gone with its last request");
}

#[tokio::test]
async fn killing_a_worker_and_bringing_it_back_fails_no_get() {
    let counts: [Arc<AtomicUsize>; 3] = Default::default();
    let mut workers = Vec::new();
    for count in &counts {
        let count = Arc::clone(count);
        workers.push(
            http_backend(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                async {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    text("ok")
                }
            })
            .await,
        );
    }
    let lab = Lab::new(workers.clone());
    let failed = AtomicUsize::new(0);
    let clients = (0..8).map(|_| async {
        for _ in 0..60 {
            if status(&lab.get("/").await) != 200 {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let total = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
    let reached = |wanted: usize| {
        let total = &total;
        async move {
            while total() < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let faults = async {
        for (round, wanted) in [80, 240].into_iter().enumerate() {
            reached(wanted).await;
            lab.kill(1);
            reached(wanted + 80).await;
            lab.set(1, workers[0].clone());
            lab.reconcile(round as u64 + 1);
        }
        let before = counts[0].load(Ordering::Relaxed);
        reached(400).await;
        assert!(counts[0].load(Ordering::Relaxed) > before, "the worker came back by itself");
    };
    within(async { tokio::join!(futures::future::join_all(clients), faults) }).await;
    assert_eq!(failed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_error_that_the_request_deserves_ejects_nobody() {
    let lab = Lab::new([http_backend(|_| async {
        let mut reply = text("no such page");
        *reply.status_mut() = StatusCode::NOT_FOUND;
        reply
    })
    .await]);
    for _ in 0..20 {
        assert_eq!(status(&lab.get("/").await), 404);
    }
    assert_eq!((lab.endpoint(1).state, lab.endpoint(1).failures_total), (State::Ready, 0));
}
