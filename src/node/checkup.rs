//! All that this node knows of its place in the network, put together when `p2p-fed doctor` asks.

use std::{
    fs,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use rustix::process::{Resource, getrlimit};

use super::{Shared, front::Running};
use crate::{
    api::{self, Checkup, Files, Known, Mtu, Source, TokenFacts},
    ledger::{NodeId, View},
    net::{Path, Peers, path_mtu},
};

/// Peers whose paths are looked at. Each costs a socket for a moment.
const PATHS: usize = 64;

/// Members that are told of; beyond, a few that miss each other say nothing.
const MEMBERS: usize = 1024;

/// Connections, files and sockets that a node may need for itself: as many connections as it has to other nodes at most, and some
/// hundred for state, listeners, mDNS and the control socket.
const OWN_FILES: u64 = 2048 + 128;

/// As of now.
pub(super) async fn checkup(shared: &Shared) -> Checkup {
    let net = shared.net.facts().await.unwrap_or_default();
    let view = shared.gossip.views().borrow().clone();
    let peers = shared.net.peers().borrow().clone();
    let api::Peers { peers: connected, barred } = shared.peers();
    let api::Status { version, network, node, .. } = shared.status();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Checkup {
        version,
        network,
        node,
        unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        token: TokenFacts::of(&shared.token, since.as_secs()),
        peers: connected,
        barred,
        members: members(shared.net.node(), &view, &peers),
        refusals: shared.ledger().refusals,
        net,
        mtus: mtus(&peers),
        files: files(shared.fronts.iter().map(Running::max_connections)),
    }
}

fn members(here: NodeId, view: &View, peers: &Peers) -> Vec<Known> {
    let others = view.nodes.iter().filter(|(node, entry)| **node != here && entry.fresh && !entry.quarantined);
    let known = others.map(|(node, entry)| {
        let statement = &entry.record.statement;
        Known {
            node: node.to_string(),
            name: statement.name.clone(),
            is_connected: peers.connected.contains_key(node),
            is_leaving: statement.leaving,
            addresses: statement.addresses.clone(),
        }
    });
    known.take(MEMBERS).collect()
}

fn mtus(peers: &Peers) -> Vec<Mtu> {
    let direct = peers.connected.iter().filter(|(_, peer)| peer.path != Path::Relayed);
    let mtus = direct.filter_map(|(node, peer)| {
        let ip = ip_of(&peer.address)?;
        let bytes = path_mtu(ip).ok()?;
        Some(Mtu { node: node.to_string(), ip: ip.to_string(), bytes })
    });
    mtus.take(PATHS).collect()
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// `taken` are the connections that each front takes.
fn files(taken: impl Iterator<Item = usize>) -> Files {
    let clients: u64 = taken.map(|clients| clients as u64).sum();
    Files {
        limit: getrlimit(Resource::Nofile).current,
        open: fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64),
        wanted: OWN_FILES + 2 * clients,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_needs_two_sockets_for_each_client() {
        let files = files([100, 50].into_iter());
        assert_eq!(files.wanted, OWN_FILES + 300);
        assert!(files.limit.is_none_or(|limit| limit >= files.open.unwrap_or(0)));
    }
}
