//! What the node says of itself on its control socket: a picture put together when somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Instant,
};

use futures::future::BoxFuture;

use super::{Shared, checkup::checkup, explain::explain, front::Running, ping::ping};
use crate::{
    api::{self, Source},
    balance::EndpointStatus,
    edgevpn,
    gossip::Account,
    ledger::{Counters, Credential, Entry, Model, NodeId, Service, UnverifiedDecree, View},
    net::{self, Peers},
};

/// The only reason there is, as it is told.
const QUARANTINED: &str = "two different records with one number: its key is used twice";

impl Source for Shared {
    fn status(&self) -> api::Status {
        let view = self.seen.views.borrow().clone();
        let peers = self.seen.peers.borrow().clone();
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
            peers: connected(self, &view, &peers),
            services: services(self, &view, &peers),
            fronts: self.fronts.iter().map(|front| front.report(&view)).collect(),
            exports: self.worker.status().into_iter().map(export_of).collect(),
            edgevpn: self.edgevpn.as_ref().map(|edgevpn| edgevpn_of(&edgevpn.account())),
        }
    }

    fn peers(&self) -> api::Peers {
        let view = self.seen.views.borrow().clone();
        let peers = self.seen.peers.borrow().clone();
        api::Peers { peers: connected(self, &view, &peers), barred: barred(self, &view) }
    }

    fn ledger(&self) -> api::Ledger {
        let view = self.seen.views.borrow().clone();
        let records = view.nodes.iter().map(|(node, entry)| {
            let statement = &entry.record.statement;
            api::Record {
                node: node.to_string(),
                name: statement.name.clone(),
                legacy: entry.legacy,
                seq: entry.record.seq,
                fresh: entry.fresh,
                draining: statement.draining,
                leaving: statement.leaving,
                quarantined: entry.quarantined,
                quarantined_because: entry.quarantined.then(|| QUARANTINED.to_owned()),
                addresses: statement.addresses.clone(),
                services: statement.services.iter().map(|service| service.name.clone()).collect(),
                invitation: entry.record.credential.as_ref().map(|credential| invited(credential, &view)),
            }
        });
        let counters = self.gossip.account().borrow().counters;
        api::Ledger {
            revision: view.revision,
            records: records.collect(),
            traffic: traffic_of(self.net.meter().traffic()),
            refusals: refusals(&counters),
            counters: counters_of(&counters),
        }
    }

    fn explain(&self, wanted: &api::Wanted) -> Result<api::Explained, api::Unexplained> {
        explain(&self.fronts, wanted)
    }

    fn checkup(&self) -> BoxFuture<'_, api::Checkup> {
        Box::pin(checkup(self))
    }

    fn ping(&self, asked: api::Ping) -> BoxFuture<'_, Result<api::Round, api::Unpinged>> {
        Box::pin(ping(self, asked))
    }

    fn issued(&self) -> api::Issued {
        let view = self.gossip.views().borrow().clone();
        let member = |(node, entry): (&NodeId, &Entry)| api::Member {
            node: node.to_string(),
            name: entry.record.statement.name.clone(),
            invitation: entry.record.credential.as_ref().map(|credential| credential.invitation().serial.to_string()),
        };
        api::Issued {
            network: self.network.clone(),
            network_id: api::hex(&self.network_id.0),
            issuer: self.issuer.map(|issuer| api::hex(issuer.as_bytes())),
            node: self.net.node().to_string(),
            decree: self.gossip.edicts().borrow().as_ref().map(|edict| api::InForce::of(&edict.decree)),
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
            let verified = decree.clone().verify(&issuer).map_err(|_| api::Declined::Forged)?;
            self.gossip.decree(decree).await;
            let edicts = self.gossip.edicts();
            let in_force = edicts.borrow().as_ref().map(|edict| edict.decree.rank());
            match in_force {
                Some(rank) if rank == verified.rank() => Ok(verified.decree().number),
                Some((number, _)) => Err(api::Declined::Outdated { number }),
                None => Err(api::Declined::Unavailable),
            }
        })
    }
}

