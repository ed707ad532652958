//! Scenarios made up from a seed: half a minute of faults and lies, then quiet, then everybody agrees.

use std::time::Duration;

use crate::{
    chance::Chance,
    check, checks,
    puppet::LIES,
    scenario::{Act, Disk, Scenario, ms, s, scenario},
};

/// Every so many seeds, the network is a large one.
const LARGE_EVERY: u64 = 200;
const SERVICES: [&str; 4] = ["web", "llm", "ssh", "db"];
/// Within this all agree: the longest time between two tries to connect again, and what sync takes from there.
const AGREED: Duration = s(70);

/// The scenario of a seed. `long`: among many others, so that a large one now and then does not matter.
pub(crate) fn made_up(seed: u64, long: bool) -> Scenario {
    let chance = &mut Chance::new(seed);
    let large = long && seed.is_multiple_of(LARGE_EVERY);
    // Mostly small ones: they are where one node matters.
    let nodes = match chance.below(8) {
        _ if large => 200 + chance.below(801).min(chance.below(801)).min(chance.below(801)),
        0..4 => 3 + chance.below(9),
        4..7 => 8 + chance.below(23),
        _ => 20 + chance.below(41),
    };
    let mut made = scenario("made up").nodes(nodes).degree(chance.pick(&[4, 8, 16]));
    made.loss = chance.pick(&[0.0, 0.01, 0.1]);
    made.duplicate = chance.pick(&[0.0, 0.05]);
    made.delay = chance.pick(&[ms(1)..ms(5), ms(10)..ms(90), ms(100)..ms(600)]);
    made.uplink = chance.pick(&[12_500_000, 12_500_000, 250_000]);
    // Together with all jumps below a day apart: whoever restarts sees everybody for the first time, and looks at dates.
    made.skew = chance.pick(&[Duration::ZERO, s(60), s(5 * 3600)]);
    let faults = 4 + chance.below(16 + nodes / 4);
    for _ in 0..faults {
        let when = chance.between(&(s(3)..s(33)));
        let act = fault(nodes, chance);
        made.acts.push((when, act));
    }
    made.at(s(34), Act::Heal)
        .eventually(AGREED, check!(checks::views_agree))
        .eventually(AGREED, check!(checks::nobody_is_outnumbered_by_its_past))
        .finally(check!(checks::only_attackers_are_blamed))
}

fn fault(nodes: usize, chance: &mut Chance) -> Act {
    let (a, b) = (chance.below(nodes), chance.below(nodes));
    let minutes = 20 * 60 * 1000;
    match chance.below(33) {
        0..4 => Act::Publish(a, chance.pick(&SERVICES)),
        4 => Act::Withdraw(a),
        5 => Act::Leave(a),
        6 => Act::Crash(a),
        7 => Act::CrashMidway(a),
        8 | 9 => Act::Restart(a, chance.pick(&[Disk::Kept, Disk::Old, Disk::Corrupt]), 0),
        10 => Act::Restart(a, Disk::Lost, chance.around_zero(60_000)),
        11 => Act::DiskFails(a),
        12 | 13 => Act::Jump(a, chance.around_zero(minutes)),
        14 | 15 => Act::Pause(a, chance.between(&(s(1)..s(25)))),
        16 => Act::Split,
        17 => Act::Deafen(a),
        18 => Act::CutOneWay(a, b),
        19 => Act::Isolate(a),
        20 => Act::Mend(a),
        21 => Act::Heal,
        22 => Act::Reset(a),
        23 => Act::Forge(a, b),
        24 => Act::Replay(a),
        25 => Act::Equivocate(a),
        26 => Act::Garble(a),
        27 => Act::Oversize(a),
        28 => Act::Flood(a),
        29 => {
            if chance.hits(0.5) {
                Act::Predate(a)
            } else {
                Act::Overflow(a)
            }
        }
        30 => Act::Sybils(a, 1 + chance.below(40)),
        31 => Act::Accuse(a, b),
        _ => Act::Lie(a, chance.pick(&LIES)),
    }
}
