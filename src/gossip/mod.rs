//! The ledger at work: executes what the pure state machine of [`crate::ledger`] decides.
//!
//! One task owns the ledger. Frames from gossip, frames of sync sessions, connections made and lost, commands of this
//! node and the clock go in; signed records, verdicts, sync frames and views come out. Gossip is a hint and may be lost;
//! sync with one peer every few seconds, and with each new one, repairs the rest. What the ledger knows is kept on the disk
//! now and then, so that a node that starts again knows whom to dial.
//!
//! **Invariant.** Outputs are executed in order; a sequence number is on disk before the record that bears it is sent.

mod actor;
mod expulsions;
mod keeper;
mod session;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    identity::{Identity, StateDir},
    ledger::{self, Credential, NodeId, Offence, SignedDecree, Statement, UnverifiedDecree, View},
    net::{Frame, Inbound, Net},
};

/// Commands waiting for the task. Local work: whoever sends one waits.
const COMMANDS: usize = 64;

/// A handle to the ledger. Clones share.
#[derive(Clone, Debug)]
pub struct Gossip {
    commands: mpsc::Sender<Command>,
    views: watch::Receiver<Arc<View>>,
    account: watch::Receiver<Arc<Account>>,
    edicts: watch::Receiver<Option<Edict>>,
}

/// A decree that is in force.
#[derive(Clone, Debug)]
pub struct Edict {
    /// What the issuer decided.
    pub decree: SignedDecree,
    /// When the generation before its newest one stops counting, if it has not yet.
    pub grace_ends: Option<Instant>,
}

/// What the ledger did and refused, and what members did against the rules.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// How often what happened.
    pub counters: ledger::Counters,
    /// How often which member broke which rule.
    pub offences: BTreeMap<NodeId, BTreeMap<Offence, u64>>,
    /// How often a member was expelled.
    pub expulsions: BTreeMap<NodeId, u32>,
}

#[derive(Debug)]
enum Command {
    Publish(Statement, oneshot::Sender<()>),
    Decree(Box<UnverifiedDecree>, oneshot::Sender<()>),
    Generation(u32, oneshot::Sender<()>),
}

impl Gossip {
    /// The handle, and the ledger's task, which ends after `cancel`. In a network with an issuer, this node shows
    /// `credential`.
    #[expect(clippy::too_many_arguments, reason = "what a task is made of, each of another kind")]
    pub fn new(
        config: ledger::Config,
        identity: &Identity,
        credential: Option<Credential>,
        state: Arc<StateDir>,
        net: Net,
        frames: mpsc::Receiver<Frame>,
        syncs: mpsc::Receiver<Inbound>,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (actor, outlets) =
            actor::Actor::new(config, identity, credential, state, net, frames, syncs, queue, cancel);
        let actor::Outlets { views, account, edicts } = outlets;
        (Self { commands, views, account, edicts }, actor.run())
    }

    /// Says something new about this node; returns when it is on its way. Saying the same again costs nothing.
    pub async fn publish(&self, statement: Statement) {
        self.say(|done| Command::Publish(statement, done)).await;
    }

    /// Puts a decree of the issuer in force if it is newer than the one that is, and tells it; returns when that is done.
    pub async fn decree(&self, decree: UnverifiedDecree) {
        self.say(|done| Command::Decree(Box::new(decree), done)).await;
    }

    /// Belongs to this generation from now on, and says so.
    pub async fn move_to(&self, generation: u32) {
        self.say(|done| Command::Generation(generation, done)).await;
    }

    async fn say(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, told) = oneshot::channel();
        // A closed queue means that the node is stopping, and nothing is left to be said.
        if self.commands.send(command(done)).await.is_ok() {
            let _ = told.await;
        }
    }

    /// The decree in force.
    pub fn edicts(&self) -> watch::Receiver<Option<Edict>> {
        self.edicts.clone()
    }

    /// What the ledger holds; changes with each new record.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// What it did and refused; changes at most once a second.
    pub fn account(&self) -> watch::Receiver<Arc<Account>> {
        self.account.clone()
    }
}
