//! What must hold of every table, and what people would notice first if it did not.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::ledger::{Entry, NetworkId, NodeId, Protocol, Record, Service, Statement, View};

fn node(id: u8) -> NodeId {
    NodeId::from_bytes([id; 32])
}

fn record(id: u8) -> Record {
    let service = Service::new("llm", Protocol::Http);
    Record {
        network: NetworkId([0; 16]),
        generation: 0,
        owner: node(id),
        seq: 1,
        issued_ms: 0,
        ttl: Duration::from_secs(60),
        statement: Statement { name: format!("w{id}"), services: vec![service], ..Statement::default() },
        credential: None,
    }
}

fn view_of(revision: u64, records: impl IntoIterator<Item = Record>) -> View {
    let entry = |record: Record| {
        (record.owner, Entry { record: Arc::new(record), fresh: true, quarantined: false, legacy: false })
    };
    View { revision, nodes: records.into_iter().map(entry).collect() }
}

fn view(revision: u64, ids: &[u8]) -> View {
    view_of(revision, ids.iter().copied().map(record))
}

fn connected(ids: &[u8]) -> Connected {
    ids.iter().map(|id| (node(*id), u64::from(*id))).collect()
}

fn balancer(policy: Policy) -> Balancer {
    Balancer::new(Config { policy, ..Config::new("llm") }, 7)
}

/// A front that has these workers since time zero.
fn fleet(policy: Policy, ids: &[u8]) -> Balancer {
    let balancer = balancer(policy);
    balancer.reconcile(Duration::ZERO, &view(1, ids), &connected(ids));
    balancer
}

fn status(balancer: &Balancer, now: Duration, id: u8) -> EndpointStatus {
    balancer.endpoints(now).into_iter().find(|endpoint| endpoint.node == node(id)).expect("listed")
}

fn counts(balancer: &Balancer, now: Duration) -> Vec<u64> {
    balancer.endpoints(now).iter().map(|endpoint| endpoint.requests_total).collect()
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn fail(balancer: &Balancer, now: Duration, id: u8, outcome: Outcome) {
    let others: Vec<_> =
        balancer.endpoints(now).iter().map(|endpoint| endpoint.node).filter(|n| *n != node(id)).collect();
    balancer.pick(now, &Ask { tried: others, ..Ask::default() }).expect("listed").finish(now, outcome);
}

#[test]
fn three_hundred_at_once_over_three_fresh_workers_go_a_hundred_each() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2, 3]);
    let flights: Vec<_> = (0..300).map(|_| balancer.pick(secs(0), &Ask::default()).unwrap()).collect();
    assert!(balancer.endpoints(secs(0)).iter().all(|e| e.in_flight == 100 && e.state == State::Ready));
    drop(flights);
    assert!(balancer.endpoints(secs(0)).iter().all(|e| e.in_flight == 0 && e.requests_total == 100));
}

#[test]
fn one_after_another_the_total_decides() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2, 3]);
    for _ in 0..300 {
        balancer.pick(secs(1), &Ask::default()).unwrap().finish(secs(1), Outcome::Ok);
    }
    assert_eq!(counts(&balancer, secs(1)), [100, 100, 100]);
}

#[test]
fn two_hundred_workers_are_used_evenly() {
    let ids: Vec<u8> = (1..=200).collect();
    let least_used = fleet(Policy::LeastUsed, &ids);
    let flights: Vec<_> = (0..2000).map(|_| least_used.pick(secs(1), &Ask::default()).unwrap()).collect();
    assert!(least_used.endpoints(secs(1)).iter().all(|endpoint| endpoint.in_flight == 10));
    flights.into_iter().for_each(|flight| flight.finish(secs(1), Outcome::Ok));
    for _ in 0..1000 {
        least_used.pick(secs(2), &Ask::default()).unwrap().finish(secs(2), Outcome::Ok);
    }
    assert!(counts(&least_used, secs(2)).iter().all(|count| *count == 15));

    const DRAWS: u32 = 6000;
    let random = fleet(Policy::Random, &ids);
    for _ in 0..DRAWS {
        random.pick(secs(1), &Ask::default()).unwrap().finish(secs(1), Outcome::Ok);
    }
    let expected = f64::from(DRAWS) / 200.0;
    let chi2: f64 = counts(&random, secs(1)).iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    // The 0.999 quantile of chi-squared with 199 degrees of freedom.
    assert!(chi2 < 266.4, "{chi2}");
}

