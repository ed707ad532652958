//! Whole responders over real sockets, on loopback and on ports that nobody else uses.

use std::{net::UdpSocket, time::Duration};

use socket2::{Domain, Socket, Type};

use super::*;

/// Longer than any of this takes, even on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(30);

/// A name of its own for each test, with capitals, as long as edgevpn's.
fn service() -> String {
    let label = message::random_label(&mut rand::rng());
    format!("ServiceUnit{}", &label[..32])
}

/// A port of the system's choice. Another test might be given it too: then both have strangers, which is no harm.
pub(super) fn unused_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Node {
    peer: PeerId,
    own: watch::Sender<Vec<Multiaddr>>,
    found: mpsc::Receiver<Discovered>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Node {
    fn spawn(service: &str, port: u16, own: &[&str]) -> Self {
        let config = Config { service: service.to_owned(), interfaces: Interfaces::Loopback, port };
        let (peer, cancel) = (PeerId::random(), CancellationToken::new());
        let (own, addresses) = watch::channel(parse(own));
        let Running { found, task, .. } = spawn(config, peer, addresses, cancel.clone()).unwrap();
        Self { peer, own, found, cancel, task }
    }

    async fn next(&mut self) -> Discovered {
        tokio::time::timeout(LIMIT, self.found.recv()).await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

fn parse(addresses: &[&str]) -> Vec<Multiaddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[tokio::test]
async fn nodes_of_one_service_find_each_other_and_no_others() {
    let (port, service) = (unused_port(), service());
    let [tcp, quic] = ["/ip4/127.0.0.1/tcp/7001", "/ip6/::1/udp/7002/quic-v1"];
    let mut a = Node::spawn(&service, port, &[tcp]);
    let mut b = Node::spawn(&service, port, &[quic, "/ip4/127.0.0.1/tcp/7003/ws"]);
    let other = service.to_ascii_lowercase();
    let mut c = Node::spawn(&other, port, &[tcp]);
    let mut d = Node::spawn(&other, port, &[quic]);

    assert_eq!(a.next().await, Discovered { peer: b.peer, addresses: parse(&[quic]) });
    assert_eq!(b.next().await, Discovered { peer: a.peer, addresses: parse(&[tcp]) });
    // These two heard each other, so all four were heard by everyone.
    assert_eq!(c.next().await.peer, d.peer);
    assert_eq!(d.next().await.peer, c.peer);
    let mates = [b.peer, a.peer, d.peer, c.peer];
    for (node, mate) in [&mut a, &mut b, &mut c, &mut d].into_iter().zip(mates) {
        while let Ok(found) = node.found.try_recv() {
            assert_eq!(found.peer, mate);
        }
    }
    for node in [a, b, c, d] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_change_of_address_is_announced_and_the_end_is_told() {
    let (port, service) = (unused_port(), service());
    let mut a = Node::spawn(&service, port, &[]);
    let b = Node::spawn(&service, port, &[]);
    let first = parse(&["/ip4/127.0.0.1/tcp/7001"]);
    b.own.send_replace(first.clone());
    assert_eq!(a.next().await, Discovered { peer: b.peer, addresses: first });
    let second = parse(&["/ip4/127.0.0.1/tcp/7002"]);
    b.own.send_replace(second.clone());
    assert_eq!(a.next().await, Discovered { peer: b.peer, addresses: second });

    // A node that lost its owner still answers, and still ends when it is told to.
    let Node { own, cancel, task, .. } = b;
    drop(own);
    cancel.cancel();
    tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
    a.stop().await;
}

/// A responder made of nothing but a socket, on this machine's loopback address.
fn raw(port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.set_multicast_if_v4(&[127, 0, 0, 1].into()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.into()
}

#[tokio::test]
async fn a_question_for_unicast_is_answered_to_the_asker() {
    let (port, service) = (unused_port(), service());
    let own = "/ip4/127.0.0.1/tcp/7001";
    let node = Node::spawn(&service, port, &[own]);
    let asked = service.clone();
    let packet = tokio::task::spawn_blocking(move || {
        let socket = raw(port);
        let question = [b"\0\0\0\0\0\x01\0\0\0\0\0\0\x2b", asked.as_bytes(), b"\x05local\0\0\x0c\x80\x01"].concat();
        socket.send_to(&question, ("224.0.0.251", port)).unwrap();
        let mut buffer = [0; message::MAX_PACKET];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from.port(), port);
        buffer[..length].to_vec()
    });
    let names = Names::new(&service, "asker").unwrap();
    let expected = Discovered { peer: node.peer, addresses: parse(&[own]) };
    assert_eq!(names.read(&packet.await.unwrap(), true).unwrap(), message::Packet::Answer(vec![expected]));
    node.stop().await;
}

#[tokio::test]
async fn rubbish_strangers_and_wrong_ports_are_ignored() {
    let (port, service) = (unused_port(), service());
    let mut node = Node::spawn(&service, port, &["/ip4/127.0.0.1/tcp/7001"]);
    let names = Names::new(&service, "mate").unwrap();
    let answer = |peer: PeerId| {
        names.response(peer, &parse(&["/ip4/127.0.0.1/tcp/9"]), [[127, 0, 0, 1].into()].into_iter(), 3200).unwrap()
    };
    let group = ("224.0.0.251", port);
    let wrong_port = raw(0);
    wrong_port.send_to(&answer(PeerId::random()), group).unwrap();
    let socket = raw(port);
    socket.send_to(b"rubbish", group).unwrap();
    socket.send_to(&[0xff; message::MAX_PACKET + 1], group).unwrap();
    socket.send_to(&answer(node.peer), group).unwrap();
    let mate = PeerId::random();
    socket.send_to(&answer(mate), group).unwrap();
    // What was sent before arrived before, and nothing came of it.
    assert_eq!(node.next().await.peer, mate);
    node.stop().await;
}

#[tokio::test]
async fn what_can_not_start_says_why() {
    let spawn = |service: &str, interfaces| {
        let config = Config { service: service.to_owned(), interfaces, port: unused_port() };
        let (_own, addresses) = watch::channel(Vec::new());
        spawn(config, PeerId::random(), addresses, CancellationToken::new()).map(|_| ())
    };
    assert!(matches!(spawn("", Interfaces::Loopback), Err(Error::Service)));
    let nowhere = Interfaces::With(vec![[203, 0, 113, 77].into()]);
    assert!(matches!(spawn("service", nowhere), Err(Error::NoInterface)));
}

#[test]
fn the_service_is_not_shown() {
    let config = Config { service: service(), interfaces: Interfaces::All, port: PORT };
    assert!(!format!("{config:?}").contains(&config.service));
}
