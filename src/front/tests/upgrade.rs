//! Connections that change from HTTP to another protocol.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::lab::{Lab, Worker, body, field, http_backend, read_to_end, read_until, status, tcp_backend, text, within};
use crate::tunnel::TunnelStream;

const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees, greets in the same segment, and sends back what comes until the client ends its side.
async fn echo(mut socket: TcpStream) {
    let head = read_until(&mut socket, "\r\n\r\n").await;
    assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
    socket.write_all(format!("{SWITCH}hello").as_bytes()).await.unwrap();
    let mut chunk = [0; 4096];
    loop {
        match socket.read(&mut chunk).await.unwrap() {
            0 => break,
            n => socket.write_all(&chunk[..n]).await.unwrap(),
        }
    }
    socket.write_all(b"bye").await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_and_half_close() {
    let lab = Lab::new([tcp_backend(echo).await]);
    let mut client = lab.connect().await;
    // The first bytes of the new protocol come right behind the request.
    client.write_all(format!("{REQUEST}early").as_bytes()).await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!((status(&head), field(&head, "upgrade")), (101, Some("websocket")));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    read_until(&mut client, "helloearly").await;
    for text in ["\x01\x02", "GET / HTTP/1.1\r\n\r\n", "\r\n"] {
        client.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut client, text).await, text);
        assert_eq!(lab.endpoint(1).in_flight, 1);
        assert_eq!(lab.front.counters().in_flight, 1);
    }
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "bye");
    lab.in_flight(1, 0).await;
    assert_eq!((lab.endpoint(1).requests_total, lab.endpoint(1).failures_total), (1, 0));
}

#[tokio::test]
async fn a_large_message_survives_an_upgrade() {
    let lab = Lab::new([tcp_backend(echo).await]);
    let mut client = lab.connect().await;
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    read_until(&mut client, "hello").await;
    let message: Vec<u8> = (0..1u32 << 20).map(|i| (i % 251) as u8).collect();
    let (mut reading, mut writing) = client.into_split();
    let mut back = vec![0; message.len()];
    let (written, read) = tokio::join!(writing.write_all(&message), within(reading.read_exact(&mut back)));
    written.unwrap();
    read.unwrap();
    assert!(back == message);
}

#[tokio::test]
async fn a_backend_may_decline_and_a_second_request_behind_it_is_still_a_request() {
    // Whoever takes the second one for bytes of a protocol that nobody agreed to lets it pass unseen.
    let backend = http_backend(|request| async move { text(request.uri().path().to_owned()) });
    let lab = Lab::new([backend.await]);
    let second = "GET /second HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n";
    let responses = lab.raw(format!("{REQUEST}{second}")).await;
    assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 2, "{responses}");
    assert!(responses.contains("\r\n\r\n/ws") && body(&responses).ends_with("/second"));
    assert_eq!(lab.front.counters().requests_total, 2);
}

#[tokio::test]
async fn http_2_is_never_asked_for_behind_our_back() {
    let backend = http_backend(|request| async move {
        text(format!("{:?}", (request.headers().get("upgrade"), request.headers().get("http2-settings"))))
    });
    let lab = Lab::new([backend.await]);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(body(&lab.raw(request).await), "(None, None)");
}

#[tokio::test]
async fn a_reset_crosses_an_upgraded_connection() {
    let lab = Lab::new([Worker::does(|mut tunnel: TunnelStream| async move {
        read_until(&mut tunnel, "\r\n\r\n").await;
        tunnel.write_all(SWITCH.as_bytes()).await.unwrap();
        tunnel.flush().await.unwrap();
        let _ = tunnel.read_u8().await;
    })]);
    let mut client = lab.connect().await;
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    client.write_all(b"x").await.unwrap();
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    lab.in_flight(1, 0).await;
    assert_eq!(lab.endpoint(1).failures_total, 1);
}
