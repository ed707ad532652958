//! Finding peers on the same link by multicast DNS (RFC 6762), in the form that edgevpn speaks.
//!
//! Every node of a network asks the link for the **service** that the token names, and answers with its peer id and
//! addresses. It works on a LAN without a router or a name server, and between processes of one machine over loopback.
//! What is heard is a hint and nothing more: anyone on the link can say anything, and only admission tells a member.
//!
//! A peer is told again whenever its answer is heard, at most once in a few seconds: so a connection that was lost is
//! found again within about a minute.
//!
//! **Invariant.** Nothing leaves an interface that [`Interfaces`] does not choose.
//!
//! **Absent on purpose.** No probing (the instance is random), no cache (a hint is used or dropped), no answers to plain
//! DNS resolvers, and no listing under `_services._dns-sd`: only who knows the service is told who is in it. Interfaces
//! with nothing but IPv6 link-local addresses are left out, as a multiaddress has no zone.

mod actor;
mod address;
mod heard;
mod interface;
mod message;
mod schedule;
mod socket;

use std::{io, net::IpAddr};

use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{actor::Actor, interface::Interface, message::Names};
use super::facts;

/// The port of multicast DNS (RFC 6762 §3).
pub const PORT: u16 = 5353;

/// Discoveries waiting for the dialler. When it is full the newest is dropped and counted: the next round brings it again.
const FOUND_QUEUE: usize = 64;

/// Where and under which name to look.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The service type, without a domain; the token's `mdns` field as it is. Case matters.
    pub service: String,
    /// The interfaces used.
    pub interfaces: Interfaces,
    /// The port of the group, [`PORT`] but for tests: nodes with different ports do not hear one another.
    pub port: u16,
}

/// The service is part of the token, so it is not shown.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service: _, interfaces, port } = self;
        f.debug_struct("Config").field("interfaces", interfaces).field("port", port).finish_non_exhaustive()
    }
}

/// Which interfaces carry multicast DNS. They are read anew every half minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// All that run, loopback included, up to 16 of them.
    All,
    /// This machine alone: right for a node that listens on loopback addresses only.
    Loopback,
    /// Those that have one of these addresses.
    With(Vec<IpAddr>),
}

impl Interfaces {
    fn chooses(&self, interface: &Interface) -> bool {
        match self {
            Self::All => true,
            Self::Loopback => interface.is_loopback(),
            Self::With(addresses) => addresses.iter().any(|ip| interface.owns(*ip)),
        }
    }
}

/// A peer that said it is here. A hint: nothing about it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Who it says it is.
    pub peer: PeerId,
    /// Where it says it listens: 1 to 16 IP addresses with TCP or QUIC, without the peer id at the end.
    pub addresses: Vec<Multiaddr>,
}

/// Why multicast DNS can't start. Other ways of finding peers are not touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service can't be a domain name: an empty part, one over 63 bytes, or too long in all. Another try won't help.
    #[error("the mdns name of the token does not fit a domain name")]
    Service,
    /// The operating system would not list the interfaces. Another try may help.
    #[error("cannot list the network interfaces for mdns: {0}")]
    List(#[source] io::Error),
    /// None of the chosen interfaces is there. Another try helps once one is up.
    #[error("no running network interface to use mdns on")]
    NoInterface,
    /// Each of the chosen interfaces failed, the last with this. Another try may help.
    #[error("cannot open mdns on any network interface: {0}")]
    Bind(#[source] io::Error),
}

/// What looks for peers.
#[derive(Debug)]
pub struct Running {
    /// Peers that were heard. It holds 64 and drops the newest when full, since each peer is told again.
    pub found: mpsc::Receiver<Discovered>,
    /// What came of each interface.
    pub links: watch::Receiver<Vec<facts::Link>>,
    /// Ends only after the token was cancelled, and is to be joined.
    pub task: JoinHandle<()>,
}

/// Starts to look for peers and to be found, until `cancel`; then takes its announcements back and ends.
///
/// `addresses` are where this node listens now, each a concrete IP address; others are not said. Must be called within a Tokio
/// runtime.
///
/// # Errors
/// See [`Error`]. A link that fails while others work is a warning, and is tried again with the next reading.
pub fn spawn(
    config: Config,
    peer: PeerId,
    mut addresses: watch::Receiver<Vec<Multiaddr>>,
    cancel: CancellationToken,
) -> Result<Running, Error> {
    let label = message::random_label(&mut rand::rng());
    let names = Names::new(config.service.trim_matches('.'), &label).map_err(|_| Error::Service)?;
    let (sender, found) = mpsc::channel(FOUND_QUEUE);
    let own = addresses.borrow_and_update().clone();
    let (told, links) = watch::channel(Vec::new());
    let actor = Actor::bind(config, names, peer, own, sender, told)?;
    Ok(Running { found, links, task: tokio::spawn(actor.run(addresses, cancel)) })
}

#[cfg(test)]
mod tests;
