//! Finding each other, and keeping strangers out.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use libp2p::{Multiaddr, swarm::SwarmEvent};
use p2p_fed::{
    identity::Identity,
    net::{Config, Dht, Transport},
    token::{Mint, Token},
};

use crate::{
    network::{DhtServer, Member, quiet, stranger, token},
    soon,
};

#[tokio::test]
async fn members_meet_through_a_bootstrap_address() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    one.meets(two.id).await;
    two.meets(one.id).await;
    assert_eq!(two.net.peers().borrow().connected[&one.id].transport, Transport::Tcp, "TCP before QUIC");
}

#[tokio::test]
async fn a_bootstrap_address_needs_no_peer_id_and_may_be_quic() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let quic: Multiaddr =
        one.net.addresses().borrow().iter().find(|address| address.to_string().contains("quic")).unwrap().clone();
    let two = Member::join(&token, quiet(vec![quic])).await;
    two.meets(one.id).await;
    assert_eq!(two.net.peers().borrow().connected[&one.id].transport, Transport::Quic);
    let traffic = two.net.meter().traffic();
    assert!(traffic.quic_sent > 0 && traffic.quic_received > 0 && traffic.tcp_sent == 0, "{traffic:?}");
}

#[tokio::test]
async fn members_meet_by_mdns_alone() {
    let token = token();
    let port = free_udp_port();
    let config = || Config { mdns: true, mdns_port: port, ..quiet(vec![]) };
    let one = Member::join(&token, config()).await;
    let two = Member::join(&token, config()).await;
    one.meets(two.id).await;
    two.meets(one.id).await;
}

#[tokio::test]
async fn the_round_trip_is_known_at_both_ends() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    for (member, peer) in [(&one, two.id), (&two, one.id)] {
        member.meets(peer).await;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        soon("a ping to be answered", async {
            while member.net.peers().borrow().connected[&peer].rtt().is_none() {
                look.tick().await;
            }
        })
        .await;
    }
}

/// With QUIC alone in the first announcement, peers on the LAN dialled QUIC for ever after.
#[tokio::test]
async fn every_address_is_known_over_tcp_and_quic_from_the_first_moment() {
    let member = Member::join(&token(), Config { listen: vec![], ..quiet(vec![]) }).await;
    let addresses = member.net.addresses().borrow().clone();
    let hosts = |quic: bool| -> std::collections::BTreeSet<String> {
        let over = addresses.iter().filter(|address| (Transport::of(address) == Transport::Quic) == quic);
        over.map(|address| address.iter().next().unwrap().to_string()).collect()
    };
    assert!(!hosts(false).is_empty() && hosts(false) == hosts(true), "{addresses:?}");
}

#[tokio::test]
async fn members_meet_by_a_foreign_dht_alone() {
    let token = token();
    let dht = DhtServer::start().await;
    let config = || Config { dht: Dht::Private, ..quiet(vec![dht.address.clone()]) };
    let one = Member::join(&token, config()).await;
    let two = Member::join(&token, config()).await;
    one.meets(two.id).await;
    two.meets(one.id).await;
}

#[tokio::test]
async fn a_peer_that_was_lost_is_found_again_at_its_new_address() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let identity = Identity::generate().unwrap();
    let two = Member::join_as(&identity, &token, quiet(one.addresses())).await;
    one.meets(two.id).await;
    drop(two.stop);
    two.task.await.unwrap();
    one.loses(two.id).await;
    let again = Member::join_as(&identity, &token, quiet(one.addresses())).await;
    one.meets(again.id).await;
}

#[tokio::test]
async fn a_bootstrap_peer_that_comes_late_is_still_joined() {
    let token = token();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let early = Member::join(&token, quiet(vec![address.clone()])).await;
    drop(listener);
    let late = Member::join(&token, Config { listen: vec![address], ..quiet(vec![]) }).await;
    early.meets(late.id).await;
}

#[tokio::test]
async fn another_token_is_kept_out_on_both_sides() {
    let one = Member::join(&token(), quiet(vec![])).await;
    let two = Member::join(&token(), quiet(one.addresses())).await;
    // A member that arrives later proves that the other had its chance meanwhile.
    let three = {
        let token = token();
        let hub = Member::join(&token, quiet(vec![])).await;
        let three = Member::join(&token, quiet(hub.addresses())).await;
        three.meets(hub.id).await;
        three
    };
    assert!(!one.net.peers().borrow().connected.contains_key(&two.id));
    assert!(!two.net.peers().borrow().connected.contains_key(&one.id));
    drop(three);
}

/// What a stranger gets to see: that a libp2p node is there. Its connection is closed unused.
#[tokio::test]
async fn a_stranger_learns_nothing_and_is_closed_within_the_limit() {
    let member = Member::join(&token(), quiet(vec![])).await;
    for address in member.addresses() {
        let mut swarm = stranger();
        swarm.dial(address.clone()).unwrap();
        let started = tokio::time::Instant::now();
        soon("the stranger to be closed", async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(event) => {
                        let told = format!("{event:?}");
                        assert!(!told.contains("Received"), "identified itself to a stranger: {told}");
                    }
                    SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => break,
                    _ => {}
                }
            }
        })
        .await;
        assert!(started.elapsed() < Duration::from_secs(8), "{address}: kept for {:?}", started.elapsed());
        assert!(member.net.peers().borrow().connected.is_empty());
    }
}

#[tokio::test]
async fn a_member_that_stops_says_so() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    one.meets(two.id).await;
    let started = tokio::time::Instant::now();
    drop(two.stop);
    one.loses(two.id).await;
    assert!(started.elapsed() < Duration::from_secs(5), "found out only by a time limit");
}

#[tokio::test]
async fn a_port_in_use_is_refused_in_plain_words() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let config = Config { listen: vec![address.clone()], ..quiet(vec![]) };
    let refused = p2p_fed::net::Net::bind(
        config,
        &Identity::generate().unwrap(),
        Arc::new(Token::mint(&Mint::default()).unwrap()),
        None,
        tokio_util::sync::CancellationToken::new(),
    )
    .await;
    let Err(error) = refused else { panic!("bound a port in use") };
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: Address already in use")), "{error}");
}

fn free_udp_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
