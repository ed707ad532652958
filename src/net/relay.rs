//! Carrying the connections of others: the relay's side of circuit relay v2 (libp2p specs, `relay/circuit-v2.md`).
//!
//! A node that cannot be dialled makes a **reservation** with a relay, and can then be reached by a **circuit** through it. What
//! a circuit carries is encrypted from end to end. A member serves members alone, because strangers have no connection to it that
//! anything is spoken on; an [open relay](super::open_relay) serves anybody.

use std::{num::NonZeroU32, time::Duration};

use libp2p::{PeerId, relay};

/// When a node is a relay for other members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relaying {
    /// Never.
    Never,
    /// Where it seems that others can dial it: it has an address of the internet, or the user announces one.
    #[default]
    Auto,
    /// Always: the user knows that they can.
    Always,
}

/// What a relay gives at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes that are reachable through it at once. 1 to 65536.
    pub reservations: usize,
    /// Circuits at once. Each takes two streams and 16 KiB. 1 to 65536.
    pub circuits: usize,
    /// Circuits at once that one node began: a front has one to each of its workers. 1 to 65536.
    pub circuits_per_peer: usize,
    /// How long one circuit lasts. 1 s to 68 years. A stream that runs on it ends with it.
    pub duration: Duration,
    /// Bytes that one circuit carries, both ways together; 0 for any number.
    pub bytes: u64,
}

impl Default for Limits {
    /// For members, who trust each other: enough for a thousand nodes, and no circuit is cut in a year.
    fn default() -> Self {
        Self {
            reservations: 1024,
            circuits: 4096,
            circuits_per_peer: 1024,
            duration: Duration::from_secs(365 * 24 * 60 * 60),
            bytes: 0,
        }
    }
}

impl Limits {
    /// For anybody who comes by: what a small machine can give away.
    pub fn for_strangers() -> Self {
        Self {
            reservations: 256,
            circuits: 1024,
            circuits_per_peer: 64,
            duration: Duration::from_secs(24 * 60 * 60),
            bytes: 16 << 30,
        }
    }
}

/// A reservation is renewed when three quarters of this have passed.
const RESERVATION: Duration = Duration::from_secs(60 * 60);

/// Reservations of one node, and circuits that it begins, at once; and how long it takes to be allowed one more. A front that
/// starts connects to each of its workers in a moment.
const BURST: NonZeroU32 = NonZeroU32::new(1024).unwrap();
const ONE_MORE: Duration = Duration::from_secs(1);

/// Reservations of one node: as many as it has connections while it moves from one network to another.
const RESERVATIONS_PER_PEER: usize = 4;

/// The same of one address, where strangers are served: a site with some machines behind one NAT.
const BURST_OF_SITE: NonZeroU32 = NonZeroU32::new(64).unwrap();
const ONE_MORE_OF_SITE: Duration = Duration::from_secs(5);

/// The relay of an open one: each address of the internet gets no more than a site needs.
pub(super) fn open_behaviour(local: PeerId, limits: Limits) -> relay::Behaviour {
    let config = config(limits)
        .reservation_rate_per_ip(BURST_OF_SITE, ONE_MORE_OF_SITE)
        .circuit_src_per_ip(BURST_OF_SITE, ONE_MORE_OF_SITE);
    relay::Behaviour::new(local, config)
}

/// The relay, switched off until [`relay::Behaviour::set_status`] says otherwise.
pub(super) fn behaviour(local: PeerId, limits: Limits) -> relay::Behaviour {
    let mut relay = relay::Behaviour::new(local, config(limits));
    relay.set_status(Some(relay::Status::Disable));
    relay
}

fn config(limits: Limits) -> relay::Config {
    let config = relay::Config {
        max_reservations: limits.reservations,
        max_reservations_per_peer: RESERVATIONS_PER_PEER,
        reservation_duration: RESERVATION,
        reservation_rate_limiters: Vec::new(),
        max_circuits: limits.circuits,
        // The library denies beyond one more than this.
        max_circuits_per_peer: limits.circuits_per_peer.saturating_sub(1),
        max_circuit_duration: limits.duration,
        max_circuit_bytes: limits.bytes,
        circuit_src_rate_limiters: Vec::new(),
    };
    config.reservation_rate_per_peer(BURST, ONE_MORE).circuit_src_per_peer(BURST, ONE_MORE)
}
