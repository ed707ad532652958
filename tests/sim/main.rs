//! The whole system in one thread: N ledgers over a network that loses, delays, doubles, splits and lies, in virtual
//! time.
//!
//! Every run follows from its scenario and its seed. When a check fails, the last line says `SEED=… scenario=… step=…`;
//! `SEED=… cargo test -p p2p-fed-ledger --test sim` runs that seed alone and prints what happened. `SEEDS=…` sets
//! how many made-up scenarios are run.

// What clippy allows in tests it does not allow in their helpers; a simulation counts, and stops at the first fault.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod attack;
mod chance;
mod checks;
mod network;
mod node;
mod scenario;
mod world;

use std::{env, time::Duration};

use chance::Chance;
use scenario::{Act, Disk, Scenario, made_up, ms, s, scenario};
use world::run;

/// Made-up scenarios in an ordinary run.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// Runs a scenario with a few seeds, or with the one that was asked for.
fn try_out(scenario: Scenario) {
    match number("SEED") {
        Some(seed) => drop(run(scenario, seed, true)),
        None => (1..=5).for_each(|seed| drop(run(scenario.clone(), seed, false))),
    }
}

/// Nobody renews within a run, so that equal ledgers have equal fingerprints.
fn still(config: &mut p2p_fed_ledger::Config) {
    config.ttl = s(3600);
    config.renew_interval = s(1200);
}

/// Within three sync periods and the way there, all that some gossip messages lost is repaired.
const REPAIRED: Duration = s(20);
/// Where gossip is silent, news goes from node to node by sync alone, and the last one may be picked late.
const REPAIRED_BY_SYNC_ALONE: Duration = s(50);

#[test]
fn made_up_scenarios() {
    let made = |seed| {
        made_up(&mut Chance::new(seed))
            .eventually(s(40), check!(checks::views_agree))
            .eventually(s(40), check!(checks::nobody_is_outnumbered_by_its_past))
            .finally(check!(checks::only_attackers_are_blamed))
    };
    match number("SEED") {
        Some(seed) => drop(run(made(seed), seed, true)),
        None => (1..=number("SEEDS").unwrap_or(SEEDS)).for_each(|seed| drop(run(made(seed), seed, false))),
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        let log = || run(made_up(&mut Chance::new(seed)), seed, true).log;
        let (one, other) = (log(), log());
        assert!(one.lines().count() > 500, "nothing happened");
        assert!(one == other, "seed {seed} differs from itself");
    }
    let log = |seed| run(made_up(&mut Chance::new(1)), seed, true).log;
    assert!(log(1) != log(2), "the seed is without effect");
}

