//! p2p-fed beside real nodes of edgevpn: `make interop`, which builds those from `peer/`, in the version that LocalAI embeds
//! and in the newest.
//!
//! Every test has a token, folders and loopback addresses of its own, and kills what it started, however it ends. Nothing is
//! waited for by sleeping alone: every wait is for something that a program says, and bounded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what a test measured is shown with it")]
#![allow(unreachable_pub, reason = "one crate, whose modules are each other's only users")]

mod backend;
mod clock;
mod crowd;
mod discovery;
mod foreign;
mod ledger;
mod localai;
mod network;
mod node;
mod ownership;
mod rotation;
mod services;
mod space;
mod speed;

use std::time::{Duration, Instant};

/// Between two looks at a condition that nothing announces.
const GLANCE: Duration = Duration::from_millis(100);

/// What is expected of programs that have just started, on a machine that does other things as well: edgevpn looks at its own
/// entries every ten seconds, give or take half.
const SOON: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see; fails if that is not so within `limit`.
async fn within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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
    let thread = std::thread::current();
    println!("{}: {what} after {:.1} s", thread.name().unwrap_or_default(), began.elapsed().as_secs_f64());
    seen
}
