//! First message on a tunnel, and the worker's answer.
//!
//! Both are length-prefixed and bounded; `docs/protocol.md` has the bytes.

use std::{fmt, net::SocketAddr};

/// What the front says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The service wanted; never an address: a worker connects to backends of its own configuration alone.
    pub service: String,
    /// What kind of traffic follows.
    pub class: Class,
    /// Joins log lines of front and worker.
    pub trace: TraceId,
    /// Who is at the other end of the front's listener, where that is known and single.
    pub client: Option<SocketAddr>,
}

/// What kind of traffic a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One client connection, opaque.
    Tcp,
    /// HTTP/1.1 requests, one after another, possibly of several clients.
    Http,
}

/// Sixteen random bytes that name one tunnel in the logs of both ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The worker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The backend is connected; bytes may flow.
    Accepted(Load),
    /// Not here, not now; nothing reached a backend.
    Refused(Refusal),
}

/// What a worker reports of one service when it accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tunnels open to the service's backend, this one included, over all fronts.
    pub in_flight: u32,
    /// Tunnels it takes at once; 0 without a cap.
    pub slots: u32,
}

/// Why a worker declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The header is not of a version or form that the worker reads.
    #[error("the header was not understood")]
    Malformed,
    /// The node offers no such service.
    #[error("no such service here")]
    NoSuchService,
    /// The node does not let this front use the service.
    #[error("not allowed")]
    NotAllowed,
    /// All slots are taken.
    #[error("all connections are in use")]
    Full,
    /// The node takes no new work.
    #[error("draining")]
    Draining,
    /// The backend did not take the connection.
    #[error("the backend is not reachable")]
    BackendUnreachable,
}