#[test]
fn random_is_uniform() {
    const DRAWS: u32 = 12_000;
    let balancer = fleet(Policy::Random, &[1, 2, 3, 4]);
    for _ in 0..DRAWS {
        balancer.pick(secs(0), &Ask::default()).unwrap().finish(secs(0), Outcome::Ok);
    }
    let expected = f64::from(DRAWS) / 4.0;
    let chi2: f64 = counts(&balancer, secs(0)).iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    // The 0.999 quantile of chi-squared with three degrees of freedom.
    assert!(chi2 < 16.27, "{chi2}");
    assert!(chi2 > 0.0, "exactly equal counts are no draw");
}

#[test]
fn weights_shift_both_policies() {
    for policy in [Policy::LeastUsed, Policy::Random] {
        let balancer = balancer(policy);
        let mut heavy = record(1);
        heavy.statement.services[0].weight = 200;
        let mut light = record(2);
        light.statement.services[0].weight = 50;
        balancer.reconcile(secs(0), &view_of(1, [heavy, light]), &connected(&[1, 2]));
        let flights: Vec<_> = (0..500).map(|_| balancer.pick(secs(0), &Ask::default()).unwrap()).collect();
        let counts = counts(&balancer, secs(0));
        assert!((370..=430).contains(&counts[0]) && counts[0] + counts[1] == 500, "{policy}: {counts:?}");
        drop(flights);
    }
}

#[test]
fn an_idle_worker_is_picked_whatever_its_history() {
    // A cumulative count starves it; a zero count read as "unset" skips it.
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    let _busy: Vec<_> =
        (0..50).map(|_| balancer.pick(secs(0), &Ask { tried: vec![node(2)], ..Ask::default() }).unwrap()).collect();
    for _ in 0..100 {
        let flight = balancer.pick(secs(1), &Ask::default()).unwrap();
        assert_eq!(flight.node(), node(2));
        flight.finish(secs(1), Outcome::Ok);
    }
}

#[test]
fn a_slow_worker_is_no_sinkhole() {
    // Worker 1 never finishes anything, so a count of completed requests would send it everything.
    let balancer = fleet(Policy::LeastUsed, &[1, 2, 3]);
    let mut stuck = Vec::new();
    for i in 0..1000 {
        let now = Duration::from_millis(i);
        let flight = balancer.pick(now, &Ask::default()).unwrap();
        if flight.node() == node(1) { stuck.push(flight) } else { flight.finish(now, Outcome::Ok) }
    }
    assert_eq!(stuck.len(), 1);
}

#[test]
fn a_worker_that_fails_fast_is_no_sinkhole() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2, 3]);
    let mut failures = 0;
    for i in 0..1000 {
        let now = Duration::from_millis(10 * i);
        let flight = balancer.pick(now, &Ask::default()).unwrap();
        let bad = flight.node() == node(1);
        failures += u32::from(bad);
        flight.finish(now, if bad { Outcome::Failed } else { Outcome::Ok });
    }
    assert!((5..=10).contains(&failures), "{failures} of 1000");
}

#[test]
fn a_newcomer_takes_its_share_without_being_flooded() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    for _ in 0..1000 {
        balancer.pick(secs(5), &Ask::default()).unwrap().finish(secs(5), Outcome::Ok);
    }
    balancer.reconcile(secs(20), &view(2, &[1, 2, 3]), &connected(&[1, 2, 3]));
    assert_eq!(status(&balancer, secs(20), 3).state, State::Warming);
    let burst = |now: Duration| {
        let flights: Vec<_> = (0..210).map(|_| balancer.pick(now, &Ask::default()).unwrap()).collect();
        let share = flights.iter().filter(|flight| flight.node() == node(3)).count();
        drop(flights);
        share
    };
    assert!((8..=12).contains(&burst(secs(20))), "a tenth of a share at first");
    assert!((40..=50).contains(&burst(secs(25))), "about half a share half way");
    assert_eq!(status(&balancer, secs(30), 3).state, State::Ready);
    assert_eq!(burst(secs(30)), 70);
    // And with nothing else in flight it does not draw everything until its total has caught up.
    let streak = (0..30).filter(|_| balancer.pick(secs(31), &Ask::default()).unwrap().node() == node(3)).count();
    assert!((9..=11).contains(&streak), "{streak} of 30");
}

