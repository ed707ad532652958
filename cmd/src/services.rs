//! `p2p-fed services`: what the network offers, and who.

use p2p_fed::api::{Model, Service, Services, Worker};

use crate::{
    ask::Answer,
    table::{Table, bytes, milliseconds, or_dash},
};

/// Names of models that a line has room for.
const MODELS_SHOWN: usize = 3;

impl Answer for Services {
    fn show(&self) -> String {
        if self.services.is_empty() {
            return "no services: nobody in the network offers one\n".to_owned();
        }
        table(&self.services).to_string()
    }

    fn is_news(&self, before: &Self) -> bool {
        self != before
    }
}

pub(crate) fn table(services: &[Service]) -> Table {
    let headings = [
        "SERVICE",
        "PROTOCOL",
        "WORKER",
        "STATE",
        "IN FLIGHT",
        "LOAD",
        "RATE",
        "REQUESTS",
        "FAILURES",
        "P50",
        "P99",
        "WEIGHT",
        "TIER",
        "MODELS",
        "LABELS",
    ];
    let mut table = Table::new(headings);
    for service in services {
        for worker in &service.workers {
            table.row(row(service, worker));
        }
        if service.workers.is_empty() {
            table.row([service.name.clone(), or_dash(protocol(service)), "no worker".to_owned()]);
        }
    }
    table.without_unknown(&["LOAD", "RATE", "TIER", "MODELS", "LABELS"])
}

fn row(service: &Service, worker: &Worker) -> [String; 15] {
    let labels: Vec<_> = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    [
        service.name.clone(),
        or_dash(protocol(service)),
        worker.name.clone(),
        if worker.legacy { format!("{}, legacy", worker.state) } else { worker.state.clone() },
        worker.in_flight.to_string(),
        or_dash(load(worker)),
        or_dash((worker.rate > 0.0).then(|| format!("{}/s", bytes(worker.rate as u64)))),
        worker.requests_total.to_string(),
        worker.failures_total.to_string(),
        or_dash(worker.latency_ms.map(|latency| milliseconds(latency.p50))),
        or_dash(worker.latency_ms.map(|latency| milliseconds(latency.p99))),
        worker.weight.to_string(),
        or_dash((worker.tier > 0).then_some(worker.tier)),
        or_dash(models(&worker.models)),
        labels.join(" "),
    ]
}

/// What is there of all fronts, and of how many at most; nothing where it is not known to differ from what is there of ours.
fn load(worker: &Worker) -> Option<String> {
    let load = worker.load.unwrap_or(worker.in_flight);
    match worker.slots {
        0 => (load != worker.in_flight).then(|| load.to_string()),
        slots => Some(format!("{load}/{slots}")),
    }
}

/// Those in memory, and how many there are beside; where none is in memory, those that it has.
pub(crate) fn models(models: &[Model]) -> Option<String> {
    let is_loaded = models.iter().any(|model| model.loaded);
    let mut shown: Vec<_> =
        models.iter().filter(|model| model.loaded == is_loaded).map(|model| model.name.as_str()).collect();
    shown.truncate(MODELS_SHOWN);
    let others = models.len() - shown.len();
    match (shown.is_empty(), others) {
        (true, _) => None,
        (false, 0) => Some(shown.join(" ")),
        (false, others) => Some(format!("{} +{others}", shown.join(" "))),
    }
}

/// Known once somebody offers the service.
fn protocol(service: &Service) -> Option<&str> {
    (!service.protocol.is_empty()).then_some(&service.protocol)
}
