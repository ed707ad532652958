//! HTTP/2 by curl, nghttp, h2load and by a client that breaks it, through two fronts to three workers.

use crate::{
    http::{curl, fronts},
    machine,
    process::{Process, command, installed},
    python,
};

#[tokio::test]
async fn curl_and_nghttp_speak_http_2_in_the_clear() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    for front in three.addresses {
        let url = format!("http://{front}/echo");
        let answer = curl(&["--http2-prior-knowledge", "--data", "some", &url]).await;
        assert!(answer.stdout.starts_with("HTTP/2 200"), "{answer:?}");
        assert!(answer.stdout.contains("POST /echo HTTP/1.1"), "{answer:?}");
        assert!(answer.stdout.contains(&format!("host: {front}")), "{answer:?}");

        let mut nghttp = command(installed("nghttp"));
        let exit = Process::spawn("nghttp", nghttp.args(["--multiply=20", "--stat", "--no-push", &url])).exit().await;
        assert_eq!((exit.code, exit.stdout.matches(" 200 ").count()), (Some(0), 20), "{exit:?}");
    }
}

#[tokio::test]
async fn h2load_has_all_its_streams_answered() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    for front in three.addresses {
        let mut h2load = command(installed("h2load"));
        let exit = Process::spawn("h2load", h2load.args(["-n4000", "-c8", "-m20", &format!("http://{front}/who")]))
            .exit()
            .await;
        assert!(exit.stdout.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"), "{exit:?}");
        assert!(exit.stdout.contains("status codes: 4000 2xx"), "{exit:?}");
    }
}

#[tokio::test]
async fn h_02_whoever_breaks_http_2_ends_his_stream_or_connection_and_nothing_else() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    let mut client = python::script("h2_cases.py");
    let exit = Process::spawn("h2_cases.py", client.arg(three.addresses[0].to_string())).exit().await;
    let last = exit.stdout.lines().last().unwrap_or_default();
    println!("measured: {last}");
    let failed: Vec<_> = exit.stdout.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert!(exit.code == Some(0) && last.ends_with(" 0 failed, alive"), "{failed:#?} {}", exit.stderr);
}