/// It got nothing at all before it was ready while the others were idle: one in flight on it would have been ten on them.
#[test]
fn a_newcomer_takes_its_share_of_a_trickle() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    balancer.reconcile(secs(20), &view(2, &[1, 2, 3]), &connected(&[1, 2, 3]));
    let trickle = |now: Duration| {
        let picks = (0..210).map(|_| balancer.pick(now, &Ask::default()).unwrap());
        let mut share = 0;
        for flight in picks {
            share += usize::from(flight.node() == node(3));
            flight.finish(now, Outcome::Ok);
        }
        share
    };
    assert!((8..=12).contains(&trickle(secs(20))), "a tenth of a share at first");
    assert!((40..=50).contains(&trickle(secs(25))), "about half a share half way");
    assert!((68..=72).contains(&trickle(secs(30))), "its share once ready");
}

#[test]
fn a_worker_back_from_ejection_does_not_draw_everything() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2, 3]);
    (0..5).for_each(|_| fail(&balancer, secs(0), 1, Outcome::Failed));
    for _ in 0..400 {
        balancer.pick(secs(1), &Ask::default()).unwrap().finish(secs(1), Outcome::Ok);
    }
    let before = status(&balancer, secs(1), 1).requests_total;
    assert_eq!(before, 5);
    for _ in 0..30 {
        balancer.pick(secs(6), &Ask::default()).unwrap().finish(secs(6), Outcome::Ok);
    }
    assert_eq!(status(&balancer, secs(6), 1).requests_total - before, 10);
}

#[test]
fn an_unreachable_worker_is_left_out_for_a_growing_while_and_returns() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    fail(&balancer, secs(1), 1, Outcome::Unreachable);
    assert_eq!(status(&balancer, secs(1), 1).state, State::Ejected);
    for _ in 0..10 {
        assert_eq!(balancer.pick(Duration::from_millis(1249), &Ask::default()).unwrap().node(), node(2));
    }
    assert_eq!(status(&balancer, Duration::from_millis(1250), 1).state, State::Ready);
    // One at a time until it has answered.
    let flights: Vec<_> = (0..10).map(|_| balancer.pick(secs(2), &Ask::default()).unwrap()).collect();
    assert_eq!(flights.iter().filter(|flight| flight.node() == node(1)).count(), 1);
    for mut flight in flights {
        flight.answered(secs(2));
    }
    let flights: Vec<_> = (0..10).map(|_| balancer.pick(secs(2), &Ask::default()).unwrap()).collect();
    assert_eq!(flights.iter().filter(|flight| flight.node() == node(1)).count(), 5);
}

#[test]
fn a_new_connection_brings_an_unreachable_worker_back_at_once() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    (0..8).for_each(|i| fail(&balancer, secs(60 * i), 1, Outcome::Unreachable));
    fail(&balancer, secs(421), 1, Outcome::Unreachable);
    assert_eq!(status(&balancer, secs(421), 1).state, State::Ejected);
    balancer.reconcile(secs(421), &view(1, &[1, 2]), &connected(&[1, 2]));
    assert_eq!(status(&balancer, secs(421), 1).state, State::Ejected, "the same connection proves nothing");
    let back: Connected = [(node(1), 99), (node(2), 2)].into();
    balancer.reconcile(secs(421), &view(1, &[1, 2]), &back);
    assert_eq!(status(&balancer, secs(421), 1).state, State::Ready);
}

#[test]
fn more_than_half_failing_means_use_all() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2, 3]);
    (0..5).for_each(|_| fail(&balancer, secs(0), 1, Outcome::Failed));
    let picks = |n: usize| {
        let flights: Vec<_> = (0..n).map(|_| balancer.pick(secs(1), &Ask::default()).unwrap()).collect();
        [1, 2, 3].map(|id| flights.iter().filter(|flight| flight.node() == node(id)).count())
    };
    assert_eq!(picks(30), [0, 15, 15]);
    (0..5).for_each(|_| fail(&balancer, secs(0), 2, Outcome::Failed));
    assert_eq!(picks(30), [10, 10, 10]);
}

