//! What a node knows of its own place in the network, for `p2p-fed doctor`: plain data, nothing judged.

use serde::{Deserialize, Serialize};

use super::{Barred, Node, Peer, Refusal};
use crate::{net::facts::Facts, token::Token};

/// `GET /v1/doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkup {
    /// Version of the program.
    pub version: String,
    /// The network's short id.
    pub network: String,
    /// This node.
    pub node: Node,
    /// This machine's clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The token, as far as it is no secret.
    pub token: TokenFacts,
    /// Connected members.
    pub peers: Vec<Peer>,
    /// Members that this node refuses.
    pub barred: Vec<Barred>,
    /// Other members with a record that has not expired.
    pub members: Vec<Known>,
    /// What the ledger did not take.
    pub refusals: Vec<Refusal>,
    /// What the network's task remembers.
    pub net: Facts,
    /// How large packets to peers may be, where the system tells; not of those that a relay connects.
    pub mtus: Vec<Mtu>,
    /// Open files and sockets.
    pub files: Files,
}

/// A token without its secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// The network's short id.
    pub network: String,
    /// Seconds that a rendezvous and a gossip topic last: the shorter of the two.
    pub interval_s: u64,
    /// What is wrong with it, a line each.
    pub warnings: Vec<String>,
    /// Why no node can use it any more.
    pub obstacle: Option<String>,
}

impl TokenFacts {
    /// Those of `token`, at `unix_s`.
    pub fn of(token: &Token, unix_s: u64) -> Self {
        let description = token.describe(unix_s);
        Self {
            network: description.network,
            interval_s: description.dht.interval_s.min(description.crypto.interval_s),
            warnings: token.weaknesses(),
            obstacle: token.check_expiry(unix_s).err().map(|error| error.to_string()),
        }
    }
}

/// A member that the ledger lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// It is connected.
    pub is_connected: bool,
    /// It is about to stop.
    pub is_leaving: bool,
    /// Where it says that it can be dialled.
    pub addresses: Vec<String>,
}

/// The largest packet on the way to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mtu {
    /// The peer's id.
    pub node: String,
    /// Its IP address.
    pub ip: String,
    /// Bytes, headers included.
    pub bytes: u32,
}

/// Files and sockets of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// How many it may have open; none without a limit.
    pub limit: Option<u64>,
    /// How many it has open, where the system tells.
    pub open: Option<u64>,
    /// How many it may come to need: two for each connection that its fronts take, and those to other nodes.
    pub wanted: u64,
}
