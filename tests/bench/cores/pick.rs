//! A front picks a worker, and is done with one that it picked before: what the balancer costs a request.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use p2p_fed::{
    balance::{Ask, Balancer, Config, Outcome, Policy},
    ledger::{Entry, View},
};

use super::{
    Round,
    fleet::{SERVICE, node, record},
};

pub(super) const TIMES: u32 = 1000;

/// Requests under way at any time.
const IN_FLIGHT: usize = 256;

pub(super) fn round(policy: Policy, workers: u32) -> Round {
    let balancer = Balancer::new(Config { policy, ..Config::new(SERVICE) }, 7);
    let entry = |number| Entry { record: Arc::new(record(number, 1)), fresh: true, quarantined: false, legacy: false };
    let view = View { revision: 1, nodes: (0..workers).map(|number| (node(number), entry(number))).collect() };
    let connected = (0..workers).map(|number| (node(number), number.into())).collect();
    balancer.reconcile(Duration::ZERO, &view, &connected);
    let pick = move |now| balancer.pick(now, &Ask::default()).expect("all workers are there");
    let mut flights: VecDeque<_> = (0..IN_FLIGHT).map(|_| pick(Duration::ZERO)).collect();
    Box::new(move || {
        for ms in 1..=TIMES {
            let now = Duration::from_millis(ms.into());
            flights.push_back(pick(now));
            flights.pop_front().expect("some are in flight").finish(now, Outcome::Ok);
        }
        assert_eq!(flights.len(), IN_FLIGHT);
        Box::new(flights)
    })
}