#[test]
fn with_nobody_available_the_least_bad_is_used() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    fail(&balancer, secs(0), 1, Outcome::Unreachable);
    fail(&balancer, Duration::from_millis(100), 2, Outcome::Unreachable);
    let now = Duration::from_millis(101);
    assert_eq!(balancer.pick(now, &Ask::default()).unwrap().node(), node(1), "its ejection ends first");
    assert_eq!(balancer.pick(now, &Ask { tried: vec![node(1)], ..Ask::default() }).unwrap().node(), node(2));
    assert_eq!(
        balancer.pick(now, &Ask { tried: vec![node(1), node(2)], ..Ask::default() }).unwrap_err(),
        NoWorker::AllTried
    );
}

#[test]
fn unconnected_workers_come_last_unless_all_are() {
    let balancer = balancer(Policy::LeastUsed);
    balancer.reconcile(secs(0), &view(1, &[1, 2, 3]), &connected(&[2]));
    assert!(balancer.has_worker());
    let flights: Vec<_> = (0..9).map(|_| balancer.pick(secs(0), &Ask::default()).unwrap()).collect();
    assert!(flights.iter().all(|flight| flight.node() == node(2)));
    assert_ne!(balancer.pick(secs(0), &Ask { tried: vec![node(2)], ..Ask::default() }).unwrap().node(), node(2));
    balancer.reconcile(secs(0), &view(1, &[1, 2, 3]), &connected(&[]));
    assert!(!balancer.has_worker());
    let cut_off: Vec<_> = (0..9).map(|_| balancer.pick(secs(0), &Ask::default()).unwrap()).collect();
    assert!([1, 3].iter().all(|id| cut_off.iter().any(|flight| flight.node() == node(*id))));
}

#[test]
fn a_full_worker_rests_for_a_moment_and_a_declining_one_until_it_says_more() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    fail(&balancer, secs(0), 1, Outcome::Full);
    assert_eq!(status(&balancer, secs(0), 1).state, State::Ready);
    assert_eq!(status(&balancer, secs(0), 1).failures_total, 0);
    assert_eq!(balancer.pick(Duration::from_millis(99), &Ask::default()).unwrap().node(), node(2));
    assert_eq!(
        balancer.pick(Duration::from_millis(100), &Ask { tried: vec![node(2)], ..Ask::default() }).unwrap().node(),
        node(1)
    );
    fail(&balancer, secs(1), 1, Outcome::Declined);
    let two: Vec<_> = (0..4).map(|_| balancer.pick(Duration::from_millis(1999), &Ask::default()).unwrap()).collect();
    assert!(two.iter().all(|flight| flight.node() == node(2)));
    balancer.reconcile(Duration::from_millis(1999), &view(2, &[1, 2]), &connected(&[1, 2]));
    assert_eq!(balancer.pick(Duration::from_millis(1999), &Ask::default()).unwrap().node(), node(1));
}

#[test]
fn a_worker_gets_no_more_than_its_slots_while_others_have_some() {
    let balancer = balancer(Policy::LeastUsed);
    let mut small = record(1);
    small.statement.services[0].slots = 2;
    balancer.reconcile(secs(0), &view_of(1, [small, record(2)]), &connected(&[1, 2]));
    let flights: Vec<_> = (0..20).map(|_| balancer.pick(secs(0), &Ask::default()).unwrap()).collect();
    assert_eq!(flights.iter().filter(|flight| flight.node() == node(1)).count(), 2);
}

#[test]
fn a_draining_worker_gets_nothing_and_stays_until_its_work_ends() {
    let balancer = fleet(Policy::LeastUsed, &[1, 2]);
    let flight = balancer.pick(secs(0), &Ask { tried: vec![node(2)], ..Ask::default() }).unwrap();
    let mut draining = record(1);
    draining.statement.draining = true;
    balancer.reconcile(secs(1), &view_of(2, [draining, record(2)]), &connected(&[1, 2]));
    assert_eq!(status(&balancer, secs(1), 1).state, State::Draining);
    assert_eq!(balancer.way_to(secs(1), node(1)), None);
    assert_eq!(
        balancer.pick(secs(1), &Ask { tried: vec![node(2)], ..Ask::default() }).unwrap_err(),
        NoWorker::AllTried
    );
    balancer.reconcile(secs(1), &view(3, &[2]), &connected(&[1, 2]));
    assert_eq!(status(&balancer, secs(1), 1).state, State::Draining);
    flight.finish(secs(2), Outcome::Ok);
    assert!(balancer.endpoints(secs(2)).iter().all(|endpoint| endpoint.node != node(1)));
}

