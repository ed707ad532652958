//! Listeners that speak TLS.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::lab::{Lab, Worker, body, field, http_backend, named, read_until, status, tcp_backend, text, within};
use crate::{
    balance::{self, Balancer},
    certificate::Certificate,
    front::{Config, Front, Mode},
    proxy_protocol::{Header, Version},
};

/// A certificate for `localhost` in files of its own.
struct Files {
    folder: TempDir,
    der: CertificateDer<'static>,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let der = write(&folder);
        Self { folder, der }
    }

    fn certificate(&self) -> Certificate {
        Certificate { chain: self.folder.path().join("cert.pem"), key: self.folder.path().join("key.pem") }
    }

    fn lab(&self, workers: impl IntoIterator<Item = Worker>, change: impl FnOnce(&mut Config)) -> Lab {
        Lab::with(workers, |config| {
            config.tls = Some(self.certificate());
            change(config);
        })
    }

    /// Connects, and offers these protocols.
    async fn connect(&self, lab: &Lab, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        self.shake(lab.connect().await, protocols).await
    }

    async fn shake(&self, tcp: TcpStream, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
    }
}

fn write(folder: &TempDir) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), made.key_pair.serialize_pem()).unwrap();
    made.cert.der().clone()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn says_scheme() -> Worker {
    http_backend(|request| async move { text(request.headers()["x-forwarded-proto"].to_str().unwrap().to_owned()) })
        .await
}

#[tokio::test]
async fn a_client_gets_what_both_agreed_on() {
    let files = Files::new();
    for mode in [Mode::Auto, Mode::Http] {
        let lab = files.lab([says_scheme().await], |config| config.mode = mode);
        for protocols in [&["http/1.1"][..], &[]] {
            let mut client = files.connect(&lab, protocols).await.unwrap();
            client.write_all(GET).await.unwrap();
            let mut response = String::new();
            within(client.read_to_string(&mut response)).await.unwrap();
            assert_eq!((status(&response), body(&response)), (200, "https"), "{protocols:?}");
        }
        let client = files.connect(&lab, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        assert_eq!(within(response.collect()).await.unwrap().to_bytes(), "https");
    }
}

#[tokio::test]
async fn who_agreed_on_http_2_speaks_nothing_else() {
    let files = Files::new();
    let lab = files.lab([named("a").await], |_| {});
    let mut client = files.connect(&lab, &["h2"]).await.unwrap();
    client.write_all(GET).await.unwrap();
    let _ = within(client.read_to_end(&mut Vec::new())).await;
    assert_eq!(lab.all_dials(), 0);
}

#[tokio::test]
async fn opaque_bytes_go_through_and_half_close_too() {
    let files = Files::new();
    let backend = tcp_backend(|mut socket: TcpStream| async move {
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        socket.write_all(format!("got {text}").as_bytes()).await.unwrap();
    });
    let lab = files.lab([backend.await], |config| config.mode = Mode::Tcp);
    let mut client = files.connect(&lab, &[]).await.unwrap();
    client.write_all(b"x").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    within(client.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "got x");
    let header = lab.paths.headers.lock().unwrap().pop().unwrap();
    assert_eq!(header.client, Some(client.get_ref().0.local_addr().unwrap()));
}

#[tokio::test]
async fn nobody_gets_in_without_tls_and_nobody_is_waited_for_without_end() {
    let files = Files::new();
    let lab = files.lab([named("a").await], |config| config.limits.head_timeout = Duration::from_millis(50));
    let mut plain = lab.connect().await;
    plain.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"));
    let mut silent = lab.connect().await;
    let _ = within(silent.read_to_end(&mut answer)).await;
    assert_eq!(lab.all_dials(), 0);
}

#[tokio::test]
async fn whom_a_proxy_names_comes_before_tls() {
    let files = Files::new();
    let backend =
        http_backend(|request| async move { text(request.headers()["x-forwarded-for"].to_str().unwrap().to_owned()) });
    let lab = files.lab([backend.await], |config| config.proxy_protocol = true);
    let header = Header { addresses: Some(("192.0.2.1:5".parse().unwrap(), "192.0.2.2:443".parse().unwrap())) };
    for version in [Version::V1, Version::V2] {
        let mut tcp = lab.connect().await;
        tcp.write_all(&header.encode(version)).await.unwrap();
        let mut client = files.shake(tcp, &["http/1.1"]).await.unwrap();
        client.write_all(GET).await.unwrap();
        let mut response = String::new();
        within(client.read_to_string(&mut response)).await.unwrap();
        assert_eq!((status(&response), body(&response)), (200, "192.0.2.1"));
    }
}

#[tokio::test]
async fn a_cut_response_looks_cut() {
    let files = Files::new();
    let backend = tcp_backend(|mut socket: TcpStream| async move {
        read_until(&mut socket, "\r\n\r\n").await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    });
    let lab = files.lab([backend.await], |_| {});
    let mut client = files.connect(&lab, &["http/1.1"]).await.unwrap();
    client.write_all(GET).await.unwrap();
    let error = within(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_websocket_goes_through_tls() {
    let files = Files::new();
    let backend = tcp_backend(|mut socket: TcpStream| async move {
        read_until(&mut socket, "\r\n\r\n").await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
        socket.write_all(switch.as_bytes()).await.unwrap();
        let byte = socket.read_u8().await.unwrap();
        socket.write_u8(byte + 1).await.unwrap();
    });
    let lab = files.lab([backend.await], |_| {});
    let mut client = files.connect(&lab, &["http/1.1"]).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut client, "\r\n\r\nhello").await;
    assert_eq!((status(&head), field(&head, "upgrade")), (101, Some("websocket")));
    client.write_u8(b'a').await.unwrap();
    assert_eq!(within(client.read_u8()).await.unwrap(), b'b');
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let mut files = Files::new();
    let lab = files.lab([named("a").await], |_| {});
    files.connect(&lab, &[]).await.unwrap();
    files.der = write(&files.folder);
    // The old one is not the one that is expected any more.
    within(async {
        while files.connect(&lab, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_said_before_anything_is_bound() {
    let files = Files::new();
    fs::write(files.certificate().key, "").unwrap();
    let config = Config { tls: Some(files.certificate()), ..Config::new("web", ([127, 0, 0, 1], 0).into()) };
    let balance = balance::Config::new("web");
    let paths = Arc::new(super::lab::Paths::default());
    let error = Front::bind(config, paths, Balancer::new(balance, 1)).err().unwrap().to_string();
    assert!(error.starts_with("cannot speak TLS for service web: ") && error.contains("key.pem"), "{error}");
}
