//! Networks with an issuer: invitations, bans and rotations, on whole nodes.

use std::{net::SocketAddr, path::Path, time::Duration};

use ed25519_dalek::SigningKey;
use p2p_fed::{
    api,
    balance::Policy,
    edgevpn, front,
    ledger::{Decree, NodeId, Roles, Serial, SignedDecree, View},
    net::Config as NetConfig,
    node::{Config, Error, Front, Node},
    token::{GenerationSecret, Mint, Terms, Token, seal},
    worker::Export,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{network::quiet, soon};

const SERVE: Roles = Roles { serve: true, ..Roles::NONE };
const EXPOSE: Roles = Roles { expose: true, ..Roles::NONE };

/// An issuer and a place for its guests.
struct Network {
    key: SigningKey,
    token: Token,
    folder: tempfile::TempDir,
}

impl Network {
    fn found() -> Self {
        let key = SigningKey::from_bytes(&rand::random());
        let mint = Mint { issuer: Some(key.verifying_key().into()), ..Mint::default() };
        Self { key, token: Token::mint(&mint).unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn invite(&self, roles: Roles) -> Token {
        self.invite_with(|terms| terms.roles = roles)
    }

    fn invite_with(&self, change: impl FnOnce(&mut Terms)) -> Token {
        let mut terms = Terms { roles: Roles::NONE, services: "*".parse().unwrap(), expires_unix_s: 0, once: false };
        change(&mut terms);
        self.token.inviting(terms, &self.key).unwrap()
    }

    fn config(&self, name: &str, net: NetConfig) -> Config {
        Config {
            name: Some(name.parse().unwrap()),
            state_dir: Some(self.folder.path().join("state")),
            runtime_dir: Some(self.folder.path().join("run")),
            identity: None,
            net,
            exports: Vec::new(),
            fronts: Vec::new(),
            edgevpn: edgevpn::Config::default(),
        }
    }

    async fn start(&self, name: &str, token: &Token, net: NetConfig) -> Node {
        Node::start(self.config(name, net), token.clone()).await.unwrap()
    }

    /// A worker that echoes, and a front for it that met it.
    async fn pair(&self) -> (Node, Node, SocketAddr) {
        let worker = self.worker("worker", &self.invite(EXPOSE), vec![]).await;
        let (front, address) = self.front("front", &self.invite(SERVE), &worker).await;
        soon("a worker to be available", front.worker_available()).await;
        (worker, front, address)
    }

    async fn worker(&self, name: &str, token: &Token, peers: Vec<libp2p::Multiaddr>) -> Node {
        let mut config = self.config(name, quiet(peers));
        config.exports = vec![echo().await];
        Node::start(config, token.clone()).await.unwrap()
    }

    async fn front(&self, name: &str, token: &Token, peer: &Node) -> (Node, SocketAddr) {
        let mut config = self.config(name, quiet(peer.addresses()));
        let listener = front::Config::new("echo", "127.0.0.1:0".parse().unwrap());
        config.fronts = vec![Front { front: listener, policy: Policy::LeastUsed, pin: None }];
        let front = Node::start(config, token.clone()).await.unwrap();
        let address = front.fronts()[0].1;
        (front, address)
    }

    /// Puts a decree in force through `node`, as the command does.
    async fn decide(&self, node: &Node, number: u64, change: impl FnOnce(&mut Decree)) {
        let mut decree = Decree::empty(self.token.network_id(), number, 0);
        change(&mut decree);
        let signed = SignedDecree::sign(decree, &self.key).unwrap();
        let decided = api::Client::at(node.control_socket()).decide(signed.bytes()).await.unwrap();
        assert_eq!(decided, number);
    }

    /// Begins generation 2 for these members. The new token, without an invitation.
    async fn rotate(&self, node: &Node, members: &[NodeId], grace: Duration) -> Token {
        let secret = GenerationSecret::draw().unwrap();
        let network = self.token.network_id();
        let rotation = seal::seal(network, 2, grace, &secret, members.iter().copied()).unwrap();
        self.decide(node, 1, |decree| decree.rotation = Some(rotation)).await;
        self.token.with_generation(2, secret).unwrap()
    }
}

/// A service that says back what it hears.
async fn echo() -> Export {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = client.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    Export::new("echo", target)
}

async fn says_back(client: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    client.write_all(text).await?;
    let mut heard = vec![0; text.len()];
    soon("the echo", client.read_exact(&mut heard)).await?;
    assert_eq!(heard, text);
    Ok(())
}

async fn sees(node: &Node, what: &str, holds: impl Fn(&View) -> bool) {
    let mut views = node.views();
    soon(what, views.wait_for(|view| holds(view))).await.unwrap();
}

/// Waits until `node` shows what it should in its list of peers.
async fn peers(node: &Node, what: &str, holds: impl Fn(&api::Peers) -> bool) {
    let looking = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        while !holds(&node.peers()) {
            again.tick().await;
        }
    };
    soon(what, looking).await;
}

fn connected(node: NodeId) -> impl Fn(&api::Peers) -> bool {
    move |peers| peers.peers.iter().any(|peer| peer.id == node.to_string())
}

fn lines(path: &Path) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

#[tokio::test]
async fn without_an_invitation_or_the_role_nothing_is_started() {
    let network = Network::found();
    let refused = Node::start(network.config("a", quiet(vec![])), network.token.clone()).await.unwrap_err();
    assert!(matches!(refused, Error::Uninvited) && refused.is_usage(), "{refused}");

    let mut exposing = network.config("b", quiet(vec![]));
    exposing.exports = vec![echo().await];
    let narrow = network.invite_with(|terms| (terms.roles, terms.services) = (EXPOSE, "llm-*".parse().unwrap()));
    for token in [network.invite(SERVE), narrow] {
        let refused = Node::start(exposing.clone(), token).await.unwrap_err();
        assert!(matches!(&refused, Error::MayNotExpose { service, .. } if service == "echo"), "{refused}");
        assert!(refused.is_usage());
    }
    assert_eq!(lines(&network.folder.path().join("run")), 2, "the locks of two names, and no socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_work_together_and_a_worker_takes_no_tunnel_of_one_that_may_not_serve() {
    let network = Network::found();
    let (worker, front, address) = network.pair().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    says_back(&mut client, b"hello").await.unwrap();
    assert_eq!(worker.views().borrow().nodes.len(), 2);
    let shown = worker.views().borrow().nodes[&front.id()].record.credential.clone().unwrap();
    assert_eq!(shown.invitation().roles, SERVE);

    // Another worker, which tries to be a front in spite of its invitation: one that asks itself nothing.
    let liar = crate::network::Guesting::join(&network.invite(EXPOSE), quiet(worker.addresses())).await;
    liar.meets(worker.id()).await;
    assert_eq!(liar.ask(worker.id(), "echo").await, Some(p2p_fed::tunnel::Refusal::NotAllowed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_cuts_one_off_everywhere_and_leaves_the_others_alone() {
    let network = Network::found();
    let (worker, front, address) = network.pair().await;
    let other = network.worker("other", &network.invite(EXPOSE), front.addresses()).await;
    sees(&front, "two workers", |view| view.workers("echo").count() == 2).await;
    peers(&worker, "the other worker", connected(other.id())).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    says_back(&mut client, b"before").await.unwrap();

    let banned = other.id();
    network.decide(&front, 1, |decree| _ = decree.banned.insert(banned)).await;
    for node in [&worker, &front] {
        sees(node, "the banned one to be gone", |view| !view.nodes.contains_key(&banned)).await;
        peers(node, "the connection to end", |peers| !connected(banned)(peers)).await;
        let barred = node.peers().barred.into_iter().find(|barred| barred.id == banned.to_string()).unwrap();
        assert_eq!(barred.remaining_s, None, "a ban has no end");
    }
    let mut client = TcpStream::connect(address).await.unwrap();
    says_back(&mut client, b"after").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_invitation_ends_what_it_began() {
    let network = Network::found();
    let (worker, front, _) = network.pair().await;
    let serial = worker.views().borrow().nodes[&worker.id()].record.credential.clone().unwrap().invitation().serial;
    network.decide(&front, 1, |decree| _ = decree.revoked.insert(serial)).await;
    let gone = worker.id();
    sees(&front, "the worker to be gone", |view| !view.nodes.contains_key(&gone)).await;
    peers(&front, "the connection to end", |peers| !connected(gone)(peers)).await;
    assert_ne!(serial, Serial([0; 16]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_keeps_members_and_their_streams_and_locks_out_the_old_token() {
    let network = Network::found();
    let (worker, front, address) = network.pair().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    says_back(&mut client, b"generation one").await.unwrap();
    // It is not there when the secret is sealed, and keeps the old token.
    let (old, late) = (network.invite(EXPOSE), network.invite(EXPOSE));
    let absent = network.worker("absent", &old, front.addresses()).await;
    let absent_id = absent.id();
    sees(&front, "the one that will be absent", |view| view.nodes.contains_key(&absent_id)).await;
    absent.stop().await;

    let token = network.rotate(&front, &[worker.id(), front.id()], Duration::ZERO).await;
    for node in [&worker, &front] {
        sees(node, "records of the new generation", |view| {
            [worker.id(), front.id()]
                .iter()
                .all(|id| view.nodes.get(id).is_some_and(|entry| entry.record.generation == 2))
        })
        .await;
    }
    says_back(&mut client, b"generation two").await.unwrap();

    // Whoever comes with the old token is not admitted, and shows up nowhere.
    let outside = network.worker("outside", &old, front.addresses()).await;
    // Whoever comes with the new one is.
    let terms = Terms { roles: EXPOSE, services: "*".parse().unwrap(), expires_unix_s: 0, once: false };
    let invited = token.inviting(terms, &network.key).unwrap();
    let newcomer = network.worker("newcomer", &invited, front.addresses()).await;
    sees(&front, "the newcomer", |view| view.nodes.contains_key(&newcomer.id())).await;
    assert!(outside.peers().peers.is_empty());
    assert!(!front.views().borrow().nodes.contains_key(&outside.id()));
    drop(late);

    // The members are still connected when the moment for moving is over, and know each other after a restart.
    let restarted_id = worker.id();
    let old_worker_token = network.invite(EXPOSE);
    worker.stop().await;
    let worker = network.worker("worker", &old_worker_token, front.addresses()).await;
    assert_eq!(worker.id(), restarted_id);
    peers(&worker, "the front, by the generation kept on disk", connected(front.id())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_for_one_machine_is_taken_once_also_after_a_restart() {
    let network = Network::found();
    let once = network.invite_with(|terms| (terms.roles, terms.once) = (EXPOSE, true));
    let admitting = network.invite(SERVE);
    let hub = network.start("hub", &admitting, quiet(vec![])).await;
    let first = network.start("first", &once, quiet(hub.addresses())).await;
    peers(&hub, "the first machine", connected(first.id())).await;
    let second = network.start("second", &once, quiet(hub.addresses())).await;
    let third = network.start("third", &network.invite(EXPOSE), quiet(hub.addresses())).await;
    peers(&hub, "another guest", connected(third.id())).await;
    assert!(second.peers().peers.is_empty(), "the same invitation again");
    let refused = second.id();
    // What one node admitted, the others learn from the ledger.
    sees(&third, "the first machine's record", |view| view.nodes.contains_key(&first.id())).await;
    first.stop().await;
    hub.stop().await;
    second.stop().await;

    let hub = network.start("hub", &admitting, quiet(vec![])).await;
    let both = [hub.addresses(), third.addresses()].concat();
    let second = network.start("second", &once, quiet(both.clone())).await;
    assert_eq!(second.id(), refused);
    let first = network.start("first", &once, quiet(both)).await;
    peers(&hub, "the first machine again", connected(first.id())).await;
    peers(&third, "the first machine again", connected(first.id())).await;
    assert!(second.peers().peers.is_empty(), "spent for good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_partition_each_side_takes_one_machine_and_both_are_shown_afterwards() {
    let network = Network::found();
    let once = network.invite_with(|terms| (terms.roles, terms.once) = (EXPOSE, true));
    // Two sides that do not know of each other, and a machine at each.
    let west = network.start("west", &network.invite(SERVE), quiet(vec![])).await;
    let east = network.start("east", &network.invite(SERVE), quiet(vec![])).await;
    let first = network.start("first", &once, quiet(west.addresses())).await;
    let second = network.start("second", &once, quiet(east.addresses())).await;
    peers(&west, "the first machine", connected(first.id())).await;
    peers(&east, "the second machine", connected(second.id())).await;

    let both = [west.addresses(), east.addresses()].concat();
    let _bridge = network.start("bridge", &network.invite(SERVE), quiet(both)).await;
    let twice = |node: &Node| {
        let records = node.ledger().records;
        records.iter().filter(|record| record.invitation.as_ref().is_some_and(|invited| invited.used_twice)).count()
    };
    for node in [&west, &east] {
        sees(node, "both machines", |view| [first.id(), second.id()].iter().all(|id| view.nodes.contains_key(id)))
            .await;
        assert_eq!(twice(node), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_expose_is_in_no_ledger_whatever_it_claims() {
    let network = Network::found();
    let (worker, front, address) = network.pair().await;
    let liar = crate::network::Guesting::join(&network.invite(SERVE), quiet(front.addresses())).await;
    liar.meets(front.id()).await;
    let refused = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        // Subscriptions follow a connection a moment later: the first claims may reach nobody.
        liar.claims("echo").await;
        while !front.ledger().refusals.iter().any(|refusal| refusal.reason == "role" && refusal.count > 0) {
            again.tick().await;
            liar.claims("echo").await;
        }
    };
    soon("the claim to be refused", refused).await;
    assert_eq!(front.views().borrow().workers("echo").map(|(node, ..)| *node).collect::<Vec<_>>(), [worker.id()]);
    let mut client = TcpStream::connect(address).await.unwrap();
    says_back(&mut client, b"the true one").await.unwrap();
}
