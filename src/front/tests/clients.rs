//! Who a client is: the PROXY protocol, trusted hops, and what one client may take.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::lab::{
    Lab, Worker, body, field, http_backend, named, read_to_end, read_until, status, tcp_backend, text, within,
};
use crate::{
    front::Mode,
    proxy_protocol::{Header, Version},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async fn says_for_whom() -> Worker {
    http_backend(|request| async move {
        let value = |name| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        text(format!("{} {}", value("x-forwarded-for"), value("x-request-id")))
    })
    .await
}

#[tokio::test]
async fn the_client_is_the_one_that_the_proxy_names() {
    let header = Header { addresses: Some(("192.0.2.1:5".parse().unwrap(), "192.0.2.2:443".parse().unwrap())) };
    for version in [Version::V1, Version::V2] {
        let lab = Lab::with([says_for_whom().await], |config| config.proxy_protocol = true);
        let response = lab.raw([&header.encode(version), GET.as_bytes()].concat()).await;
        assert!(body(&response).starts_with("192.0.2.1 "), "{response}");
        // Its own connection, as of a health check.
        let response = lab.raw([&Header::default().encode(version), GET.as_bytes()].concat()).await;
        assert!(body(&response).starts_with("127.0.0.1 "), "{response}");
        // In two pieces, cut in the middle of the header.
        let mut client = lab.connect().await;
        let bytes = [&header.encode(version), GET.as_bytes()].concat();
        client.write_all(&bytes[..9]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        client.write_all(&bytes[9..]).await.unwrap();
        assert_eq!(status(&read_to_end(&mut client).await), 200);
    }
    let greeting = tcp_backend(|mut socket: TcpStream| async move { socket.write_all(b"220 ready").await.unwrap() });
    let lab = Lab::with([greeting.await], |config| {
        config.proxy_protocol = true;
        config.mode = Mode::Tcp;
    });
    let mut client = lab.connect().await;
    client.write_all(&header.encode(Version::V2)).await.unwrap();
    read_until(&mut client, "220 ready").await;
    assert_eq!(lab.paths.headers.lock().unwrap()[0].client, Some("192.0.2.1:5".parse().unwrap()));
}

#[tokio::test]
async fn a_connection_without_a_good_header_is_closed() {
    let lab = Lab::with([named("a").await], |config| config.proxy_protocol = true);
    for bytes in
        [GET, "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let mut client = lab.connect().await;
        client.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within(client.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{bytes}");
    }
    assert_eq!(lab.all_dials(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let lab = Lab::with([named("a").await], |config| config.proxy_protocol = true);
    let mut client = lab.connect().await;
    client.write_all(b"PROXY ").await.unwrap();
    assert_eq!(within(client.read_to_end(&mut Vec::new())).await.unwrap(), 0);
}

#[tokio::test]
async fn only_a_trusted_hop_is_believed() {
    let claim = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n\
                 X-Request-Id: mine-1\r\n\r\n";
    let lab = Lab::new([says_for_whom().await]);
    let response = lab.raw(claim).await;
    assert_eq!((body(&response), field(&response, "x-request-id")), ("127.0.0.1 mine-1", Some("mine-1")));
    let lab =
        Lab::with([says_for_whom().await], |config| config.trust_forwarded = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(body(&lab.raw(claim).await), "6.6.6.6, 1.2.3.4, 127.0.0.1 mine-1");
    // For whom the work is counted.
    assert_eq!(lab.front.journal(1)[0].client.ip().to_string(), "1.2.3.4");
}

#[tokio::test]
async fn one_client_has_no_more_connections_than_it_may() {
    let lab = Lab::with([named("a").await], |config| config.limits.connections_per_client = 2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = lab.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(&mut client, "\r\n\r\na").await;
        held.push(client);
    }
    let mut third = lab.connect().await;
    let _ = third.write_all(GET.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within(third.read_to_end(&mut answer)).await;
    assert!(answer.is_empty());
    held.pop();
    within(async {
        loop {
            let mut next = lab.connect().await;
            let _ = next.write_all(GET.as_bytes()).await;
            let mut answer = Vec::new();
            if next.read_to_end(&mut answer).await.is_ok() && !answer.is_empty() {
                break;
            }
        }
    })
    .await;
}
