//! Whole nodes agree on who offers what.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use p2p_fed::{
    edgevpn,
    ledger::View,
    net,
    node::{Config, Front, Node},
    token::Token,
    worker::Export,
};
use tokio::net::TcpListener;

use crate::{
    network::{Member, quiet, token},
    soon,
};

pub(crate) struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) async fn start(&self, token: &Arc<Token>, net: net::Config, exports: Vec<Export>) -> Node {
        self.start_with(token, net, exports, Vec::new()).await
    }

    pub(crate) async fn start_with(
        &self,
        token: &Arc<Token>,
        net: net::Config,
        exports: Vec<Export>,
        fronts: Vec<Front>,
    ) -> Node {
        let config = Config {
            name: None,
            state_dir: Some(self.folder.path().join("state")),
            runtime_dir: Some(self.folder.path().join("run")),
            identity: None,
            net,
            exports,
            fronts,
            edgevpn: edgevpn::Config::default(),
        };
        Node::start(config, Token::clone(token)).await.unwrap()
    }
}

pub(crate) async fn sees(node: &Node, what: &str, holds: impl Fn(&View) -> bool) {
    let mut views = node.views();
    soon(what, views.wait_for(|view| holds(view))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_nodes_agree_and_a_new_service_is_seen_by_all() {
    let (host, token, started) = (Host::new(), token(), Instant::now());
    let mut nodes = vec![host.start(&token, quiet(vec![]), vec![]).await];
    let peers: Vec<_> = nodes[0].addresses();
    for _ in 1..10 {
        nodes.push(host.start(&token, quiet(peers.clone()), vec![]).await);
    }
    let names: std::collections::BTreeSet<_> = nodes.iter().map(|node| node.name().to_owned()).collect();
    assert_eq!(names.len(), 10, "each process of one host gets a name of its own");
    for node in &nodes {
        sees(node, "ten records", |view| view.nodes.len() == 10).await;
    }
    println!("agreed after {:?}", started.elapsed());

    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("tcp://{}", backend.local_addr().unwrap()).parse().unwrap();
    let changed = Instant::now();
    nodes[7].replace_exports(vec![Export::new("llm", target)]).unwrap();
    for node in &nodes {
        sees(node, "the new service", |view| view.workers("llm").count() == 1).await;
    }
    println!("seen by all after {:?}", changed.elapsed());

    drop(backend);
    for node in &nodes {
        sees(node, "the service to be withdrawn", |view| view.workers("llm").count() == 0).await;
    }

    let leaver = nodes.remove(3);
    let id = leaver.id();
    leaver.stop().await;
    for node in &nodes {
        sees(node, "the good-bye", |view| view.nodes[&id].record.statement.leaving).await;
    }
}

#[tokio::test]
async fn a_restarted_node_is_believed_although_its_disk_was_lost() {
    let (host, token) = (Host::new(), token());
    let one = host.start(&token, quiet(vec![]), vec![]).await;
    let key = host.folder.path().join("key");
    let with_key = |disk: &str, net| Config {
        name: None,
        state_dir: Some(host.folder.path().join(disk)),
        runtime_dir: Some(host.folder.path().join("run")),
        identity: Some(key.clone()),
        net,
        exports: Vec::new(),
        fronts: Vec::new(),
        edgevpn: edgevpn::Config::default(),
    };
    let two = Node::start(with_key("lost", quiet(one.addresses())), Token::clone(&token)).await.unwrap();
    let id = two.id();
    sees(&one, "the second node", |view| view.nodes.contains_key(&id)).await;
    let before = one.views().borrow().nodes[&id].record.seq;
    drop(two);
    let again = loop {
        // The crashed node's locks go with its last task.
        match Node::start(with_key("new", quiet(one.addresses())), Token::clone(&token)).await {
            Ok(node) => break node,
            Err(error) => assert!(error.to_string().contains("held by another"), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(again.id(), id);
    sees(&one, "a newer record", |view| view.nodes[&id].record.seq > before).await;
}

#[tokio::test]
async fn a_member_that_lies_is_expelled_and_shown_with_what_it_did() {
    let (host, token) = (Host::new(), token());
    let node = host.start(&token, quiet(vec![]), vec![]).await;
    let liar = Member::join(&token, quiet(node.addresses())).await;
    liar.meets(node.id()).await;
    let lying = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        for n in 0_u32.. {
            // A record, but for its form.
            liar.net.publish([&[1], &n.to_be_bytes()[..]].concat()).await;
            again.tick().await;
            if !liar.net.peers().borrow().connected.contains_key(&node.id()) {
                break;
            }
        }
    };
    soon("the expulsion", lying).await;
    let shown = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            if let Some(barred) = node.peers().barred.pop()
                && barred.expulsions > 0
            {
                return barred;
            }
        }
    };
    let barred = soon("the account of it", shown).await;
    assert_eq!((barred.id, barred.reason.as_str(), barred.expulsions), (liar.id.to_string(), "malformed", 1));
    assert!((500..=600).contains(&barred.remaining_s.unwrap()), "{:?}", barred.remaining_s);
    assert!(barred.offences["malformed"] >= 5, "{:?}", barred.offences);
    let ledger = node.ledger();
    assert!(ledger.refusals.iter().any(|refusal| refusal.reason == "invalid" && refusal.count >= 5));
    assert!(ledger.traffic.gossip_received.messages >= 5 && ledger.traffic.tcp_received_bytes > 0);
}
