//! The network interfaces of this machine, as far as multicast cares.
//!
//! An interface counts while it runs and has an address that a peer can dial without a zone: dozens of bridge ports
//! with nothing but a link-local address are not worth a socket each.

use std::{collections::BTreeMap, io, net::IpAddr};

/// Interfaces looked at. A container host can have hundreds; each used one costs two sockets and a packet a minute.
pub(super) const MAX_INTERFACES: usize = 16;

/// One interface and the networks it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Each own address with the length of its network's prefix in bits, sorted.
    networks: Vec<(IpAddr, u8)>,
}

impl Interface {
    pub(super) fn is_loopback(&self) -> bool {
        self.addresses().any(|ip| ip.is_loopback())
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.networks.iter().map(|(ip, _)| *ip)
    }

    /// Whether `ip` is this machine's own address here.
    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.addresses().any(|own| own == ip)
    }

    /// Whether a packet from `ip` that came in here was sent on this link (RFC 6762 §11).
    pub(super) fn is_on_link(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) if ip.is_link_local() => true,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => true,
            ip => self.networks.iter().any(|(own, prefix)| same_network(*own, ip, *prefix)),
        }
    }

    /// Whether a peer could dial any address of it.
    fn is_worthwhile(&self) -> bool {
        self.addresses().any(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
    }

    #[cfg(test)]
    pub(super) fn new<const N: usize>(index: u32, name: &str, networks: [(&str, u8); N]) -> Self {
        let networks = networks.iter().map(|(ip, prefix)| (ip.parse().unwrap(), *prefix)).collect();
        Self { index, name: name.to_owned(), networks }
    }
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let (differing, width) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    let host_bits = u32::from(width - prefix.min(width));
    differing.checked_shr(host_bits).unwrap_or(0) == 0
}

/// The running interfaces of this machine in the order of their indices.
///
/// # Errors
/// What the operating system said when asked; it may be asked again.
pub(super) fn read() -> io::Result<Vec<Interface>> {
    let mut found = BTreeMap::<u32, Interface>::new();
    for entry in if_addrs::get_if_addrs()? {
        if let (Some(index), true) = (entry.index, entry.is_oper_up()) {
            let prefix = match &entry.addr {
                if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                if_addrs::IfAddr::V6(v6) => v6.prefixlen,
            };
            let network = (entry.ip(), prefix);
            let empty = || Interface { index, name: entry.name, networks: Vec::new() };
            found.entry(index).or_insert_with(empty).networks.push(network);
        }
    }
    let mut interfaces: Vec<Interface> = found.into_values().filter(Interface::is_worthwhile).collect();
    for interface in &mut interfaces {
        interface.networks.sort_unstable();
    }
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let interfaces = read().unwrap();
        let lo = interfaces.iter().find(|interface| interface.is_loopback()).unwrap();
        assert!(lo.owns("127.0.0.1".parse().unwrap()));
        assert!(lo.is_on_link("127.3.2.1".parse().unwrap()));
        assert!(!lo.is_on_link("192.0.2.77".parse().unwrap()));
    }

    #[test]
    fn on_link_is_the_interface_s_networks_and_link_local() {
        let interface = Interface::new(2, "eth0", [("192.168.7.5", 24), ("fd00::5", 64)]);
        for on in ["192.168.7.200", "169.254.3.4", "fd00::77", "fe80::9"] {
            assert!(interface.is_on_link(on.parse().unwrap()), "{on}");
        }
        for off in ["192.168.8.1", "127.0.0.1", "fd01::1", "::1", "8.8.8.8"] {
            assert!(!interface.is_on_link(off.parse().unwrap()), "{off}");
        }
    }

    #[test]
    fn prefixes_at_their_ends() {
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert!(same_network(a, b, 0) && same_network(a, a, 32) && same_network(a, b, 30));
        assert!(!same_network(a, b, 32) && !same_network(a, b, 255));
        let (c, d): (IpAddr, IpAddr) = ("::1".parse().unwrap(), "8000::1".parse().unwrap());
        assert!(same_network(c, d, 0) && !same_network(c, d, 1) && !same_network(a, c, 0));
    }

    #[test]
    fn link_local_alone_is_not_worth_a_socket() {
        assert!(!Interface::new(9, "cali1", [("fe80::1", 64)]).is_worthwhile());
        assert!(Interface::new(9, "eth0", [("fe80::1", 64), ("fd00::1", 64)]).is_worthwhile());
    }
}