#[test]
fn a_partition_heals() {
    let split = scenario("a partition heals").nodes(20).loss(0.01).duplicate(0.05).config(still);
    try_out(
        split
            .at(s(5), Act::Publish(0, "web"))
            .at(s(10), Act::Split)
            .at(s(30), Act::Publish(3, "llm"))
            .at(s(30), Act::Publish(17, "db"))
            .at(s(45), Act::Heal)
            .eventually(s(10), check!(checks::views_agree))
            .eventually(s(10), check!(checks::fingerprints_equal))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

#[test]
fn a_change_is_everywhere_in_a_second() {
    try_out(
        scenario("a change is everywhere")
            .nodes(30)
            .link(ms(20)..ms(30))
            .at(s(30), Act::Publish(4, "web"))
            .eventually(s(1), check!(checks::views_agree)),
    );
}

#[test]
fn ten_nodes_agree_in_five_seconds() {
    try_out(
        scenario("ten nodes agree")
            .nodes(10)
            .at(Duration::ZERO, Act::Publish(0, "web"))
            .eventually(s(5), check!(checks::views_agree)),
    );
}

#[test]
fn what_gossip_loses_sync_repairs() {
    let lossy = scenario("gossip is all lost").nodes(12).loss(1.0).config(still);
    let lossy = (0..12).fold(lossy, |lossy, node| lossy.at(s(20), Act::Publish(node, "web")));
    try_out(
        lossy
            .eventually(REPAIRED_BY_SYNC_ALONE, check!(checks::everybody_offers_web))
            .eventually(REPAIRED_BY_SYNC_ALONE, check!(checks::fingerprints_equal)),
    );
}

#[test]
fn clocks_that_are_off_or_jump_change_no_flag() {
    let day = 24 * 3600 * 1000;
    try_out(
        scenario("clocks jump")
            .nodes(10)
            .loss(0.02)
            .skew(s(11 * 3600))
            .at(s(20), Act::Jump(1, day))
            .at(s(30), Act::Jump(2, -day))
            .at(s(40), Act::Jump(1, -2 * day))
            .at(s(50), Act::Publish(2, "web"))
            .at(s(400), Act::Publish(1, "llm"))
            .always(s(10), check!(checks::nobody_looks_gone))
            .eventually(s(10), check!(checks::views_agree)),
    );
}

#[test]
fn a_lost_disk_and_a_clock_set_back_are_outbid() {
    let hour = 3600 * 1000;
    try_out(
        scenario("a lost disk")
            .nodes(9)
            .loss(0.05)
            .at(s(5), Act::Publish(2, "web"))
            .at(s(20), Act::Crash(2))
            .at(s(25), Act::Restart(2, Disk::Lost, -hour))
            .at(s(40), Act::Publish(2, "llm"))
            .eventually(REPAIRED, check!(checks::views_agree))
            .eventually(REPAIRED, check!(checks::nobody_is_outnumbered_by_its_past))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

#[test]
fn who_leaves_is_out_at_once_and_who_dies_is_forgotten() {
    let leaves = scenario("one leaves").nodes(8).at(s(5), Act::Publish(1, "web")).at(s(20), Act::Leave(1));
    try_out(leaves.eventually(s(1), check!(checks::the_dead_offer_nothing)));

    let dies = scenario("one dies").nodes(6).config(|config| {
        config.ttl = s(60);
        config.renew_interval = s(20);
        config.forget_after = s(30);
    });
    try_out(
        dies.at(s(5), Act::Publish(1, "web"))
            .at(s(20), Act::Crash(1))
            .at(s(200), Act::Replay(2))
            .at(s(230), Act::Replay(3))
            .always(s(190), check!(checks::the_dead_are_forgotten))
            .always(s(10), check!(checks::nobody_looks_gone))
            .finally(check!(checks::the_dead_are_forgotten)),
    );
}

#[test]
fn two_tongues_are_quarantined_everywhere() {
    let two = scenario("two tongues").nodes(15).loss(0.02).config(still).at(s(10), Act::Equivocate(3));
    try_out(
        two.at(s(11), Act::Publish(4, "web"))
            .eventually(s(10), check!(checks::attackers_are_quarantined))
            .eventually(s(10), check!(checks::fingerprints_equal)),
    );
}

#[test]
fn liars_change_nothing_and_are_blamed() {
    let lies = scenario("liars").nodes(10).config(still).at(s(5), Act::Publish(1, "web"));
    try_out(
        lies.at(s(10), Act::Forge(2, 1))
            .at(s(10), Act::Garble(3))
            .at(s(10), Act::Flood(4))
            .at(s(11), Act::Forge(2, 5))
            .always(s(8), check!(checks::nobody_looks_gone))
            .eventually(s(2), check!(checks::fingerprints_equal))
            .finally(check!(checks::views_agree))
            .finally(check!(checks::attackers_are_blamed))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

/// I12: ten idle nodes send less than a quarter of a kilobyte per second each.
#[test]
fn silence_is_cheap() {
    let idle = |until| scenario("idle").nodes(10).at(s(until), Act::Heal);
    let (start, end) = (run(idle(60), 1, false).sent, run(idle(360), 1, false).sent);
    let per_second = (end - start) / 10 / 300;
    assert!(per_second < 250, "{per_second} bytes per second and node");
}
