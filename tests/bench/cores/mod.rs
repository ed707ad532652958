//! The hot cores at work: the micro-benchmarks time these workloads, the instruction counts count them.
//!
//! Each is one thread that does the same at each run: keys, seeds and times are fixed, and nothing that it does depends
//! on the clock or on the order of a hash map. Each checks what came out, so that work which is not done does not look
//! fast.

// A benchmark stops at the first fault.
#![allow(clippy::expect_used)]

mod fleet;
mod header;
mod join;
mod pick;
mod seal;
mod splice;
mod tls;

use std::any::Any;

use p2p_fed::balance::Policy;

/// Work that is prepared and not yet done. It returns what it worked on, so that dropping that is not part of it.
pub(crate) type Round = Box<dyn FnOnce() -> Box<dyn Any>>;

/// Something that a core does.
pub(crate) struct Workload {
    /// The core, what it does, and of how many.
    pub(crate) name: &'static str,
    /// How often a round does it.
    pub(crate) times: u32,
    /// Prepares a round.
    pub(crate) prepare: fn() -> Round,
}

/// All there are.
pub(crate) const WORKLOADS: [Workload; 17] = [
    Workload { name: "pick/least-used/3", times: pick::TIMES, prepare: || pick::round(Policy::LeastUsed, 3) },
    Workload { name: "pick/least-used/32", times: pick::TIMES, prepare: || pick::round(Policy::LeastUsed, 32) },
    Workload { name: "pick/least-used/200", times: pick::TIMES, prepare: || pick::round(Policy::LeastUsed, 200) },
    Workload { name: "pick/random/3", times: pick::TIMES, prepare: || pick::round(Policy::Random, 3) },
    Workload { name: "pick/random/32", times: pick::TIMES, prepare: || pick::round(Policy::Random, 32) },
    Workload { name: "pick/random/200", times: pick::TIMES, prepare: || pick::round(Policy::Random, 200) },
    Workload { name: "splice/mebibyte", times: 1, prepare: splice::mebibyte },
    Workload { name: "splice/messages", times: splice::MESSAGES, prepare: splice::messages },
    Workload { name: "header", times: header::TIMES, prepare: header::round },
    Workload { name: "join/record/100", times: join::NEWS, prepare: || join::record(100) },
    Workload { name: "join/record/1000", times: join::NEWS, prepare: || join::record(1000) },
    Workload { name: "join/ledgers/100", times: 1, prepare: || join::ledgers(100) },
    Workload { name: "join/ledgers/1000", times: 1, prepare: || join::ledgers(1000) },
    Workload { name: "seal/sign", times: seal::TIMES, prepare: seal::sign },
    Workload { name: "seal/verify", times: seal::TIMES, prepare: seal::verify },
    Workload { name: "tls/64", times: tls::TIMES, prepare: || tls::round(64) },
    Workload { name: "tls/16384", times: tls::TIMES, prepare: || tls::round(16_384) },
];
