//! What is said of how much of a listener one client may take.

use serde::Deserialize;

use super::{Span, text};
use crate::front::Limits;

/// What one client may take of a listener. [`Limits`] says more about each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct LimitSettings {
    /// Bytes in the head of a request, 1024 to 32768. Default 32768.
    #[serde(default)]
    pub head_bytes: Option<usize>,
    /// Fields in the head of a request, 1 to 1000. Default 100.
    #[serde(default)]
    pub fields: Option<usize>,
    /// Bytes in a request's target, 1 to 32768. Default 8192.
    #[serde(default)]
    pub target_bytes: Option<usize>,
    /// Bytes in the body of a request; 0, the default, for any number.
    #[serde(default)]
    pub body_bytes: Option<u64>,
    /// How long one request head or a TLS handshake may take; more than zero. Default `10s`.
    #[serde(default, deserialize_with = "text::option")]
    pub head_timeout: Option<Span>,
    /// Bytes per second that a client must send of a body, 0 for any. Default 500.
    #[serde(default)]
    pub body_rate: Option<u32>,
    /// How long it may be slower; more than zero. Default `10s`.
    #[serde(default, deserialize_with = "text::option")]
    pub body_grace: Option<Span>,
    /// How long it may take nothing of a response that is ready; more than zero. Default `60s`.
    #[serde(default, deserialize_with = "text::option")]
    pub write_timeout: Option<Span>,
    /// How long a connection may rest between two requests; more than zero. Default `75s`.
    #[serde(default, deserialize_with = "text::option")]
    pub keep_alive: Option<Span>,
    /// Connections at once of one client; 0, the default, for any number.
    #[serde(default)]
    pub connections_per_client: Option<usize>,
    /// Requests at once in one HTTP/2 connection, 1 to 1000. Default 100.
    #[serde(default)]
    pub streams: Option<u32>,
}

impl LimitSettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub(super) fn over(self, under: Self) -> Self {
        Self {
            head_bytes: self.head_bytes.or(under.head_bytes),
            fields: self.fields.or(under.fields),
            target_bytes: self.target_bytes.or(under.target_bytes),
            body_bytes: self.body_bytes.or(under.body_bytes),
            head_timeout: self.head_timeout.or(under.head_timeout),
            body_rate: self.body_rate.or(under.body_rate),
            body_grace: self.body_grace.or(under.body_grace),
            write_timeout: self.write_timeout.or(under.write_timeout),
            keep_alive: self.keep_alive.or(under.keep_alive),
            connections_per_client: self.connections_per_client.or(under.connections_per_client),
            streams: self.streams.or(under.streams),
        }
    }

    /// With the defaults.
    pub(super) fn resolve(self) -> Limits {
        let usual = Limits::default();
        let span = |said: Option<Span>, usual| said.map_or(usual, |span| span.0);
        Limits {
            head_bytes: self.head_bytes.unwrap_or(usual.head_bytes),
            fields: self.fields.unwrap_or(usual.fields),
            target_bytes: self.target_bytes.unwrap_or(usual.target_bytes),
            body_bytes: self.body_bytes.map_or(usual.body_bytes, |bytes| (bytes > 0).then_some(bytes)),
            head_timeout: span(self.head_timeout, usual.head_timeout),
            body_rate: self.body_rate.unwrap_or(usual.body_rate),
            body_grace: span(self.body_grace, usual.body_grace),
            write_timeout: span(self.write_timeout, usual.write_timeout),
            keep_alive: span(self.keep_alive, usual.keep_alive),
            connections_per_client: self.connections_per_client.unwrap_or(usual.connections_per_client),
            streams: self.streams.unwrap_or(usual.streams),
        }
    }
}
