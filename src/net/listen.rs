//! Where this node listens, and what it tells others of that.

use std::{collections::HashSet, io, net::IpAddr, time::Duration};

use futures::{FutureExt, StreamExt};
use libp2p::{
    Multiaddr, Swarm, TransportError,
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent},
};

use super::{Config, Error};

/// Every listener reports its addresses within this, or it never will.
const LIMIT: Duration = Duration::from_secs(5);

/// Addresses in a record, and how many of them by relays at most: TCP and QUIC of two.
const ANNOUNCED: usize = 8;
const RELAYED: usize = 4;

/// Addresses in a record that lead here from outside, which come first.
const OUTSIDE: usize = 4;

/// Bytes of one of them.
const ADDRESS_BYTES: usize = 128;

/// Binds what the configuration says and waits until each listener knows its addresses; returns what to announce.
pub(super) async fn bind<B: NetworkBehaviour>(swarm: &mut Swarm<B>, config: &Config) -> Result<Vec<Multiaddr>, Error> {
    let mut waiting = HashSet::new();
    let mut refused = Vec::new();
    let asked = if config.listen.is_empty() { config.transports.usual() } else { config.listen.clone() };
    for address in asked {
        match swarm.listen_on(address.clone()) {
            Ok(id) => {
                waiting.insert(id);
            }
            Err(error) if config.listen.is_empty() => {
                // A host without IPv6, for one.
                tracing::debug!(%address, error = %reason(error), "default address not bound");
                refused.push(address.to_string());
            }
            Err(error) => return Err(Error::Listen { address, source: reason(error) }),
        }
    }
    if waiting.is_empty() {
        return Err(Error::ListenNowhere(refused.join(", ")));
    }
    let known = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } | SwarmEvent::ListenerClosed { listener_id, .. } => {
                    waiting.remove(&listener_id);
                }
                _ => {}
            }
        }
    };
    if tokio::time::timeout(LIMIT, known).await.is_err() {
        tracing::warn!("a listener has no address yet");
    }
    // A listener names one address after the other. What is there belongs in the first announcement: a peer that hears of
    // QUIC a moment before TCP dials QUIC.
    while swarm.next().now_or_never().is_some() {}
    Ok(announced(config, swarm.listeners().cloned().collect(), std::iter::empty()))
}

/// The system's word, without the library's wrapping.
fn reason(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::MultiaddrNotSupported(_) => {
            io::Error::new(io::ErrorKind::Unsupported, "it is of no transport that is used here")
        }
        TransportError::Other(error) => innermost(error),
    }
}

fn innermost(error: io::Error) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    let mut found = None;
    while let Some(inner) = cause {
        let system = inner.downcast_ref::<io::Error>();
        if let Some(system) = system {
            found = Some(system.raw_os_error().map_or_else(|| system.kind().into(), io::Error::from_raw_os_error));
        }
        // One that wraps another passes over it in its own `source`.
        cause = match system.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    found.unwrap_or(error)
}

/// What others are told: the addresses that the user announces, or those bound, loopback only where there is nothing else, and
/// those `outside` that members got through to or a router gave; and those by relays.
pub(super) fn announced<'a>(
    config: &Config,
    listening: Vec<Multiaddr>,
    outside: impl Iterator<Item = &'a Multiaddr>,
) -> Vec<Multiaddr> {
    let (relayed, bound): (Vec<_>, Vec<_>) = listening.into_iter().partition(is_relayed);
    let mut addresses = if config.announce.is_empty() { bound } else { config.announce.clone() };
    if config.lan {
        addresses.retain(is_lan);
    }
    if addresses.iter().any(|address| !is_loopback(address)) {
        addresses.retain(|address| !is_loopback(address) && !is_link_local(address));
    }
    let relayed = by_relays(relayed);
    sort(&mut addresses);
    let mut outside: Vec<_> =
        outside.filter(|_| config.announce.is_empty() && !config.lan).take(OUTSIDE).cloned().collect();
    addresses.retain(|address| !outside.contains(address));
    addresses.truncate(ANNOUNCED - relayed.len() - outside.len());
    outside.append(&mut addresses);
    outside.extend(relayed);
    outside
}

/// Addresses by relays, as others are told them: without this node at the end, which they know; of a relay that can be dialled
/// from anywhere not those of its own network.
fn by_relays(mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    for address in &mut addresses {
        if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
            address.pop();
        }
    }
    if addresses.iter().any(|address| !is_lan(address)) {
        addresses.retain(|address| !is_lan(address));
    }
    addresses.retain(|address| address.to_string().len() <= ADDRESS_BYTES);
    sort(&mut addresses);
    addresses.truncate(RELAYED);
    addresses
}

fn sort(addresses: &mut Vec<Multiaddr>) {
    addresses.sort_by_key(|address| (ip_of(address).is_some_and(|ip| ip.is_ipv6()), address.to_string()));
    addresses.dedup();
}

