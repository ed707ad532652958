//! A network that is too large for everybody to be connected to everybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use p2p_fed::{
    balance::Policy,
    front, net,
    node::{Front, Node},
    worker::{Export, Target},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    ledger::{Host, sees},
    network::{quiet, token},
    soon,
};

const NODES: usize = 30;

/// What one change may cost a node.
const CHANGE_BYTES: u64 = 5 * 1024;

/// Who is connected to whom.
fn graph(nodes: &[Node]) -> BTreeMap<String, BTreeSet<String>> {
    let connected = |node: &Node| node.peers().peers.into_iter().map(|peer| peer.id).collect();
    nodes.iter().map(|node| (node.id().to_string(), connected(node))).collect()
}

fn is_whole(graph: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let mut reached: BTreeSet<&String> = graph.keys().take(1).collect();
    let mut news: Vec<&String> = reached.iter().copied().collect();
    while let Some(node) = news.pop() {
        news.extend(graph[node].iter().filter(|peer| reached.insert(peer)));
    }
    reached.len() == graph.len()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    soon(what, async {
        while !holds() {
            look.tick().await;
        }
    })
    .await;
}

/// Sends back what it gets.
async fn echo() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    format!("tcp://{address}").parse().unwrap()
}

/// What each node has sent by gossip, once none of them has anything left to say.
async fn gossip_sent(nodes: &[Node]) -> Vec<u64> {
    let sent = |node: &Node| {
        let traffic = node.ledger().traffic;
        traffic.gossip_published.bytes + traffic.gossip_passed_on.bytes
    };
    let mut look = tokio::time::interval(Duration::from_millis(500));
    let mut before = Vec::new();
    soon("gossip to fall silent", async {
        loop {
            look.tick().await;
            let now: Vec<_> = nodes.iter().map(sent).collect();
            if now == before {
                return now;
            }
            before = now;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_nodes_keep_a_few_connections_each_and_still_agree_and_reach_every_worker() {
    let (host, token, started) = (Host::new(), token(), Instant::now());
    let mut front = front::Config::new("late", ([127, 0, 0, 1], 0).into());
    front.mode = front::Mode::Tcp;
    let fronts = vec![Front { front, policy: Policy::LeastUsed, pin: None }];
    let mut nodes = vec![host.start(&token, quiet(vec![]), vec![]).await];
    let hub = nodes[0].addresses();
    for _ in 2..NODES {
        nodes.push(host.start(&token, quiet(hub.clone()), vec![]).await);
    }
    nodes.push(host.start_with(&token, quiet(hub), vec![], fronts).await);
    for node in &nodes {
        sees(node, "all records", |view| view.nodes.len() == NODES).await;
    }
    println!("agreed after {:?}", started.elapsed());
    until("few connections each", || {
        let graph = graph(&nodes);
        is_whole(&graph) && graph.values().all(|peers| (8..=24).contains(&peers.len()))
    })
    .await;
    let degrees: Vec<_> = graph(&nodes).values().map(BTreeSet::len).collect();
    println!("connections after {:?}: {degrees:?}", started.elapsed());

    // One change reaches all of them, and costs each little.
    let before = gossip_sent(&nodes).await;
    let changed = Instant::now();
    nodes[7].replace_exports(vec![Export::new("echo", echo().await)]).unwrap();
    for node in &nodes {
        sees(node, "the new service", |view| view.workers("echo").count() == 1).await;
    }
    println!("seen by all after {:?}", changed.elapsed());
    let costs: Vec<_> = gossip_sent(&nodes).await.into_iter().zip(before).map(|(now, before)| now - before).collect();
    println!("bytes that each node sent for it: {costs:?}");
    assert!(costs.iter().all(|cost| *cost <= CHANGE_BYTES), "{costs:?}");

    // A front reaches a worker that was none of its neighbours.
    let front = nodes.last().unwrap();
    let neighbours = graph(&nodes).remove(&front.id().to_string()).unwrap();
    let worker = nodes[1..].iter().find(|node| !neighbours.contains(&node.id().to_string()) && node.id() != front.id());
    worker.unwrap().replace_exports(vec![Export::new("late", echo().await)]).unwrap();
    soon("the worker", front.worker_available()).await;
    let mut client = TcpStream::connect(front.fronts()[0].1).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    soon("the echo", client.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"hello");
}

/// Nothing is different where everybody knows everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_nodes_are_all_connected_to_each_other() {
    let (host, token) = (Host::new(), token());
    let mut nodes = vec![host.start(&token, quiet(vec![]), vec![]).await];
    let hub: Vec<_> = nodes[0].addresses();
    for _ in 1..16 {
        let config: net::Config = quiet(hub.clone());
        nodes.push(host.start(&token, config, vec![]).await);
    }
    until("a full mesh", || graph(&nodes).values().all(|peers| peers.len() == 15)).await;
}
