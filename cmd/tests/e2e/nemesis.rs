//! Workers that are killed, hung and drained in turn, under load, for as long as one likes: no replayable request fails.
//!
//! Twenty seconds in each run; `make nemesis MINUTES=10` for more. Requests go through two fronts: GETs, and calls of a model
//! server that answer in one piece, which nothing irrevocable has happened to until the answer begins.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, header::CONTENT_TYPE};
use rustix::process::Signal;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client, machine,
    model_server::{Kind, ModelServer, Setup},
    node::Node,
    three::{NAMES, Three},
    until,
};

/// How often each front is asked for each kind of request.
const PERIOD: Duration = Duration::from_millis(40);

/// A client that waits this long has given up.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// Longer than fronts need to find out, so that what it had is taken to others.
const HANG: Duration = Duration::from_secs(12);

/// `kill -9`, SIGSTOP, SIGTERM.
const BLOWS: [&str; 3] = ["killed", "hung", "drained"];

/// Answers of all kinds between two blows.
const BETWEEN: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Get,
    Chat,
}

#[derive(Debug, Default)]
struct Tally {
    answered: BTreeMap<Ask, u64>,
    failed: Vec<String>,
    slowest: Duration,
}

impl Tally {
    fn total(&self) -> u64 {
        self.answered.values().sum()
    }
}

#[tokio::test]
async fn no_replayable_request_fails_while_workers_are_killed_hung_and_drained_in_turn() {
    let seconds = std::env::var("NEMESIS_SECONDS").map_or(20, |seconds| seconds.parse().unwrap());
    let _machine = machine::alone().await;
    let setup = || Setup {
        kind: Kind::LlamaCpp,
        models: vec!["tiny".to_owned()],
        slots: 8,
        first_token: Duration::from_millis(10),
        per_token: Duration::from_millis(5),
    };
    let servers = [setup(), setup(), setup()].map(ModelServer::start);
    let [first, second, third] = servers;
    let servers = [first.await.unwrap(), second.await.unwrap(), third.await.unwrap()];
    let mut three =
        Three::start_with(servers.each_ref().map(|server| server.address), &["--drain-timeout=10s"], &[]).await;

    let (stop, tally) = (CancellationToken::new(), Arc::new(Mutex::new(Tally::default())));
    let mut load = JoinSet::new();
    for front in three.addresses {
        for ask in [Ask::Get, Ask::Chat] {
            load.spawn(keep_asking(front, ask, stop.clone(), Arc::clone(&tally)));
        }
    }

    let start = Instant::now();
    let mut blows = BTreeMap::<_, u32>::new();
    // After each round of blows, each worker meets another one than before.
    let mut turn = 0;
    while start.elapsed() < Duration::from_secs(seconds) || blows.len() < BLOWS.len() {
        more(&tally, BETWEEN).await;
        let (blow, worker) = (BLOWS[turn % BLOWS.len()], (turn + turn / BLOWS.len()) % NAMES.len());
        let node = three.workers.remove(worker);
        let node = strike(blow, node, &tally).await;
        for front in &three.fronts {
            front.has_available(&node.name).await;
        }
        three.workers.insert(worker, node);
        *blows.entry(blow).or_default() += 1;
        turn += 1;
    }
    more(&tally, BETWEEN).await;
    stop.cancel();
    load.join_all().await;

    let tally = tally.lock().unwrap();
    let begun: Vec<u32> = servers.iter().flat_map(|server| server.book().begun.into_values()).collect();
    println!(
        "measured: {:.0?}, workers {blows:?}: answered {:?}, {} failed, slowest after {:.2?}; {} calls begun for {} of them",
        start.elapsed(),
        tally.answered,
        tally.failed.len(),
        tally.slowest,
        begun.iter().sum::<u32>(),
        tally.answered[&Ask::Chat],
    );
    assert!(tally.failed.is_empty(), "{:#?}", tally.failed);
}

/// Does it, and yields the worker as it is afterwards.
async fn strike(blow: &str, node: Node, tally: &Mutex<Tally>) -> Node {
    match blow {
        "killed" => {
            let (host, plan) = node.kill().await;
            more(tally, BETWEEN).await;
            Node::again(&host, &plan).await
        }
        "hung" => {
            node.process.signal(Signal::STOP);
            sleep(HANG).await;
            node.process.signal(Signal::CONT);
            node
        }
        _ => {
            let (host, plan) = node.plan();
            let exit = node.terminate().await;
            assert_eq!(exit.code, Some(0), "{exit:?}");
            Node::again(&host, &plan).await
        }
    }
}

/// Waits for another `count` answers.
async fn more(tally: &Mutex<Tally>, count: u64) {
    let goal = tally.lock().unwrap().total() + count;
    until("more answers", async || (tally.lock().unwrap().total() >= goal).then_some(())).await;
}

async fn keep_asking(front: SocketAddr, ask: Ask, stop: CancellationToken, tally: Arc<Mutex<Tally>>) {
    let mut requests = JoinSet::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    let mut number = 0;
    while tokio::select! { _ = ticks.tick() => true, () = stop.cancelled() => false } {
        number += 1;
        let (tally, job) = (Arc::clone(&tally), format!("{}-{number}", front.port()));
        requests.spawn(async move {
            let asked = Instant::now();
            let answer = timeout(CLIENT_PATIENCE, once(front, ask, &job)).await.unwrap_or(Err("no answer".to_owned()));
            let mut tally = tally.lock().unwrap();
            tally.slowest = tally.slowest.max(asked.elapsed());
            match answer {
                Ok(()) => *tally.answered.entry(ask).or_default() += 1,
                Err(why) => tally.failed.push(format!("{ask:?} {job}, asked after {:.2?}: {why}", asked - start)),
            }
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

async fn once(front: SocketAddr, ask: Ask, job: &str) -> Result<(), String> {
    let request = match ask {
        Ask::Get => Request::get("/health").body(Full::default()),
        Ask::Chat => {
            let body = r#"{"model":"tiny","max_tokens":8,"messages":[{"role":"user","content":"Tell me a tale."}]}"#;
            let request = Request::post("/v1/chat/completions").header(CONTENT_TYPE, "application/json");
            request.header("x-job", job).body(Full::new(Bytes::from_static(body.as_bytes())))
        }
    };
    let response = client::send(front, request.unwrap()).await?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| format!("body: {error:?}"))?.to_bytes();
    let whole = match ask {
        Ask::Get => r#"{"status":"ok"}"#,
        Ask::Chat => r#""completion_tokens":8"#,
    };
    let body = String::from_utf8_lossy(&body);
    (status == StatusCode::OK && body.contains(whole)).then_some(()).ok_or_else(|| format!("{status}: {body}"))
}