/// The address is of this host or of a private network (RFC 1918, RFC 4193, link-local).
pub fn is_lan(address: &Multiaddr) -> bool {
    match ip_of(address) {
        Some(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        None => false,
    }
}

/// The node listens on loopback alone because it was told to, and so has nothing to say to the LAN. One whose network is
/// merely not up yet has.
pub(super) fn is_confined(config: &Config) -> bool {
    !config.listen.is_empty() && config.listen.iter().all(is_loopback)
}

/// The address is one of the internet: of no private network, and of no provider's own (RFC 6598).
pub(super) fn is_public(address: &Multiaddr) -> bool {
    match ip_of(address) {
        Some(IpAddr::V4(ip)) => {
            !(is_lan(address) || ip.is_unspecified() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64))
        }
        Some(IpAddr::V6(ip)) => !(is_lan(address) || ip.is_unspecified()),
        None => false,
    }
}

/// The address leads through a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The address is of this host alone.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    ip_of(address).is_some_and(|ip| ip.is_loopback())
}

/// IPv6 link-local addresses mean nothing without the interface of the one who dials.
fn is_link_local(address: &Multiaddr) -> bool {
    matches!(ip_of(address), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local())
}

pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// The same address without `/p2p/ID` at its end.
pub(super) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn told(config: &Config, listening: Vec<Multiaddr>) -> Vec<Multiaddr> {
        announced(config, listening, std::iter::empty())
    }

    #[test]
    fn where_members_got_through_comes_first_and_stands_for_what_the_user_did_not_say() {
        let bound = addresses(&["/ip4/10.0.0.2/tcp/1", "/ip4/203.0.113.9/tcp/1"]);
        let outside = addresses(&["/ip4/203.0.113.9/tcp/1"]);
        let first = addresses(&["/ip4/203.0.113.9/tcp/1", "/ip4/10.0.0.2/tcp/1"]);
        assert_eq!(announced(&Config::default(), bound.clone(), outside.iter()), first);
        let said = Config { announce: addresses(&["/ip4/198.51.100.1/tcp/7"]), ..Config::default() };
        assert_eq!(announced(&said, bound.clone(), outside.iter()), said.announce);
        let lan = Config { lan: true, ..Config::default() };
        assert_eq!(announced(&lan, bound, outside.iter()), addresses(&["/ip4/10.0.0.2/tcp/1"]));
    }

    #[test]
    fn loopback_is_announced_only_where_there_is_nothing_else() {
        let config = Config::default();
        let both = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.0.2/tcp/1", "/ip6/fe80::1/tcp/1"]);
        assert_eq!(told(&config, both), addresses(&["/ip4/192.168.0.2/tcp/1"]));
        let alone = addresses(&["/ip4/127.0.0.1/tcp/1"]);
        assert_eq!(told(&config, alone.clone()), alone);
    }

    #[test]
    fn a_lan_node_announces_no_public_address() {
        let config = Config { lan: true, ..Config::default() };
        let both = addresses(&["/ip4/203.0.113.9/tcp/1", "/ip4/10.0.0.2/tcp/1"]);
        assert_eq!(told(&config, both), addresses(&["/ip4/10.0.0.2/tcp/1"]));
    }

    #[test]
    fn addresses_by_relays_come_last_and_have_their_room() {
        let config = Config::default();
        let id = "12D3KooWPi4DKkcJN3BrpVSvSfpd6da3hferGsBh75KPEWHKAjuD";
        let by = |relay: &str| format!("{relay}/p2p/{id}/p2p-circuit");
        let mut listening: Vec<_> = (1..=9).map(|n| format!("/ip4/10.0.0.{n}/tcp/1")).collect();
        let by_public = by("/ip4/203.0.113.1/tcp/1");
        listening.push(format!("{by_public}/p2p/{id}"));
        listening.push(format!("{}/p2p/{id}", by("/ip4/192.168.0.9/tcp/1")));
        let announced = told(&config, listening.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!((announced.len(), announced[7].to_string()), (ANNOUNCED, by_public));
        assert!(announced[..7].iter().all(|address| !is_relayed(address)));
    }

    #[test]
    fn the_internet_is_no_private_network_and_no_provider_s() {
        let is_public = |text: &str| is_public(&format!("{text}/tcp/1").parse().unwrap());
        assert!(["/ip4/203.0.113.1", "/ip4/100.128.0.1", "/ip6/2001:db8::1"].into_iter().all(is_public));
        let others = [
            "/ip4/100.64.0.1",
            "/ip4/192.168.0.1",
            "/ip4/127.0.0.1",
            "/ip6/fd00::1",
            "/ip6/fe80::1",
            "/dns4/a.example",
        ];
        assert!(!others.into_iter().any(is_public));
    }

    /// It kept to loopback for ever when it was started before its network was up.
    #[test]
    fn a_node_is_confined_by_its_configuration_not_by_what_is_up() {
        assert!(!is_confined(&Config::default()));
        let on = |texts: &[&str]| Config { listen: addresses(texts), ..Config::default() };
        assert!(is_confined(&on(&["/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/0/quic-v1"])));
        assert!(!is_confined(&on(&["/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/0"])));
    }

    #[test]
    fn a_forwarded_port_replaces_what_was_bound() {
        let config = Config { announce: addresses(&["/ip4/203.0.113.9/tcp/4001"]), ..Config::default() };
        assert_eq!(told(&config, addresses(&["/ip4/10.0.0.2/tcp/1"])), config.announce);
    }
}
