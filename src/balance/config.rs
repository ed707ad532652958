//! What a table is for, and why it may have nobody.

use std::collections::BTreeMap;

use super::{Pin, Policy};
use crate::ledger::NodeId;

/// Requests that may wait for a slot when nothing else is said. Each holds a client's connection and less than a kibibyte
/// here. A fleet that ends ten requests a second works off so many in under two minutes: who came later would have given
/// up before its turn.
pub const DEFAULT_QUEUE: usize = 1024;

/// What a table is for.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service whose workers are endpoints.
    pub service: String,
    /// How to pick.
    pub policy: Policy,
    /// Only these.
    pub pin: Option<Pin>,
    /// Requests that may wait for a slot at once; 0 to refuse instead. [`DEFAULT_QUEUE`].
    pub queue: usize,
}

impl Config {
    /// All workers of `service`, by the default policy.
    pub fn new(service: impl Into<String>) -> Self {
        Self { service: service.into(), policy: Policy::default(), pin: None, queue: DEFAULT_QUEUE }
    }
}

/// Nodes that this node has a connection to, with a number that is new for each connection, so that a flap shows. A
/// front's own node belongs in it.
pub type Connected = BTreeMap<NodeId, u64>;

/// Why nobody could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoWorker {
    /// No fresh node offers the service, or none that the pin allows.
    #[error("no worker offers it")]
    NotOffered,
    /// Those that offer it take no new work.
    #[error("every worker is draining")]
    Draining,
    /// No worker's backend speaks what was asked for.
    #[error("no worker speaks the protocol")]
    OtherProtocol,
    /// No worker has the model.
    #[error("no worker has the model")]
    WithoutModel,
    /// All are busy, and as many wait as may.
    #[error("every worker is busy and the queue is full")]
    QueueFull,
    /// All were tried for this request.
    #[error("every worker was tried")]
    AllTried,
}
