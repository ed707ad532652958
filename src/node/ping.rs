//! Round trips that a person asks for: who is meant, and one question to each.

use std::{collections::BTreeSet, io, time::Duration};

use futures::future::join_all;

use super::{Shared, front::Running, report::name_of};
use crate::{
    api::{PINGED_MAX, Ping, Round, Trip, Unpinged, Way},
    ledger::{NodeId, View},
};

/// One round trip to each that is meant. All at once, so that it takes no longer than the slowest.
pub(super) async fn ping(shared: &Shared, asked: Ping) -> Result<Round, Unpinged> {
    let view = shared.gossip.views().borrow().clone();
    let peers = shared.net.peers().borrow().clone();
    let fronts: Vec<_> = shared.fronts.iter().map(Running::service).collect();
    let known = Known {
        view: &view,
        connected: peers.connected.keys().copied().collect(),
        here: shared.net.node(),
        fronts: &fronts,
    };
    let meant = known.meant(&asked)?;
    let patience = Duration::from_millis(asked.patience_ms);
    let trips = meant.into_iter().map(|node| trip(shared, node, name_of(&node, &view), patience));
    Ok(Round { trips: join_all(trips).await })
}

async fn trip(shared: &Shared, node: NodeId, name: Option<String>, patience: Duration) -> Trip {
    let came = tokio::time::timeout(patience, shared.net.round_trip(&node)).await;
    let (time_ms, fault) = match came {
        Ok(Ok(took)) => (Some(took.as_micros() as f64 / 1000.0), None),
        Ok(Err(error)) => (None, Some(fault_of(&error))),
        Err(_elapsed) => (None, Some(format!("no answer within {} ms", patience.as_millis()))),
    };
    // As of now: where the way changed meanwhile, this is the new one.
    let way = shared.net.peers().borrow().connected.get(&node).map(|peer| Way {
        path: peer.path.as_str().to_owned(),
        transport: peer.transport.as_str().to_owned(),
        address: peer.address.to_string(),
        connection: peer.number,
    });
    Trip { node: node.to_string(), name, way, time_ms, fault }
}

fn fault_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotConnected => "not connected".to_owned(),
        io::ErrorKind::Unsupported => "its version answers no pings".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it hung up: the connection ended, or it is asked too often".to_owned()
        }
        _ => error.to_string(),
    }
}

/// What is known here of those who may be meant.
struct Known<'a> {
    view: &'a View,
    connected: BTreeSet<NodeId>,
    here: NodeId,
    fronts: &'a [&'a str],
}

