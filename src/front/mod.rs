//! A listener that balances its clients over the workers of one service.
//!
//! A **client** connects; the front tells HTTP from an opaque byte stream by the first bytes ([`Mode`]), **picks** a
//! worker per request or per connection, opens a **tunnel** to it and carries the bytes. A worker that can't be reached
//! or declines costs the client nothing: until the verdict says *accepted*, no byte of the client has left the front, so
//! the next worker is tried, within [`Config::retries`]. Where all are busy it waits in the balancer's queue; what is
//! repeated beyond that is bounded by a budget (`budget`), and what became of it all is taken down (`journal`).
//!
//! ```text
//! Listener ── permit ─▶ PROXY header ▸ TLS ▸ detect ─┬─▶ tcp    pick ▸ dial ▸ splice
//!                                                    └─▶ http   per request: inspect ▸ pick ▸ pooled tunnel or dial ▸ exchange ▸ stream the body back
//! ```
//!
//! **Invariants.** A request is charged to one worker at a time and stays charged until its response has ended. A retry
//! never returns to a worker it tried, and never repeats what may do something twice. A body that was cut looks cut:
//! the client gets a reset, never a short but well-formed message.
//!
//! **Absent on purpose.** No knowledge of what carries a tunnel ([`Dial`](crate::tunnel::Dial)) and none of how to choose
//! ([`balance`](crate::balance)); no authentication of clients; no bodies buffered (but for what of a repeatable request is
//! kept until its response begins, [`Config::replay_limit`]).

mod budget;
mod client;
mod config;
mod crowd;
mod detect;
mod disclosure;
mod draft;
mod handle;
mod http;
mod inference;
mod journal;
mod limits;
mod listener;
mod misfit;
mod replay;
mod reports;
mod scorer;
mod search;
mod socket;
mod stall;
mod sticky;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod trust;
mod udp;

pub use config::{Config, Mode, ParseModeError};
pub use disclosure::{Disclosure, ParseDisclosureError};
pub use handle::{Counters, Front};
pub use journal::{Attempt, Entry, KEPT, PATH_MAX};
pub use limits::{CREDIT_MAX, Limits};
pub use listener::{End, Error, Listener};
pub use misfit::Misfit;
pub use scorer::{External, ParseScorerUrlError, ScorerUrl};
pub use sticky::{ParseStickyError, Sticky};
pub use tls::check as check_certificate;
pub use trust::{Cidr, ParseCidrError};
pub use udp::Loss;
