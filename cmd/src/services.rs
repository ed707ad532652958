//! `p2p-fed services`: what the network offers, and who.

use p2p_fed::api::{Client, Service, Services, Worker, client::Error};

use crate::{
    ask::Answer,
    table::{Table, milliseconds, or_dash},
};

impl Answer for Services {
    async fn of(client: &Client) -> Result<Self, Error> {
        client.services().await
    }

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
        "REQUESTS",
        "FAILURES",
        "P50",
        "P99",
        "WEIGHT",
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
    table
}

fn row(service: &Service, worker: &Worker) -> [String; 11] {
    let labels: Vec<_> = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    [
        service.name.clone(),
        or_dash(protocol(service)),
        worker.name.clone(),
        worker.state.clone(),
        if worker.slots == 0 { worker.in_flight.to_string() } else { format!("{}/{}", worker.in_flight, worker.slots) },
        worker.requests_total.to_string(),
        worker.failures_total.to_string(),
        or_dash(worker.latency_ms.map(|latency| milliseconds(latency.p50))),
        or_dash(worker.latency_ms.map(|latency| milliseconds(latency.p99))),
        worker.weight.to_string(),
        labels.join(" "),
    ]
}

/// Known once somebody offers the service.
fn protocol(service: &Service) -> Option<&str> {
    (!service.protocol.is_empty()).then_some(&service.protocol)
}
