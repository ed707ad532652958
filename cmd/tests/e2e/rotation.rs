//! The rotating values change under load, and nobody notices.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{backend::Backend, dht::Dht, load::Load, machine, network::Network, node::Plan, until};

/// Seconds that each rotating value lasts. A node on a busy machine must be able to look around within one.
const WINDOW_S: u64 = 4;

#[tokio::test]
async fn three_windows_pass_under_load_and_a_later_node_still_finds_the_others() {
    let _machine = machine::shared().await;
    let window = WINDOW_S.to_string();
    let network = Network::minted(&["--key-otp-interval", &window]).await;
    let dht = Dht::start().await;
    let backends = [Backend::start("a").await, Backend::start("b").await, Backend::start("late").await];
    let front = network.start(Plan::serve("front").join(dht.join())).await;
    let a = network.start(Plan::expose("a", backends[0].address).join(dht.join())).await;
    let _b = network.start(Plan::expose("b", backends[1].address).join(dht.join())).await;
    front.has_ready(&["a", "b"]).await;

    let first = window_now();
    let load = Load::start(front.front().await, 100);
    until("three windows to pass", async || (window_now() > first + 3).then_some(())).await;
    let late = network.start(Plan::expose("late", backends[2].address).join(dht.join())).await;
    until("the late node to know all", async || (late.ledger().await.records.len() == 4).then_some(())).await;
    front.has_available("late").await;
    load.more_of("late", 20).await;
    a.terminate().await;
    front.lacks("a").await;

    let tally = load.finish().await;
    println!("measured: {} windows, {} failed of {}", window_now() - first, tally.failed.len(), tally.total());
    assert!(tally.failed.is_empty(), "{} of {} failed: {:#?}", tally.failed.len(), tally.total(), tally.failed);
}

fn window_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / WINDOW_S
}
