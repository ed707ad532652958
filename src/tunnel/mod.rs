//! One byte stream from a client at a front to a backend at a worker.
//!
//! A tunnel starts with a [`Header`] from the front and a [`Verdict`] from the worker. Until the verdict says *accepted*,
//! another worker can be tried, because not one byte of the client has left the front; where the worker was heard from a
//! moment ago its first bytes may go along with the header ([`Early`]). Then both directions carry frames
//! ([`TunnelStream`]), so that half-close and reset mean the same on every carrier.
//!
//! ```text
//! front    open(line, header) ─▶ TunnelStream ─▶ splice(client, tunnel)
//! worker   Incoming::read(line) ─▶ accept(load) | refuse(reason) ─▶ splice(backend, tunnel)
//! ```
//!
//! A [`Line`] is a carrier with or without a home: one that is lent goes back when its tunnel is over, and carries the next.
//!
//! **Invariant.** A tunnel ends when both directions ended, or on idle, or on cancel, or by a fault, and [`End`] says
//! which. Dropping a tunnel that did not end is a reset at the peer, and only a whole body ever looks whole.
//!
//! It does not choose workers, count them, or know what carries the bytes: that is `balance`, `front` and whoever
//! implements [`Dial`].

mod datagrams;
mod dial;
mod early;
mod flow;
mod frame;
mod header;
mod incoming;
mod line;
mod load;
mod message;
mod open;
mod splice;
mod stream;
mod verdict;
mod watch;

pub use datagrams::{Datagrams, MAX_DATAGRAM, Packets};
pub use dial::{Dial, DialError, Tunnel};
pub use early::{Early, MAX_EARLY};
pub use frame::{Carrier, MAX_FRAME, ReportSink};
pub use header::{Class, Header, MAX_HEADER, TraceId, is_service_name, read_header, write_header};
pub use incoming::{Incoming, refuse};
pub use line::{Home, Leftover, Line};
pub use load::Load;
pub use message::{MessageError, VERSION};
pub use open::{OpenError, open, open_early};
pub use splice::{End, Transferred, abort, splice, splice_watched};
pub use stream::TunnelStream;
pub use verdict::{MAX_VERDICT, Refusal, Verdict, read_verdict, write_verdict};
pub use watch::Watch;
