//! A node that is told to end finishes what is under way, and says whether it could.

use futures::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request,
    body::{Bytes, Incoming},
};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::{
    backend::Backend,
    client, machine,
    network::Network,
    node::{Node, Plan},
    soon, until,
};

const STREAMS: usize = 20;

#[tokio::test]
async fn a_worker_finishes_its_streams_and_gets_no_new_ones() {
    let _machine = machine::shared().await;
    let stage = Stage::set(&[]).await;
    let streams = stage.streams().await;

    stage.worker.process.signal(Signal::TERM);
    stage.front.lacks("w").await;
    // While it drains, others take what is new.
    let other = Backend::start("other").await;
    let _other = stage.network.start(Plan::expose("v", other.address).join(stage.front.peer())).await;
    stage.front.has_available("v").await;
    for _ in 0..10 {
        assert_eq!(client::who(stage.front.front().await).await.unwrap(), "other");
    }

    stage.all_end_well(streams).await;
    let exit = stage.worker.process.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.lines().last().unwrap().contains("drained"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_front_finishes_its_streams_and_takes_no_new_ones() {
    let _machine = machine::shared().await;
    let stage = Stage::set(&[]).await;
    let address = stage.front.front().await;
    let streams = stage.streams().await;

    stage.front.process.signal(Signal::TERM);
    until("the listener to close", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    assert!(!stage.front.status().await.ready);

    stage.all_end_well(streams).await;
    let exit = stage.front.process.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.lines().last().unwrap().contains("drained"), "{}", exit.stderr);
}

#[tokio::test]
async fn what_outlasts_the_deadline_is_cut_off_and_counted() {
    let _machine = machine::shared().await;
    let stage = Stage::set(&["--drain-timeout=1s"]).await;
    let streams = stage.streams().await;
    stage.front.process.signal(Signal::TERM);
    let exit = stage.front.process.exit().await;
    assert!(exit.stderr.lines().last().unwrap().contains("cut off"), "{}", exit.stderr);
    assert!(exit.stderr.lines().last().unwrap().contains("20"), "{}", exit.stderr);
    // Nobody takes a part for the whole.
    for stream in join_all(streams.into_iter().map(Incoming::collect)).await {
        assert!(stream.is_err(), "a stream that was cut off looks whole");
    }
}

struct Stage {
    network: Network,
    backend: Backend,
    worker: Node,
    front: Node,
}

impl Stage {
    /// A front with these flags, and one worker.
    async fn set(flags: &[&str]) -> Self {
        let network = Network::new().await;
        let backend = Backend::start("one").await;
        let front = network.start(flags.iter().fold(Plan::serve("front"), |plan, flag| plan.arg(flag))).await;
        let worker = network.start(Plan::expose("w", backend.address).join(front.peer())).await;
        front.has_ready(&["w"]).await;
        Self { network, backend, worker, front }
    }

    /// Responses that have begun and go on until the backend ends them.
    async fn streams(&self) -> Vec<Incoming> {
        let address = self.front.front().await;
        let begin = || async move {
            let request = Request::get("/script").body(Empty::<Bytes>::new()).unwrap();
            client::send(address, request).await.unwrap().into_body()
        };
        let streams = join_all(std::iter::repeat_with(begin).take(STREAMS)).await;
        self.backend.has_audience(STREAMS).await;
        streams
    }

    async fn all_end_well(&self, streams: Vec<Incoming>) {
        self.backend.emit("the last words");
        self.backend.end();
        for stream in soon("the streams to end", join_all(streams.into_iter().map(Incoming::collect))).await {
            assert_eq!(stream.unwrap().to_bytes(), "the last words");
        }
    }
}
