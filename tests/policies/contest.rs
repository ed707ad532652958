//! All rules on the same work.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use p2p_fed::balance::Policy;

use crate::{
    fleet::Fleet,
    rule::Rule,
    world::{Outcome, Run},
};

/// What takes part: the product's policies first, the default among them.
pub(crate) const RULES: [Rule; 12] = [
    Rule::Ours(Policy::LeastUsed),
    Rule::Ours(Policy::Random),
    Rule::Ours(Policy::RoundRobin),
    Rule::Ours(Policy::P2c),
    Rule::Ours(Policy::PeakEwma),
    Rule::Ours(Policy::Prequal),
    Rule::Ours(Policy::Sticky),
    Rule::SlotsUnknown(Policy::LeastUsed),
    Rule::Blind(Policy::LeastUsed),
    Rule::Blind(Policy::PeakEwma),
    Rule::Blind(Policy::P2c),
    Rule::LocalAi,
];

/// A fleet, a load, and a number of fronts.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) fleet: Fleet,
    pub(crate) load: f64,
    pub(crate) fronts: usize,
}

/// How a rule did in a cell: the medians over the seeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Part of the jobs that did not end.
    pub(crate) unfinished: f64,
}

/// Plays each rule in each cell with each seed; the scores are in the order of the cells, then of the rules.
pub(crate) fn play(cells: &[Cell], rules: &[Rule], jobs: usize, seeds: u64) -> Vec<Vec<Score>> {
    let next = AtomicUsize::new(0);
    let scores = Mutex::new(vec![vec![None; rules.len()]; cells.len()]);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (cell, rule) = (number / rules.len(), number % rules.len());
                    let Some(place) = cells.get(cell) else { break };
                    let score = score(place, rules[rule], jobs, seeds);
                    scores.lock().expect("nobody panics")[cell][rule] = Some(score);
                }
            });
        }
    });
    let scores = scores.into_inner().expect("nobody panicked");
    scores.into_iter().map(|cell| cell.into_iter().map(|score| score.expect("played")).collect()).collect()
}

fn score(cell: &Cell, rule: Rule, jobs: usize, seeds: u64) -> Score {
    let run = |seed| Run { fleet: &cell.fleet, load: cell.load, fronts: cell.fronts, jobs, seed }.play(rule);
    let outcomes: Vec<_> = (1..=seeds).map(run).collect();
    let median = |of: &dyn Fn(&Outcome) -> f64| {
        let mut values: Vec<_> = outcomes.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Score {
        p50: median(&|outcome| outcome.percentile(50)),
        p99: median(&|outcome| outcome.percentile(99)),
        unfinished: median(&|outcome| outcome.unfinished as f64 / outcome.first.len() as f64),
    }
}
