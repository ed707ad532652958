//! Whole nodes in one process, over real libp2p on loopback.
//!
//! Nothing here sleeps to wait for readiness: every wait is for an event, bounded by [`soon`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells figures"
)]

mod compat;
mod direct;
mod expulsion;
mod issuer;
mod join;
mod ledger;
mod neighbours;
mod network;
mod reports;
mod restart;
mod streams;
mod transports;
mod tunnel;
mod udp;
mod windows;

use std::{future::Future, time::Duration};

/// Longer than anything healthy takes on a busy machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `future` yields, or a failed test that says what was awaited.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s for {what}", PATIENCE.as_secs()),
    }
}
