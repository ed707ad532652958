//! What is said of carrying the connections of others.

use serde::Deserialize;

use super::{Error, Span, text};
use crate::net::RelayLimits;

/// What this node gives as a relay at most. [`RelayLimits`] says more about each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct RelaySettings {
    /// Nodes that are reachable through it at once; 1 to 65536. Default 1024.
    #[serde(default)]
    pub reservations: Option<usize>,
    /// Circuits at once; 1 to 65536. Default 4096. Each takes two streams and 16 KiB.
    #[serde(default)]
    pub circuits: Option<usize>,
    /// Circuits at once that one node began; 1 to 65536. Default 1024. A front has one to each worker behind the relay.
    #[serde(default)]
    pub circuits_per_peer: Option<usize>,
    /// How long one circuit lasts, a second at least; what runs on it ends with it. Default `365d`.
    #[serde(default, deserialize_with = "text::option")]
    pub circuit_time: Option<Span>,
    /// Bytes that one circuit carries, both ways together; 0 for any number. Default 0.
    #[serde(default)]
    pub circuit_bytes: Option<u64>,
}

/// Nodes and circuits at most: each takes a stream, of which one connection has a few thousand.
const MOST: usize = 65_536;

impl RelaySettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            reservations: self.reservations.or(under.reservations),
            circuits: self.circuits.or(under.circuits),
            circuits_per_peer: self.circuits_per_peer.or(under.circuits_per_peer),
            circuit_time: self.circuit_time.or(under.circuit_time),
            circuit_bytes: self.circuit_bytes.or(under.circuit_bytes),
        }
    }

    /// What an open relay gives, which serves anybody.
    pub fn for_strangers() -> Self {
        let limits = RelayLimits::for_strangers();
        Self {
            reservations: Some(limits.reservations),
            circuits: Some(limits.circuits),
            circuits_per_peer: Some(limits.circuits_per_peer),
            circuit_time: Some(Span(limits.duration)),
            circuit_bytes: Some(limits.bytes),
        }
    }

    /// With the defaults.
    pub(super) fn resolve(self) -> Result<RelayLimits, Error> {
        let usual = RelayLimits::default();
        let count = |key, said: Option<usize>, usual| match said {
            Some(count) if !(1..=MOST).contains(&count) => Err(Error::RelayLimit { key }),
            said => Ok(said.unwrap_or(usual)),
        };
        let duration = self.circuit_time.map_or(usual.duration, |span| span.0);
        if duration.as_secs() == 0 {
            return Err(Error::RelayLimit { key: "circuit_time" });
        }
        Ok(RelayLimits {
            reservations: count("reservations", self.reservations, usual.reservations)?,
            circuits: count("circuits", self.circuits, usual.circuits)?,
            circuits_per_peer: count("circuits_per_peer", self.circuits_per_peer, usual.circuits_per_peer)?,
            duration,
            bytes: self.circuit_bytes.unwrap_or(usual.bytes),
        })
    }
}
