//! What is sent a second time, to whom, and how often.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
};

use super::lab::{Lab, Worker, body, field, http_backend, named, read_until, status, text, within};
use crate::{
    balance::State,
    tunnel::{Refusal, TunnelStream},
};

const CHAT: &str = "/v1/chat/completions";

/// Reads one request with its body, counts it, and dies before it says a word.
fn dies(requests: &Arc<AtomicUsize>, body: usize) -> Worker {
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

/// Takes a request and says nothing; tells when its tunnel is reset.
fn hangs(tell: mpsc::Sender<()>) -> Worker {
    Worker::does(move |mut tunnel: TunnelStream| {
        let tell = tell.clone();
        async move {
            read_until(&mut tunnel, "\r\n\r\n").await;
            let _ = tunnel.read_to_end(&mut Vec::new()).await;
            let _ = tell.send(()).await;
        }
    })
}

/// Answers every request so, and counts them.
async fn answers(code: u16, retry_after: Option<&'static str>, requests: &Arc<AtomicUsize>) -> Worker {
    let requests = Arc::clone(requests);
    http_backend(move |_| {
        requests.fetch_add(1, Ordering::Relaxed);
        let mut reply = text(format!("said {code}"));
        *reply.status_mut() = StatusCode::from_u16(code).unwrap();
        if let Some(seconds) = retry_after {
            reply.headers_mut().insert("retry-after", seconds.parse().unwrap());
        }
        async { reply }
    })
    .await
}

async fn post(lab: &Lab, path: &str, body: &str) -> String {
    let length = body.len();
    lab.raw(format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await
}

#[tokio::test]
async fn an_inference_is_sent_again_and_another_post_is_not() {
    for path in [CHAT, "/api/generate", "/v1/messages", "/embeddings", "/v1/files", "/"] {
        let is_inference = !matches!(path, "/v1/files" | "/");
        let requests = Arc::new(AtomicUsize::new(0));
        let lab = Lab::new([dies(&requests, 2), named("good").await]);
        lab.second_choice(2);
        assert_eq!(status(&post(&lab, path, "{}").await), if is_inference { 200 } else { 502 }, "{path}");
        assert_eq!(requests.load(Ordering::Relaxed), 1, "{path}");
        assert_eq!(lab.front.counters().retries_total, u64::from(is_inference), "{path}");
    }
    let lab = Lab::with(vec![dies(&Arc::default(), 2); 2], |config| config.inspect = false);
    assert_eq!(status(&post(&lab, CHAT, "{}").await), 502);
    assert_eq!(lab.all_dials(), 1, "who does not look into requests takes none to be harmless");
}

#[tokio::test]
async fn d_04_a_worker_that_fails_fast_is_ejected_and_costs_nobody_an_error() {
    let requests = Arc::new(AtomicUsize::new(0));
    let lab = Lab::new([answers(503, None, &requests).await, named("a").await, named("b").await]);
    for _ in 0..300 {
        assert_eq!(status(&lab.get("/").await), 200);
    }
    assert_eq!(lab.endpoint(1).state, State::Ejected);
    assert!(requests.load(Ordering::Relaxed) <= 10, "{requests:?}");
}

#[tokio::test]
async fn d_05_a_worker_whose_port_refuses_costs_no_error_and_no_retry() {
    let refuses = Worker::Refuses(Refusal::BackendUnreachable);
    let lab = Lab::new([refuses.clone(), refuses, named("good").await]);
    for _ in 0..20 {
        assert_eq!(body(&lab.send("POST", b"x").await), "good", "nothing of it had been sent");
    }
    assert_eq!(lab.front.counters().retries_total, 0, "what reached no backend leaves the budget to those that did");
}

#[tokio::test]
async fn d_06_a_worker_killed_before_its_first_byte_fails_no_get_and_runs_no_post_twice() {
    const REQUESTS: usize = 200;
    let (gets, posts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let lab = Lab::new([dies(&gets, 0), named("good").await]);
    lab.second_choice(2);
    for _ in 0..REQUESTS {
        assert_eq!(status(&lab.get("/").await), 200);
    }
    assert!(gets.load(Ordering::Relaxed) > 0);

    let lab = Lab::new([dies(&posts, 1), dies(&posts, 1)]);
    for i in 1..=REQUESTS {
        assert_eq!(status(&lab.send("POST", b"x").await), 502);
        assert_eq!(posts.load(Ordering::Relaxed), i, "executed once");
    }
}

#[tokio::test]
async fn d_09_when_all_workers_are_bad_a_client_is_told_at_once_and_when_to_come_again() {
    let workers =
        [Worker::Unreachable, Worker::Refuses(Refusal::BackendUnreachable), Worker::Refuses(Refusal::Draining)];
    for workers in [workers.to_vec(), Vec::new()] {
        let lab = Lab::new(workers);
        let response = tokio::time::timeout(Duration::from_secs(1), lab.get("/")).await.expect("within a second");
        assert_eq!((status(&response), field(&response, "retry-after")), (503, Some("1")));
        assert_eq!(field(&response, "content-length"), Some(&*body(&response).len().to_string()));
        assert!(body(&response).starts_with("no worker of service web is available: "), "{response}");
    }
}

#[tokio::test]
async fn d_13_a_front_that_is_pinned_uses_one_worker_or_none() {
    let lab = Lab::pinned([named("a").await, named("b").await], 2);
    for _ in 0..10 {
        assert_eq!(body(&lab.get("/").await), "b");
    }
    lab.withdraw(2);
    let response = lab.get("/").await;
    assert_eq!((status(&response), lab.dials(1)), (503, 0));
}

#[tokio::test]
async fn a_worker_that_is_busy_or_sick_is_passed_over_where_that_may_be() {
    for code in [429, 502, 503, 504] {
        let requests = Arc::new(AtomicUsize::new(0));
        let lab = Lab::new([answers(code, None, &requests).await, named("good").await]);
        lab.second_choice(2);
        for response in [lab.get("/").await, post(&lab, CHAT, "{}").await, lab.get("/").await] {
            assert_eq!((status(&response), body(&response)), (200, "good"), "{code}");
        }
        assert!(requests.load(Ordering::Relaxed) >= 1, "{code}");
        let lab = Lab::new([answers(code, None, &requests).await]);
        assert_eq!(status(&lab.send("POST", b"x").await), code, "it may have done something");
    }
    for code in [400, 404, 500, 501] {
        let lab = Lab::new([answers(code, None, &Arc::default()).await, answers(code, None, &Arc::default()).await]);
        assert_eq!(status(&lab.get("/").await), code);
        assert_eq!(lab.all_dials(), 1, "{code} is an answer like any other");
    }
}

#[tokio::test]
async fn if_nobody_answers_better_the_client_gets_the_answer_there_was() {
    let requests = Arc::new(AtomicUsize::new(0));
    let lab = Lab::new(vec![answers(429, Some("7"), &requests).await; 3]);
    let response = lab.get("/").await;
    assert_eq!((status(&response), body(&response)), (429, "said 429"));
    assert_eq!(field(&response, "retry-after"), Some("7"));
    assert_eq!(requests.load(Ordering::Relaxed), 3);

    let lab = Lab::new([answers(503, None, &requests).await, Worker::Unreachable]);
    for _ in 0..2 {
        assert_eq!(body(&lab.get("/").await), "said 503", "a real answer is worth more than one of ours");
    }
    lab.in_flight(1, 0).await;
}

#[tokio::test]
async fn an_outage_of_all_workers_is_not_multiplied() {
    const REQUESTS: usize = 300;
    let requests = Arc::new(AtomicUsize::new(0));
    let lab = Lab::new(vec![dies(&requests, 0); 4]);
    for _ in 0..REQUESTS {
        assert_eq!(status(&lab.get("/").await), 502);
    }
    let (sent, least) = (requests.load(Ordering::Relaxed), 30);
    assert!(sent > REQUESTS && sent <= REQUESTS * 6 / 5 + least, "{sent} requests for {REQUESTS}");
    assert!(lab.front.counters().retries_refused_total > 0);
}

#[tokio::test]
async fn a_worker_that_does_not_begin_to_answer_is_left_for_another() {
    let (tell, mut told) = mpsc::channel(8);
    let lab = Lab::with([hangs(tell), named("good").await], |config| {
        config.first_byte_timeout = Some(Duration::from_millis(50));
    });
    lab.second_choice(2);
    for _ in 0..2 {
        assert_eq!(status(&lab.get("/").await), 200);
    }
    within(told.recv()).await.expect("the one that hung was reset");

    let (tell, _told) = mpsc::channel(8);
    let lab = Lab::with([hangs(tell)], |config| config.first_byte_timeout = Some(Duration::from_millis(50)));
    assert_eq!(status(&lab.send("POST", b"").await), 504);
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends_and_never_looks_whole() {
    let limit = |config: &mut crate::front::Config| config.request_timeout = Some(Duration::from_millis(50));
    let (tell, mut told) = mpsc::channel(8);
    let lab = Lab::with([hangs(tell)], limit);
    let response = lab.get("/").await;
    assert_eq!(status(&response), 504);
    within(told.recv()).await.expect("the worker was told");

    let streams = Worker::does(|mut tunnel: TunnelStream| async move {
        read_until(&mut tunnel, "\r\n\r\n").await;
        let _ = tunnel.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        let _ = tunnel.flush().await;
        let _ = tunnel.read_u8().await;
    });
    let lab = Lab::with([streams], limit);
    let mut client = lab.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut client, "one\r\n").await;
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0, "it is our time that was over");
}

#[tokio::test]
async fn a_stream_whose_worker_dies_ends_with_a_reset_and_without_an_end() {
    let dying = Worker::does(|mut tunnel: TunnelStream| async move {
        read_until(&mut tunnel, "\r\n\r\n").await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        tunnel.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes()).await.unwrap();
        tunnel.flush().await.unwrap();
    });
    let lab = Lab::new([dying, named("unused").await]);
    lab.second_choice(2);
    let mut client = lab.connect().await;
    client.write_all(format!("GET {CHAT} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.contains("event-stream"));
    let mut rest = Vec::new();
    let error = within(client.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(!String::from_utf8(rest).unwrap().contains("0\r\n\r\n"), "no event and no end was made up");
    assert_eq!(lab.dials(2), 0);
}

#[tokio::test]
async fn a_hedge_takes_the_first_answer_and_resets_the_other() {
    let (tell, mut told) = mpsc::channel(8);
    let hedged = |config: &mut crate::front::Config| config.hedge_after = Some(Duration::from_millis(20));
    let lab = Lab::with([hangs(tell.clone()), named("good").await], hedged);
    lab.second_choice(2);
    for _ in 0..2 {
        assert_eq!(body(&lab.get("/").await), "good");
    }
    within(told.recv()).await.expect("the slow one was reset");
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 0, "slow is not broken");

    // A request that does something goes to one alone, and one without a second worker waits.
    let go = Arc::new(Notify::new());
    let seen = Arc::new(Mutex::new(0));
    let (wait, count) = (Arc::clone(&go), Arc::clone(&seen));
    let slow = http_backend(move |_| {
        *count.lock().unwrap() += 1;
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            text("slow")
        }
    });
    let slow = slow.await;
    let lab = Lab::with([slow.clone(), slow], hedged);
    let (response, ()) = tokio::join!(lab.send("POST", b""), async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        go.notify_one();
    });
    assert_eq!((body(&response), *seen.lock().unwrap()), ("slow", 1));
}
