//! The policies compared: discrete events over the real balancer, in virtual time, seeded.
//!
//! Requests of a heavy-tailed length come to one front or to several, which know of each other only by what workers report. Each
//! front is a [`p2p_fed::balance::Balancer`], or the rule of another proxy. `make policies` writes the whole table into
//! `docs/balancing.md`; `cargo test` plays a part of it and holds the default to its promises.

// A test stops at the first fault.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod chance;
mod contest;
mod fleet;
mod page;
mod promises;
mod rule;
mod work;
mod worker;
mod world;
