//! Workers and backends that die, hang, leave and return, under 50 GETs a second: no client notices.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    backend::Backend,
    fleet::Fleet,
    load::{Load, Tally},
    machine,
    network::Network,
    nginx::Nginx,
    node::{Node, Plan},
};

const PER_SECOND: u32 = 50;

#[tokio::test]
async fn a_worker_that_is_killed_is_out_within_a_second_and_back_when_restarted() {
    let _machine = machine::alone().await;
    let network = Network::new().await;
    let mut fleet = Fleet::start(&network).await;
    let load = Load::start(fleet.address, PER_SECOND);
    load.more(50).await;

    let worker = fleet.take("nginx");
    let killed = Instant::now();
    let (host, plan) = worker.kill().await;
    fleet.front.lacks("nginx").await;
    let out = killed.elapsed();
    load.more(100).await;

    let restarted = Instant::now();
    let _worker = Node::again(&host, &plan).await;
    fleet.front.has_available("nginx").await;
    let back = restarted.elapsed();
    load.more_of("nginx", 20).await;

    let tally = load.finish().await;
    println!("measured: kill -9: out after {out:.2?}, back {back:.2?} after its restart; {}", told(&tally));
    assert!(out <= Duration::from_secs(1), "it was in rotation for {out:?}");
    none_failed(&tally);
}

#[tokio::test]
async fn a_worker_that_hangs_is_out_within_ten_seconds_and_back_when_it_goes_on() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let fleet = Fleet::start(&network).await;
    let load = Load::start(fleet.address, PER_SECOND);
    load.more(50).await;

    let worker = &fleet.workers[0];
    worker.process.signal(Signal::STOP);
    let stopped = Instant::now();
    fleet.front.lacks("hyper").await;
    let out = stopped.elapsed();
    let before = load.so_far();
    load.more(100).await;
    let after = load.so_far();

    worker.process.signal(Signal::CONT);
    let resumed = Instant::now();
    fleet.front.has_available("hyper").await;
    let back = resumed.elapsed();
    load.more_of("hyper", 20).await;

    let tally = load.finish().await;
    println!("measured: SIGSTOP: out after {out:.2?}, back {back:.2?} after SIGCONT; {}", told(&tally));
    assert!(out <= Duration::from_secs(10), "it was in rotation for {out:?}");
    assert_eq!(after.answered.get("hyper"), before.answered.get("hyper"), "a stopped process answered");
    none_failed(&tally);
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_is_out_at_once() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let mut fleet = Fleet::start(&network).await;
    let load = Load::start(fleet.address, PER_SECOND);
    load.more(50).await;

    let worker = fleet.take("python");
    worker.process.signal(Signal::TERM);
    let told_to_end = Instant::now();
    fleet.front.lacks("python").await;
    let out = told_to_end.elapsed();
    let exit = worker.process.exit().await;
    load.more(100).await;

    let tally = load.finish().await;
    println!("measured: SIGTERM: out after {out:.2?}; {}", told(&tally));
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(out <= Duration::from_secs(1), "it was in rotation for {out:?}");
    none_failed(&tally);
}

#[tokio::test]
async fn a_backend_that_dies_is_withdrawn_and_offered_again() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let front = network.start(Plan::serve("front")).await;
    let steady = Backend::start("hyper").await;
    let (nginx, socket) = Nginx::on_socket(steady.address).await;
    let _hyper = network.start(Plan::expose("hyper", steady.address).join(front.peer())).await;
    let target = format!("unix:{}", socket.display());
    let worker = network.start(Plan::expose("nginx", target).join(front.peer())).await;
    front.has_ready(&["hyper", "nginx"]).await;
    let load = Load::start(front.front().await, PER_SECOND);
    load.more(50).await;

    let home = nginx.stop().await;
    let died = Instant::now();
    front.lacks("nginx").await;
    let out = died.elapsed();
    let export = worker.status().await.exports.remove(0);
    assert!(!export.healthy && export.error.is_some(), "{export:?}");
    worker.process.logs("service not offered").await;

    let restarted = Instant::now();
    let _nginx = Nginx::again(home).await;
    front.has_available("nginx").await;
    let back = restarted.elapsed();
    load.more_of("nginx", 20).await;

    let tally = load.finish().await;
    println!("measured: backend: withdrawn after {out:.2?}, offered {back:.2?} after its restart; {}", told(&tally));
    none_failed(&tally);
}

fn none_failed(tally: &Tally) {
    assert!(tally.failed.is_empty(), "{} of {} failed: {:#?}", tally.failed.len(), tally.total(), tally.failed);
}

fn told(tally: &Tally) -> String {
    format!("{} failed of {}, slowest {:.2?}", tally.failed.len(), tally.total(), tally.slowest)
}
