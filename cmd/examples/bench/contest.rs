//! The policies compared with real processes: what `tests/policies` simulates, once more over sockets.
//!
//! Six workers of unequal speed (`p2p-fed expose`), each with a model server that keeps to its slots and its speed and only
//! sleeps ([`model_server`](super::model_server)), so that two cores carry the load. Two fronts (`p2p-fed serve`), joined by
//! `--peer`. Workers are told nothing of their slots: they ask.
//!
//! Requests come by a Poisson process at a part of what all slots together can do, half to each front, and ask for streamed answers
//! of a heavy-tailed length. The times of their coming are fixed beforehand, and a request that is late, because the client was busy,
//! counts from when it should have come. Every policy gets the same requests, after fronts of its own were started.
//!
//! Told are the time to the first byte of an answer, the whole of it, and each worker's part. A request without a complete answer
//! is a failure, and any fails the run.

use std::{fmt::Write as _, io::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Args;
use p2p_fed::balance::Policy;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Common,
    lab::{self, Nodes, Process, START, cpu_seconds},
    model_server::{Kind, ModelServer, Setup},
    samples::percentile,
};

/// Speed of one slot, and slots: the home lab of the simulation.
const WORKERS: [(f64, usize); 6] = [(4.0, 8), (2.0, 4), (2.0, 2), (1.0, 4), (0.5, 2), (0.5, 1)];

/// From one token to the next at speed 1; the first takes as long as so many.
const TOKEN: Duration = Duration::from_millis(40);
const PROMPT: u32 = 5;

/// Median of the tokens of most answers, and the least of every tenth, which are long; the most of any.
const USUAL: f64 = 15.0;
const LONG: f64 = 40.0;
const MOST: f64 = 400.0;

/// A request that has not ended by then is a failure.
const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at what a front knows.
const GLANCE: Duration = Duration::from_millis(20);

/// Part of the requests that come before anything is measured.
const WARM_UP: f64 = 0.1;

/// Where the part of the page begins and ends that is made.
const BEGIN: &str = "<!-- made by `make contest` -->\n";
const END: &str = "<!-- end of the contest -->\n";

#[derive(Debug, Args)]
pub(super) struct Contest {
    /// For how long requests come, for each policy
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Part of what all slots can do
    #[arg(long, default_value_t = 0.8)]
    load: f64,
    /// Which requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Policies [default: all]
    #[arg(long, value_delimiter = ',')]
    policies: Vec<Policy>,
    /// A page to write the table into
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// One request.
#[derive(Clone, Copy)]
struct Job {
    at: Duration,
    front: usize,
    tokens: u32,
}

/// When the first byte and the last came, since the request did, in seconds.
type Times = (f64, f64);

/// How a policy did.
struct Score {
    policy: Policy,
    first: Vec<f64>,
    whole: Vec<f64>,
    failed: usize,
    why: Option<String>,
    served: Vec<u64>,
    /// Cores that all nodes used on average.
    cores: f64,
}

/// What runs for all policies.
struct Fleet {
    nodes: Nodes,
    servers: Vec<ModelServer>,
    workers: Vec<Process>,
    /// An address to join by.
    peer: String,
}

impl Contest {
    /// Runs it and tells; returns whether every request was answered.
    pub(super) async fn run(&self, common: &Common) -> anyhow::Result<bool> {
        ensure!((5..=600).contains(&self.seconds), "--seconds is a number from 5 to 600");
        ensure!((0.1..=0.95).contains(&self.load), "--load is a number from 0.1 to 0.95");
        let jobs = jobs(self.seed, self.load, Duration::from_secs(self.seconds));
        let folder = lab::folder()?;
        let fleet = Fleet::start(Nodes::mint(&common.bin()?, common.transport, folder.path()).await?).await?;
        let policies = if self.policies.is_empty() { Policy::ALL.to_vec() } else { self.policies.clone() };
        let mut scores = Vec::new();
        for policy in policies {
            writeln!(std::io::stderr(), "{policy}: {} requests in {} s", jobs.len(), self.seconds)?;
            scores.push(fleet.play(policy, &jobs).await?);
        }
        fleet.stop().await;
        let page = self.table(&scores, jobs.len())?;
        write!(std::io::stdout(), "{page}")?;
        if let Some(path) = &self.page {
            let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let (before, rest) = old.split_once(BEGIN).context("the page has no beginning of the contest")?;
            let (_, after) = rest.split_once(END).context("the page has no end of the contest")?;
            std::fs::write(path, format!("{before}{BEGIN}\n{page}\n{END}{after}"))?;
        }
        Ok(scores.iter().all(|score| score.failed == 0))
    }

