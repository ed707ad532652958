//! Where a worker can be dialled directly.

use std::net::{IpAddr, SocketAddr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Addresses that a name resolves to and that are tried.
const PER_NAME: usize = 4;

/// A place to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Ip(SocketAddr),
    Name(String, u16),
}

/// The place of a plain TCP address: IP or name, port, and perhaps the peer's id.
pub(super) fn of(address: &Multiaddr) -> Option<Place> {
    let mut parts = address.iter();
    let (host, port) = (parts.next()?, parts.next()?);
    let Protocol::Tcp(port) = port else { return None };
    if parts.any(|part| !matches!(part, Protocol::P2p(_))) {
        return None;
    }
    match host {
        Protocol::Ip4(ip) => Some(Place::Ip((ip, port).into())),
        Protocol::Ip6(ip) => Some(Place::Ip((ip, port).into())),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(Place::Name(name.into_owned(), port)),
        _ => None,
    }
}

/// Where to try, in this order: where libp2p got through (`dialled`), then what the worker `told`. Loopback addresses mean
/// this machine, so they are left out unless libp2p `speaks` to the worker over one.
pub(super) async fn candidates(dialled: Option<&Multiaddr>, told: &[String], speaks: &Multiaddr) -> Vec<SocketAddr> {
    let is_here = speaks.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    });
    let told = told.iter().filter_map(|text| of(&text.parse().ok()?));
    let mut found = Vec::new();
    for place in dialled.and_then(of).into_iter().chain(told) {
        let resolved = match place {
            Place::Ip(address) => vec![address],
            // A name that does not resolve now may do so later; the other addresses are tried meanwhile.
            Place::Name(name, port) => match tokio::net::lookup_host((name, port)).await {
                Ok(addresses) => addresses.take(PER_NAME).collect(),
                Err(_) => Vec::new(),
            },
        };
        let usable = |address: &SocketAddr| {
            let ip: IpAddr = address.ip();
            (is_here || !ip.is_loopback()) && !ip.is_unspecified()
        };
        for address in resolved.into_iter().filter(usable) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<Place> {
        of(&text.parse().unwrap())
    }

    #[test]
    fn plain_tcp_alone_is_a_place() {
        assert_eq!(place("/ip4/192.0.2.1/tcp/4001"), Some(Place::Ip("192.0.2.1:4001".parse().unwrap())));
        assert_eq!(place("/ip6/2001:db8::1/tcp/4001"), Some(Place::Ip("[2001:db8::1]:4001".parse().unwrap())));
        assert_eq!(place("/dns4/gpu.example/tcp/4001"), Some(Place::Name("gpu.example".to_owned(), 4001)));
        for other in ["/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.1/tcp/4001/ws", "/ip4/192.0.2.1"] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn where_libp2p_got_through_comes_first_and_loopback_means_this_machine() {
        let told = ["/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/2", "/ip4/198.51.100.1/tcp/3", "not an address"];
        let told = told.map(str::to_owned);
        let dialled: Multiaddr = "/ip4/198.51.100.1/tcp/3".parse().unwrap();
        let far = candidates(Some(&dialled), &told, &dialled).await;
        assert_eq!(far, [SocketAddr::from(([198, 51, 100, 1], 3)), SocketAddr::from(([192, 0, 2, 1], 2))]);
        let near: Multiaddr = "/ip4/127.0.0.1/udp/9/quic-v1".parse().unwrap();
        assert!(candidates(None, &told, &near).await.contains(&"127.0.0.1:1".parse().unwrap()));
    }
}
