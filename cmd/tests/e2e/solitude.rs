//! A front without workers says so, and is no worse for it when they come.

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{backend::Backend, client, machine, network::Network, node::Plan, soon};

#[tokio::test]
async fn http_clients_are_told_to_come_again() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let front = network.start(Plan::serve("front")).await;
    let address = front.front().await;
    for (path, accept, kind) in [
        ("/", "text/html, */*", "text/plain"),
        ("/", "application/json", "application/json"),
        ("/v1/models", "*/*", "application/json"),
    ] {
        let request = Request::get(path).header(ACCEPT, accept).body(Empty::<Bytes>::new()).unwrap();
        let response = soon("an answer", client::send(address, request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers().clone();
        let after: u32 = headers[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!(after > 0);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(headers[CONTENT_LENGTH].to_str().unwrap(), body.len().to_string());
        assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with(kind), "{headers:?}");
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("worker") && text.contains("federated"), "it does not say why: {text}");
        if kind == "application/json" {
            let said: Value = serde_json::from_str(&text).unwrap();
            assert!(said["error"]["message"].is_string(), "not as OpenAI's clients expect it: {said}");
        }
    }

    // The same front serves as soon as there is somebody.
    let backend = Backend::start("late").await;
    let _worker = network.start(Plan::expose("w", backend.address).join(front.peer())).await;
    front.has_available("w").await;
    assert_eq!(client::who(address).await.unwrap(), "late");
}

#[tokio::test]
async fn tcp_clients_get_a_clean_end() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    for mode in ["tcp", "auto"] {
        let front = network.start(Plan::serve("front").arg("--mode").arg(mode)).await;
        let mut client = TcpStream::connect(front.front().await).await.unwrap();
        client.write_all(b"\x16\x03\x01 this is not HTTP").await.unwrap();
        let mut reply = Vec::new();
        // A reset would be an error here.
        let read = soon("the end", client.read_to_end(&mut reply)).await;
        assert_eq!(read.unwrap(), 0, "mode {mode}");
    }
}
