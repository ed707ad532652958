//! What is taken down of requests and connections, and told to those who ask.

use std::{sync::Arc, time::Duration};

use tokio::io::AsyncWriteExt;

use super::lab::{
    Lab, Worker, body, config, field, http_backend, named, node, read_to_end, status, tcp_backend, text, within,
};
use crate::front::{Disclosure, Entry, Mode};

/// The newest entry, once there is one.
async fn newest(lab: &Lab) -> Arc<Entry> {
    within(async {
        loop {
            match lab.front.journal(1).pop() {
                Some(entry) => break entry,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_is_taken_down_with_all_who_were_tried() {
    let lab = Lab::new([Worker::Unreachable, named("good").await]);
    let request = "POST /a/b?secret=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    lab.second_choice(2);
    lab.raw(request).await;
    let entry = newest(&lab).await;
    assert_eq!((entry.what.as_str(), entry.id.as_str()), ("POST /a/b", "mine"));
    assert_eq!((entry.status, entry.outcome.as_str(), entry.bytes), (Some(200), "served", (3, 4)));
    let [missed, served] = &entry.attempts[..] else { panic!("{entry:?}") };
    assert_eq!((missed.node, served.node), (node(1), node(2)));
    assert!(missed.fault.as_ref().unwrap().starts_with("no path to"), "{missed:?}");
    assert_eq!(served.fault, None);
    assert!(entry.first_byte.unwrap() <= entry.total && served.took <= entry.total);
}

#[tokio::test]
async fn refusals_and_connections_are_taken_down_too() {
    let lab = Lab::new([]);
    assert_eq!(status(&lab.get("/").await), 503);
    let entry = newest(&lab).await;
    assert_eq!((entry.status, entry.attempts.len()), (Some(503), 0));
    assert!(entry.outcome.contains("no worker offers it"), "{entry:?}");

    let greets = tcp_backend(|mut socket| async move { socket.write_all(b"hello").await.unwrap() });
    let lab = Lab::with([greets.await], config(Mode::Tcp));
    let mut client = lab.connect().await;
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "hello");
    let entry = newest(&lab).await;
    assert_eq!((entry.what.as_str(), entry.status, entry.bytes), ("tcp", None, (0, 5)));
    assert_eq!((entry.outcome.as_str(), entry.client), ("served", client.local_addr().unwrap()));
}

#[tokio::test]
async fn entries_are_numbered_as_they_come_and_the_newest_are_kept() {
    let lab = Lab::new([named("a").await]);
    for _ in 0..3 {
        lab.get("/").await;
    }
    let numbers: Vec<u64> = lab.front.journal(2).iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test]
async fn a_response_says_what_way_it_took_if_that_is_asked_for() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-P2P-Fed-Explain: 1\r\n\r\n";
    let echoes =
        || http_backend(|request| async move { text(format!("{:?}", request.headers().get("x-p2p-fed-explain"))) });
    let lab = Lab::new([echoes().await]);
    let response = lab.raw(request).await;
    assert_eq!((field(&response, "x-p2p-fed-request"), field(&response, "x-p2p-fed-attempts")), (Some("1"), Some("1")));
    assert!(field(&response, "x-p2p-fed-worker").is_some() && field(&response, "x-p2p-fed-reason").is_some());
    assert_eq!(body(&response), "None", "it is for the front");
    assert_eq!(field(&lab.get("/").await, "x-p2p-fed-request"), None);

    for (disclosure, asked, unasked) in [(Disclosure::Always, true, true), (Disclosure::Off, false, false)] {
        let lab = Lab::with([echoes().await], |config| config.disclosure = disclosure);
        let says = |response: &str| field(response, "x-p2p-fed-worker").is_some();
        assert_eq!((says(&lab.raw(request).await), says(&lab.get("/").await)), (asked, unasked));
    }
}

#[tokio::test]
async fn a_client_without_the_cookie_is_given_one() {
    let lab = Lab::with([named("a").await], |config| config.sticky = "cookie:lb".parse().unwrap());
    let response = lab.get("/").await;
    let cookie = field(&response, "set-cookie").unwrap();
    assert!(cookie.starts_with("lb=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    let value = cookie.split(';').next().unwrap();
    let response = lab.raw(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: {value}\r\n\r\n")).await;
    assert_eq!((status(&response), field(&response, "set-cookie")), (200, None));
}
