//! The other direction, and the other version: responses whose end can be read in two ways, and requests of HTTP/2 that
//! would be two of HTTP/1. Whatever is asked next is answered with its own answer, or not at all.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::{Request, body::Incoming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::lab::{Lab, Worker, body, http_backend, read_until, status, text, within};
use crate::tunnel::TunnelStream;

/// Answers each request with what `answer` makes of its request line.
fn raw_backend(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Worker {
    let answer = Arc::new(answer);
    Worker::does(move |mut tunnel: TunnelStream| {
        let answer = Arc::clone(&answer);
        async move {
            loop {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match tunnel.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                if tunnel.write_all(&answer(head.lines().next().unwrap())).await.is_err() {
                    return;
                }
                let _ = tunnel.flush().await;
            }
        }
    })
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[tokio::test]
async fn a_response_that_can_be_read_in_two_ways_is_not_passed_on_and_poisons_nothing() {
    let cases: [(&str, &[u8]); 11] = [
        ("length and coding", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("coding and length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc"),
        ("one length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        ("a signed length", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc"),
        ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"),
        ("an unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunked is not last", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc"),
        ("a coding over HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a nul in a field", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ];
    for (case, response) in cases {
        let bad = [response, POISON].concat();
        let lab = Lab::new([raw_backend(move |line| if line.contains("/bad") { bad.clone() } else { GOOD.to_vec() })]);
        assert_eq!(status(&lab.get("/warm").await), 200);
        assert_eq!(status(&lab.get("/bad").await), 502, "{case}");
        for _ in 0..3 {
            let next = lab.get("/next").await;
            assert_eq!((status(&next), body(&next)), (200, "good"), "{case}");
        }
    }
}

#[tokio::test]
async fn what_a_backend_sends_unasked_answers_nobody() {
    let cases: [(&str, &str, &[u8]); 4] = [
        ("a body behind HEAD", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n"),
        ("a body behind 204", "GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("a body behind 304", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n"),
        ("a second response", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    ];
    for (case, method, response) in cases {
        let bad = [response, POISON].concat();
        let lab = Lab::new([raw_backend(move |line| if line.contains("/bad") { bad.clone() } else { GOOD.to_vec() })]);
        // In one connection of a client, so that nothing but the tunnel's state lies between the two.
        let mut client = lab.connect().await;
        for _ in 0..5 {
            client.write_all(format!("{method} /bad HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            let head = read_until(&mut client, "\r\n\r\n").await;
            if head.contains("content-length: 1\r\n") {
                assert_eq!(within(client.read_u8()).await.unwrap(), b'x');
            }
            client.write_all(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let next = read_until(&mut client, "\r\n\r\ngood").await;
            assert_eq!(next.matches("HTTP/1.1").count(), 1, "{case}: {next}");
            assert_eq!(status(&next), 200, "{case}");
        }
    }
}

#[tokio::test]
async fn an_endless_stream_of_interim_responses_ends() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] {
        let flood = Worker::does(move |mut tunnel: TunnelStream| async move {
            read_until(&mut tunnel, "\r\n\r\n").await;
            let many = interim.repeat(1000);
            while tunnel.write_all(many.as_bytes()).await.is_ok() && tunnel.flush().await.is_ok() {}
        });
        let lab = Lab::with([flood], |config| config.retries = 0);
        assert_eq!(status(&lab.get("/").await), 502, "{interim}");
        // A few are ordinary.
        let few = Worker::does(move |mut tunnel: TunnelStream| async move {
            read_until(&mut tunnel, "\r\n\r\n").await;
            tunnel.write_all(&[interim.repeat(3).as_bytes(), GOOD].concat()).await.unwrap();
            tunnel.flush().await.unwrap();
        });
        assert_eq!(status(&Lab::new([few]).get("/").await), 200, "{interim}");
    }
}

/// What the backend saw: method, target and body of each request.
async fn witness() -> (Lab, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&seen);
    let backend = http_backend(move |request: Request<Incoming>| {
        let tell = Arc::clone(&tell);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            let body = body.map_or("broken".to_owned(), |body| String::from_utf8_lossy(&body).into_owned());
            tell.lock().unwrap().push(format!("{} {} {body}", head.method, head.uri));
            text("ok")
        }
    });
    (Lab::new([backend.await]), seen)
}

/// One frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A name and its value, whatever is in them.
type Field<'a> = (&'a [u8], &'a [u8]);

/// Fields as literals that are not remembered (RFC 7541 §6.2.2).
fn fields(fields: &[Field<'_>]) -> Vec<u8> {
    let literal = |text: &[u8]| [&[text.len() as u8], text].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat()).collect()
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Reads frames until one of stream `id` ends it, and says how: by its type.
async fn end_of(client: &mut TcpStream, id: u32) -> u8 {
    loop {
        let mut head = [0; 9];
        if within(client.read_exact(&mut head)).await.is_err() {
            return GONE;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        within(client.read_exact(&mut payload)).await.unwrap();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4] & END_STREAM) {
            (RESET, _) if stream == id => return RESET,
            (kind @ (DATA | HEADERS), END_STREAM) if stream == id => return kind,
            _ => {}
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GONE: u8 = 255;

#[tokio::test]
async fn what_would_be_two_requests_of_http_1_is_none() {
    let smuggled = b"x\r\nTransfer-Encoding: chunked\r\n\r\nGET /poison HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases: [(&str, &[Field<'_>], &[u8]); 16] = [
        ("line ends in a value", &[(b"x", smuggled)], b""),
        ("a line feed in a value", &[(b"x", b"a\nb: c")], b""),
        ("a nul in a value", &[(b"x", b"a\0b")], b""),
        ("line ends in a name", &[(b"x: y\r\nz", b"a")], b""),
        ("a colon in a name", &[(b"x:y", b"a")], b""),
        ("a space in a name", &[(b"transfer-encoding ", b"chunked")], b""),
        ("capitals in a name", &[(b"Transfer-Encoding", b"chunked")], b""),
        ("a coding", &[(b"transfer-encoding", b"chunked")], b"0\r\n\r\nGET /poison HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a connection field", &[(b"connection", b"keep-alive")], b""),
        ("an upgrade", &[(b"upgrade", b"websocket")], b""),
        ("a te that is not trailers", &[(b"te", b"gzip")], b""),
        ("a length beyond the body", &[(b"content-length", b"99")], b"short"),
        ("a length within the body", &[(b"content-length", b"0")], b"GET /poison HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("two lengths", &[(b"content-length", b"5"), (b"content-length", b"0")], b"12345"),
        ("another host", &[(b"host", b"b")], b""),
        ("an unknown pseudo-field", &[(b":x", b"a")], b""),
    ];
    let pseudo: [Field<'_>; 4] =
        [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
    let targets: [(&str, &[u8]); 6] = [
        ("a space", b"/ HTTP/1.1"),
        ("line ends", b"/ HTTP/1.1\r\nHost: a\r\n\r\nGET /poison"),
        ("a nul", b"/\0"),
        ("nothing", b""),
        ("no slash", b"x"),
        ("another server's", b"http://b/"),
    ];
    let targets = targets.map(|(case, target)| {
        let mut head = pseudo;
        head[3].1 = target;
        (case.to_owned(), fields(&head), Vec::new())
    });
    let methods: [(&str, &[u8]); 3] =
        [("CONNECT", b"CONNECT"), ("TRACE", b"TRACE"), ("a method with a space", b"GET /poison")];
    let methods = methods.map(|(case, method)| {
        let mut head = pseudo;
        head[0].1 = method;
        (case.to_owned(), fields(&head), Vec::new())
    });
    let cases = cases.map(|(case, more, body)| {
        let all: Vec<_> = pseudo.iter().chain(more).copied().collect();
        (case.to_owned(), fields(&all), body.to_vec())
    });
    for (case, head, body) in cases.into_iter().chain(targets).chain(methods) {
        let (lab, seen) = witness().await;
        let mut client = lab.connect().await;
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, b"")[..]].concat();
        let mut sent = [preface, frame(HEADERS, END_HEADERS | u8::from(body.is_empty()), 1, &head)].concat();
        if !body.is_empty() {
            sent.extend(frame(DATA, END_STREAM, 1, &body));
        }
        client.write_all(&sent).await.unwrap();
        let first = end_of(&mut client, 1).await;
        let probe = [(&b":method"[..], &b"GET"[..]), pseudo[1], pseudo[2], (b":path", b"/probe")];
        let _ = client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields(&probe))).await;
        let probed = if first == GONE { GONE } else { end_of(&mut client, 3).await };
        let seen = seen.lock().unwrap().clone();
        assert!(seen.iter().all(|request| !request.contains("poison")), "{case}: {seen:?}");
        let whole: Vec<_> = seen.iter().filter(|request| !request.contains("broken")).collect();
        match probed {
            GONE => assert!(whole.is_empty(), "{case}: {seen:?}"),
            end => {
                assert_eq!((end, whole), (DATA, vec![&"GET /probe ".to_owned()]), "{case}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_pseudo_field_among_trailers_is_never_passed_on() {
    let cases: [(&str, &[Field<'_>], Option<&str>); 4] = [
        // The library takes it off before anybody can object (decision 0023).
        ("before the others", &[(b":path", b"/poison"), (b"x-sum", b"1")], Some("x-sum")),
        ("alone", &[(b":status", b"200")], Some("")),
        ("behind another", &[(b"x-sum", b"1"), (b":path", b"/poison")], None),
        ("an unknown one", &[(b":x", b"poison")], None),
    ];
    for (case, trailers, expected) in cases {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&seen);
        let backend = http_backend(move |request: Request<Incoming>| {
            let tell = Arc::clone(&tell);
            async move {
                let target = request.uri().to_string();
                if let Ok(body) = request.into_body().collect().await {
                    let names = body.trailers().into_iter().flat_map(|trailers| trailers.keys());
                    let names: Vec<_> = names.map(|name| name.as_str().to_owned()).collect();
                    tell.lock().unwrap().push((target, names.join(",")));
                }
                text("ok")
            }
        });
        let lab = Lab::new([backend.await]);
        let mut client = lab.connect().await;
        let head: [Field<'_>; 5] = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", b"/"),
            (b"trailer", b"x-sum"),
        ];
        let sent = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, b""),
            frame(HEADERS, END_HEADERS, 1, &fields(&head)),
            frame(DATA, 0, 1, b"body"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(trailers)),
        ];
        client.write_all(&sent.concat()).await.unwrap();
        let end = end_of(&mut client, 1).await;
        let seen = seen.lock().unwrap().clone();
        match expected {
            Some(names) => assert_eq!((end, seen), (DATA, vec![("/".to_owned(), names.to_owned())]), "{case}"),
            None => assert!(matches!(end, RESET | GONE) && seen.is_empty(), "{case}: {end} {seen:?}"),
        }
    }
}
