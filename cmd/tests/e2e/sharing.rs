//! Who gets the work: at random when asked so, and newcomers gently.

use std::{collections::BTreeMap, net::SocketAddr};

use futures::future::join_all;

use crate::{
    backend::Backend,
    client,
    fleet::{Fleet, NAMES},
    load::{Load, Tally},
    machine,
    network::Network,
    node::Plan,
};

/// Rounds of a sample, each of [`ROUND`] requests at once.
const ROUNDS: u32 = 100;
const ROUND: u32 = 30;

/// χ² with 2 degrees of freedom exceeds this once in a million samples (p = exp(-χ²/2)): a stricter test would fail healthy
/// builds now and then. A worker that got 38 % instead of a third would exceed it.
const SKEWED: f64 = 27.6;

/// The sum of 100 such is lower than this once in a thousand million samples; a rota has 0.
const TOO_EVEN: f64 = 100.0;

#[tokio::test]
async fn at_random_is_neither_skewed_nor_a_rota() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let fleet = Fleet::start_as(&network, Plan::serve("front").arg("--policy=random"), None).await;
    let mut totals = [0; NAMES.len()];
    let mut of_rounds = 0.0;
    for _ in 0..ROUNDS {
        let answers = burst(fleet.address, ROUND as usize).await;
        let counts = NAMES.map(|name| answers.get(name).copied().unwrap_or_default());
        of_rounds += chi_squared(&counts);
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    let overall = chi_squared(&totals);
    let p = (-overall / 2.0).exp();
    println!("measured: {totals:?}, χ² {overall:.2} (p {p:.3}), sum over rounds {of_rounds:.0} of about 200");
    assert!(overall < SKEWED, "{totals:?} is not even: χ² = {overall:.1}");
    assert!(of_rounds > TOO_EVEN, "too even for chance: sum of χ² = {of_rounds:.1}");
}

/// Who answers `count` requests that are sent together.
async fn burst(front: SocketAddr, count: usize) -> BTreeMap<String, u64> {
    let mut answers = BTreeMap::new();
    for answer in join_all((0..count).map(|_| client::who(front))).await {
        *answers.entry(answer.unwrap()).or_default() += 1;
    }
    answers
}

fn chi_squared(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
}

#[tokio::test]
async fn a_newcomer_gets_a_growing_share_and_no_flood() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let front = network.start(Plan::serve("front")).await;
    let backends = [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let expose = |index: usize| Plan::expose(backends[index].name(), backends[index].address).join(front.peer());
    let _a = network.start(expose(0)).await;
    let _b = network.start(expose(1)).await;
    front.has_ready(&["a", "b"]).await;
    let address = front.front().await;
    let load = Load::start(address, 50);
    // So many that the others are no newcomers any more, and that the real one is far behind: to make up for all that at
    // once would be the flood.
    load.more(50 * 11).await;
    let _c = network.start(expose(2)).await;
    front.has_available("c").await;
    let met = load.so_far();
    front.has_ready(&["a", "b", "c"]).await;
    let warm = load.so_far();
    load.more(300).await;
    let tally = load.finish().await;

    let share = |from: &Tally, to: &Tally| {
        let of_c = |tally: &Tally| tally.answered.get("c").copied().unwrap_or_default();
        (of_c(to) - of_c(from)) as f64 / (to.total() - from.total()) as f64
    };
    let (warming, ready) = (share(&met, &warm), share(&warm, &tally));
    println!("measured: share of the newcomer {warming:.2} while warming, {ready:.2} after");
    assert_eq!(tally.failed, [""; 0]);
    assert!((0.02..0.33).contains(&warming), "it got {warming:.2} of the work while it was warming");
    assert!((0.28..0.38).contains(&ready), "it got {ready:.2} of the work once ready, instead of a third");
}
