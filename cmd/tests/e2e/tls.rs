//! TLS at the listener, by curl and openssl's own certificate.

use std::{path::Path, sync::Arc};

use crate::{
    backend::Backend,
    host::Host,
    http::curl,
    machine,
    network::Network,
    node::Plan,
    process::{Process, command, installed},
    until,
};

/// Writes a certificate for `localhost`, and yields its file and that of the key.
pub async fn certify(host: &Host, name: &str) -> (String, String) {
    let path = |end: &str| host.path(&format!("{name}.{end}")).display().to_string();
    let (certificate, key) = (path("crt"), path("key"));
    let mut openssl = command(installed("openssl"));
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args([
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        // One that is an authority as well is no server's to some.
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    let exit = Process::spawn("openssl", &mut openssl).exit().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    (certificate, key)
}

#[tokio::test]
async fn curl_agrees_on_http_2_or_1_over_tls_and_a_renewed_certificate_is_used() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let backend = Backend::start("hyper").await;
    let host = Arc::new(Host::new());
    let (certificate, key) = certify(&host, "tls").await;
    let plan = Plan::serve("front").arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let front = network.start_on(&host, plan).await;
    let _worker = network.start(Plan::expose("w", backend.address).join(front.peer())).await;
    front.has_available("w").await;
    let port = front.front().await.port();
    let url = format!("https://localhost:{port}/who");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let by = async |certificate: &str, version: &str| {
        curl(&["--resolve", &resolve, "--cacert", certificate, version, &url]).await
    };
    for (flag, version) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200")] {
        let answer = by(&certificate, flag).await;
        assert!(answer.stdout.starts_with(version) && answer.stdout.ends_with("hyper\n"), "{answer:?}");
    }

    let (renewed, new_key) = certify(&host, "renewed").await;
    for (from, to) in [(&new_key, &key), (&renewed, &certificate)] {
        std::fs::rename(Path::new(from), Path::new(to)).unwrap();
    }
    until("the renewed certificate to be used", async || {
        by(&certificate, "--http2").await.stdout.starts_with("HTTP/2 200").then_some(())
    })
    .await;
}
