//! What an endpoint is to those who look at it.

use std::fmt;

use super::Latency;
use crate::ledger::NodeId;

/// Where an endpoint is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// New among older ones: its share grows.
    Warming,
    /// Takes its full share.
    Ready,
    /// Left out for a while because of what this front saw of it.
    Ejected,
    /// Gets no new work; what is in flight goes on.
    Draining,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        })
    }
}

/// How something in flight ended. Dropping the guard instead means cancelled: it says nothing about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Served.
    Ok,
    /// The endpoint was reached and failed: its connection broke, it stayed silent, it answered with its own error.
    Failed,
    /// No path to the endpoint, or from it to its backend, within the connect timeout.
    Unreachable,
    /// The endpoint has no slot free. No failure.
    Full,
    /// The endpoint does not take this work now: it drains, or no longer offers the service. No failure.
    Declined,
}

/// What `status` shows of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStatus {
    /// The node.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Whether there is a connection to the node now.
    pub connected: bool,
    /// Picked and not yet finished.
    pub in_flight: usize,
    /// The same of all fronts, as far as its reports are fresh.
    pub load: u32,
    /// How many it works on at once; 0 where nobody knows.
    pub slots: u32,
    /// Bytes of responses per second and busy slot, as it reports; 0 where nobody knows.
    pub rate: f32,
    /// Picks so far.
    pub requests_total: u64,
    /// Picks so far that failed or found no path.
    pub failures_total: u64,
    /// `None` until the first answer.
    pub latency: Option<Latency>,
}
