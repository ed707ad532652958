//! What a node knows again after it was killed.

use std::{path::Path, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use p2p_fed::{
    edgevpn,
    identity::{RuntimeDir, StateDir},
    ledger::{self, Input, Ledger, Moment, NetworkId, NodeId, Output, Record, SignedRecord, Statement, Verdict},
    net,
    node::{Config, Node},
    token::Token,
};

use crate::{
    network::{quiet, token},
    soon,
};

fn config(folder: &Path, net: net::Config) -> Config {
    Config {
        name: Some("gpu1".parse().unwrap()),
        state_dir: Some(folder.join("state")),
        runtime_dir: Some(folder.join("run")),
        identity: None,
        net,
        exports: Vec::new(),
        fronts: Vec::new(),
        edgevpn: edgevpn::Config::default(),
    }
}

/// Starts it again as soon as its last tasks have given its locks back.
async fn start_again(folder: &Path, token: &Arc<Token>) -> Node {
    loop {
        match Node::start(config(folder, quiet(vec![])), Token::clone(token)).await {
            Ok(node) => return node,
            Err(error) => assert!(error.to_string().contains("held by another"), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn sees(node: &Node, other: NodeId) {
    let mut views = node.views();
    soon("a record", views.wait_for(|view| view.nodes.contains_key(&other))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_knows_the_members_and_dials_them() {
    let (token, [first, second]) = (token(), [(), ()].map(|()| tempfile::tempdir().unwrap()));
    let one = Node::start(config(first.path(), quiet(vec![])), Token::clone(&token)).await.unwrap();
    let two = Node::start(config(second.path(), quiet(one.addresses())), Token::clone(&token)).await.unwrap();
    sees(&two, one.id()).await;
    let snapshot = second.path().join("state").join(two.network()).join("gpu1/snapshot");
    let written = async {
        while !snapshot.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("a snapshot", written).await;

    let id = two.id();
    drop(two);
    let two = start_again(second.path(), &token).await;
    assert_eq!(two.id(), id);
    sees(&two, one.id()).await;
    soon("the one that it knew", two.peer_connected()).await;

    // Now all are gone, and what is known of them stays known: fresh for as long as it would have been.
    let gone = one.id();
    drop(one);
    drop(two);
    let two = start_again(second.path(), &token).await;
    sees(&two, gone).await;
    assert!(two.views().borrow().nodes[&gone].fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_keeps_what_it_knew_last() {
    let (token, [first, second]) = (token(), [(), ()].map(|()| tempfile::tempdir().unwrap()));
    let one = Node::start(config(first.path(), quiet(vec![])), Token::clone(&token)).await.unwrap();
    let two = Node::start(config(second.path(), quiet(one.addresses())), Token::clone(&token)).await.unwrap();
    sees(&two, one.id()).await;
    two.stop().await;
    let two = start_again(second.path(), &token).await;
    sees(&two, one.id()).await;
}

/// A record that was forgotten is refused when it comes again, before a restart and after it.
#[test]
fn a_replay_is_refused_although_the_node_started_anew_in_between() {
    const NETWORK: NetworkId = NetworkId([1; 16]);
    let folder = tempfile::tempdir().unwrap();
    let claim = || {
        let runtime = RuntimeDir::at(&folder.path().join("run")).unwrap();
        StateDir::claim(&folder.path().join("state"), &runtime, "k7qd-93ma", &"gpu1".parse().unwrap(), false).unwrap()
    };
    let at = |seconds| Moment { mono: Duration::from_secs(seconds), unix_ms: 1_800_000_000_000 + seconds * 1000 };
    let [me, carrier, owner] = [1, 2, 3].map(|n| SigningKey::from_bytes(&[n; 32]));
    let start = |now| {
        let mut ledger = Ledger::new(ledger::Config::new(NETWORK, 0), me.clone(), None, now, 0);
        let state = claim();
        let snapshot = state.load_snapshot();
        let restored = snapshot.items().filter(|item| ledger.restore(now, item)).count();
        ledger.handle(now, Input::PeerUp(carrier.verifying_key().into()));
        while ledger.poll_output().is_some() {}
        (ledger, state, restored)
    };
    let record = Record {
        network: NETWORK,
        generation: 0,
        owner: owner.verifying_key().into(),
        seq: 5,
        issued_ms: at(0).unix_ms,
        ttl: Duration::from_secs(60),
        credential: None,
        statement: Statement { name: "gone".into(), ..Statement::default() },
    };
    let rumour = [&[1], SignedRecord::sign(record, &owner).unwrap().bytes()].concat();
    let hear = |ledger: &mut Ledger, now| {
        let from = carrier.verifying_key().into();
        ledger.handle(now, Input::Gossip { ticket: 1, from, bytes: rumour.clone() });
        let outputs: Vec<_> = std::iter::from_fn(|| ledger.poll_output()).collect();
        outputs.iter().find_map(|output| match output {
            Output::Judge { verdict, .. } => Some(*verdict),
            _ => None,
        })
    };

    let (mut ledger, state, _) = start(at(1));
    assert_eq!(hear(&mut ledger, at(2)), Some(Verdict::Accept));
    // It falls silent, is shown as gone for a while, and is forgotten.
    ledger.handle_timeout(at(100));
    ledger.handle_timeout(at(2000));
    while ledger.poll_output().is_some() {}
    assert_eq!(ledger.owners(), 0);
    assert_eq!(hear(&mut ledger, at(2001)), Some(Verdict::Ignore));
    state.save_snapshot(ledger.snapshot(at(2002))).unwrap();
    drop(state);

    let (mut ledger, _state, restored) = start(at(2003));
    assert_eq!(restored, 1, "what was forgotten");
    assert_eq!(hear(&mut ledger, at(2004)), Some(Verdict::Ignore));
    assert_eq!(ledger.owners(), 0);
}
