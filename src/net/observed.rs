//! At which addresses others see this node.
//!
//! Each peer tells in identify where a connection of this node came from. Behind a NAT that is the port which the NAT gave it; a
//! peer that is to get through has to be told that one, and not the one where this node listens.

use std::{collections::BTreeSet, net::IpAddr};

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::{listen, punch};

/// Addresses that are remembered, the newest first: one for each transport and family, and as many again from before.
const REMEMBERED: usize = 8;

/// What peers have said.
#[derive(Debug, Default)]
pub(super) struct Observed(Vec<Multiaddr>);

impl Observed {
    /// A peer sees this node at `address`. Whether that is new.
    pub(super) fn seen(&mut self, address: &Multiaddr) -> bool {
        if listen::ip_of(address).is_none() || !punch::opens(address) || listen::is_loopback(address) {
            return false;
        }
        let is_new = !self.0.contains(address);
        self.0.retain(|known| known != address);
        self.0.insert(0, address.clone());
        self.0.truncate(REMEMBERED);
        is_new
    }

    /// Where this node might be reached: where it was seen, where it listens (`bound`), and, as most NATs keep ports that are
    /// free, at the ports of those where it was seen. The likeliest first, each once.
    pub(super) fn candidates(&self, bound: &[Multiaddr]) -> Vec<Multiaddr> {
        let outside: BTreeSet<_> =
            self.0.iter().filter(|seen| !bound.contains(seen)).filter_map(listen::ip_of).collect();
        let kept = outside.iter().flat_map(|ip| bound.iter().filter_map(|bound| elsewhere(bound, *ip)));
        let mut candidates = Vec::new();
        for address in self.0.iter().cloned().chain(kept).chain(bound.iter().cloned()) {
            if !candidates.contains(&address) {
                candidates.push(address);
            }
        }
        candidates
    }
}

/// The same port and transport at another address of the same family.
fn elsewhere(bound: &Multiaddr, ip: IpAddr) -> Option<Multiaddr> {
    let is_same = listen::ip_of(bound)?.is_ipv4() == ip.is_ipv4();
    is_same.then(|| std::iter::once(Protocol::from(ip)).chain(bound.iter().skip(1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_neither_relays_nor_this_host() {
        let mut observed = Observed::default();
        let address = |port: usize| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap() };
        for port in 1..=10 {
            assert!(observed.seen(&address(port)));
        }
        assert!(!observed.seen(&address(7)));
        assert_eq!(observed.candidates(&[])[..2], [address(7), address(10)]);
        assert_eq!(observed.candidates(&[]).len(), REMEMBERED);
        assert!(!observed.seen(&"/ip4/127.0.0.1/tcp/1".parse().unwrap()));
    }

    #[test]
    fn a_nat_may_have_kept_the_ports() {
        let mut observed = Observed::default();
        let addresses = |texts: &[&str]| -> Vec<Multiaddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let bound = addresses(&["/ip4/192.168.1.2/tcp/5", "/ip4/192.168.1.2/udp/6/quic-v1", "/ip6/fd00::1/tcp/5"]);
        observed.seen(&addresses(&["/ip4/203.0.113.1/tcp/7"])[0]);
        let guessed = ["/ip4/203.0.113.1/tcp/7", "/ip4/203.0.113.1/tcp/5", "/ip4/203.0.113.1/udp/6/quic-v1"];
        assert_eq!(observed.candidates(&bound), [addresses(&guessed), bound].concat());
    }
}
