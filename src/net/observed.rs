//! At which addresses others see this node.
//!
//! Each peer tells in identify where a connection of this node came from. Behind a NAT that is the port which the NAT gave it; a
//! peer that is to get through has to be told that one, and not the one where this node listens.

use libp2p::Multiaddr;

use super::listen;

/// Addresses that are remembered, the newest first: one for each transport and family, and as many again from before.
const REMEMBERED: usize = 8;

/// What peers have said.
#[derive(Debug, Default)]
pub(super) struct Observed(Vec<Multiaddr>);

impl Observed {
    /// A peer sees this node at `address`. Whether that is new.
    pub(super) fn seen(&mut self, address: &Multiaddr) -> bool {
        if listen::ip_of(address).is_none() || listen::is_relayed(address) || listen::is_loopback(address) {
            return false;
        }
        let is_new = !self.0.contains(address);
        self.0.retain(|known| known != address);
        self.0.insert(0, address.clone());
        self.0.truncate(REMEMBERED);
        is_new
    }

    pub(super) fn addresses(&self) -> &[Multiaddr] {
        &self.0
    }
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
        assert_eq!(observed.addresses()[..2], [address(7), address(10)]);
        assert_eq!(observed.addresses().len(), REMEMBERED);
        assert!(!observed.seen(&"/ip4/127.0.0.1/tcp/1".parse().unwrap()));
    }
}