#[test]
fn an_endpoint_that_comes_back_while_working_keeps_its_counters() {
    let balancer = fleet(Policy::LeastUsed, &[1]);
    let flight = balancer.pick(secs(0), &Ask::default()).unwrap();
    balancer.reconcile(secs(1), &view(2, &[]), &connected(&[1]));
    assert_eq!(balancer.pick(secs(1), &Ask::default()).unwrap_err(), NoWorker::NotOffered);
    balancer.reconcile(secs(2), &view(3, &[1]), &connected(&[1]));
    let back = status(&balancer, secs(2), 1);
    assert_eq!((back.state, back.in_flight, back.requests_total), (State::Ready, 1, 1));
    drop(flight);
}

#[test]
fn an_older_view_is_ignored_and_its_connections_are_not() {
    let balancer = balancer(Policy::LeastUsed);
    balancer.reconcile(secs(0), &view(5, &[1, 2]), &connected(&[]));
    balancer.reconcile(secs(0), &view(4, &[1]), &connected(&[2]));
    assert_eq!(balancer.endpoints(secs(0)).len(), 2);
    assert!(status(&balancer, secs(0), 2).connected);
}

#[test]
fn a_pin_leaves_the_others_out() {
    for pin in [Pin::Node(node(2)), Pin::Name("w2".into())] {
        let config = Config { pin: Some(pin), ..Config::new("llm") };
        let balancer = Balancer::new(config, 7);
        balancer.reconcile(secs(0), &view(1, &[1, 2, 3]), &connected(&[1, 2, 3]));
        assert_eq!(balancer.pick(secs(0), &Ask::default()).unwrap().node(), node(2));
        assert_eq!(
            balancer.pick(secs(0), &Ask { tried: vec![node(2)], ..Ask::default() }).unwrap_err(),
            NoWorker::AllTried
        );
        balancer.reconcile(secs(0), &view(2, &[1, 3]), &connected(&[1, 3]));
        assert_eq!(balancer.pick(secs(0), &Ask::default()).unwrap_err(), NoWorker::NotOffered);
    }
}

#[test]
fn whoever_waits_for_a_worker_is_told() {
    let balancer = balancer(Policy::LeastUsed);
    let mut watch = balancer.watch();
    assert!(!*watch.borrow_and_update());
    balancer.reconcile(secs(0), &view(1, &[1]), &connected(&[1]));
    assert!(watch.has_changed().unwrap());
    assert!(*watch.borrow_and_update());
    balancer.reconcile(secs(0), &view(2, &[1]), &connected(&[1]));
    assert!(!watch.has_changed().unwrap(), "nothing new");
}