    fn table(&self, scores: &[Score], requests: usize) -> anyhow::Result<String> {
        let mut page = String::new();
        let commit = std::env::var("COMMIT").unwrap_or_else(|_| "unknown".to_owned());
        writeln!(
            page,
            "Commit {commit}; {requests} requests in {} s for each policy, load {}, seed {}. Seconds to the first byte and to the \
             last; the part of each worker, the fastest first.\n",
            self.seconds, self.load, self.seed
        )?;
        writeln!(
            page,
            "| policy | first byte, p50 | p99 | of the best | whole, p50 | p99 | failed | part of each worker, % | cores of all nodes |"
        )?;
        writeln!(page, "|---|---|---|---|---|---|---|---|---|")?;
        let p99 = |score: &Score| percentile(&score.first, 99).unwrap_or(f64::INFINITY);
        let best = scores.iter().map(p99).min_by(f64::total_cmp).unwrap_or(f64::INFINITY);
        for score in scores {
            let at =
                |values, percent| percentile(values, percent).map_or_else(|| "–".to_owned(), |s| format!("{s:.2}"));
            let all = score.served.iter().sum::<u64>().max(1) as f64;
            let parts: Vec<_> = score.served.iter().map(|n| format!("{:.0}", *n as f64 / all * 100.0)).collect();
            writeln!(
                page,
                "| `{}` | {} | {} | {:.2} | {} | {} | {} | {} | {:.2} |",
                score.policy,
                at(&score.first, 50),
                at(&score.first, 99),
                p99(score) / best,
                at(&score.whole, 50),
                at(&score.whole, 99),
                score.failed,
                parts.join(" "),
                score.cores
            )?;
        }
        for score in scores {
            if let Some(why) = &score.why {
                writeln!(page, "\n`{}`, first failure: {why}", score.policy)?;
            }
        }
        Ok(page)
    }
}

impl Fleet {
    async fn start(nodes: Nodes) -> anyhow::Result<Self> {
        let (mut servers, mut workers, mut peer) = (Vec::new(), Vec::new(), None);
        for (number, (speed, slots)) in WORKERS.into_iter().enumerate() {
            let per_token = TOKEN.div_f64(speed);
            let setup = Setup {
                kind: Kind::LlamaCpp,
                models: vec!["tiny".to_owned()],
                slots,
                first_token: per_token * PROMPT,
                per_token,
            };
            let server = ModelServer::start(setup).await?;
            let export = format!("llm=http://{}", server.address);
            let (worker, address) = nodes.worker(format!("w{number}"), &[export], peer.as_deref()).await?;
            servers.push(server);
            workers.push(worker);
            peer.get_or_insert(address);
        }
        Ok(Self { nodes, servers, workers, peer: peer.context("there is a worker")? })
    }

