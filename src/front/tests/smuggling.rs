//! Requests whose end can be read in two ways. Each is refused and its connection closed, or the backend sees exactly one
//! request; the request behind it is never taken for anything else.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::{Request, body::Incoming};

use super::lab::{Lab, field, http_backend, read_to_end, status, text};
use tokio::io::AsyncWriteExt;

/// What the backend saw: method, path and body of each request.
type Seen = Arc<Mutex<Vec<String>>>;

async fn lab() -> (Lab, Seen) {
    let seen = Seen::default();
    let tell = Arc::clone(&seen);
    let backend = http_backend(move |request: Request<Incoming>| {
        let tell = Arc::clone(&tell);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            tell.lock().unwrap().push(format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body)));
            text("ok")
        }
    });
    (Lab::new([backend.await]), seen)
}

/// Sent behind each: it shows up at the backend wherever the two ends disagree on where the first one ended.
const POISON: &str = "GET /poison HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn ambiguous_requests_are_refused_and_what_follows_is_not_served() {
    let cases = [
        ("length and coding", "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("coding and length", "Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5", "12345"),
        ("one length twice", "Content-Length: 5\r\nContent-Length: 5", "12345"),
        ("a list of lengths", "Content-Length: 5, 5", "12345"),
        ("a signed length", "Content-Length: +5", "12345"),
        ("a negative length", "Content-Length: -5", "12345"),
        ("a hexadecimal length", "Content-Length: 0x5", "12345"),
        ("an empty length", "Content-Length:", "12345"),
        ("a huge length", "Content-Length: 99999999999999999999", "12345"),
        ("space before the colon", "Content-Length : 5", "12345"),
        ("space before the colon of the coding", "Transfer-Encoding : chunked", "0\r\n\r\n"),
        ("a folded coding", "Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("chunked is not last", "Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        ("another coding before", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
        ("two codings", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("a vertical tab in the coding", "Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
        ("a nul in a field", "X: a\0b", ""),
        ("a bare carriage return in a field", "X: a\rTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("a second host", "Host: b", ""),
    ];
    for (case, fields, body) in cases {
        for before in ["", "GET /before HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let (lab, seen) = lab().await;
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
            let responses = lab.raw(format!("{before}{request}{POISON}")).await;
            let last = responses.rfind("HTTP/1.1 ").map(|start| &responses[start..]).unwrap_or_default();
            assert!([400, 501].contains(&status(last)), "{case}: {responses}");
            assert_eq!(
                responses.matches("HTTP/1.1 ").count(),
                1 + usize::from(!before.is_empty()),
                "{case}: {responses}"
            );
            let expected: &[&str] = if before.is_empty() { &[] } else { &["GET /before "] };
            assert_eq!(*seen.lock().unwrap(), expected, "{case}");
        }
    }
}

#[tokio::test]
async fn a_coding_over_http_1_0_is_refused() {
    let (lab, seen) = lab().await;
    let responses = lab.raw(format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{POISON}")).await;
    assert_eq!((status(&responses), responses.matches("HTTP/1.").count()), (400, 1), "{responses}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn broken_chunks_end_the_connection_and_reach_no_backend_whole() {
    for chunks in [
        "5\r\n12345X\r\n0\r\n\r\n",
        "-1\r\n",
        "5 5\r\n",
        "0x5\r\n12345\r\n",
        "ffffffffffffffffff\r\n",
        "5\n12345\n0\n\n",
        "\r\n",
        "5;",
        &format!("5;{}\r\n12345\r\n0\r\n\r\n", "x".repeat(1 << 20)),
        "5\r\n12345\r\n0\r\nX: y\r\n",
        "5\r\n12345\r\n0\r\n",
        "5\r\n12345",
        "10000000000000005\r\n12345\r\n0\r\n\r\n",
    ] {
        let (lab, seen) = lab().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = lab.connect().await;
        client.write_all(format!("{head}{chunks}{POISON}").as_bytes()).await.unwrap();
        let mut response = Vec::new();
        let _ = super::lab::within(tokio::io::AsyncReadExt::read_to_end(&mut client, &mut response)).await;
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|request| !request.contains("/poison")), "{chunks:?}: {seen:?}");
    }
}

#[tokio::test]
async fn what_is_odd_but_clear_reaches_the_backend_once_and_as_meant() {
    let cases = [
        ("Content-Length: 5", "12345", "POST / 12345"),
        ("Transfer-Encoding: chunked", "5;ext=\"a\"\r\n12345\r\n0\r\nX: y\r\n\r\n", "POST / 12345"),
        ("Transfer-Encoding: CHUNKED", "005\r\n12345\r\n0\r\n\r\n", "POST / 12345"),
        ("Connection: content-length\r\nContent-Length: 5", "12345", "POST / 12345"),
        ("Connection: transfer-encoding\r\nTransfer-Encoding: chunked", "5\r\n12345\r\n0\r\n\r\n", "POST / 12345"),
        ("X-Content-Length: 9\r\nContent-Length: 5", "12345", "POST / 12345"),
        ("Content_Length: 9\r\nContent-Length: 5", "12345", "POST / 12345"),
        ("Transfer_Encoding: chunked\r\nContent-Length: 5", "12345", "POST / 12345"),
        ("Transfer-Encoding:  chunked \t", "5\r\n12345\r\n0\r\n\r\n", "POST / 12345"),
        ("Connection: close, Host\r\nConnection: keep-alive", "", "POST / "),
        ("Content-Length: 5\nX: bare line feeds", "12345", "POST / 12345"),
        ("Expect: 100-continue\r\nContent-Length: 5", "12345", "POST / 12345"),
        (
            "Trailer: Content-Length\r\nTransfer-Encoding: chunked",
            "5\r\n12345\r\n0\r\nContent-Length: 9\r\n\r\n",
            "POST / 12345",
        ),
        ("X: y", "", "POST / "),
    ];
    for (fields, body, expected) in cases {
        let (lab, seen) = lab().await;
        let responses = lab.raw(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}{POISON}")).await;
        if fields.starts_with("Connection: close") {
            // The client's own word: what it sends behind is not read.
            assert_eq!(*seen.lock().unwrap(), [expected], "{fields}");
            continue;
        }
        assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 2, "{fields}: {responses}");
        assert_eq!(*seen.lock().unwrap(), [expected, "GET /poison "], "{fields}");
    }
}

#[tokio::test]
async fn limits_are_kept_and_close_the_connection() {
    let (lab, seen) = lab().await;
    let cases = [
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(33 * 1024)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200 * 1024)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9 * 1024)), 414),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
    ];
    for (request, expected) in cases {
        let mut client = lab.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let response = read_to_end(&mut client).await;
        let start = &request[..40.min(request.len())];
        assert_eq!(status(&response), expected, "{start:?}");
        assert!(field(&response, "connection") == Some("close") || field(&response, "content-length") == Some("0"));
    }
    assert!(seen.lock().unwrap().is_empty());
}
