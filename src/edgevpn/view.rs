//! Nodes of edgevpn's ledger as entries of a view, beside the members' records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::presence::Nominee;
use crate::{
    identity::NodeName,
    ledger::{Entry, NetworkId, NodeId, Protocol, Record, Service, Statement, View},
    tunnel::is_service_name,
};

/// Services shown of one node: as many as a record may have.
const SERVICES: usize = 64;

/// `native`, and the nominees that are no members of it, marked as legacy. None of these has a member's name: a front that is
/// pinned to that name means the member.
pub(super) fn merged(network: NetworkId, revision: u64, native: &View, nominees: &[Nominee]) -> View {
    let others = nominees.iter().filter(|nominee| !native.nodes.contains_key(&nominee.node));
    let taken: BTreeSet<&str> = native.nodes.values().map(|entry| entry.record.statement.name.as_str()).collect();
    let legacy = others.filter_map(|nominee| Some((nominee.node, entry(network, nominee, &taken)?)));
    let nodes: BTreeMap<NodeId, Entry> =
        native.nodes.iter().map(|(node, entry)| (*node, entry.clone())).chain(legacy).collect();
    View { revision, nodes }
}

/// None for one that offers nothing that could be asked for here.
fn entry(network: NetworkId, nominee: &Nominee, taken: &BTreeSet<&str>) -> Option<Entry> {
    let names = nominee.services.iter().filter(|(name, _)| is_service_name(name)).take(SERVICES);
    let services: Vec<_> = names.map(|(name, is_http)| Service::new(name.clone(), protocol(name, *is_http))).collect();
    if services.is_empty() {
        return None;
    }
    let statement = Statement { name: name(nominee, taken), services, ..Statement::default() };
    let record = Record {
        network,
        generation: 0,
        owner: nominee.node,
        seq: 0,
        issued_ms: 0,
        ttl: Duration::ZERO,
        credential: None,
        statement,
    };
    Some(Entry { record: Arc::new(record), fresh: nominee.fresh, quarantined: false, legacy: true })
}

/// LocalAI's instances speak HTTP, its workers a protocol of their own; of other services nothing is known.
fn protocol(name: &str, is_localai: bool) -> Protocol {
    match is_localai && name == "federated" {
        true => Protocol::Http,
        false => Protocol::Tcp,
    }
}

/// A name as a record would have it, so that a front can be pinned to it; without one that is free, the end of its id.
fn name(nominee: &Nominee, taken: &BTreeSet<&str>) -> String {
    let named = nominee.name.as_deref().map(|name| NodeName::clean(name).to_string());
    named.filter(|name| !taken.contains(name.as_str())).unwrap_or_else(|| {
        let id = nominee.node.to_string();
        let end = id.get(id.len().saturating_sub(6)..).unwrap_or_default();
        NodeName::clean(&format!("edgevpn-{end}")).to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nominee(n: u8, name: Option<&str>, services: &[(&str, bool)]) -> Nominee {
        let services = services.iter().map(|(name, localai)| ((*name).to_owned(), *localai)).collect();
        Nominee { node: NodeId::from_bytes([n; 32]), name: name.map(str::to_owned), services, fresh: true }
    }

    #[test]
    fn nominees_become_entries_that_are_marked() {
        let nominees = [
            nominee(1, Some("GPU1-abcDEFghij"), &[("federated", true)]),
            nominee(2, None, &[("ssh", false), ("No!", false)]),
        ];
        let view = merged(NetworkId([0; 16]), 7, &View::default(), &nominees);
        assert_eq!(view.revision, 7);
        let (_, record, service) = view.workers("federated").next().unwrap();
        assert_eq!((record.statement.name.as_str(), service.protocol), ("gpu1-abcdefghij", Protocol::Http));
        let (node, record, service) = view.workers("ssh").next().unwrap();
        assert!(view.nodes[node].legacy);
        assert!(record.statement.name.starts_with("edgevpn-") && service.protocol == Protocol::Tcp);
        assert_eq!(record.statement.services.len(), 1);
    }

    #[test]
    fn a_member_speaks_for_itself_and_one_that_offers_nothing_is_not_shown() {
        let view = merged(NetworkId([0; 16]), 1, &View::default(), &[nominee(1, None, &[("ssh", false)])]);
        let native = View {
            revision: 1,
            nodes: view.nodes.into_iter().map(|(id, e)| (id, Entry { legacy: false, ..e })).collect(),
        };
        let view =
            merged(NetworkId([0; 16]), 2, &native, &[nominee(1, None, &[("web", false)]), nominee(2, None, &[])]);
        assert_eq!(view.nodes.len(), 1);
        assert_eq!(view.workers("ssh").count(), 1);
    }

    #[test]
    fn nobody_of_edgevpns_ledger_takes_a_members_name() {
        let member = merged(NetworkId([0; 16]), 1, &View::default(), &[nominee(1, Some("gpu1"), &[("ssh", false)])]);
        let view = merged(NetworkId([0; 16]), 2, &member, &[nominee(2, Some("GPU1"), &[("ssh", false)])]);
        let named: Vec<_> = view.workers("ssh").map(|(_, record, _)| record.statement.name.as_str()).collect();
        assert_eq!(named[0], "gpu1");
        assert!(named[1].starts_with("edgevpn-"), "{named:?}");
    }
}
