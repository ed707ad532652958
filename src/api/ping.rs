//! Round trips to other members: what is asked, and the JSON that is answered.

use serde::{Deserialize, Serialize};

/// The longest that one question may make wait, in milliseconds; the one who asks waits a little longer.
pub const PATIENCE_MS_MAX: u64 = 4000;

/// Workers of a service that are asked at once.
pub const PINGED_MAX: usize = 256;

/// `POST /v1/ping`: one round trip to a peer, or to each worker of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// A node's id, in full or short, its name, or the name of a service.
    pub whom: String,
    /// The name is a service's, though a node may have it as well.
    #[serde(default)]
    pub service: bool,
    /// How long to wait for an answer; at most [`PATIENCE_MS_MAX`].
    pub patience_ms: u64,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// One for each that was asked.
    pub trips: Vec<Trip>,
}

/// One round trip, or why there was none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trip {
    /// The node's id.
    pub node: String,
    /// Its name, if its record is known.
    pub name: Option<String>,
    /// The way there; none where it is not connected.
    pub way: Option<Way>,
    /// How long it took, in milliseconds; none where no answer came.
    pub time_ms: Option<f64>,
    /// Why none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The way that the next tunnel to a node takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// `direct`, `punched` or `relayed`.
    pub path: String,
    /// `tcp` or `quic`.
    pub transport: String,
    /// Its end of the connection, or the relay's.
    pub address: String,
    /// Another number is another connection.
    pub connection: u64,
}

/// Why nobody was asked. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpinged {
    /// The question makes no sense.
    #[error("the body is not {{\"whom\": NAME, \"patience_ms\": 1…{PATIENCE_MS_MAX}}}")]
    Malformed,
    /// Nothing goes by that name.
    #[error("no node and no service {0} is known here: `p2p-fed ledger` and `p2p-fed services` list them")]
    Unknown(String),
    /// No service has that name.
    #[error("no service {0} is known here: `p2p-fed services` lists them")]
    NoService(String),
    /// Several nodes do.
    #[error("several nodes go by {whom}: name one by its id: {ids}")]
    Several {
        /// The name.
        whom: String,
        /// Their ids.
        ids: String,
    },
    /// It is the one that was asked to ask.
    #[error("{0} is the node that runs here: name another one")]
    Itself(String),
    /// There is nobody to ask.
    #[error("no other node offers service {0}")]
    NoWorker(String),
}
