//! Clients that are slow on purpose, by slowhttptest: they keep nobody else from being served.
//!
//! Some seconds of a hundred of each kind in each run; `make torture` takes a thousand, and longer.

use std::{net::SocketAddr, time::Duration};

use crate::{
    client,
    http::fronts,
    machine,
    process::{Exit, Process, command, installed},
    until,
};

/// What slowhttptest opens and for how long.
struct Siege {
    connections: u32,
    seconds: u32,
}

impl Siege {
    fn wanted() -> Self {
        let number = |name: &str, usual| std::env::var(name).map_or(usual, |number| number.parse().unwrap());
        Self { connections: number("TORTURE_CONNECTIONS", 100), seconds: number("TORTURE_SECONDS", 14) }
    }

    fn begin(&self, front: SocketAddr, path: &str, flags: &[&str]) -> Process {
        let mut slow = command(installed("slowhttptest"));
        let (connections, seconds) = (self.connections.to_string(), self.seconds.to_string());
        slow.args(flags).args(["-c", &connections, "-r", &connections, "-l", &seconds, "-p", "3"]);
        Process::spawn("slowhttptest", slow.args(["-u", &format!("http://{front}{path}")]))
    }
}

#[tokio::test]
async fn h_08_slow_clients_of_three_kinds_keep_nobody_from_being_served() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    let siege = Siege::wanted();
    let front = three.addresses[0];
    let sieges = [
        // Heads that never end, a line each second.
        siege.begin(front, "/who", &["-H", "-i", "1"]),
        // Bodies that are promised and trickle.
        siege.begin(front, "/sha256", &["-B", "-i", "1", "-s", "8192", "-x", "10"]),
        // Responses that are hardly read.
        siege.begin(front, "/bytes/4000000", &["-X", "-k", "1", "-w", "1", "-y", "1", "-n", "1", "-z", "1"]),
    ];
    let mut slowest = Duration::ZERO;
    let others = async {
        loop {
            let asked = std::time::Instant::now();
            client::who(front).await.unwrap();
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let [heads, bodies, readers] = sieges;
    let ends: [Exit; 3] = tokio::select! {
        (heads, bodies, readers) = async { tokio::join!(heads.exit(), bodies.exit(), readers.exit()) } => [heads, bodies, readers],
        () = others => unreachable!("they ask until all is over"),
    };
    println!("measured: others waited {slowest:.2?} at most");
    for exit in &ends {
        let told = plain(&exit.stdout);
        assert!(told.contains("service available:") && !told.contains("service available: NO"), "{told}");
    }
    // Heads and bodies were closed by their timeouts, not by their end.
    for (kind, exit) in ["heads", "bodies"].iter().zip(&ends) {
        let told = plain(&exit.stdout);
        let all_gone = told.contains("No open connections left");
        let closed = field(&told, "closed:");
        assert!(
            all_gone || closed >= u64::from(siege.connections) * 9 / 10,
            "{closed} of the slow {kind} closed: {told}"
        );
    }
    until("nothing to be left of it", async || (three.fronts[0].status().await.fronts[0].in_flight == 0).then_some(()))
        .await;
}

/// Without its colours and alignment.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The last number that was told under this name.
fn field(text: &str, name: &str) -> u64 {
    let last = text.rmatch_indices(name).next().map(|(at, _)| &text[at + name.len()..]);
    last.and_then(|text| text.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or_default()
}
