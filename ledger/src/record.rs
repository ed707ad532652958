//! What a node says about itself.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::NodeId;

/// Which network a record belongs to: sixteen bytes derived from the token, so that no record of one network can be
/// replayed into another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub [u8; 16]);

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One node's whole statement: signed, numbered, never merged with an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The network it belongs to.
    pub network: NetworkId,
    /// The token's generation under which it was written.
    pub generation: u32,
    /// Who wrote it; the signature is verified against this key.
    pub owner: NodeId,
    /// Its number; a higher one replaces a lower one.
    pub seq: u64,
    /// When it was written by the owner's wall clock, in milliseconds since 1970. For people and for a sanity bound on
    /// first sight; never compared for liveness.
    pub issued_ms: u64,
    /// How long it counts as fresh after it arrived, by the receiver's own monotonic clock. 60 s to 1 h, whole seconds.
    pub ttl: Duration,
    /// The body.
    pub statement: Statement,
}

/// The part of a record that its owner chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The node's name for people: 1 to 63 of `[a-z0-9-.]`. Not unique; the owner's key is.
    pub name: String,
    /// Multiaddrs in text form where the node can be dialled. At most 8 of at most 128 bytes, printable ASCII.
    pub addresses: Vec<String>,
    /// What it offers. At most 64.
    pub services: Vec<Service>,
    /// No new work, please; current work goes on.
    pub draining: bool,
    /// The node is about to stop.
    pub leaving: bool,
}

/// One service that a node offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// 1 to 63 of `[a-z0-9-.]`.
    pub name: String,
    /// How the backend speaks.
    pub protocol: Protocol,
    /// Share of the work relative to other workers, 1 to 255; 100 is usual.
    pub weight: u8,
    /// Connections the worker takes at once; 0 where it did not say.
    pub slots: u16,
    /// Free `key=value` labels; at most 256 bytes in all, printable.
    pub labels: BTreeMap<String, String>,
}

/// How a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Any byte stream.
    Tcp,
    /// HTTP/1.1.
    Http,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        })
    }
}
