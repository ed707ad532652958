//! The table, as a part of the documentation.

use std::{collections::BTreeMap, env, fmt::Write as _, fs};

use crate::{
    contest::{Cell, RULES, Score, play},
    fleet::fleets,
};

/// Where the part that is made begins and ends.
const BEGIN: &str = "<!-- made by `make policies` -->\n";
const END: &str = "<!-- end of what is made -->\n";

const LOADS: [f64; 5] = [0.5, 0.7, 0.8, 0.9, 0.95];
const FRONTS: [usize; 2] = [1, 4];

/// Policies of the product, which the default is compared with.
pub(crate) const OURS: usize = 7;

fn number(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// How much worse the default's p99 is than the best policy's.
pub(crate) fn behind(scores: &[Score]) -> f64 {
    let best = scores[..OURS].iter().map(|score| score.p99).min_by(f64::total_cmp).expect("there are policies");
    scores[0].p99 / best
}

fn page(cells: &[Cell], scores: &[Vec<Score>], jobs: usize, seeds: u64) -> String {
    let mut page = String::new();
    let mut line = |text: String| writeln!(page, "{text}").expect("a string takes all");
    let commit = env::var("COMMIT").unwrap_or_else(|_| "unknown".to_owned());
    line(format!(
        "Commit {commit}; {jobs} requests, the median of {seeds} seeds. Each cell is the 50th and the 99th percentile of the \
         time to the first token in seconds; *n %* after it is the part of the requests that had not ended ten minutes after the \
         last one came.\n"
    ));
    let mut names: Vec<_> = cells.iter().map(|cell| cell.fleet.name).collect();
    names.dedup();
    for name in names {
        for fronts in FRONTS {
            let here: Vec<_> =
                (0..cells.len()).filter(|i| cells[*i].fleet.name == name && cells[*i].fronts == fronts).collect();
            if here.is_empty() {
                continue;
            }
            let plural = if fronts == 1 { "front" } else { "fronts" };
            line(format!("**{name}**, {fronts} {plural}\n"));
            let loads: Vec<_> = here.iter().map(|i| format!("{}", cells[*i].load)).collect();
            line(format!("| at load | {} |", loads.join(" | ")));
            line(format!("|---|{}", "---|".repeat(here.len())));
            for (rule, name) in RULES.iter().enumerate() {
                let cell = |i: &usize| {
                    let score = scores[*i][rule];
                    let rest = match score.unfinished {
                        ..0.0005 => String::new(),
                        part => format!(" *{:.1} %*", part * 100.0),
                    };
                    format!("{} / {}{rest}", number(score.p50), number(score.p99))
                };
                let row: Vec<_> = here.iter().map(cell).collect();
                line(format!("| {name} | {} |", row.join(" | ")));
            }
            line(String::new());
        }
    }
    let mut behind: Vec<_> = scores.iter().zip(cells).map(|(scores, cell)| (behind(scores), cell)).collect();
    behind.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (worst, cell) = &behind[0];
    let within = behind.iter().filter(|(factor, _)| *factor <= 1.25).count();
    line(format!(
        "The default's p99 is within 25 % of the best policy's in {within} of {} cells; at worst it is {worst:.2} times the \
         best ({}, load {}, fronts: {}).",
        behind.len(),
        cell.fleet.name,
        cell.load,
        cell.fronts
    ));
    let mut best = BTreeMap::new();
    for scores in scores {
        let ours = scores[..OURS].iter().enumerate();
        let (first, _) = ours.min_by(|a, b| a.1.p99.total_cmp(&b.1.p99)).expect("there are policies");
        *best.entry(RULES[first].to_string()).or_insert(0) += 1;
    }
    let best: Vec<_> = best.into_iter().map(|(name, count)| format!("{name} in {count}")).collect();
    line(format!("The best p99 of the policies: {}.", best.join(", ")));
    page
}

/// `make policies`; `FLEET=lab` plays the fleets with that in their names and only prints.
#[test]
#[ignore = "takes minutes: make policies"]
fn the_table() {
    let say = |name: &str, usual: usize| env::var(name).ok().map_or(usual, |value| value.parse().expect("a number"));
    let (jobs, seeds) = (say("JOBS", 2000), say("SEEDS", 15) as u64);
    let wanted = env::var("FLEET").ok();
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|part| name.contains(part));
    let mut cells = Vec::new();
    for fleet in fleets().into_iter().filter(|fleet| is_wanted(fleet.name)) {
        for fronts in FRONTS {
            cells.extend(LOADS.map(|load| Cell { fleet: fleet.clone(), load, fronts }));
        }
    }
    let scores = play(&cells, &RULES, jobs, seeds);
    let page = page(&cells, &scores, jobs, seeds);
    println!("{page}");
    if wanted.is_none() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/balancing.md");
        let old = fs::read_to_string(path).expect("the page is there");
        let (before, rest) = old.split_once(BEGIN).expect("its part has a beginning");
        let (_, after) = rest.split_once(END).expect("its part has an end");
        fs::write(path, format!("{before}{BEGIN}\n{page}\n{END}{after}")).expect("the page can be written");
    }
}
