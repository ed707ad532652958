//! `p2p-fed status`: how the node is, on one page.

use p2p_fed::{
    api::{Export, Front, Status},
    ledger::NodeId,
};

use crate::{
    ask::Answer,
    peers, services,
    table::{Table, or_dash, section, span},
};

impl Answer for Status {
    fn show(&self) -> String {
        let parts = [
            summary(self),
            section("peers", self.peers.is_empty(), || peers::table(&self.peers)),
            section("services", self.services.is_empty(), || services::table(&self.services)),
            section("fronts", self.fronts.is_empty(), || fronts(&self.fronts)),
            section("exports", self.exports.is_empty(), || exports(&self.exports)),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn is_news(&self, before: &Self) -> bool {
        // Time passes; that is no news.
        let mut same_time = before.clone();
        same_time.node.uptime_s = self.node.uptime_s;
        *self != same_time
    }
}

/// A node's id as logs have it.
pub(crate) fn short(id: &str) -> String {
    id.parse::<NodeId>().map_or_else(|_| id.to_owned(), |node| node.short())
}

fn summary(status: &Status) -> String {
    let mut table = Table::default();
    table.row(["network".to_owned(), status.network.clone()]);
    table.row(["node".to_owned(), format!("{} {}", status.node.name, short(&status.node.id))]);
    table.row(["state".to_owned(), if status.ready { "ready" } else { "draining" }.to_owned()]);
    table.row(["uptime".to_owned(), span(status.node.uptime_s)]);
    table.row(["version".to_owned(), status.version.clone()]);
    if let Some(edgevpn) = &status.edgevpn {
        let (listeners, index) = (edgevpn.listeners, edgevpn.index);
        table.row(["edgevpn".to_owned(), format!("{} ledger at {index}, {listeners} listen", edgevpn.form)]);
    }
    for address in &status.node.addresses {
        table.row(["address".to_owned(), address.clone()]);
    }
    table.to_string()
}

fn fronts(fronts: &[Front]) -> Table {
    let mut table = Table::new(["SERVICE", "LISTEN", "POLICY", "MODE", "IN FLIGHT", "QUEUED", "REQUESTS", "DROPPED"]);
    for front in fronts {
        table.row([
            front.service.clone(),
            front.listen.clone(),
            match &front.policy_fault {
                Some(_) => format!("{} (failing)", front.policy),
                None => front.policy.clone(),
            },
            match &front.mode_fault {
                Some(_) => format!("{} (no worker takes it)", front.mode),
                None => front.mode.clone(),
            },
            front.in_flight.to_string(),
            front.queued.to_string(),
            front.requests_total.to_string(),
            or_dash(Some(front.datagrams_dropped.values().sum::<u64>()).filter(|dropped| *dropped > 0)),
        ]);
    }
    table.without_unknown(&["DROPPED"])
}

fn exports(exports: &[Export]) -> Table {
    let mut table = Table::new([
        "SERVICE",
        "TARGET",
        "OFFERED",
        "SERVER",
        "MODELS",
        "SLOTS",
        "IN FLIGHT",
        "TUNNELS",
        "REFUSED",
        "DROPPED",
        "WHY NOT",
    ]);
    for export in exports {
        table.row([
            export.service.clone(),
            export.target.clone(),
            if export.healthy { "yes" } else { "no" }.to_owned(),
            or_dash(export.model_server.as_ref()),
            or_dash(services::models(&export.models)),
            or_dash((export.slots > 0).then_some(export.slots)),
            export.in_flight.to_string(),
            export.tunnels_total.to_string(),
            export.refused_total.to_string(),
            or_dash((export.datagrams_dropped > 0).then_some(export.datagrams_dropped)),
            or_dash(export.error.as_ref()),
        ]);
    }
    table.without_unknown(&["SERVER", "MODELS", "SLOTS", "DROPPED", "WHY NOT"])
}

#[cfg(test)]
mod tests {
    use p2p_fed::api::{Latency, Model, Node, Peer, Service, Worker};

    use super::*;

    fn status() -> Status {
        let id = NodeId::from_bytes([7; 32]).to_string();
        let peer = Peer {
            legacy: false,
            id: id.clone(),
            name: Some("gpu1".into()),
            path: "direct".into(),
            transport: "quic".into(),
            carrier: "stream".into(),
            address: "/ip4/192.0.2.7/udp/4001/quic-v1".into(),
            rtt_ms: Some(0.41),
            responsive: true,
            clock_ahead_s: 0.0,
            offences: [].into(),
        };
        let worker = Worker {
            legacy: false,
            node: id.clone(),
            name: "gpu1".into(),
            state: "ready".into(),
            in_flight: 1,
            load: Some(3),
            requests_total: 12,
            failures_total: 0,
            latency_ms: Some(Latency { p50: 3.1, p99: 9.7 }),
            slots: 4,
            rate: 2048.0,
            tier: 0,
            models: [("a", false), ("b", true)].map(|(name, loaded)| Model { name: name.into(), loaded }).into(),
            weight: 100,
            labels: [("model".to_owned(), "llama".to_owned())].into(),
        };
        let front = Front {
            service: "federated".into(),
            listen: "127.0.0.1:8080".into(),
            policy: "external:unix:s".into(),
            policy_fault: Some("cannot connect".into()),
            mode: "udp".into(),
            mode_fault: Some("no worker takes datagrams".into()),
            requests_total: 12,
            in_flight: 1,
            queued: 2,
            retries_total: 0,
            tokens_read_total: 0,
            tokens_made_total: 0,
            tokens_estimated_total: 0,
            datagrams_dropped: [("queue".to_owned(), 3), ("worker".to_owned(), 2)].into(),
        };
        let export = Export {
            service: "federated".into(),
            target: "127.0.0.1:11434".into(),
            healthy: true,
            error: None,
            model_server: Some("llama.cpp".into()),
            models: vec![Model { name: "qwen3".into(), loaded: true }],
            slots: 4,
            in_flight: 2,
            tunnels_total: 7,
            refused_total: 0,
            datagrams_dropped: 0,
        };
        Status {
            edgevpn: None,
            version: "0.1.0".into(),
            network: "k7qd-93ma".into(),
            node: Node { id, name: "laptop".into(), addresses: vec!["/ip4/192.0.2.1/tcp/1".into()], uptime_s: 75 },
            ready: true,
            peers: vec![peer],
            services: vec![Service { name: "federated".into(), protocol: "http".into(), workers: vec![worker] }],
            fronts: vec![front],
            exports: vec![export],
        }
    }

    #[test]
    fn a_page_for_people() {
        let short = NodeId::from_bytes([7; 32]).short();
        let id = NodeId::from_bytes([7; 32]);
        let page = format!(
            "network  k7qd-93ma\n\
             node     laptop {short}\n\
             state    ready\n\
             uptime   1m15s\n\
             version  0.1.0\n\
             address  /ip4/192.0.2.1/tcp/1\n\
             \n\
             peers\n\
             NAME  PATH    TRANSPORT  CARRIER  RTT    ADDRESS                          NODE\n\
             gpu1  direct  quic       stream   0.4ms  /ip4/192.0.2.7/udp/4001/quic-v1  {id}\n\
             \n\
             services\n\
             SERVICE    PROTOCOL  WORKER  STATE  IN FLIGHT  LOAD  RATE      REQUESTS  FAILURES  P50    P99    WEIGHT  MODELS  LABELS\n\
             federated  http      gpu1    ready  1          3/4   2.0KiB/s  12        0         3.1ms  9.7ms  100     b +1    model=llama\n\
             \n\
             fronts\n\
             SERVICE    LISTEN          POLICY                     MODE                      IN FLIGHT  QUEUED  REQUESTS  DROPPED\n\
             federated  127.0.0.1:8080  external:unix:s (failing)  udp (no worker takes it)  1          2       12        5\n\
             \n\
             exports\n\
             SERVICE    TARGET           OFFERED  SERVER     MODELS  SLOTS  IN FLIGHT  TUNNELS  REFUSED\n\
             federated  127.0.0.1:11434  yes      llama.cpp  qwen3   4      2          7        0\n"
        );
        assert_eq!(status().show(), page);
    }

    #[test]
    fn that_time_passes_is_no_news() {
        let (before, mut now) = (status(), status());
        now.node.uptime_s += 1;
        assert!(!now.is_news(&before));
        now.ready = false;
        assert!(now.is_news(&before));
    }
}
