//! HTTP/1 as curl speaks it, through two fronts to three workers.

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    backend::Backend,
    balancing, large_bodies, machine,
    process::{Exit, Process, command, installed},
    soon,
    three::Three,
};

/// Fronts with these flags, and backends of the test behind them.
pub async fn fronts(flags: &[&str]) -> ([Backend; 3], Three) {
    let backends = [Backend::start("w1").await, Backend::start("w2").await, Backend::start("w3").await];
    let three = Three::start_with(backends.each_ref().map(|backend| backend.address), &[], flags).await;
    (backends, three)
}

/// curl, with all that it received.
pub async fn curl(args: &[&str]) -> Exit {
    let mut curl = command(installed("curl"));
    curl.args(["--silent", "--show-error", "--include", "--max-time", "30"]).args(args);
    Process::spawn("curl", &mut curl).exit().await
}

#[tokio::test]
async fn clients_of_http_1_0_heads_and_expectations_are_understood() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    for front in three.addresses {
        let url = |path: &str| format!("http://{front}{path}");
        let old = curl(&["--http1.0", &url("/who")]).await;
        assert!(old.stdout.starts_with("HTTP/1.0 200") || old.stdout.starts_with("HTTP/1.1 200"), "{old:?}");
        assert!(old.stdout.contains("\r\n\r\nw"), "{old:?}");

        let head = curl(&["--head", &url("/who")]).await;
        assert!(head.stdout.starts_with("HTTP/1.1 200"), "{head:?}");
        assert!(head.stdout.contains("content-length: 3"), "{head:?}");
        assert!(head.stdout.ends_with("\r\n\r\n"), "a response to HEAD has a body: {head:?}");

        let body = "x".repeat(100_000);
        let expecting = curl(&["--header", "Expect: 100-continue", "--data", &body, &url("/sha256")]).await;
        let hash = large_bodies::hex(&Sha256::digest(&body));
        assert!(expecting.stdout.contains("HTTP/1.1 100 Continue"), "{expecting:?}");
        assert!(expecting.stdout.trim_end().ends_with(&hash), "{expecting:?}");

        let connect = curl(&["--proxytunnel", "--proxy", &url(""), "http://a.test/"]).await;
        assert_ne!(connect.code, Some(0), "a tunnel was opened: {connect:?}");
        let refused = connect.stdout.lines().next().unwrap_or_default().to_owned();
        assert!(refused.starts_with("HTTP/1.1 4") || refused.starts_with("HTTP/1.1 5"), "{connect:?}");
    }
}

#[tokio::test]
async fn h_07_fields_of_the_hop_stay_on_it_and_nobody_makes_up_who_he_is() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    for front in three.addresses {
        let mut args = Vec::new();
        for field in [
            "Connection: close, X-Secret",
            "X-Secret: for the proxy",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "TE: gzip",
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "Forwarded: for=6.6.6.6",
            "X-Kept: yes",
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            args.extend(["--header", field]);
        }
        let url = format!("http://{front}/echo");
        args.push(&url);
        let told = curl(&args).await.stdout.to_ascii_lowercase();
        let body = told.split_once("\r\n\r\n").unwrap().1.to_owned();
        for gone in ["x-secret", "keep-alive:", "proxy-connection", "6.6.6.6", "x-forwarded-proto: https"] {
            assert!(!body.contains(gone), "{gone} arrived: {body}");
        }
        for kept in ["x-kept: yes", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-", "x-forwarded-for: 127.0.0.1"] {
            assert!(body.contains(kept), "{kept} did not: {body}");
        }
    }
}

#[tokio::test]
async fn h_09_what_is_too_large_is_refused_by_its_own_status_and_closed() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&["--max-body=65536"]).await;
    let (field, path, body) = (format!("X-Long: {}", "x".repeat(33 * 1024)), "x".repeat(9 * 1024), "x".repeat(70_000));
    for front in three.addresses {
        let url = format!("http://{front}/who");
        let long = format!("http://{front}/{path}");
        let refusals = [
            (431, vec!["--header", &field, &url]),
            (414, vec![long.as_str()]),
            (413, vec!["--header", "Expect:", "--data", &body, &url]),
        ];
        for (status, args) in refusals {
            let answer = curl(&args).await;
            assert!(answer.stdout.starts_with(&format!("HTTP/1.1 {status}")), "not {status}: {answer:?}");
            assert!(answer.stdout.to_ascii_lowercase().contains("connection: close"), "{answer:?}");
        }
        let next = curl(&[&url]).await;
        assert!(next.stdout.starts_with("HTTP/1.1 200"), "{next:?}");
    }
}

#[tokio::test]
async fn a_proxy_in_front_names_the_client_by_the_proxy_protocol() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&["--proxy-protocol"]).await;
    for front in three.addresses {
        let url = format!("http://{front}/echo");
        let told = curl(&["--haproxy-protocol", &url]).await;
        assert!(told.stdout.contains("x-forwarded-for: 127.0.0.1"), "{told:?}");
        // curl of Debian names nobody but itself.
        let mut proxy = TcpStream::connect(front).await.unwrap();
        proxy.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n").await.unwrap();
        proxy.write_all(b"GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut told = String::new();
        soon("the answer", proxy.read_to_string(&mut told)).await.unwrap();
        assert!(told.contains("x-forwarded-for: 192.0.2.7"), "{told}");
        let without = curl(&[&url]).await;
        assert!(!without.stdout.contains(" 200 "), "served without a header: {without:?}");
    }
}

#[tokio::test]
async fn wrk_keeps_its_connections_and_gets_nothing_but_answers() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    for front in three.addresses {
        let answers = balancing::wrk(&["-t1", "-c64", "-d2s"], &format!("http://{front}/who")).await;
        println!("measured: {answers:?}");
        assert!(answers.failed == 0 && answers.total > 100, "{answers:?}");
    }
}
