//! How much of a front one client may take, and for how long.
//!
//! The usual values are those that Envoy advises for a proxy at the edge, but where model servers need others, which is
//! said then.

use std::time::Duration;

/// What a client may take of a front. Its default is meant for listeners that strangers can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in the head of a request; more are answered 431. 1 KiB to 32 KiB, so that one head and what follows it fit
    /// into the 64 KiB that are buffered of a connection. Default 32 KiB.
    pub head_bytes: usize,
    /// Fields in the head of a request; more are answered 431. 1 to 1000. Default 100.
    pub fields: usize,
    /// Bytes in a request's target; more are answered 414. 1 to 32 KiB. Default 8 KiB.
    pub target_bytes: usize,
    /// Bytes in the body of a request; more are answered 413. `None`, the default, for any number: bodies are streamed and
    /// never held, and prompts with pictures are large.
    pub body_bytes: Option<u64>,
    /// How long one whole request head may take, from its first byte on, and a TLS handshake. Default 10 s.
    pub head_timeout: Duration,
    /// Bytes per second that a client must send of a body that we are ready to take; 0 for any. Default 500: a slower one
    /// holds a worker for nothing.
    pub body_rate: u32,
    /// How long it may be slower than that. Default 10 s; what it sent faster before counts for it, up to
    /// [`CREDIT_MAX`].
    pub body_grace: Duration,
    /// How long it may take nothing of a response that is ready. Default 60 s.
    pub write_timeout: Duration,
    /// How long a connection may rest between two requests. Default 75 s.
    pub keep_alive: Duration,
    /// Connections at once of one client: an IPv4 address, or an IPv6 network of 64 bits, which one customer has. More are
    /// closed at once. 0, the default, for any number: many people can be behind one address.
    pub connections_per_client: usize,
    /// Requests at once in one HTTP/2 connection; more wait in the client. 1 to 1000. Default 100.
    pub streams: u32,
}

/// How far a client that was quick can fall behind later.
pub const CREDIT_MAX: Duration = Duration::from_secs(60);

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 * 1024,
            fields: 100,
            target_bytes: 8 * 1024,
            body_bytes: None,
            head_timeout: Duration::from_secs(10),
            body_rate: 500,
            body_grace: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            connections_per_client: 0,
            streams: 100,
        }
    }
}

impl Limits {
    /// The first rule that they break, if they do.
    pub fn broken_rule(&self) -> Option<&'static str> {
        [
            ((1024..=32 * 1024).contains(&self.head_bytes), "a head has 1024 to 32768 bytes"),
            ((1..=1000).contains(&self.fields), "a head has 1 to 1000 fields"),
            ((1..=32 * 1024).contains(&self.target_bytes), "a request's target has 1 to 32768 bytes"),
            (!self.head_timeout.is_zero(), "the time for a head is more than zero"),
            (!self.body_grace.is_zero(), "the grace of bodies is more than zero"),
            (!self.write_timeout.is_zero(), "the time for writes is more than zero"),
            (!self.keep_alive.is_zero(), "connections are kept alive for more than zero"),
            ((1..=1000).contains(&self.streams), "an HTTP/2 connection has 1 to 1000 streams"),
        ]
        .into_iter()
        .find_map(|(is_kept, rule)| (!is_kept).then_some(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limits_keep_the_rules_and_others_may_not() {
        assert_eq!(Limits::default().broken_rule(), None);
        let broken = [
            Limits { head_bytes: 33 * 1024, ..Limits::default() },
            Limits { fields: 0, ..Limits::default() },
            Limits { keep_alive: Duration::ZERO, ..Limits::default() },
            Limits { streams: 1001, ..Limits::default() },
        ];
        assert!(broken.iter().all(|limits| limits.broken_rule().is_some()));
    }
}
