//! Nodes on different networks, with the kernel's own NAT between them: `make netns`, as root.
//!
//! Each test has a lab of its own: namespaces whose names hold the process's id, so that it can run twice at once, and that
//! are removed when it ends, however that is. In the middle is an internet of our own ([`p2p_fed_netns`]), which
//! carries everything at once unless a test makes it worse; sites are a router with a NAT and a host behind it.
//!
//! `P2P_FED_BIN` names the binary. Nothing is waited for by sleeping alone: every wait is for something that a node says, and
//! bounded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what a test measured is shown with it")]
#![allow(unreachable_pub, reason = "one crate, whose modules are each other's only users")]

mod doctor;
mod first_byte;
mod idle;
mod lab;
mod lines;
mod mapping;
mod nats;
mod node;
mod open_relay;
mod paths;
mod reach;
mod relays;
mod router;
mod shell;
mod stranger;
mod weather;

use std::time::{Duration, Instant};

/// Between two looks at a condition that nothing announces.
const GLANCE: Duration = Duration::from_millis(100);

/// Looks again and again until there is something to see; fails if that is not so within `limit`. Returns how long it took as
/// well.
async fn within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
    let began = Instant::now();
    let looking = async {
        loop {
            match look().await {
                Some(seen) => return seen,
                None => tokio::time::sleep(GLANCE).await,
            }
        }
    };
    let Ok(seen) = tokio::time::timeout(limit, looking).await else {
        panic!("waited {} s for {what}", limit.as_secs());
    };
    let took = began.elapsed();
    measured(what, took);
    (seen, took)
}

/// Shows how long something took, and in which test: several run at once.
fn measured(what: &str, took: Duration) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    println!("{test}: {what} after {:.1} s", took.as_secs_f64());
}
