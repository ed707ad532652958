//! Our front and edgevpn's `service-connect`, with the same backend and the same client: `make interop-bench`.
//!
//! Six chains of two processes on one host, over libp2p on TCP, behind nginx, asked by wrk. In each round every chain is measured
//! once, in another order each time; a figure is the median of the rounds, its ratio that of the ratios to edgevpn's own chain
//! in the same round. The backend and the client share the machine's cores with the chain, in all of them.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    process::{Child as Blocking, Command as Run, Stdio},
};

use crate::{
    SOON,
    backend::get,
    foreign::{Foreign, Version},
    network::{Network, address},
    node::Node,
    within,
};

/// Rounds; more with `ROUNDS`.
const ROUNDS: usize = 6;

/// Seconds of one measurement.
const SECONDS: u32 = 3;

/// Bytes of the large file. The small one is 1 KiB.
const LARGE: usize = 64 << 20;

/// What is measured: its name, wrk's arguments, what is asked for.
const TRIALS: [(&str, &[&str], &str); 5] = [
    ("1 connection", &["-t1", "-c1"], "/small"),
    ("16 connections", &["-t1", "-c16"], "/small"),
    ("64 connections", &["-t1", "-c64"], "/small"),
    ("16, a new one for each request", &["-t1", "-c16", "-H", "Connection: close"], "/small"),
    ("4 downloads of 64 MiB at once", &["-t1", "-c4"], "/large"),
];

/// One figure of wrk's.
#[derive(Clone, Copy, Debug)]
struct Figure {
    requests: f64,
    mib: f64,
    p99_ms: f64,
    failed: u64,
}

/// nginx with two files.
struct Nginx {
    process: Blocking,
    at: SocketAddr,
}

impl Nginx {
    fn start(folder: &std::path::Path) -> Self {
        let (at, files) = (address(), folder.join("files"));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("small"), vec![b'x'; 1024]).unwrap();
        std::fs::write(files.join("large"), vec![b'x'; LARGE]).unwrap();
        let (root, own) = (files.display(), folder.display());
        let config = format!(
            "worker_processes 1; pid {own}/nginx.pid; error_log {own}/nginx.log; user root; daemon off;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; keepalive_requests 1000000; server {{ listen {at}; root {root}; }} }}\n"
        );
        let path = folder.join("nginx.conf");
        std::fs::File::create(&path).unwrap().write_all(config.as_bytes()).unwrap();
        let process =
            Run::new("nginx").arg("-p").arg(folder).arg("-c").arg(&path).spawn().expect("nginx; `make peers`");
        Self { process, at }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It is gone if it could not start.
        let _ = Run::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// What wrk finds at `front`.
async fn measure(front: SocketAddr, args: &[&str], path: &str) -> Figure {
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(args).args(["--latency", "-d", &format!("{SECONDS}s")]).arg(format!("http://{front}{path}"));
    let output = wrk.stderr(Stdio::inherit()).output().await.expect("wrk; `make peers`");
    let text = String::from_utf8(output.stdout).unwrap();
    let after = |label: &str| text.lines().find_map(|line| Some(line.trim().strip_prefix(label)?.trim().to_owned()));
    let sum = |line: String| line.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum();
    Figure {
        requests: after("Requests/sec:").and_then(|text| text.parse().ok()).expect("requests per second of wrk's"),
        mib: after("Transfer/sec:").map(|text| mib(&text)).expect("a rate of wrk's"),
        p99_ms: after("99%").map(|text| milliseconds(&text)).expect("a quantile of wrk's"),
        failed: after("Socket errors:").map_or(0, sum) + after("Non-2xx or 3xx responses:").map_or(0, sum),
    }
}

fn mib(text: &str) -> f64 {
    let units = [("GB", 1024.0), ("MB", 1.0), ("KB", 1.0 / 1024.0), ("B", 1.0 / 1048576.0)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor)).unwrap()
}