    /// Plays all requests by one policy, with fronts of its own.
    async fn play(&self, policy: Policy, jobs: &[Job]) -> anyhow::Result<Score> {
        let services = ["llm@127.0.0.1:0".to_owned()];
        let more = ["--policy".to_owned(), policy.to_string()];
        let mut fronts = Vec::new();
        let mut entries = Vec::new();
        for name in ["front-1", "front-2"] {
            let (front, listeners) = self.nodes.front_with(name, "http", &self.peer, &services, &more).await?;
            timeout(START, self.knows_slots(name))
                .await
                .with_context(|| format!("{name} does not know the slots"))??;
            fronts.push(front);
            entries.push(*listeners.first().context("serve has a listener")?);
        }
        let served_before: Vec<_> = self.servers.iter().map(|server| server.book().served).collect();
        let cpu_before = self.cpu(&fronts)?;
        let began = Instant::now();
        let mut asking = JoinSet::new();
        for (number, job) in jobs.iter().copied().enumerate() {
            sleep_until(began + job.at).await;
            let (entry, due) = (entries[job.front], began + job.at);
            asking.spawn(async move { (number, ask(entry, job.tokens, due).await) });
        }
        let all = asking.join_all().await;
        let cores = (self.cpu(&fronts)? - cpu_before) / began.elapsed().as_secs_f64();
        let served = self.servers.iter().zip(served_before).map(|(server, before)| server.book().served - before);
        let mut score = Score {
            policy,
            first: Vec::new(),
            whole: Vec::new(),
            failed: 0,
            why: None,
            served: served.collect(),
            cores,
        };
        let measured = (jobs.len() as f64 * WARM_UP) as usize;
        for (number, times) in all {
            match times {
                Ok((first, whole)) if number >= measured => {
                    score.first.push(first);
                    score.whole.push(whole);
                }
                Ok(_) => {}
                Err(error) => {
                    score.failed += 1;
                    score.why.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
        score.first.sort_unstable_by(f64::total_cmp);
        score.whole.sort_unstable_by(f64::total_cmp);
        for front in fronts {
            front.stop().await;
        }
        Ok(score)
    }

    /// Returns when a front knows how many slots each worker has: what the workers found out by asking.
    async fn knows_slots(&self, front: &str) -> anyhow::Result<()> {
        loop {
            let status = self.nodes.client(front).status().await?;
            let workers = status.services.iter().flat_map(|service| &service.workers);
            if workers.filter(|worker| worker.slots > 0 && worker.state == "ready").count() == WORKERS.len() {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
    }

    fn cpu(&self, fronts: &[Process]) -> anyhow::Result<f64> {
        self.workers.iter().chain(fronts).map(|node| cpu_seconds(node.pid())).sum()
    }

    async fn stop(self) {
        for worker in self.workers {
            worker.stop().await;
        }
    }
}

/// The requests: when they come, to whom, and how much they want.
fn jobs(seed: u64, load: f64, period: Duration) -> Vec<Job> {
    let mut rng = StdRng::seed_from_u64(seed);
    // Above 0, so that it has a logarithm.
    let part = |rng: &mut StdRng| 1.0 - rng.random::<f64>();
    let tokens = |rng: &mut StdRng| {
        let tokens = if rng.random_range(0..10) == 0 {
            LONG / part(rng).powf(1.0 / 1.5)
        } else {
            let normal: f64 = (-2.0_f64 * part(rng).ln()).sqrt() * (std::f64::consts::TAU * part(rng)).cos();
            USUAL * (0.9 * normal).exp()
        };
        tokens.clamp(1.0, MOST) as u32
    };
    let capacity: f64 = WORKERS.iter().map(|(speed, slots)| speed * *slots as f64).sum::<f64>() / TOKEN.as_secs_f64();
    // By what they turn out to be: a heavy tail differs from its mean in every sample.
    let lengths: Vec<_> = (0..100_000).map(|_| tokens(&mut rng)).collect();
    let about = lengths.iter().map(|tokens| f64::from(tokens + PROMPT - 1)).sum::<f64>() / lengths.len() as f64;
    let count = (period.as_secs_f64() * capacity * load / about) as usize;
    let lengths = lengths.get(..count).unwrap_or(&lengths);
    let mean = lengths.iter().map(|tokens| f64::from(tokens + PROMPT - 1)).sum::<f64>() / lengths.len() as f64;
    let mut at = 0.0;
    let mut job = |tokens: &u32| {
        at += -part(&mut rng).ln() * mean / (capacity * load);
        Job { at: Duration::from_secs_f64(at), front: rng.random_range(0..2), tokens: *tokens }
    };
    lengths.iter().map(&mut job).collect()
}

async fn ask(front: SocketAddr, tokens: u32, due: Instant) -> anyhow::Result<Times> {
    timeout(LIMIT, exchange(front, tokens, due)).await.context("no answer in time")?
}

/// One request and its whole answer.
async fn exchange(front: SocketAddr, tokens: u32, due: Instant) -> anyhow::Result<Times> {
    let body =
        json!({"model": "tiny", "stream": true, "max_tokens": tokens, "messages": [{"role": "user", "content": "go"}]});
    let body = body.to_string();
    let mut stream = TcpStream::connect(front).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.context("cannot send")?;
    let (mut answer, mut first) = (Vec::new(), None);
    while stream.read_buf(&mut answer).await.context("the answer broke off")? > 0 {
        first.get_or_insert_with(|| due.elapsed().as_secs_f64());
    }
    let whole = due.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&answer);
    if !text.starts_with("HTTP/1.1 200") {
        bail!("answered {:?}", text.lines().next().unwrap_or_default());
    }
    ensure!(text.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "the answer is not complete");
    Ok((first.context("no answer")?, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_requests_at_the_load_that_was_asked_for() {
        let period = Duration::from_secs(40);
        let (one, other) = (jobs(7, 0.8, period), jobs(7, 0.8, period));
        assert!(one.iter().zip(&other).all(|(a, b)| (a.at, a.front, a.tokens) == (b.at, b.front, b.tokens)));
        let work: f64 = one.iter().map(|job| f64::from(job.tokens + PROMPT - 1)).sum();
        let capacity: f64 = WORKERS.iter().map(|(speed, slots)| speed * *slots as f64).sum::<f64>() / 0.04;
        let load = work / capacity / one.last().unwrap().at.as_secs_f64();
        assert!((0.7..0.9).contains(&load), "{load}");
    }
}
