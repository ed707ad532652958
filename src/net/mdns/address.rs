//! Which addresses are said on a link, and which are believed when heard.
//!
//! Only an IP address with TCP or QUIC is either: what needs a relay, a name server or a zone can't be dialled from
//! multicast alone. An address of one interface is said on that interface only, since the same private address may be
//! somebody else's on the next link; a loopback address is said on, and believed from, this machine alone.

use std::net::IpAddr;

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::interface::Interface;

/// Addresses said or believed per peer. A machine with more than 16 on one link is odd, and a packet stays small.
pub(super) const MAX_ADDRESSES: usize = 16;

/// The IP address of a multiaddress that is exactly IP/TCP or IP/UDP/QUIC, and may end in a peer id.
pub(super) fn dialable_ip(address: &Multiaddr) -> Option<IpAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        (Protocol::Tcp(port), None | Some(Protocol::P2p(_)), None, None) if port != 0 => {}
        (Protocol::Udp(port), Some(Protocol::QuicV1), None | Some(Protocol::P2p(_)), None) if port != 0 => {}
        _ => return None,
    }
    is_usable(ip).then_some(ip)
}

/// One host, reachable without a zone.
fn is_usable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    }
}

/// Those of our `own` addresses that are worth saying on `interface`, at most [`MAX_ADDRESSES`]; `host` is every
/// interface of this machine.
///
/// On loopback that is all of them, loopback ones first. Elsewhere it is the interface's own, and those that belong to
/// no interface at all: they were announced on purpose, as the outside of a NAT.
pub(super) fn said_on(interface: &Interface, own: &[Multiaddr], host: &[Interface]) -> Vec<Multiaddr> {
    let mut said: Vec<(bool, &Multiaddr)> = own
        .iter()
        .filter_map(|address| dialable_ip(address).map(|ip| (ip, address)))
        .filter(|(ip, _)| {
            let elsewhere = || ip.is_loopback() || host.iter().any(|other| other.owns(*ip));
            interface.is_loopback() || interface.owns(*ip) || !elsewhere()
        })
        .map(|(ip, address)| (!ip.is_loopback(), address))
        .collect();
    said.sort_by_key(|(is_remote, _)| *is_remote);
    said.truncate(MAX_ADDRESSES);
    said.into_iter().map(|(_, address)| address.clone()).collect()
}

/// Whether an address heard is worth a dial; `from_here` says that the packet came from this machine.
pub(super) fn is_believed(address: &Multiaddr, from_here: bool) -> bool {
    dialable_ip(address).is_some_and(|ip| from_here || !ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn host() -> Vec<Interface> {
        vec![
            Interface::new(1, "lo", [("127.0.0.1", 8), ("::1", 128)]),
            Interface::new(2, "eth0", [("192.168.7.5", 24), ("fd00::5", 64), ("fe80::5", 64)]),
            Interface::new(3, "docker0", [("172.17.0.1", 16)]),
        ]
    }

    #[test]
    fn only_plain_tcp_and_quic_are_dialable() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let relay = format!("/ip4/192.0.2.1/tcp/4001/p2p/{peer}/p2p-circuit");
        let with_peer = format!("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{peer}");
        for good in ["/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/udp/1/quic-v1", &with_peer] {
            assert!(dialable_ip(&good.parse().unwrap()).is_some(), "{good}");
        }
        let bad = [
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/udp/4001",
            "/ip4/192.0.2.1/udp/4001/quic-v1/webtransport",
            "/ip4/192.0.2.1/tcp/80/ws",
            "/dns4/example.org/tcp/4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/224.0.0.251/tcp/4001",
            "/ip6/fe80::1/tcp/4001",
            "/ip6/::ffff:0.0.0.0/tcp/4001",
            "/ip4/192.0.2.1",
            "/memory/7",
            &relay,
        ];
        for bad in bad {
            assert_eq!(dialable_ip(&bad.parse().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn an_interface_says_its_own_addresses_and_those_of_no_interface() {
        let host = host();
        let own = addresses(&[
            "/ip4/192.168.7.5/tcp/1",
            "/ip4/172.17.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fd00::5/udp/1/quic-v1",
            "/ip6/fe80::5/tcp/1",
            "/ip4/203.0.113.9/tcp/1",
        ]);
        let expected = ["/ip4/192.168.7.5/tcp/1", "/ip6/fd00::5/udp/1/quic-v1", "/ip4/203.0.113.9/tcp/1"];
        assert_eq!(said_on(&host[1], &own, &host), addresses(&expected));
        assert_eq!(said_on(&host[2], &own, &host), addresses(&["/ip4/172.17.0.1/tcp/1", "/ip4/203.0.113.9/tcp/1"]));
        let on_loopback = said_on(&host[0], &own, &host);
        assert_eq!(on_loopback.len(), 5, "all but the link-local one");
        assert_eq!(on_loopback[0], addresses(&["/ip4/127.0.0.1/tcp/1"])[0], "loopback comes first");
    }

    #[test]
    fn a_packet_says_sixteen_addresses_at_most() {
        let host = host();
        let own: Vec<Multiaddr> = (1..=40).map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).collect();
        assert_eq!(said_on(&host[0], &own, &host), own[..MAX_ADDRESSES]);
    }

    #[test]
    fn loopback_is_believed_from_this_machine_alone() {
        for local in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/::ffff:127.0.0.1/tcp/1"] {
            let local = local.parse().unwrap();
            assert!(is_believed(&local, true));
            assert!(!is_believed(&local, false));
        }
        assert!(is_believed(&"/ip4/192.168.7.9/tcp/1".parse().unwrap(), false));
    }
}
