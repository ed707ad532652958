//! The edgevpn side of a compat network: what LocalAI's federation is built on.
//!
//! In a network whose token is edgevpn's own, nodes of other programs take part that know nothing of this one. They gossip a
//! **block**, a ledger that each of them replaces as a whole, on a topic that rotates, sealed with a key that rotates; and they
//! offer one TCP service each, on streams without a header. This module is the one place that speaks all that, and translates:
//!
//! ```text
//! their gossip ──▶ pubsub ──▶ envelope ──▶ block ──▶ replica ──▶ presence ──▶ view ──▶ fronts, status
//! what this node offers ──▶ offer ──▶ replica ──▶ block ──▶ envelope ──▶ pubsub ──▶ their ledgers
//! their streams ──▶ serve ──▶ worker            fronts ──▶ dial ──▶ their services
//! ```
//!
//! What comes out is what the rest of the library knows already: a [`View`] in which some entries are marked *legacy*, who
//! is connected, and tunnels. Two pure cores decide, `replica` (what the block is) and `presence` (what of it is
//! believed); the `actor` performs.
//!
//! **Limits.** Whoever holds the token may write whatever it likes into that ledger, in anybody's name, and erase it. So
//! its word nominates and a connection decides; and nothing that it says touches the members' own ledger.
//!
//! **Absent on purpose.** edgevpn's VPN, files, DNS, egress and PeerGuard.

mod actor;
mod block;
mod config;
mod dial;
mod entry;
mod envelope;
mod held;
mod offer;
mod presence;
mod pubsub;
mod replica;
mod rpc;
mod serve;
mod signed;
mod values;
#[cfg(test)]
pub(crate) mod vectors;
mod view;

use std::{sync::Arc, time::Duration};

use actor::{Actor, Inlets, Outlets};
pub use config::{Config, LocalAi, ParseLocalAiError};
use dial::Dialler;
use offer::Offer;
use presence::Presence;
use serve::Server;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    gossip::Gossip,
    identity::Identity,
    ledger::{NodeId, View},
    net::{LegacyArrivals, Net, Peers},
    token::Token,
    tunnel::{DialError, Header, Tunnel},
    worker::Worker,
};

/// What edgevpn's gossip has cost and brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The height of its ledger.
    pub index: i64,
    /// Its entries are signed by their owners (edgevpn 0.35 where it enforces ownership).
    pub is_signed: bool,
    /// Peers that listen to this node.
    pub listeners: usize,
    /// Streams of gossip that peers opened.
    pub streams: u64,
    /// Messages heard, each once.
    pub heard: u64,
    /// Messages said.
    pub published: u64,
    /// Messages of others passed on, for each peer that they were passed on to.
    pub passed_on: u64,
    /// Messages that their author has not signed.
    pub forged: u64,
    /// Messages of long ago, sent once more.
    pub replayed: u64,
    /// Messages that could not be opened: of another token or another time.
    pub sealed: u64,
    /// Messages that held no block.
    pub unread: u64,
    /// Blocks that were not believed.
    pub refused: u64,
}

/// How far the node has come on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Staying,
    Draining,
    Leaving,
}

/// What a node is told to build the edgevpn side of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// How it takes part.
    pub config: &'a Config,
    /// The host's name, for people.
    pub host: String,
    /// This node has a front.
    pub has_front: bool,
    /// The node's key.
    pub identity: &'a Identity,
    /// The network's token.
    pub token: &'a Arc<Token>,
    /// The network.
    pub net: &'a Net,
    /// The members' ledger.
    pub gossip: &'a Gossip,
    /// What this node offers.
    pub worker: &'a Worker,
    /// Added to the machine's clock where windows are concerned; zero but in tests.
    pub clock_ahead: Duration,
}

/// A handle to the edgevpn side. Clones share.
#[derive(Clone, Debug)]
pub struct Edgevpn {
    views: watch::Receiver<Arc<View>>,
    peers: watch::Receiver<Arc<Peers>>,
    account: watch::Receiver<Account>,
    mood: watch::Sender<Mood>,
    dialler: Dialler,
}

impl Edgevpn {
    /// The handle and its task, which ends after `stop`; nothing in a strict network.
    pub fn new(
        parts: Parts<'_>,
        arrivals: Option<LegacyArrivals>,
        stop: &CancellationToken,
    ) -> Option<(Self, impl Future<Output = ()> + Send + 'static + use<>)> {
        let Parts { config, host, has_front, identity, token, net, gossip, worker, clock_ahead } = parts;
        let (legacy, arrivals) = (net.legacy()?.clone(), arrivals?);
        let (views, views_told) = watch::channel(gossip.views().borrow().clone());
        let (peers, peers_told) = watch::channel(Arc::default());
        let (account, account_told) = watch::channel(Account::default());
        let (users, users_told) = watch::channel(Arc::default());
        let (offered, offered_told) = watch::channel(None);
        let (mood, moods) = watch::channel(Mood::Staying);
        let clock = std::time::SystemTime::now() + clock_ahead;
        let actor = Actor {
            keypair: identity.keypair(),
            node: identity.node_id(),
            network: token.network_id(),
            token: Arc::clone(token),
            clock_ahead,
            streams: legacy.streams().clone(),
            offer: Offer::new(identity.peer_id(), host, config.localai.clone(), has_front, clock),
            inlets: Inlets {
                pubsub: arrivals.pubsub,
                views: gossip.views(),
                members: net.peers(),
                legacy: legacy.peers(),
                offers: worker.offers(),
                mood: moods,
            },
            outlets: Outlets { views, peers, users, offered, account },
            stop: stop.clone(),
        };
        let server = Server { worker: worker.clone(), users: users_told, offered: offered_told, stop: stop.clone() };
        let dialler = Dialler::new(legacy, stop.clone());
        let presence = Presence::new(config.localai.clone());
        let this = Self { views: views_told, peers: peers_told, account: account_told, mood, dialler: dialler.clone() };
        let task = async move {
            tokio::join!(actor.run(presence), server.run(arrivals.services));
            dialler.ended().await;
        };
        Some((this, task))
    }

    /// The members' ledger and the nodes of edgevpn's, as one.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Who is connected, members and nodes of edgevpn's.
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.clone()
    }

    /// What the gossip has cost and brought.
    pub fn account(&self) -> Account {
        self.account.borrow().clone()
    }

    /// Whether `node` is known from edgevpn's ledger alone.
    pub fn is_legacy(&self, node: &NodeId) -> bool {
        self.views.borrow().nodes.get(node).is_some_and(|entry| entry.legacy)
    }

    /// Offers nothing any more; what was begun goes on.
    pub fn drain(&self) {
        self.mood.send_replace(Mood::Draining);
    }

    /// Takes back all that this node said, on its way out.
    pub fn leave(&self) {
        self.mood.send_replace(Mood::Leaving);
    }

    /// A tunnel to what `node`, one of edgevpn's, exposes.
    ///
    /// # Errors
    /// As for any worker; in every case another one may be tried.
    pub async fn dial(&self, node: NodeId, header: &Header) -> Result<Tunnel, DialError> {
        self.dialler.dial(node, header).await
    }
}
