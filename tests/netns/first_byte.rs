//! How long it takes from the start of both nodes until a client has the first byte of an answer, in each topology.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use p2p_fed_netns::{Quality, inside};

use crate::{
    lab::{Family, Host, Lab},
    node::{Network, Node, backend},
    relays::{PRIVATE, relay},
    router::Nat,
};

/// From one network on the internet to another one: a round trip takes 40 ms.
const FAR: Quality = Quality {
    delay: (Duration::from_millis(20), Duration::from_millis(20)),
    loss: 0.0,
    doubled: 0.0,
    strays: 0.0,
    rate: None,
    cut: false,
};

/// A client that gets none tries again after this.
const AGAIN: Duration = Duration::from_millis(5);

/// No topology needs longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Each topology so often, unless `RUNS` says otherwise. Everything is new each time: identities, tokens, networks.
const RUNS: usize = 7;

const TCP: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/tcp/0"];
const UDP: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// Who is where.
enum Topology {
    Lan((&'static str, &'static str)),
    /// The worker on a public host, the front behind a NAT; there is no relay.
    Public,
    /// Both behind routers, with these listeners; what the routers don't let pass.
    Sites(Family, Nat, &'static [&'static str], &'static [&'static str]),
}

const TOPOLOGIES: [(&str, Topology); 9] = [
    ("a LAN without internet", Topology::Lan(("10.9.0.", "/24"))),
    ("a LAN with IPv6 alone", Topology::Lan(("fd00:9::", "/64"))),
    ("worker public, front behind a NAT", Topology::Public),
    ("both behind cone NATs, TCP alone", Topology::Sites(Family::V4, Nat::Cone, &TCP, &[])),
    ("both behind cone NATs, QUIC alone", Topology::Sites(Family::V4, Nat::Cone, &UDP, &[])),
    ("both behind cone NATs", Topology::Sites(Family::V4, Nat::Cone, &[], &[])),
    ("both behind symmetric NATs, by the relay", Topology::Sites(Family::V4, Nat::Symmetric, &[], &[])),
    ("both behind cone NATs, no datagrams pass", Topology::Sites(Family::V4, Nat::Cone, &[], &["udp"])),
    ("both behind firewalls of IPv6", Topology::Sites(Family::V6, Nat::Cone, &[], &[])),
];

/// Asks the front on this host until it answers with 200; when the first byte of that came.
fn first_byte(host: &Host) -> io::Result<Duration> {
    let began = Instant::now();
    let ask = || {
        let mut stream = TcpStream::connect("127.0.0.1:8080")?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET /quick HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        let came = began.elapsed();
        let mut status = [0; 11];
        stream.read_exact(&mut status)?;
        if status.ends_with(b" 200") { Ok(came) } else { Err(io::Error::other("no answer yet")) }
    };
    inside(&host.space, || {
        loop {
            match ask() {
                Ok(came) => return Ok(came),
                Err(error) if began.elapsed() > LIMIT => return Err(error),
                Err(_) => std::thread::sleep(AGAIN),
            }
        }
    })?
}

/// Networks in which a run can begin: what a relay is needed for is there.
struct Ready {
    worker: Host,
    front: Host,
    /// What both nodes are started with.
    args: Vec<String>,
    /// What the worker is started with as well.
    worker_args: Vec<String>,
    _relay: Option<Node>,
    _lab: Lab,
}

impl Topology {
    async fn ready(&self, network: &Network) -> Ready {
        let owned = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
        match *self {
            Self::Lan(addresses) => {
                let mut lab = Lab::new();
                let [worker, front] = lab.lan(["one", "other"], addresses);
                Ready { worker, front, args: Vec::new(), worker_args: Vec::new(), _relay: None, _lab: lab }
            }
            Self::Public => {
                let mut lab = Lab::new();
                lab.usually(FAR);
                let (worker, front) = (lab.public("one"), lab.site("other", Nat::Cone));
                let listen = format!("{}/tcp/4001", worker.multiaddr());
                let args = owned(&[&["--peer", &listen], &PRIVATE[..]].concat());
                let worker_args = owned(&["--listen-addr", &listen]);
                Ready { worker, front, args, worker_args, _relay: None, _lab: lab }
            }
            Self::Sites(family, nat, listen, without) => {
                let mut lab = Lab::of(family, 1);
                lab.usually(FAR);
                let relay = relay(&mut lab, network, "relay").await;
                let (worker, front) = (lab.site("one", nat), lab.site("other", nat));
                for site in [&worker, &front] {
                    without.iter().for_each(|protocol| lab.without(protocol, site));
                }
                let peers = ["--peer", relay.address("tcp"), "--peer", relay.address("udp")];
                let args = owned(&[&peers[..], listen, &PRIVATE[..]].concat());
                Ready { worker, front, args, worker_args: Vec::new(), _relay: Some(relay), _lab: lab }
            }
        }
    }
}

/// A command line.
fn words<'a>(first: &[&'a str], more: &[&'a Vec<String>]) -> Vec<&'a str> {
    first.iter().copied().chain(more.iter().copied().flatten().map(String::as_str)).collect()
}

/// Both nodes start at the same moment. How long it took until the first byte, and by what way the worker was connected then.
async fn run(topology: &Topology) -> (Duration, String) {
    let network = Network::new().await;
    let ready = topology.ready(&network).await;
    let _backend = backend(&ready.worker).await;
    let worker = words(&["expose", "8000"], &[&ready.worker_args, &ready.args]);
    let front = words(&["serve"], &[&ready.args]);
    let host = ready.front.clone();
    let client = tokio::task::spawn_blocking(move || first_byte(&host));
    let (_worker, front, came) = tokio::join!(
        network.start(&ready.worker, "worker", &worker),
        network.start(&ready.front, "front", &front),
        client
    );
    let came = came.unwrap().expect("an answer");
    let way = front.peer("worker").await.map(|peer| format!("{}, {}", peer.path, peer.transport));
    (came, way.unwrap_or_default())
}

#[tokio::test]
#[ignore = "needs root, and minutes: make netns-first-byte"]
async fn the_table_of_first_bytes() {
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS).max(1);
    println!("\n| topology | median, s | worst, s | connected then |\n|---|---|---|---|");
    for (name, topology) in &TOPOLOGIES {
        let (mut took, mut paths) = (Vec::new(), std::collections::BTreeMap::<String, usize>::new());
        for _ in 0..runs {
            let (came, path) = run(topology).await;
            took.push(came.as_secs_f64());
            *paths.entry(path).or_default() += 1;
        }
        took.sort_by(f64::total_cmp);
        let paths: Vec<_> = paths.iter().map(|(path, times)| format!("{path} ({times})")).collect();
        println!("| {name} | {:.2} | {:.2} | {} |", took[took.len() / 2], took[took.len() - 1], paths.join("; "));
    }
}
