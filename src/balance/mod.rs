//! Whom a front picks, and what it knows of those it may pick.
//!
//! The table holds one **endpoint** per node that offers the service, with what *this* front saw of it: work in
//! flight, requests so far, recent outcomes, and whether it is warming, ready, ejected or draining. A [`Policy`] **picks**
//! one of them; the pick is charged at once and taken back by the [`InFlight`] guard, whatever becomes of the request.
//!
//! ```text
//!         view lists it             slow start over          failures
//!   ·  ────────────────▶  Warming ────────────────▶  Ready ────────────────▶ Ejected
//!                            │                        ▲  │    after base·2^k    │
//!                            │                        └──┼──────────────────────┘
//!                            └── view drops it / draining ┴──▶ Draining ──in flight = 0──▶ ·
//! ```
//!
//! **Invariants.** The ledger nominates; only this front's own evidence (its connections, dials and responses) ejects. An
//! endpoint leaves the table only when nothing is in flight on it. What is in flight on an endpoint equals the number of
//! living guards for it. A request is charged to one endpoint at a time, and a retry never returns to one it tried.
//!
//! **Absent on purpose.** No sockets, no clock and no randomness of its own: `now` is the time since an origin that all
//! callers of one balancer share, and the seed is an argument, so a simulation can run a year of traffic in a second.

mod affinity;
mod ask;
mod balancer;
mod config;
mod contender;
mod endpoint;
mod estimate;
mod health;
mod in_flight;
mod latency;
#[cfg(test)]
mod laws;
mod pin;
mod policy;
mod queue;
mod report;
mod selection;
mod standing;
mod state;
mod table;
mod waiting;

pub use ask::{Ask, CANDIDATES_MAX, Candidate, Choice, PREFIXES_MAX};
pub use balancer::Balancer;
pub use config::{Config, Connected, DEFAULT_QUEUE, NoWorker};
pub use in_flight::InFlight;
pub use latency::Latency;
pub use pin::{ParsePinError, Pin};
pub use policy::{ParsePolicyError, Policy};
pub use state::{EndpointStatus, Outcome, State};
pub use waiting::{Acquired, Waiting};