fn connected(shared: &Shared, view: &View, peers: &Peers) -> Vec<api::Peer> {
    let account = shared.gossip.account().borrow().clone();
    peers.connected.iter().map(|(node, peer)| peer_of(*node, peer, view, &account, shared)).collect()
}

fn barred(shared: &Shared, view: &View) -> Vec<api::Barred> {
    let (account, refused) = (shared.gossip.account().borrow().clone(), shared.net.refused().borrow().clone());
    let now = Instant::now();
    let describe = |node: &NodeId, reason: &str, remaining_s| api::Barred {
        id: node.to_string(),
        name: name_of(node, view),
        reason: reason.to_owned(),
        remaining_s,
        offences: offences(node, &account),
        expulsions: account.expulsions.get(node).copied().unwrap_or(0),
    };
    let barred = refused.barred.iter().filter(|(_, bar)| now < bar.until);
    let barred = barred.map(|(node, bar)| describe(node, &bar.why, Some((bar.until - now).as_secs() + 1)));
    barred.chain(refused.banned.iter().map(|node| describe(node, "banned", None))).collect()
}

pub(super) fn name_of(node: &NodeId, view: &View) -> Option<String> {
    view.nodes.get(node).map(|entry| entry.record.statement.name.clone())
}

fn offences(node: &NodeId, account: &Account) -> BTreeMap<String, u64> {
    let counts = account.offences.get(node).into_iter().flatten();
    counts.map(|(offence, count)| (offence.to_string(), *count)).collect()
}

fn traffic_of(traffic: net::Traffic) -> api::Traffic {
    let volume = |net::Volume { messages, bytes }| api::Volume { messages, bytes };
    api::Traffic {
        gossip_published: volume(traffic.published),
        gossip_passed_on: volume(traffic.passed_on),
        gossip_received: volume(traffic.received),
        gossip_dropped: traffic.dropped,
        sync_sent: volume(traffic.sync_sent),
        sync_received: volume(traffic.sync_received),
        tcp_sent_bytes: traffic.tcp_sent,
        tcp_received_bytes: traffic.tcp_received,
        quic_sent_bytes: traffic.quic_sent,
        quic_received_bytes: traffic.quic_received,
    }
}

fn refusals(counters: &Counters) -> Vec<api::Refusal> {
    let all = [
        ("pace", "the owner changes too often", counters.refused_pace),
        ("generation", "of another generation of the token", counters.refused_generation),
        ("date", "first seen, and dated too far from now", counters.refused_date),
        ("sequence", "its number is too high", counters.refused_sequence),
        ("full", "the ledger is full", counters.refused_full),
        ("unfounded", "a lease of a record that is not held", counters.refused_unfounded),
        ("credential", "without a credential of the network's issuer", counters.refused_credential),
        ("role", "it offers more than its credential grants", counters.refused_role),
        ("banned", "the issuer banned the owner", counters.refused_banned),
        ("revoked", "the issuer revoked the owner's invitation", counters.refused_revoked),
        ("expired", "the owner's credential has expired", counters.refused_expired),
        ("rate", "the peer passes on too much", counters.dropped_sender),
        ("invalid", "malformed, forged, or of another network", counters.gossip_rejected),
        ("sessions", "too many syncs at once, or a second one with a peer", counters.sessions_declined),
    ];
    let refusal = |(reason, meaning, count): (&str, &str, u64)| api::Refusal {
        reason: reason.to_owned(),
        meaning: meaning.to_owned(),
        count,
    };
    all.map(refusal).into()
}

fn counters_of(counters: &Counters) -> BTreeMap<String, u64> {
    let all = [
        ("gossip_accepted", counters.gossip_accepted),
        ("gossip_ignored", counters.gossip_ignored),
        ("published", counters.published),
        ("renewed", counters.renewed),
        ("decrees", counters.decrees),
        ("echoes", counters.echoes),
        ("quarantined", counters.quarantined),
        ("sessions_opened", counters.sessions_opened),
        ("sessions_completed", counters.sessions_completed),
        ("sessions_ended", counters.sessions_ended),
        ("synced", counters.synced),
        ("retold", counters.retold),
        ("offences", counters.offences),
        ("expelled", counters.expelled),
    ];
    all.map(|(name, count)| (name.to_owned(), count)).into()
}

