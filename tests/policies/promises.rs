//! What the default policy is held to, on a part of the table.

use p2p_fed::balance::Policy;

use crate::{
    contest::{Cell, RULES, play},
    fleet::fleets,
    page::{OURS, behind},
    rule::Rule,
};

fn cell(name: &str, load: f64, fronts: usize) -> Cell {
    let fleet = fleets().into_iter().find(|fleet| fleet.name == name).expect("a fleet of that name");
    Cell { fleet, load, fronts }
}

#[test]
fn the_default_is_within_a_quarter_of_the_best_policy() {
    let mut cells = Vec::new();
    for name in ["equal", "home lab", "one slow", "many small"] {
        cells.extend([(0.7, 1), (0.9, 1)].map(|(load, fronts)| cell(name, load, fronts)));
    }
    cells.extend(["equal", "home lab", "one slow", "many small"].map(|name| cell(name, 0.8, 4)));
    let scores = play(&cells, &RULES[..OURS], 600, 3);
    for (scores, cell) in scores.iter().zip(&cells) {
        let behind = behind(scores);
        assert!(behind <= 1.25, "{behind:.2} times the best: {} {} {}", cell.fleet.name, cell.load, cell.fronts);
    }
}

#[test]
fn on_mixed_hardware_it_beats_fewest_in_flight_threefold() {
    let cells = [cell("home lab", 0.8, 1), cell("home lab", 0.8, 4)];
    let rules = [Rule::Ours(Policy::LeastUsed), Rule::Blind(Policy::LeastUsed), Rule::LocalAi];
    for scores in play(&cells, &rules, 1000, 3) {
        assert!(scores[0].p99 * 3.0 <= scores[1].p99, "{scores:?}");
        assert!(scores[1].p99 < scores[2].p99, "LocalAI's rule is the worst: {scores:?}");
        assert_eq!(scores[0].unfinished, 0.0);
    }
}

#[test]
fn equal_seeds_give_equal_outcomes() {
    let cells = [cell("home lab, shared cards", 0.9, 4)];
    let p99 = || play(&cells, &[Rule::Ours(Policy::LeastUsed)], 300, 1)[0][0].p99;
    assert_eq!(p99(), p99());
}
