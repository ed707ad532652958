//! The ledger at work: executes what the pure state machine of [`crate::ledger`] decides.
//!
//! One task owns the ledger. Frames from gossip, frames of sync sessions, connections made and lost, commands of this
//! node and the clock go in; signed records, verdicts, sync frames and views come out. Gossip is a hint and may be lost;
//! sync with one peer every few seconds, and with each new one, repairs the rest. What the ledger knows is kept on the disk
//! now and then, so that a node that starts again knows whom to dial.
//!
//! **Invariant.** Outputs are executed in order; a sequence number is on disk before the record that bears it is sent.

mod actor;
mod conduct;
mod keeper;
mod session;

use std::{collections::BTreeMap, sync::Arc};

pub use conduct::Sheet;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    identity::{Identity, StateDir},
    ledger::{self, NodeId, Statement, View},
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
}

/// What the ledger did and refused, and what members did against the rules.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// How often what happened.
    pub counters: ledger::Counters,
    /// Members that broke a rule, for as long as it is remembered.
    pub conduct: BTreeMap<NodeId, Sheet>,
}

#[derive(Debug)]
enum Command {
    Publish(Statement, oneshot::Sender<()>),
}

impl Gossip {
    /// The handle, and the ledger's task, which ends after `cancel`.
    pub fn new(
        config: ledger::Config,
        identity: &Identity,
        state: Arc<StateDir>,
        net: Net,
        frames: mpsc::Receiver<Frame>,
        syncs: mpsc::Receiver<Inbound>,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (actor, views, account) = actor::Actor::new(config, identity, state, net, frames, syncs, queue, cancel);
        (Self { commands, views, account }, actor.run())
    }

    /// Says something new about this node; returns when it is on its way. Saying the same again costs nothing.
    pub async fn publish(&self, statement: Statement) {
        let (done, told) = oneshot::channel();
        // A closed queue means that the node is stopping, and nothing is left to be said.
        if self.commands.send(Command::Publish(statement, done)).await.is_ok() {
            let _ = told.await;
        }
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