fn peer_of(node: NodeId, peer: &net::Peer, view: &View, account: &Account, shared: &Shared) -> api::Peer {
    let legacy = !shared.net.peers().borrow().connected.contains_key(&node);
    let carrier = match shared.direct.is_direct(node) {
        _ if legacy => "edgevpn",
        true => "direct",
        false => "stream",
    };
    api::Peer {
        id: node.to_string(),
        name: name_of(&node, view),
        path: peer.path.as_str().to_owned(),
        transport: peer.transport.as_str().to_owned(),
        carrier: carrier.to_owned(),
        legacy,
        address: peer.address.to_string(),
        rtt_ms: peer.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
        responsive: peer.responsive,
        clock_ahead_s: peer.clock_ahead_ms as f64 / 1000.0,
        offences: offences(&node, account),
    }
}

fn invited(credential: &Credential, view: &View) -> api::Invited {
    let invitation = credential.invitation();
    let with_it = view.nodes.values().filter_map(|entry| entry.record.credential.as_ref());
    let holders = with_it.filter(|other| other.invitation().serial == invitation.serial).count();
    api::Invited {
        serial: invitation.serial.to_string(),
        may: invitation.in_words(),
        expires_unix_s: invitation.expires_unix_s,
        once: invitation.once,
        used_twice: invitation.once && holders > 1,
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
        name: name_of(&node, view).unwrap_or_default(),
        state,
        legacy: view.nodes.get(&node).is_some_and(|entry| entry.legacy),
        in_flight: endpoint.map_or(0, |endpoint| endpoint.in_flight as u64),
        load: endpoint.map(|endpoint| endpoint.load.into()),
        requests_total: endpoint.map_or(0, |endpoint| endpoint.requests_total),
        failures_total: endpoint.map_or(0, |endpoint| endpoint.failures_total),
        latency_ms: endpoint
            .and_then(|endpoint| endpoint.latency)
            .map(|latency| api::Latency { p50: latency.p50_ms, p99: latency.p99_ms }),
        slots: match (endpoint, offered) {
            (Some(endpoint), _) => endpoint.slots,
            (None, offered) => offered.map_or(0, |service| service.slots.into()),
        },
        rate: endpoint.map_or(0.0, |endpoint| endpoint.rate),
        tier: offered.map_or(0, |service| service.tier),
        models: offered.map_or_else(Vec::new, |service| service.models.iter().map(model_of).collect()),
        weight: offered.map_or(0, |service| service.weight),
        labels: offered.map_or_else(BTreeMap::new, |service| service.labels.clone()),
    }
}

fn model_of(model: &Model) -> api::Model {
    api::Model { name: model.name.clone(), loaded: model.loaded }
}

fn export_of(export: crate::worker::ExportStatus) -> api::Export {
    api::Export {
        service: export.service,
        target: export.target.to_string(),
        healthy: export.is_healthy,
        error: export.why_not,
        model_server: export.model_server.map(|kind| kind.to_string()),
        models: export.models.iter().map(model_of).collect(),
        slots: export.slots,
        in_flight: export.in_flight.into(),
        tunnels_total: export.total,
        refused_total: export.refused,
        datagrams_dropped: export.dropped,
    }
}

fn edgevpn_of(account: &edgevpn::Account) -> api::Edgevpn {
    let dropped = [
        ("forged", account.forged),
        ("replayed", account.replayed),
        ("sealed", account.sealed),
        ("unread", account.unread),
        ("refused", account.refused),
    ];
    api::Edgevpn {
        index: account.index,
        form: if account.is_signed { "signed" } else { "legacy" }.to_owned(),
        listeners: account.listeners as u64,
        streams_total: account.streams,
        heard_total: account.heard,
        published_total: account.published,
        passed_on_total: account.passed_on,
        dropped: dropped
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| (why.to_owned(), count))
            .collect(),
    }
}
