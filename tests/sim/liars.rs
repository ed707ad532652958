//! Scenarios in which members lie. Nothing changes but what is the liar's own, nobody else is blamed, and the liar is.

use std::time::Duration;

use crate::{
    check, checks,
    puppet::{LIES, Lie},
    scenario::{Act, Disk, Scenario, s, scenario},
    still, try_out, try_seeds,
};

/// From here on all nodes know each other.
const MET: Duration = s(8);

/// What holds whatever a liar does.
fn contained(lies: Scenario) -> Scenario {
    lies.always(MET, check!(checks::the_honest_are_untouched))
        .eventually(s(20), check!(checks::views_agree))
        .finally(check!(checks::only_attackers_are_blamed))
}

#[test]
fn two_tongues_are_quarantined_everywhere() {
    let two = scenario("two tongues").nodes(15).loss(0.02).config(still).at(s(10), Act::Equivocate(3));
    try_out(
        contained(two.at(s(11), Act::Publish(4, "web")))
            .eventually(s(10), check!(checks::two_tongues_are_quarantined))
            .eventually(s(10), check!(checks::fingerprints_equal)),
    );
}

#[test]
fn liars_change_nothing_and_are_blamed() {
    let lies = scenario("liars").nodes(10).config(still).at(s(5), Act::Publish(1, "web"));
    try_out(
        contained(lies)
            .at(s(10), Act::Forge(2, 1))
            .at(s(10), Act::Garble(3))
            .at(s(10), Act::Flood(4))
            .at(s(10), Act::Oversize(6))
            .at(s(11), Act::Forge(2, 5))
            .eventually(s(2), check!(checks::fingerprints_equal))
            .finally(check!(checks::attackers_are_blamed)),
    );
}

#[test]
fn a_crowd_of_accusers_does_not_hurt_the_accused() {
    // Five members, a hundred accusations a second each.
    let accused = scenario("accusers").nodes(12).at(s(5), Act::Publish(0, "web"));
    let accused = (1..=5).fold(accused, |accused, by| accused.every(s(1), s(10)..s(20), &Act::Accuse(by, 0)));
    try_out(contained(accused).finally(check!(checks::attackers_are_blamed)));
}

#[test]
fn a_date_in_the_future_buys_no_time() {
    let dated = scenario("a date in the future").nodes(6).config(|config| {
        config.ttl = s(60);
        config.renew_interval = s(20);
        config.forget_after = s(30);
    });
    try_out(
        dated
            .at(s(10), Act::Predate(1))
            .at(s(11), Act::Crash(1))
            .at(s(130), Act::Replay(2))
            .always(s(120), check!(checks::the_dead_are_forgotten))
            .always(MET, check!(checks::the_honest_are_untouched)),
    );
}

#[test]
fn the_last_number_is_refused_and_locks_nobody_out() {
    let overflow = scenario("the last number").nodes(8).at(s(10), Act::Overflow(1)).at(s(12), Act::Publish(1, "web"));
    try_out(contained(overflow).eventually(s(5), check!(checks::everybody_sees_web_once)));
}

#[test]
fn sybils_push_nobody_out() {
    let sybils = scenario("sybils").nodes(8).config(|config| config.owners_max = 40);
    let sybils = sybils.every(s(1), s(10)..s(13), &Act::Sybils(1, 300)).at(s(21), Act::Publish(2, "web"));
    try_out(
        contained(sybils)
            .eventually(s(2), check!(checks::everybody_sees_web_once))
            .finally(check!(checks::attackers_are_blamed)),
    );
}

#[test]
fn what_was_said_before_stays_refused_after_a_restart() {
    let replays = scenario("replays").nodes(8).loss(0.02).at(s(5), Act::Publish(0, "web")).at(s(15), Act::Withdraw(0));
    let replays = (2..8).fold(replays, |replays, node| replays.at(s(30), Act::Restart(node, Disk::Lost, 0)));
    try_out(
        replays
            .every(s(1), s(20)..s(60), &Act::Replay(1))
            .always(s(45), check!(checks::the_honest_are_untouched))
            .eventually(s(10), check!(checks::views_agree))
            .finally(check!(checks::only_attackers_are_blamed)),
    );
}

/// A node that lies in its syncs for half a minute, and begins anew every two seconds.
fn lies_in_syncs(lie: Lie) -> Scenario {
    let lies = scenario(lie.name()).nodes(8).loss(0.01).config(still).at(s(5), Act::Publish(1, "web"));
    contained(lies.every(s(2), s(10)..s(40), &Act::Lie(2, lie)).at(s(30), Act::Publish(3, "llm")))
}

#[test]
fn lies_in_a_sync_change_nothing_and_are_blamed() {
    for lie in LIES {
        let lies = lies_in_syncs(lie);
        let blamed = lie.blamed();
        try_seeds(if blamed.is_empty() { lies } else { lies.finally(check!(checks::attackers_are_blamed)) }, 2);
    }
}
