//! What a request asks of a pick, and why the pick went as it did.

use std::{sync::Arc, time::Duration};

use crate::ledger::{NodeId, Protocol};

/// Hashes of a prompt's beginnings in one [`Ask`] at most.
pub const PREFIXES_MAX: usize = 32;

/// What one request or connection asks of a pick. Its default asks for anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Workers that were tried for it already; none of them is picked again.
    pub tried: Vec<NodeId>,
    /// Whose it is, as a hash of the client's address: those that wait are served client by client in turn.
    pub client: u64,
    /// What `sticky` keeps together: a hash of the client's address, of a header's value or of a cookie's.
    pub key: Option<u64>,
    /// Only workers that have this model, or of which nobody knows what they have.
    pub model: Option<Arc<str>>,
    /// Hashes of ever longer beginnings of its prompt, the shortest first; at most [`PREFIXES_MAX`]. A worker that served
    /// one with the same beginning may have it in its cache.
    pub prefixes: Vec<u64>,
    /// Only workers whose backend speaks this.
    pub protocol: Option<Protocol>,
}

impl Ask {
    /// Whoever can have one of them can have the other.
    pub(super) fn wants_the_same(&self, other: &Self) -> bool {
        (self.protocol, &self.model, &self.tried) == (other.protocol, &other.model, &other.tried)
    }

    /// What decides who can have it, alone.
    pub(super) fn wishes(&self) -> Self {
        Self { tried: self.tried.clone(), model: self.model.clone(), protocol: self.protocol, ..Self::default() }
    }
}

/// Why a pick went as it did: what was known of each candidate when it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The candidates, best first; at most [`CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// How long the request waited for a free slot.
    pub waited: Duration,
    /// In a few words: what decided.
    pub because: &'static str,
}

/// Candidates that a [`Choice`] names at most.
pub const CANDIDATES_MAX: usize = 16;

/// One worker as a pick saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its name for people.
    pub name: Arc<str>,
    /// By the policy's measure; the least wins. `None` for one that was left out.
    pub score: Option<f64>,
    /// `available`, or what is in the way: `tried`, `ejected`, `full`, `draining`, `without the model` …
    pub standing: &'static str,
    /// Requests there, of all fronts as far as is known.
    pub in_flight: u32,
    /// How many it works on at once; 0 where nobody knows.
    pub slots: u32,
    /// Bytes of responses per second and busy slot, as it reports; 0 where nobody knows.
    pub rate: f32,
    /// Median time to its first bytes in milliseconds, as this front saw it.
    pub latency_ms: Option<f64>,
}
