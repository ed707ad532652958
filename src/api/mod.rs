//! What a node says to the people on its own machine.
//!
//! A node answers HTTP/1.1 on a Unix socket, the **control socket**, in the user's runtime folder. The commands that ask a
//! running node (`status`, `peers`, `services`, `ledger`, `explain`, `doctor`, `ping`, `ban`, `token rotate`) are clients of it, and so is
//! `curl --unix-socket`.
//!
//! ```text
//! GET  /v1/status      the whole of it (Status)
//! GET  /v1/peers       its connected members, and those refused (Peers)
//! GET  /v1/services    what the network offers (Services)
//! GET  /v1/ledger      the records held, and what they cost (Ledger)
//! GET  /v1/explain     why recent requests went where they went (Explained); /v1/explain/[SERVICE/]NUMBER for one of them
//! GET  /v1/doctor      what it knows of its place in the network (Checkup)
//! POST /v1/ping        one round trip (Ping) to a peer or to each worker of a service (Round), or why nobody was asked
//! GET  /v1/decree      what the network's issuer decided, and whom the next decree may be about (Issued)
//! POST /v1/decree      the issuer's next decree (Proposal); answered with its number (Decided), or why it was declined
//! GET  /healthz        200 while the process answers
//! GET  /readyz         200 when bound and answering, 503 before that and while it drains
//! ```
//!
//! **Invariant.** Who can open the socket is the user who started the node, and nobody else: the folder is 0700, the
//! socket 0600 before it has its name. Each answer is one consistent snapshot.
//!
//! Nothing can be changed here but by a decree that the network's issuer signed: the node only takes and spreads it, as
//! it would from any member. No secret is known here.

mod checkup;
pub mod client;
mod decree;
mod explain;
mod ping;
mod server;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;

pub use checkup::{Checkup, Files, Known, Mtu, TokenFacts};
pub use client::Client;
pub(crate) use decree::hex;
pub use decree::{Decided, Declined, InForce, Issued, Member, Proposal};
pub use explain::{Attempt, COUNT_MAX, Candidate, Explained, Request, Tokens, Unexplained, Wanted};
pub use ping::{PATIENCE_MS_MAX, PINGED_MAX, Ping, Round, Trip, Unpinged, Way};
pub use server::{BindError, Server};
pub use status::{
    Barred, Edgevpn, Export, Front, Invited, Latency, Ledger, Model, Node, Peer, Peers, Record, Refusal, Service,
    Services, Status, Traffic, Volume, Worker,
};

/// Where the answers come from: the node.
pub trait Source: Send + Sync + 'static {
    /// The node as it is now.
    fn status(&self) -> Status;

    /// Whom it is connected to, and whom it refuses.
    fn peers(&self) -> Peers;

    /// The records it holds now, and what they cost.
    fn ledger(&self) -> Ledger;

    /// The requests that its fronts took, those that are wanted.
    ///
    /// # Errors
    /// Why there are none to tell.
    fn explain(&self, wanted: &Wanted) -> Result<Explained, Unexplained>;

    /// What it knows of its place in the network.
    fn checkup(&self) -> BoxFuture<'_, Checkup>;

    /// Asks a peer, or each worker of a service, for one round trip. Dropping the future ends it.
    ///
    /// # Errors
    /// Why nobody was asked.
    fn ping(&self, asked: Ping) -> BoxFuture<'_, Result<Round, Unpinged>>;

    /// What the network's issuer decided, as far as is known here, and whom it may decide about.
    fn issued(&self) -> Issued;

    /// Takes a decree of the network's issuer, as it travels, and spreads it. Its number, once it is in force here.
    fn decide(&self, signed: Vec<u8>) -> BoxFuture<'_, Result<u64, Declined>>;
}

/// Takes the control socket at `path`; answers begin with [`Server::run`]. See [`Server::bind`].
///
/// # Errors
/// [`BindError`], and nothing is left behind.
pub fn bind(path: &std::path::Path, source: Arc<dyn Source>) -> Result<Server, BindError> {
    Server::bind(path, source)
}