fn milliseconds(text: &str) -> f64 {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor)).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make interop-bench"]
async fn the_table_of_speed() {
    let network = Network::new().await;
    let nginx = Nginx::start(network.folder());
    let backend = nginx.at.to_string();
    let meeting = Node::start(&network, "meeting", &["serve", "nothing@127.0.0.1:0"]).await;
    let at = ["-bootstrap", meeting.address(), "-dht"];
    let [go34, go35, native, ours_theirs, theirs_ours] = [(); 5].map(|()| address());

    // Each service has a name of its own, for edgevpn looks by name.
    let expose = |name: &str| format!("{name}={backend}");
    let _go34_worker =
        Foreign::start(&network, Version::V034, &[&["-service", &expose("a34")], &at[..]].concat()).await;
    let _go35_worker =
        Foreign::start(&network, Version::V035, &[&["-service", &expose("b35")], &at[..]].concat()).await;
    let _ours = Node::start(&network, "ours", &["expose", &expose("ours"), "--peer", meeting.address()]).await;
    let _go34 =
        Foreign::start(&network, Version::V034, &[&["-connect", &format!("a34={go34}")], &at[..]].concat()).await;
    let _go35 =
        Foreign::start(&network, Version::V035, &[&["-connect", &format!("b35={go35}")], &at[..]].concat()).await;
    let connect = format!("ours={theirs_ours}");
    let _theirs_ours = Foreign::start(&network, Version::V034, &[&["-connect", &connect], &at[..]].concat()).await;
    let serve = [format!("ours@{native}"), format!("a34@{ours_theirs}")];
    let _front = Node::start(&network, "front", &["serve", &serve[0], &serve[1], "--peer", meeting.address()]).await;

    let chains: Vec<(&str, SocketAddr)> = vec![
        ("nginx itself", nginx.at),
        ("edgevpn 0.34 ─ edgevpn 0.34", go34),
        ("edgevpn 0.35 ─ edgevpn 0.35", go35),
        ("p2p-fed ─ p2p-fed", native),
        ("p2p-fed ─ edgevpn 0.34", ours_theirs),
        ("edgevpn 0.34 ─ p2p-fed", theirs_ours),
    ];
    for (name, front) in &chains[1..] {
        within(2 * SOON, name, async || get(*front).await.filter(|answer| answer.0 == 404 || answer.0 == 403)).await;
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut found: BTreeMap<(usize, usize), Vec<Figure>> = BTreeMap::new();
    for round in 0..rounds {
        for (trial, (_, args, path)) in TRIALS.iter().enumerate() {
            for place in 0..chains.len() {
                let chain = (place + round) % chains.len();
                let figure = measure(chains[chain].1, args, path).await;
                found.entry((trial, chain)).or_default().push(figure);
            }
        }
    }
    for (trial, (name, ..)) in TRIALS.iter().enumerate() {
        let is_bulk = trial + 1 == TRIALS.len();
        let amount = |figure: &Figure| if is_bulk { figure.mib } else { figure.requests };
        println!("\n**{name}**\n");
        println!(
            "| chain | {} | least to most | of edgevpn 0.34's | p99 |",
            if is_bulk { "MiB/s" } else { "requests/s" }
        );
        println!("|---|---|---|---|---|");
        for (chain, (name, _)) in chains.iter().enumerate() {
            let (figures, theirs) = (&found[&(trial, chain)], &found[&(trial, 1)]);
            let ratio = median(figures.iter().zip(theirs).map(|(one, base)| amount(one) / amount(base)).collect());
            let (many, p99) =
                (median(figures.iter().map(amount).collect()), median(figures.iter().map(|one| one.p99_ms).collect()));
            let (least, most) =
                figures.iter().map(amount).fold((f64::MAX, 0.0), |(a, b), one| (one.min(a), one.max(b)));
            assert_eq!(figures.iter().map(|one| one.failed).sum::<u64>(), 0, "requests failed by way of {name}");
            println!("| {name} | {many:.0} | {least:.0} to {most:.0} | {ratio:.2} | {p99:.1} ms |");
        }
    }
}
