//! What was measured, as a page of the documentation, against the bars.

use std::{env, fmt::Write as _, fs, thread, time::Duration};

use crate::{
    cost::{Kind, total},
    lab::{Row, SEED, measure},
    network::DEGREE,
    scenario::s,
};

/// Where the generated part begins and ends.
const BEGIN: &str = "<!-- made by `make ledger-table` -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// The bar of each size, in bytes per second.
fn idle_bar(size: usize) -> u64 {
    match size {
        ..=10 => 1000,
        11..=100 => 2000,
        101..=1000 => 5000,
        _ => 10_000,
    }
}

/// How long a joiner may take, and what it may move.
fn join_bar(size: usize) -> Option<(Duration, u64)> {
    match size {
        100 => Some((s(3), 200_000)),
        1000 => Some((s(5), 1_000_000)),
        _ => None,
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        ..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.2} KB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}

fn time(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// Whether a bar is met by nearly all and by the worst, whose names are given.
fn met_by((most, by_most): (&str, bool), (worst, by_worst): (&str, bool)) -> String {
    if by_most == by_worst {
        met(by_most).to_owned()
    } else {
        format!("{most} {}, {worst} {}", met(by_most), met(by_worst))
    }
}

/// The one at so many hundredths of a list in order.
fn at<T: Copy>(list: &[T], hundredths: usize) -> T {
    list[(list.len() * hundredths).div_ceil(100).max(1) - 1]
}

fn within(time: Option<Duration>, bar: Duration) -> bool {
    time.is_some_and(|time| time <= bar)
}

fn page(rows: &[Row]) -> String {
    let mut page = String::new();
    let mut line = |text: String| writeln!(page, "{text}").expect("a string takes all");
    let commit = env::var("COMMIT").unwrap_or_else(|_| "unknown".to_owned());
    line(format!(
        "Seed {SEED}, commit {commit}. Links take 10 to 90 ms and lose 1 % of gossip, uplinks carry 100 Mbit/s, nodes have \
         {DEGREE} neighbours on average, clocks are off by up to an hour."
    ));
    line("\n**Idle**: bytes that a node sends in a second while nothing changes.\n".into());
    line("| nodes | median | worst | of the median: sync | set-up | ping | gossip | bar | |".into());
    line("|---|---|---|---|---|---|---|---|---|".into());
    for row in rows {
        let (median, worst) = (at(&row.idle, 50), at(&row.idle, 100));
        let kind = |kind: Kind| bytes(row.idle_kinds[kind as usize]);
        let bar = idle_bar(row.size);
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.size,
            bytes(median),
            bytes(worst),
            kind(Kind::Sync),
            kind(Kind::Setup),
            kind(Kind::Ping),
            kind(Kind::Gossip),
            bytes(bar),
            met_by(("median", median <= bar), ("worst", worst <= bar))
        ));
    }
    line("\n**One change**: from its owner to the others, and what each node sends for it.\n".into());
    line("| nodes | changes | 99 % of nodes, p50 | p99 | all nodes, p50 | p99 | bytes a node, mean | p99 | most | bar | |".into());
    line("|---|---|---|---|---|---|---|---|---|---|---|".into());
    for row in rows {
        let (slowest, usual, most) = (at(&row.all, 99), at(&row.change_bytes, 99), at(&row.change_bytes, 100));
        let fast = within(slowest, s(1));
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | 1 s, 5 KB | {} |",
            row.size,
            row.most.len(),
            time(at(&row.most, 50)),
            time(at(&row.most, 99)),
            time(at(&row.all, 50)),
            time(slowest),
            bytes(row.change_bytes.iter().sum::<u64>() / row.change_bytes.len() as u64),
            bytes(usual),
            bytes(most),
            met_by(("p99", fast && usual <= 5000), ("most", fast && most <= 5000))
        ));
    }
    line("\n**Healing** after half a minute in two halves: until all nodes know all changes.\n".into());
    line("| nodes | owners changed | time | bytes a node sent | bar | |".into());
    line("|---|---|---|---|---|---|".into());
    for row in rows {
        let (heal, sent) = (time(row.heal), bytes(row.heal_bytes));
        line(format!("| {} | {} | {heal} | {sent} | 10 s | {} |", row.size, row.changed, met(within(row.heal, s(10)))));
    }
    line("\n**Joining**: until a new node knows all, and what it sends and gets until five seconds later.\n".into());
    line(
        "| nodes | joins | worst time | worst bytes | of them sync | gossip | connections and streams | bar | |".into(),
    );
    line("|---|---|---|---|---|---|---|---|---|".into());
    for row in rows {
        let (slowest, moved) = (at(&row.joins, 100), row.join_bytes);
        let kind = |kind: Kind| bytes(moved[kind as usize]);
        let (bar, verdict) = match join_bar(row.size) {
            Some((limit, most)) => {
                let bar = format!("{} s, {}", limit.as_secs(), bytes(most));
                (bar, met(within(slowest, limit) && total(&moved) <= most))
            }
            None => ("none".to_owned(), ""),
        };
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {bar} | {verdict} |",
            row.size,
            row.joins.len(),
            time(slowest),
            bytes(total(&moved)),
            kind(Kind::Sync),
            kind(Kind::Gossip),
            kind(Kind::Setup),
        ));
    }
    line(
        "\n**Healthy but shown as gone**: each node is asked about all others every ten seconds, clocks jumping.\n"
            .into(),
    );
    line("| nodes | minutes | samples | gone | bar | |".into());
    line("|---|---|---|---|---|---|".into());
    for row in rows {
        let minutes = row.sampled.as_secs() / 60;
        line(format!("| {} | {minutes} | {} | {} | 0 | {} |", row.size, row.samples, row.gone, met(row.gone == 0)));
    }
    page
}

#[test]
#[ignore = "takes a quarter of an hour: make ledger-table"]
fn the_table() {
    let only = crate::number("NODES").map(|nodes| usize::try_from(nodes).expect("not that many"));
    let wanted = |sizes: &[usize]| -> Vec<Row> {
        sizes.iter().filter(|size| only.is_none_or(|only| only == **size)).map(|size| measure(*size)).collect()
    };
    let rows: Vec<_> = thread::scope(|scope| {
        let (small, large) = (scope.spawn(|| wanted(&[10, 100, 1000])), scope.spawn(|| wanted(&[10_000])));
        [small, large].into_iter().flat_map(|rows| rows.join().expect("a measurement failed")).collect()
    });
    let made = page(&rows);
    println!("{made}");
    if only.is_none() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ledger-measured.md");
        let before = fs::read_to_string(path).expect("the page is there");
        let (head, rest) = before.split_once(BEGIN).expect("the page has a place for it");
        let (_, tail) = rest.split_once(END).expect("the place ends");
        fs::write(path, format!("{head}{BEGIN}\n{made}\n{END}{tail}")).expect("the page can be written");
    }
}
