//! Whose company this node keeps, beside the neighbours that the network picks for it.
//!
//! **Wanted** are the workers that its fronts may pick; the network dials them, and looks often whether they live.
//!
//! **Kept** are members that may have a front, where this node offers something and they cannot dial it: behind a router,
//! it has to dial them. It cannot know who has a front, nor who can dial whom. It goes by who has dialled it: if nobody has
//! within a minute, it keeps everybody; if only its own network has, everybody who has an address outside of it. A node
//! that can be dialled is found out at once, because others pick it.

use std::{collections::BTreeSet, time::Duration};

use libp2p::Multiaddr;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Seen;
use crate::{
    balance,
    ledger::{NodeId, View},
    net::{Net, Path, Peers, is_lan},
    worker::Worker,
};

/// How long others have to dial this node, from its first connection on. They pick it as soon as its record arrives.
const PICKED_WITHIN: Duration = Duration::from_secs(60);

/// Who dialled this node since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dialled {
    from_near: bool,
    from_afar: bool,
}

/// Tells the network, until `stop`.
pub(super) async fn keep(
    fronts: Vec<balance::Config>,
    worker: Worker,
    net: Net,
    seen: Seen,
    stop: CancellationToken,
) -> &'static str {
    let (Seen { mut views, .. }, mut peers, mut offers) = (seen, net.peers(), worker.offers());
    let mut dialled = Dialled::default();
    let mut patient_until = None;
    let (mut wanted, mut kept) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let view = views.borrow_and_update().clone();
        let now = peers.borrow_and_update().clone();
        let is_worker = !offers.borrow_and_update().is_empty();
        dialled.note(&now);
        if !now.connected.is_empty() {
            patient_until.get_or_insert_with(|| Instant::now() + PICKED_WITHIN);
        }
        let is_patient = patient_until.is_none_or(|until| Instant::now() < until);
        let now_wanted = workers_of(&fronts, &view);
        if now_wanted != wanted {
            net.want(now_wanted.iter().copied()).await;
            wanted = now_wanted;
        }
        let now_kept = if is_worker && !is_patient { dialled.cannot_dial(&view) } else { BTreeSet::new() };
        if now_kept != kept {
            net.keep(now_kept.iter().copied()).await;
            kept = now_kept;
        }
        let impatient = patient_until.filter(|_| is_patient);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = views.changed() => {}
            Ok(()) = peers.changed() => {}
            Ok(()) = offers.changed() => {}
            () = until(impatient) => {}
            else => {
                // Ledger and network end when the node stops.
                stop.cancelled().await;
                break;
            }
        }
    }
    "company"
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Every worker that the fronts may pick.
fn workers_of(fronts: &[balance::Config], view: &View) -> BTreeSet<NodeId> {
    let workers = fronts.iter().flat_map(|front| {
        let may_pick = |record| front.pin.as_ref().is_none_or(|pin| pin.allows(record));
        view.workers(&front.service).filter(move |(_, record, _)| may_pick(record)).map(|(node, ..)| *node)
    });
    workers.collect()
}

impl Dialled {
    fn note(&mut self, peers: &Peers) {
        // Who came by a relay or through a punched NAT did not dial it.
        for peer in peers.connected.values().filter(|peer| peer.path == Path::Direct && !peer.dialled) {
            match is_lan(&peer.address) {
                true => self.from_near = true,
                false => self.from_afar = true,
            }
        }
    }

    /// Members that can be dialled and, as far as is known, cannot dial this node.
    fn cannot_dial(self, view: &View) -> BTreeSet<NodeId> {
        let is_afar = |text: &String| text.parse::<Multiaddr>().is_ok_and(|address| !is_lan(&address));
        let others = view.nodes.iter().filter(|(_, entry)| entry.fresh && !entry.record.statement.leaving);
        let unable = others.filter(|(_, entry)| {
            let addresses = &entry.record.statement.addresses;
            match (self.from_near, self.from_afar) {
                (_, true) => false,
                (true, false) => addresses.iter().any(is_afar),
                (false, false) => !addresses.is_empty(),
            }
        });
        unable.map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::{Entry, NetworkId, Record, Service, Statement};

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn view(nodes: &[(u8, &str, &[&str])]) -> View {
        let entry = |(n, address, services): &(u8, &str, &[&str])| {
            let services = services.iter().map(|name| Service::new(*name, crate::ledger::Protocol::Tcp));
            let statement = Statement {
                name: format!("n{n}"),
                addresses: vec![(*address).to_owned()],
                services: services.collect(),
                ..Statement::default()
            };
            let record = Record {
                network: NetworkId([0; 16]),
                generation: 1,
                owner: node(*n),
                seq: 1,
                issued_ms: 0,
                ttl: Duration::from_secs(60),
                credential: None,
                statement,
            };
            (node(*n), Entry { record: Arc::new(record), fresh: true, quarantined: false, legacy: false })
        };
        View { revision: 1, nodes: nodes.iter().map(entry).collect() }
    }

    #[test]
    fn the_workers_that_a_front_may_pick_are_wanted() {
        let front = |pin: Option<&str>| balance::Config {
            pin: pin.map(|pin| pin.parse().unwrap()),
            ..balance::Config::new("llm")
        };
        let view = view(&[(1, "/ip4/10.0.0.1/tcp/1", &["llm"]), (2, "/ip4/10.0.0.2/tcp/1", &["llm", "ssh"])]);
        assert_eq!(workers_of(&[front(None)], &view), [node(1), node(2)].into());
        assert_eq!(workers_of(&[front(Some("n2"))], &view), [node(2)].into());
        assert_eq!(workers_of(&[], &view), BTreeSet::new());
    }

    #[test]
    fn who_cannot_be_dialled_keeps_those_who_may_need_it() {
        let view = view(&[(1, "/ip4/10.0.0.1/tcp/1", &[]), (2, "/ip4/203.0.113.2/tcp/1", &[])]);
        let dialled = |from_near, from_afar| Dialled { from_near, from_afar };
        assert_eq!(dialled(false, false).cannot_dial(&view), [node(1), node(2)].into());
        assert_eq!(dialled(true, false).cannot_dial(&view), [node(2)].into(), "its own network can");
        assert_eq!(dialled(true, true).cannot_dial(&view), BTreeSet::new());
        assert_eq!(dialled(false, true).cannot_dial(&view), BTreeSet::new());
    }
}
