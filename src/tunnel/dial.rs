//! The one seam for substitution: how a front reaches a worker.

use std::io;

use futures::future::BoxFuture;

use super::{Early, Header, Load, Refusal, TunnelStream};
use crate::ledger::NodeId;

/// Opens tunnels. A libp2p stream to another node, this node's own exports, or a test double.
pub trait Dial: Send + Sync + 'static {
    /// Opens a stream to `node`, sends `header` and waits for the verdict. What the client has said may go along, and if it
    /// did, `early` tells so. Dropping the future gives up, and the worker sees a reset. The caller bounds the wait.
    fn dial<'a>(&'a self, node: NodeId, header: Header, early: &'a Early) -> BoxFuture<'a, Result<Tunnel, DialError>>;
}

/// A tunnel that the worker accepted.
#[derive(Debug)]
pub struct Tunnel {
    /// The bytes, both ways.
    pub stream: TunnelStream,
    /// What the worker said of itself when it accepted.
    pub load: Load,
}

/// Why a tunnel could not be opened. Nothing of the client reached a backend, so another worker may be tried, unless the
/// path broke when its first bytes had been sent ([`Early::is_sent`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No path to the node, or the path broke before the verdict.
    #[error("no path to {}: {source}", node.short())]
    Unreachable {
        /// The worker meant.
        node: NodeId,
        /// What broke.
        #[source]
        source: io::Error,
    },
    /// The worker answered and declined.
    #[error("{} refused: {reason}", node.short())]
    Refused {
        /// The worker that declined.
        node: NodeId,
        /// Its reason.
        reason: Refusal,
    },
}

impl DialError {
    /// The worker meant.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Unreachable { node, .. } | Self::Refused { node, .. } => *node,
        }
    }
}
