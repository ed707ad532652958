//! The replicated map of signed records that p2p-fed nodes gossip.

mod node_id;
mod record;
mod view;

pub use node_id::{NodeId, ParseNodeIdError};
pub use record::{NetworkId, Protocol, Record, Service, Statement};
pub use view::{Entry, View};
