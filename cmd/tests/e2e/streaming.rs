//! What a backend sends piece by piece arrives piece by piece.

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, header::CONTENT_TYPE};

use crate::{
    backend::Backend,
    client, machine,
    network::Network,
    node::{Node, Plan},
    soon,
};

/// Each event is sent when the one before has arrived: were anything held back until more comes, nothing would.
#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let _machine = machine::shared().await;
    let (backend, _worker, front) = one_worker().await;
    let request = Request::get("/script").body(Empty::<Bytes>::new()).unwrap();
    let response = soon("the head, before any event", client::send(front.front().await, request)).await.unwrap();
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    for number in 0..20 {
        let event = format!("id: {number}\ndata: {}\n\n", "word ".repeat(number));
        backend.emit(event.clone());
        let mut arrived = Vec::new();
        while arrived.len() < event.len() {
            let frame = soon(&format!("event {number}"), body.frame()).await.unwrap().unwrap();
            arrived.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!(String::from_utf8_lossy(&arrived), event);
    }
    backend.end();
    assert!(soon("the end", body.frame()).await.is_none(), "something came after the last event");
}

/// When the client goes, so does the work for it.
#[tokio::test]
async fn a_client_that_goes_ends_the_stream_at_the_backend() {
    let _machine = machine::shared().await;
    let (backend, _worker, front) = one_worker().await;
    let request = Request::get("/script").body(Empty::<Bytes>::new()).unwrap();
    let response = client::send(front.front().await, request).await.unwrap();
    backend.has_audience(1).await;
    drop(response);
    crate::until("the backend to be told", async || {
        backend.emit("data: is anybody there?\n\n");
        (backend.audience() == 0).then_some(())
    })
    .await;
}

/// A backend that says what it is told to, a worker for it, and a front.
pub async fn one_worker() -> (Backend, Node, Node) {
    let network = Network::new().await;
    let backend = Backend::start("hyper").await;
    let front = network.start(Plan::serve("front")).await;
    let worker = network.start(Plan::expose("w", backend.address).join(front.peer())).await;
    front.has_ready(&["w"]).await;
    (backend, worker, front)
}
