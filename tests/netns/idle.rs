//! A tunnel at rest, across a NAT that forgets datagrams soon.

use std::{net::SocketAddr, time::Duration};

use p2p_fed_netns::inside;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    lab::{Host, Lab},
    node::Network,
    relays::PRIVATE,
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

/// With these listeners alone a node speaks QUIC alone; its router lets nothing else pass as well.
const QUIC: [&str; 2] = ["--listen-addr", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// Connects from that host.
async fn connected(host: &Host, address: SocketAddr) -> Option<TcpStream> {
    let stream = inside(&host.space, || std::net::TcpStream::connect(address)).unwrap().ok()?;
    stream.set_nonblocking(true).unwrap();
    Some(TcpStream::from_std(stream).unwrap())
}

/// What one writes the other reads.
async fn carries(from: &mut TcpStream, to: &mut TcpStream, word: &[u8]) {
    from.write_all(word).await.unwrap();
    let mut read = vec![0; word.len()];
    timeout(10 * S, to.read_exact(&mut read)).await.expect("bytes within 10 s").unwrap();
    assert_eq!(read, word);
}

/// A stream through front and worker, one of them behind the NAT, that carries bytes both ways, rests, and does so again. Who is
/// outside speaks first after it: its packets pass only if the NAT still knows whose they are.
async fn rests(is_front_inside: bool, remembers: u32, rest: Duration) {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let (public, site) = (lab.public("public"), lab.site("site", Nat::Cone));
    lab.without("tcp", &site);
    lab.forgetful(&site, remembers);
    let (far, near) = if is_front_inside { (&public, &site) } else { (&site, &public) };
    let listener = inside(&far.space, || std::net::TcpListener::bind("127.0.0.1:9000")).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();

    let worker = async |peer: &[&str]| {
        let args = [&["expose", "tcp://127.0.0.1:9000", "--health", "off"], peer, &QUIC[..], &PRIVATE[..]].concat();
        network.start(far, "worker", &args).await
    };
    let front = async |peer: &[&str]| {
        let args = [&["serve", "--mode", "tcp"], peer, &QUIC[..], &PRIVATE[..]].concat();
        network.start(near, "front", &args).await
    };
    let (worker, front) = if is_front_inside {
        let worker = worker(&[]).await;
        let front = front(&["--peer", worker.address("udp")]).await;
        (worker, front)
    } else {
        let front = front(&[]).await;
        (worker(&["--peer", front.address("udp")]).await, front)
    };
    let is_there = async || front.peer("worker").await.filter(|peer| peer.transport == "quic");
    within(10 * S, "the worker", is_there).await;

    let mut client = connected(near, "127.0.0.1:8080".parse().unwrap()).await.expect("a front that listens");
    // It may be picked up when the first bytes come.
    client.write_all(b"hello").await.unwrap();
    let (mut server, _) = timeout(10 * S, listener.accept()).await.expect("a tunnel within 10 s").unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    carries(&mut server, &mut client, b"welcome").await;

    sleep(rest).await;
    let known = lab.known(&site);
    let remembered = known.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok());
    assert!(remembered.clone().count() > 0 && remembered.max() <= Some(remembers), "the NAT is forgetful: {known}");
    let (outside, within) = if is_front_inside { (&mut server, &mut client) } else { (&mut client, &mut server) };
    carries(outside, within, b"are you there?").await;
    carries(within, outside, b"I am").await;
    drop(worker);
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_tunnel_rests_a_minute_across_a_nat_that_forgets_in_5_s() {
    tokio::join!(rests(true, 5, 60 * S), rests(false, 5, 60 * S));
}

#[tokio::test]
#[ignore = "needs root, and ten minutes: make netns-idle"]
async fn a_tunnel_rests_ten_minutes_across_a_nat_that_forgets_in_30_s() {
    tokio::join!(rests(true, 30, 600 * S), rests(false, 30, 600 * S));
}
