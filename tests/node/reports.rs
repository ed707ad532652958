//! What one front learns of another one's work at a worker, over real connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use p2p_fed::{
    net::{TUNNEL, node_of, peer_of},
    tunnel::{self, Class, Header, Load, TraceId, TunnelStream},
    worker::{self, Export, Worker},
};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken};

use crate::{
    network::{Member, quiet, token},
    soon,
};

async fn open(front: &Member, worker: p2p_fed::ledger::NodeId, class: Class) -> (TunnelStream, Load) {
    let stream = front.net.streams().open(peer_of(&worker).unwrap(), TUNNEL).await.unwrap();
    let header = Header { service: "llm".to_owned(), class, trace: TraceId::random(), client: None };
    tunnel::open(stream.compat(), &header).await.unwrap()
}

fn hear(mut stream: TunnelStream) -> (mpsc::UnboundedReceiver<Load>, JoinHandle<std::io::Result<usize>>) {
    let (sender, heard) = mpsc::unbounded_channel();
    stream.on_report(Arc::new(move |load| {
        let _ = sender.send(load);
    }));
    (heard, tokio::spawn(async move { stream.read(&mut [0; 8]).await }))
}

/// The first report of `count` under way.
async fn told(heard: &mut mpsc::UnboundedReceiver<Load>, count: u32) -> Load {
    soon("a report", async {
        loop {
            let load = heard.recv().await.expect("a subscription that lasts");
            if load.in_flight == count {
                return load;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_fronts_hear_of_each_others_work_over_every_transport() {
    for transports in [["tcp", "quic"], ["quic", "tcp"]] {
        let token = token();
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut export = Export::new("llm", format!("tcp://{}", backend.local_addr().unwrap()).parse().unwrap());
        (export.health, export.slots) = ("off".parse().unwrap(), 1);
        let config = worker::Config { exports: vec![export], ..worker::Config::default() };
        let exposed = Worker::spawn(config, CancellationToken::new()).unwrap();
        let mut member = Member::join(&token, quiet(vec![])).await;
        let worker = member.id;
        let [one, two] = transports.map(|transport| quiet(member.addresses_over(transport)));
        let (one, two) = (Member::join(&token, one).await, Member::join(&token, two).await);
        one.meets(worker).await;
        two.meets(worker).await;
        let served = exposed.clone();
        tokio::spawn(async move {
            while let Some(inbound) = member.arrivals.tunnels.recv().await {
                let (served, from) = (served.clone(), node_of(&inbound.peer).unwrap());
                tokio::spawn(async move { served.serve(inbound.stream.compat(), from).await });
            }
        });

        let (stream, load) = open(&two, worker, Class::Load).await;
        assert_eq!((load.in_flight, load.slots), (0, 1));
        let (mut heard, listening) = hear(stream);
        let began = Instant::now();
        let (tunnel, load) = open(&one, worker, Class::Tcp).await;
        assert_eq!((load.in_flight, load.yours, load.received), (1, 1, 1));
        let load = told(&mut heard, 1).await;
        assert_eq!((load.yours, load.received), (0, 0));
        assert!(began.elapsed() < Duration::from_secs(10), "it is told of within a second, on a machine with time");

        // The only slot is free again: no second is waited for.
        drop(tunnel);
        told(&mut heard, 0).await;
        exposed.drain();
        assert!(soon("the last report", async { heard.recv().await }).await.unwrap().draining);
        assert_eq!(soon("the end", listening).await.unwrap().unwrap(), 0);
    }
}