#[test]
fn equal_seeds_and_calls_give_equal_picks() {
    let run = || {
        let balancer = fleet(Policy::Random, &[1, 2, 3]);
        (0..50).map(|_| balancer.pick(secs(0), &Ask::default()).unwrap().node()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn latency_is_the_time_to_the_answer_not_to_the_end() {
    let balancer = fleet(Policy::LeastUsed, &[1]);
    let mut flight = balancer.pick(secs(1), &Ask::default()).unwrap();
    flight.answered(Duration::from_millis(1250));
    flight.finish(secs(900), Outcome::Ok);
    let expected = Some(Latency { p50_ms: 250.0, p99_ms: 250.0 });
    assert_eq!(status(&balancer, secs(900), 1).latency, expected);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    View { offered: u8, draining: u8 },
    Connect { up: u8, number: u64 },
    Pick { tried: u8 },
    Answer(usize),
    Finish(usize, Outcome),
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(vec![
        Outcome::Ok,
        Outcome::Failed,
        Outcome::Unreachable,
        Outcome::Full,
        Outcome::Declined,
    ]);
    prop_oneof![
        2 => (0..8000u64).prop_map(Step::Wait),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(offered, draining)| Step::View { offered, draining: draining & offered }),
        1 => (any::<u8>(), 0..3u64).prop_map(|(up, number)| Step::Connect { up, number }),
        8 => any::<u8>().prop_map(|tried| Step::Pick { tried: tried & 0b11 }),
        2 => any::<usize>().prop_map(Step::Answer),
        6 => (any::<usize>(), outcome).prop_map(|(index, outcome)| Step::Finish(index, outcome)),
        2 => any::<usize>().prop_map(Step::Cancel),
    ]
}

fn bits(mask: u8) -> impl Iterator<Item = u8> {
    (0..5).filter(move |id| mask & (1 << id) != 0)
}

proptest! {
    #[test]
    fn whatever_happens_the_table_keeps_its_promises(
        steps in prop::collection::vec(step(), 1..120),
        seed: u64,
        random: bool,
    ) {
        let policy = if random { Policy::Random } else { Policy::LeastUsed };
        let balancer = Balancer::new(Config { policy, ..Config::new("llm") }, seed);
        let mut now = Duration::ZERO;
        let mut revision = 0;
        let mut newest = view(0, &[]);
        let mut up = Connected::new();
        let (mut offered, mut draining) = (0u8, 0u8);
        let mut flights: Vec<InFlight> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::View { offered: mask, draining: slow } => {
                    (offered, draining) = (mask, slow);
                    revision += 1;
                    newest = view_of(revision, bits(mask).map(|id| {
                        let mut record = record(id);
                        record.statement.draining = slow & (1 << id) != 0;
                        record
                    }));
                    balancer.reconcile(now, &newest, &up);
                }
                Step::Connect { up: mask, number } => {
                    up = bits(mask).map(|id| (node(id), number)).collect();
                    balancer.reconcile(now, &newest, &up);
                }
                Step::Pick { tried } => {
                    let tried: Vec<_> = bits(tried).map(node).collect();
                    let open: Vec<_> = bits(offered & !draining).map(node).filter(|n| !tried.contains(n)).collect();
                    match balancer.pick(now, &Ask { tried: tried.clone(), ..Ask::default() }) {
                        Ok(flight) => {
                            prop_assert!(open.contains(&flight.node()), "picked one that is tried, draining or gone");
                            flights.push(flight);
                        }
                        Err(_) => prop_assert!(open.is_empty(), "somebody untried was left"),
                    }
                }
                Step::Answer(index) if !flights.is_empty() => {
                    let index = index % flights.len();
                    flights[index].answered(now);
                }
                Step::Finish(index, outcome) if !flights.is_empty() => {
                    flights.swap_remove(index % flights.len()).finish(now, outcome);
                }
                Step::Cancel(index) if !flights.is_empty() => drop(flights.swap_remove(index % flights.len())),
                Step::Answer(_) | Step::Finish(..) | Step::Cancel(_) => {}
            }
            let endpoints = balancer.endpoints(now);
            for endpoint in &endpoints {
                let living = flights.iter().filter(|flight| flight.node() == endpoint.node).count();
                prop_assert_eq!(endpoint.in_flight, living);
                let listed = bits(offered).any(|id| node(id) == endpoint.node);
                prop_assert!(listed || endpoint.state == State::Draining && living > 0);
            }
            for flight in &flights {
                prop_assert!(endpoints.iter().any(|e| e.node == flight.node()), "an endpoint left its work behind");
            }
            prop_assert!(bits(offered).all(|id| endpoints.iter().any(|e| e.node == node(id))));
        }
        drop(flights);
        prop_assert!(balancer.endpoints(now).iter().all(|endpoint| endpoint.in_flight == 0));
    }

    #[test]
    fn least_used_keeps_equal_idle_endpoints_within_one(workers in 1..8u8, picks in 1..200usize, at_once: bool, seed: u64) {
        let ids: Vec<_> = (0..workers).collect();
        let config = Config::new("llm");
        let balancer = Balancer::new(config, seed);
        balancer.reconcile(Duration::ZERO, &view(1, &ids), &connected(&ids));
        let mut flights = Vec::new();
        for _ in 0..picks {
            let flight = balancer.pick(Duration::ZERO, &Ask::default()).unwrap();
            if at_once { flights.push(flight) } else { flight.finish(Duration::ZERO, Outcome::Ok) }
            let counts = counts(&balancer, Duration::ZERO);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }
}
