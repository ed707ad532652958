//! Scenarios in which nobody lies: networks that split, lose and flap, machines that stop, clocks that are wrong.

use std::time::Duration;

use p2p_fed_ledger::SignedRecord;

use crate::{
    check, checks,
    cost::{since, total},
    scenario::{Act, Disk, ms, s, scenario},
    still, try_out, try_seeds,
    world::{World, run},
};

/// Within three sync periods and the way there, all that some gossip messages lost is repaired.
const REPAIRED: Duration = s(20);
/// Where gossip is silent, news goes from node to node by sync alone, and the last one may be picked late.
const REPAIRED_BY_SYNC_ALONE: Duration = s(50);

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
fn who_is_not_heard_by_a_group_is_heard_when_it_listens() {
    let deaf = scenario("a deaf group").nodes(20).degree(6).loss(0.01).config(still);
    try_out(
        deaf.at(s(10), Act::Deafen(7))
            .at(s(12), Act::Publish(1, "web"))
            .at(s(14), Act::Publish(11, "llm"))
            .at(s(30), Act::Publish(2, "db"))
            .at(s(40), Act::Heal)
            .eventually(s(20), check!(checks::views_agree))
            .eventually(s(20), check!(checks::fingerprints_equal))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

#[test]
fn a_node_that_stood_still_for_twenty_seconds_catches_up() {
    let still_standing = scenario("a pause").nodes(12).degree(6).loss(0.01);
    try_out(
        still_standing
            .at(s(10), Act::Pause(4, s(20)))
            .at(s(15), Act::Publish(1, "web"))
            .at(s(20), Act::Publish(4, "llm"))
            .at(s(20), Act::Pause(5, s(5)))
            .at(s(22), Act::Publish(5, "ssh"))
            .at(s(31), Act::Publish(2, "db"))
            .always(s(8), check!(checks::nobody_looks_gone))
            .eventually(REPAIRED, check!(checks::views_agree))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

#[test]
fn links_that_flap_once_a_second_hide_nobody() {
    // Half of each second, one node hears nobody; another one loses its connections each second.
    let flapping = scenario("flapping").nodes(15).degree(6).loss(0.01);
    try_out(
        flapping
            .every(s(1), s(10)..s(40), &Act::Isolate(3))
            .every(s(1), s(10) + ms(500)..s(41), &Act::Mend(3))
            .every(s(1), s(10)..s(40), &Act::Reset(7))
            .at(s(20), Act::Publish(3, "web"))
            .at(s(25), Act::Publish(7, "llm"))
            .at(s(35), Act::Publish(1, "db"))
            .always(s(8), check!(checks::nobody_looks_gone))
            .eventually(REPAIRED, check!(checks::views_agree))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

#[test]
fn a_change_is_everywhere_in_a_second() {
    try_out(
        scenario("a change is everywhere")
            .nodes(50)
            .link(ms(20)..ms(30))
            .at(s(30), Act::Publish(4, "web"))
            .eventually(s(1), check!(checks::views_agree)),
    );
    try_seeds(
        scenario("a service is gone everywhere")
            .nodes(50)
            .link(ms(20)..ms(30))
            .at(s(20), Act::Publish(4, "web"))
            .at(s(30), Act::Withdraw(4))
            .eventually(s(1), check!(checks::views_agree)),
        1,
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
fn who_restarts_knows_everybody_from_its_disk() {
    // Nobody tells it anything for five seconds.
    let restarts = scenario("a restart").nodes(9).at(s(12), Act::Publish(1, "web"));
    let restarts =
        restarts.at(s(30), Act::Isolate(2)).at(s(30), Act::Restart(2, Disk::Kept, 0)).at(s(35), Act::Mend(2));
    try_out(
        restarts
            .at(s(36), Act::Publish(2, "llm"))
            .always(s(8), check!(checks::nobody_looks_gone))
            .eventually(REPAIRED, check!(checks::views_agree))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

#[test]
fn an_old_or_damaged_snapshot_does_no_harm() {
    let restarts = scenario("old and damaged disks").nodes(12).degree(6).loss(0.02).at(s(5), Act::Publish(1, "web"));
    let restarts = [(2, Disk::Old), (3, Disk::Corrupt), (4, Disk::Corrupt), (5, Disk::Old), (6, Disk::Lost)]
        .into_iter()
        .fold(restarts, |restarts, (node, disk)| restarts.at(s(40), Act::Restart(node, disk, 0)));
    try_out(
        restarts
            .at(s(25), Act::Publish(1, "llm"))
            .at(s(38), Act::Withdraw(1))
            .at(s(38), Act::Crash(7))
            .eventually(REPAIRED, check!(checks::views_agree))
            .eventually(REPAIRED, check!(checks::nobody_is_outnumbered_by_its_past))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

/// The time that a snapshot says is left passes by the wall clock.
#[test]
fn a_clock_that_jumps_before_a_restart_hides_nobody() {
    let two_hours = 2 * 3600 * 1000;
    try_out(
        scenario("a jump before a restart")
            .nodes(9)
            .at(s(30), Act::Jump(2, two_hours))
            .at(s(31), Act::Restart(2, Disk::Kept, 0))
            .at(s(31), Act::Restart(3, Disk::Kept, two_hours))
            .at(s(31), Act::Restart(4, Disk::Kept, -two_hours))
            .eventually(REPAIRED, check!(checks::views_agree)),
    );
}

#[test]
fn a_disk_that_takes_no_writes_stops_nobody() {
    try_out(
        scenario("a full disk")
            .nodes(9)
            .loss(0.05)
            .at(s(5), Act::DiskFails(2))
            .at(s(10), Act::Publish(2, "web"))
            .at(s(15), Act::Publish(2, "llm"))
            .at(s(20), Act::Restart(2, Disk::Kept, 0))
            .at(s(25), Act::Publish(2, "db"))
            .eventually(REPAIRED, check!(checks::views_agree))
            .eventually(REPAIRED, check!(checks::nobody_is_outnumbered_by_its_past))
            .finally(check!(checks::the_honest_are_untouched))
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

/// I12: ten idle nodes send less than a kilobyte per second each, all that carries the ledger included.
#[test]
fn silence_is_cheap() {
    let idle = |until| scenario("idle").nodes(10).at(s(until), Act::Heal);
    let (start, end) = (run(idle(60), 1, false).sent, run(idle(360), 1, false).sent);
    let per_second = since(start, end).map(|bytes| bytes / 10 / 300);
    assert!(total(&per_second) < 1000, "{per_second:?} bytes per second and node");
}

/// As when ten thousand nodes come back after a power cut: more arrives from each neighbour than one may pass on, and
/// nobody is to blame.
#[test]
fn who_passes_on_what_everybody_says_at_once_is_not_expelled() {
    let (nodes, guests, rounds) = (3, 100, 10);
    let mut world = World::new(scenario("everybody at once").nodes(nodes), 1, false);
    world.invite(nodes, guests);
    world.start_knowing(nodes);
    for change in 0..nodes * guests * rounds {
        world.run_until(s(5) + Duration::from_micros(800) * u32::try_from(change).expect("not that many"));
        world.change_guest(change % (nodes * guests));
    }
    world.run_until(s(40));
    let said = world.guests.iter().map(|guest| (guest.id, guest.record.id()));
    for (owner, id) in said {
        for node in &world.nodes {
            let held = node.ledger.as_ref().and_then(|ledger| ledger.record(&owner));
            assert_eq!(held.map(SignedRecord::id), Some(id), "what gossip dropped came by sync");
        }
    }
}
