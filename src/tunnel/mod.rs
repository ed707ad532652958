//! One byte stream from a client at a front to a backend at a worker.
//!
//! A tunnel starts with a [`Header`] from the front and a [`Verdict`] from the worker. Until the verdict says *accepted*,
//! not one byte of the client has left the front, so another worker can be tried. Then both directions carry frames
//! ([`frame`]), so that half-close and reset mean the same on every carrier.

mod dial;
mod frame;
mod header;
mod splice;

pub use dial::{Dial, DialError, Tunnel};
pub use frame::TunnelStream;
pub use header::{Class, Header, Load, Refusal, TraceId, Verdict};
pub use splice::{End, Transferred, splice};
