//! What the issuer of a network decides through a node: plain data, as in `status`.

use serde::{Deserialize, Serialize};

use crate::ledger::WireError;

/// `GET /v1/decree`: all that the next decree is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    /// The network's short id.
    pub network: String,
    /// The network's id, in 32 hexadecimal digits.
    pub network_id: String,
    /// The issuer's public key, in 64 hexadecimal digits. None in an open network.
    pub issuer: Option<String>,
    /// The id of the node that answers.
    pub node: String,
    /// The newest decree known here.
    pub decree: Option<InForce>,
    /// Every node with a record, the one that answers among them.
    pub members: Vec<Member>,
}

/// The decree in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// Its number.
    pub number: u64,
    /// When it was written by the issuer's clock, in milliseconds since 1970.
    pub issued_ms: u64,
    /// Ids of the nodes that are locked out.
    pub banned: Vec<String>,
    /// Serials of the invitations that are worth nothing any more.
    pub revoked: Vec<String>,
    /// The newest generation, where there was a second one.
    pub generation: Option<u32>,
    /// The whole of it, signed, in base64.
    pub signed: String,
}

/// A node that the next decree may be about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// The serial of the invitation that it came with, where it is known.
    pub invitation: Option<String>,
}

/// `POST /v1/decree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The decree, signed by the issuer, in base64.
    pub signed: String,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The number of the decree that is now in force.
    pub number: u64,
}

/// Why a node did not take a decree. Nothing was changed, and nothing was spread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Declined {
    /// It is not one.
    #[error("it is no decree: {0}")]
    Malformed(#[from] WireError),
    /// Nobody has a say in this network.
    #[error("its network has no issuer")]
    Open,
    /// It is another network's.
    #[error("it is for another network")]
    Elsewhere,
    /// Somebody else signed it.
    #[error("it is not signed by the network's issuer")]
    Forged,
    /// A later one is known here.
    #[error("a later one is in force, number {number}: try again, so that the next one is made from that")]
    Outdated {
        /// Its number.
        number: u64,
    },
    /// This node can't do that.
    #[error("decrees are not available in this build")]
    Unavailable,
}
