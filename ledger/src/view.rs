//! An immutable snapshot of the ledger.

use std::{collections::BTreeMap, sync::Arc};

use crate::{NodeId, Record, Service};

/// What the ledger held at one moment. Readers get one `Arc<View>` and keep it as long as they like.
///
/// **Invariant.** `revision` only grows, and two views of one ledger with the same revision are equal.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Grows by one with each change.
    pub revision: u64,
    /// Every node known, this one included.
    pub nodes: BTreeMap<NodeId, Entry>,
}

/// One node in a view.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its newest record.
    pub record: Arc<Record>,
    /// A record arrived within its TTL, by this node's own clock. This node itself is always fresh.
    pub fresh: bool,
    /// The owner's key signed two different records with one number: it is misused, or two processes share it. Both
    /// records are kept as evidence and spread, so that every node agrees. It lasts as long as the node is known.
    pub quarantined: bool,
    /// It is no record of this ledger's: it stands for a node of another program, of which another ledger tells, and nobody has
    /// signed it. Never true in a view that comes from this package.
    pub legacy: bool,
}

impl View {
    /// The fresh nodes that offer `service`, with what they say of it, in order of their ids. Draining and leaving
    /// nodes are among them: who picks decides. Quarantined ones are not: whose word it is can't be known.
    pub fn workers<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a NodeId, &'a Record, &'a Service)> {
        self.nodes.iter().filter(|(_, entry)| entry.fresh && !entry.quarantined).filter_map(move |(node, entry)| {
            let offered = entry.record.statement.services.iter().find(|offered| offered.name == service)?;
            Some((node, &*entry.record, offered))
        })
    }
}
