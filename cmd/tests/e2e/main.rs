//! The binary as users run it: separate processes, real servers and clients, real sockets.
//!
//! Nothing leaves the machine: nodes listen on loopback alone, and so their mDNS stays there too. Nothing sleeps to wait
//! for readiness: every wait is for something that a process said or that its control socket answers, bounded by
//! [`soon`]. When a test fails, what its processes wrote is printed.
//!
//! `P2P_FED_BIN` names the binary (the debug build of this package without it), `PEERS_PYTHON` a Python with
//! `tests/peers/requirements.txt` (that of `make peers` without it), `E2E_BODY_MIB` how large the large body is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what a test measured is shown with it")]
#![allow(unreachable_pub, reason = "one crate, whose modules are each other's only users")]

mod backend;
mod balancing;
mod client;
mod clients;
mod dht;
mod failover;
mod fleet;
mod grpc;
mod h2spec;
mod halves;
mod host;
mod http;
mod http2;
mod issuing;
mod joining;
mod large_bodies;
mod load;
mod machine;
#[path = "../../examples/bench/model_server.rs"]
mod model_server;
mod models;
mod nemesis;
mod network;
mod nginx;
mod node;
mod process;
mod python;
mod rotation;
mod services;
mod sharing;
mod shutdown;
mod solitude;
mod strangers;
mod streaming;
mod ten;
mod three;
mod tls;
mod torture;
mod udp;
mod watching;
mod web;

use std::{future::Future, time::Duration};

/// Longer than anything healthy takes on a busy machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(40);

/// Between two looks at a condition that nothing announces. Short beside every bound that a test measures.
const GLANCE: Duration = Duration::from_millis(25);

/// What `future` yields, or a failed test that says what was awaited.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s for {what}", PATIENCE.as_secs()),
    }
}

/// Looks again and again until there is something to see, and yields it.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(GLANCE).await;
        }
    })
    .await
}