impl Known<'_> {
    /// Who is meant: any node by its id, one by its name, else the workers of a service.
    fn meant(&self, asked: &Ping) -> Result<Vec<NodeId>, Unpinged> {
        let whom = &asked.whom;
        let nodes = if asked.service { BTreeSet::new() } else { self.named(whom) };
        match *nodes.iter().collect::<Vec<_>>() {
            [node] if *node == self.here => Err(Unpinged::Itself(whom.clone())),
            [node] => Ok(vec![*node]),
            [] => self.workers(asked),
            ref several => {
                let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(Unpinged::Several { whom: whom.clone(), ids: ids.join(", ") })
            }
        }
    }

    /// Nodes that go by `whom`. Of several those that are connected: the others may be what a node was before it began anew.
    fn named(&self, whom: &str) -> BTreeSet<NodeId> {
        if let Ok(node) = whom.parse() {
            return [node].into();
        }
        let has_name = |node: &NodeId| {
            self.view.nodes.get(node).is_some_and(|entry| entry.record.statement.name == whom) || node.short() == whom
        };
        let all = self.view.nodes.keys().chain(&self.connected).copied();
        let named: BTreeSet<_> = all.filter(has_name).collect();
        let connected: BTreeSet<_> = named.intersection(&self.connected).copied().collect();
        if connected.is_empty() || named.contains(&self.here) { named } else { connected }
    }

    fn workers(&self, asked: &Ping) -> Result<Vec<NodeId>, Unpinged> {
        let whom = &asked.whom;
        let offering: Vec<_> = self.view.workers(whom).map(|(node, ..)| *node).collect();
        let others: Vec<_> = offering.iter().copied().filter(|node| *node != self.here).take(PINGED_MAX).collect();
        let is_known = !offering.is_empty() || self.fronts.contains(&whom.as_str());
        match (others.is_empty(), is_known, asked.service) {
            (false, ..) => Ok(others),
            (true, true, _) => Err(Unpinged::NoWorker(whom.clone())),
            (true, false, true) => Err(Unpinged::NoService(whom.clone())),
            (true, false, false) => Err(Unpinged::Unknown(whom.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::{Entry, NetworkId, Protocol, Record, Service, Statement};

    const HERE: NodeId = NodeId::from_bytes([9; 32]);

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn view(nodes: &[(NodeId, &str, &[&str])]) -> View {
        let entry = |(owner, name, services): &(NodeId, &str, &[&str])| {
            let services = services.iter().map(|name| Service::new(*name, Protocol::Tcp)).collect();
            let statement = Statement { name: (*name).to_owned(), services, ..Statement::default() };
            let record = Record {
                network: NetworkId([0; 16]),
                generation: 1,
                owner: *owner,
                seq: 1,
                issued_ms: 0,
                ttl: Duration::from_secs(60),
                credential: None,
                statement,
            };
            (*owner, Entry { record: Arc::new(record), fresh: true, quarantined: false, legacy: false })
        };
        View { revision: 1, nodes: nodes.iter().map(entry).collect() }
    }

    fn meant(view: &View, whom: &str, service: bool) -> Result<Vec<NodeId>, Unpinged> {
        let known = Known { view, connected: [node(3)].into(), here: HERE, fronts: &["web"] };
        known.meant(&Ping { whom: whom.to_owned(), service, patience_ms: 1 })
    }

    #[test]
    fn a_node_is_meant_by_its_id_its_short_id_or_its_name_and_a_service_by_its_own() {
        let view = view(&[(node(1), "gpu1", &["llm"]), (node(2), "llm", &["llm"]), (HERE, "here", &["llm", "ssh"])]);
        let all = Ok(vec![node(1), node(2)]);
        assert_eq!(meant(&view, "gpu1", false), Ok(vec![node(1)]));
        assert_eq!(meant(&view, &node(1).short(), false), Ok(vec![node(1)]));
        assert_eq!(meant(&view, &node(7).to_string(), false), Ok(vec![node(7)]), "any node by its id");
        assert_eq!(meant(&view, "llm", false), Ok(vec![node(2)]), "a node goes first");
        assert_eq!(meant(&view, "llm", true), all);
        for whom in ["here", &HERE.to_string()] {
            assert_eq!(meant(&view, whom, false), Err(Unpinged::Itself(whom.to_owned())));
        }
        assert_eq!(meant(&view, "ssh", false), Err(Unpinged::NoWorker("ssh".into())), "only this node offers it");
        assert_eq!(meant(&view, "web", false), Err(Unpinged::NoWorker("web".into())), "a front waits for one");
        assert_eq!(meant(&view, "gpu2", false), Err(Unpinged::Unknown("gpu2".into())));
        assert_eq!(meant(&view, "gpu1", true), Err(Unpinged::NoService("gpu1".into())));
    }

    #[test]
    fn of_several_nodes_with_one_name_one_has_to_be_named() {
        let view = view(&[(node(1), "gpu", &[]), (node(2), "gpu", &[]), (HERE, "gpu", &[])]);
        let ids = [node(1), node(2), HERE].map(|node| node.to_string()).join(", ");
        assert_eq!(meant(&view, "gpu", false), Err(Unpinged::Several { whom: "gpu".into(), ids }));
    }

    #[test]
    fn a_node_that_began_anew_is_the_one_that_is_connected() {
        let view = view(&[(node(1), "gpu", &[]), (node(3), "gpu", &[])]);
        assert_eq!(meant(&view, "gpu", false), Ok(vec![node(3)]));
    }
}
