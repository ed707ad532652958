//! Nodes of this program in a network that nodes of edgevpn may join, without any.

use std::{sync::Arc, time::Duration};

use p2p_fed::token::{Mint, Token};

use crate::{ledger::Host, network::quiet, soon};

fn compat() -> Arc<Token> {
    Arc::new(Token::mint(&Mint { strict: false, ..Mint::default() }).unwrap())
}

/// Longer than a stream takes to be opened, many times over.
const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_ours_do_not_answer_a_stream_of_gossip_with_a_stream_for_ever() {
    let (host, token) = (Host::new(), compat());
    let one = host.start(&token, quiet(vec![]), vec![]).await;
    let other = host.start(&token, quiet(one.addresses()), vec![]).await;
    let listened = async {
        while [&one, &other].iter().any(|node| node.status().edgevpn.unwrap().listeners == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("each to listen to the other", listened).await;
    tokio::time::sleep(A_WHILE).await;
    for node in [one, other] {
        let edgevpn = node.status().edgevpn.unwrap();
        assert!(edgevpn.streams_total <= 3, "{edgevpn:?}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_compat_network_admit_each_other_and_are_not_legacy() {
    let (host, token) = (Host::new(), compat());
    let one = host.start(&token, quiet(vec![]), vec![]).await;
    let other = host.start(&token, quiet(one.addresses()), vec![]).await;
    soon("each other", async { tokio::join!(one.peer_connected(), other.peer_connected()) }).await;
    for node in [&one, &other] {
        assert!(node.peers().peers.iter().all(|peer| !peer.legacy && peer.carrier != "edgevpn"));
    }
}
