//! The whole system in one thread: N ledgers over a network that loses, delays, doubles, splits and lies, in virtual
//! time.
//!
//! Every run follows from its scenario and its seed. When a check fails, the last line says `SEED=… scenario=… step=…`;
//! `SEED=… cargo test -p p2p-fed-ledger --test sim` runs that seed alone and prints what happened. `SEEDS=…` sets
//! how many made-up scenarios are run, on all cores.

// What clippy allows in tests it does not allow in their helpers; a simulation counts, and stops at the first fault.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod attack;
mod chance;
mod checks;
mod cost;
mod guests;
mod lab;
mod liars;
mod machines;
mod made_up;
mod network;
mod node;
mod page;
mod puppet;
mod queue;
mod scenario;
mod traffic;
mod weather;
mod world;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use made_up::made_up;
use scenario::{Scenario, s};
use world::run;

/// Made-up scenarios in an ordinary run.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// Runs a scenario with a few seeds, or with the one that was asked for.
fn try_out(scenario: Scenario) {
    try_seeds(scenario, 5);
}

fn try_seeds(scenario: Scenario, seeds: u64) {
    match number("SEED") {
        Some(seed) => drop(run(scenario, seed, true)),
        None => (1..=seeds).for_each(|seed| drop(run(scenario.clone(), seed, false))),
    }
}

/// Nobody renews within a run, so that equal ledgers have equal fingerprints.
fn still(config: &mut p2p_fed_ledger::Config) {
    config.ttl = s(3600);
    config.renew_interval = s(1200);
}

#[test]
fn made_up_scenarios() {
    if let Some(seed) = number("SEED") {
        return drop(run(made_up(seed, number("SEEDS").is_some()), seed, true));
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        break;
                    }
                    run(made_up(seed, seeds > SEEDS), seed, false);
                }
            });
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        let log = || run(made_up(seed, false), seed, true).log;
        let (one, other) = (log(), log());
        assert!(one.lines().count() > 500, "nothing happened");
        assert!(one == other, "seed {seed} differs from itself");
    }
    let log = |seed| run(made_up(1, false), seed, true).log;
    assert!(log(1) != log(2), "the seed is without effect");
}
