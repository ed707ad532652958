//! What the node says of itself on its control socket: a picture put together when somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use futures::future::BoxFuture;

use super::{Shared, front::Running};
use crate::{
    api::{self, Source},
    balance::EndpointStatus,
    direct,
    ledger::{Entry, NodeId, Service, UnverifiedDecree, View},
    net::Peers,
};

impl Source for Shared {
    fn status(&self) -> api::Status {
        let view = self.gossip.views().borrow().clone();
        let peers = self.net.peers().borrow().clone();
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: self.network.clone(),
            node: api::Node {
                id: self.net.node().to_string(),
                name: self.name.to_string(),
                addresses: self.addresses().iter().map(ToString::to_string).collect(),
                uptime_s: self.started.elapsed().as_secs(),
            },
            ready: !self.draining.load(Ordering::Acquire),
            peers: peers.connected.iter().map(|(node, peer)| peer_of(*node, peer, &view, &self.direct)).collect(),
            services: services(self, &view, &peers),
            fronts: self.fronts.iter().map(Running::report).collect(),
            exports: self.worker.status().into_iter().map(export_of).collect(),
        }
    }

    fn ledger(&self) -> api::Ledger {
        let view = self.gossip.views().borrow().clone();
        let records = view.nodes.iter().map(|(node, entry)| {
            let statement = &entry.record.statement;
            api::Record {
                node: node.to_string(),
                name: statement.name.clone(),
                seq: entry.record.seq,
                fresh: entry.fresh,
                draining: statement.draining,
                leaving: statement.leaving,
                quarantined: entry.quarantined,
                addresses: statement.addresses.clone(),
                services: statement.services.iter().map(|service| service.name.clone()).collect(),
            }
        });
        api::Ledger { revision: view.revision, records: records.collect() }
    }

    fn issued(&self) -> api::Issued {
        let view = self.gossip.views().borrow().clone();
        let member = |(node, entry): (&NodeId, &Entry)| api::Member {
            node: node.to_string(),
            name: entry.record.statement.name.clone(),
            // TODO: the serial of the credential in the record.
            invitation: None,
        };
        api::Issued {
            network: self.network.clone(),
            network_id: api::hex(&self.network_id.0),
            issuer: self.issuer.map(|issuer| api::hex(issuer.as_bytes())),
            node: self.net.node().to_string(),
            // TODO: the decree that the ledger holds.
            decree: None,
            members: view.nodes.iter().map(member).collect(),
        }
    }

    fn decide(&self, signed: Vec<u8>) -> BoxFuture<'_, Result<u64, api::Declined>> {
        Box::pin(async move {
            let issuer = self.issuer.ok_or(api::Declined::Open)?;
            let decree = UnverifiedDecree::decode(&signed)?;
            if decree.decree().network != self.network_id {
                return Err(api::Declined::Elsewhere);
            }
            let _decree = decree.verify(&issuer).map_err(|_| api::Declined::Forged)?;
            // TODO: hand it to the ledger, which says whether a later one is in force.
            Err(api::Declined::Unavailable)
        })
    }
}

fn peer_of(node: NodeId, peer: &crate::net::Peer, view: &View, direct: &direct::Pool) -> api::Peer {
    api::Peer {
        id: node.to_string(),
        name: view.nodes.get(&node).map(|entry| entry.record.statement.name.clone()),
        path: "direct".to_owned(),
        transport: peer.transport.as_str().to_owned(),
        carrier: if direct.is_direct(node) { "direct" } else { "stream" }.to_owned(),
        address: peer.address.to_string(),
        rtt_ms: peer.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
        responsive: peer.responsive,
        clock_ahead_s: peer.clock_ahead_ms as f64 / 1000.0,
    }
}

/// Every service that a fresh node offers or a local front asks for.
fn services(shared: &Shared, view: &View, peers: &Peers) -> Vec<api::Service> {
    let fresh = view.nodes.values().filter(|entry| entry.fresh);
    let mut names: BTreeSet<&str> =
        fresh.flat_map(|entry| entry.record.statement.services.iter().map(|service| service.name.as_str())).collect();
    names.extend(shared.fronts.iter().map(Running::service));
    names.into_iter().map(|name| service(shared, view, peers, name)).collect()
}

fn service(shared: &Shared, view: &View, peers: &Peers, name: &str) -> api::Service {
    let offered: BTreeMap<NodeId, &Service> = view.workers(name).map(|(node, _, service)| (*node, service)).collect();
    let mut endpoints: BTreeMap<NodeId, EndpointStatus> = BTreeMap::new();
    for front in shared.fronts.iter().filter(|front| front.service() == name) {
        endpoints.extend(front.endpoints().into_iter().map(|endpoint| (endpoint.node, endpoint)));
    }
    let nodes: BTreeSet<NodeId> = offered.keys().chain(endpoints.keys()).copied().collect();
    let workers = nodes.into_iter().map(|node| {
        let reachable = node == shared.net.node() || peers.connected.get(&node).is_some_and(|peer| peer.responsive);
        worker(node, view, offered.get(&node).copied(), endpoints.get(&node), reachable)
    });
    let protocol = offered.values().next().map_or_else(String::new, |service| service.protocol.to_string());
    api::Service { name: name.to_owned(), protocol, workers: workers.collect() }
}

fn worker(
    node: NodeId,
    view: &View,
    offered: Option<&Service>,
    endpoint: Option<&EndpointStatus>,
    reachable: bool,
) -> api::Worker {
    let state = match endpoint {
        _ if !reachable => "unreachable".to_owned(),
        Some(endpoint) => endpoint.state.to_string(),
        None => "offered".to_owned(),
    };
    api::Worker {
        node: node.to_string(),
        name: view.nodes.get(&node).map_or_else(String::new, |entry| entry.record.statement.name.clone()),
        state,
        in_flight: endpoint.map_or(0, |endpoint| endpoint.in_flight as u64),
        requests_total: endpoint.map_or(0, |endpoint| endpoint.requests_total),
        failures_total: endpoint.map_or(0, |endpoint| endpoint.failures_total),
        latency_ms: endpoint
            .and_then(|endpoint| endpoint.latency)
            .map(|latency| api::Latency { p50: latency.p50_ms, p99: latency.p99_ms }),
        slots: offered.map_or(0, |service| service.slots),
        weight: offered.map_or(0, |service| service.weight),
        labels: offered.map_or_else(BTreeMap::new, |service| service.labels.clone()),
    }
}

fn export_of(export: crate::worker::ExportStatus) -> api::Export {
    api::Export {
        service: export.service,
        target: export.target.to_string(),
        healthy: export.is_healthy,
        error: export.why_not,
        in_flight: export.in_flight.into(),
        tunnels_total: export.total,
        refused_total: export.refused,
    }
}
