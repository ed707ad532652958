//! One socket for one interface and one address family.
//!
//! It is bound to the group's address, not to the wildcard: so it hears nothing but multicast, which no router forwards
//! (RFC 6762 §11), and it never takes a unicast packet meant for another responder of this machine. It is a member of the
//! group on its interface alone, so what it hears came in there. Address and port are shared with every other responder
//! (RFC 6762 §15), and what it sends comes back to this machine, so that processes of one machine find each other.
//!
//! On Linux they are shared by `SO_REUSEADDR` and not by `SO_REUSEPORT`: that one makes a balancing group of the sockets of
//! a user, and a multicast packet that a single member of it may hear is given to *any* member, most often one of another
//! interface. The BSDs share multicast by `SO_REUSEPORT`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    task::{Context, Poll},
};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::{io::ReadBuf, net::UdpSocket};

use super::interface::Interface;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Receivers may take a lower one for a packet that crossed a router (RFC 6762 §11).
const HOPS: u32 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The families worth a socket on `interface`. Linux routes no IPv6 multicast over loopback; IPv4 does for both there.
    pub(super) fn of(interface: &Interface) -> impl Iterator<Item = Self> {
        let v4 = interface.addresses().any(|ip| ip.is_ipv4()).then_some(Self::V4);
        let v6 = (!interface.is_loopback() && interface.addresses().any(|ip| ip.is_ipv6())).then_some(Self::V6);
        v4.into_iter().chain(v6)
    }
}

/// An open socket and where it sends.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) interface: Interface,
    pub(super) family: Family,
    group: SocketAddr,
    socket: UdpSocket,
}

impl Link {
    /// Opens the link; must be called within a runtime.
    ///
    /// # Errors
    /// What the operating system said. It may be tried again: interfaces come and go.
    pub(super) fn bind(interface: &Interface, family: Family, port: u16) -> io::Result<Self> {
        let (domain, group) = match family {
            Family::V4 => (Domain::IPV4, SocketAddr::from((GROUP_V4, port))),
            Family::V6 => (Domain::IPV6, SocketAddrV6::new(GROUP_V6, port, 0, interface.index).into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        #[cfg(not(target_os = "linux"))]
        socket.set_reuse_port(true)?;
        match family {
            Family::V4 => join_v4(&socket, interface)?,
            Family::V6 => join_v6(&socket, interface)?,
        }
        socket.bind(&group.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { interface: interface.clone(), family, group, socket })
    }

    /// The next packet, its length and its sender; longer ones are cut to the buffer.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        self.socket.poll_recv_from(cx, &mut buffer).map_ok(|from| (buffer.filled().len(), from))
    }

    /// Sends to everybody, or fails at once rather than wait: a lost packet is made good by the next round.
    ///
    /// # Errors
    /// What the operating system said.
    pub(super) fn send_to_all(&self, packet: &[u8]) -> io::Result<()> {
        self.send_to(packet, self.group)
    }

    /// Sends to one, under the same terms.
    ///
    /// # Errors
    /// What the operating system said.
    pub(super) fn send_to(&self, packet: &[u8], to: SocketAddr) -> io::Result<()> {
        SockRef::from(&self.socket).send_to(packet, &to.into()).map(|_| ())
    }
}

fn join_v4(socket: &Socket, interface: &Interface) -> io::Result<()> {
    let mut own = interface.addresses().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    let own = own.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface.index))?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(HOPS)?;
    socket.set_ttl_v4(HOPS)
}

fn join_v6(socket: &Socket, interface: &Interface) -> io::Result<()> {
    socket.set_only_v6(true)?;
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v6(false)?;
    socket.join_multicast_v6(&GROUP_V6, interface.index)?;
    socket.set_multicast_if_v6(interface.index)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_unicast_hops_v6(HOPS)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;
    use crate::net::mdns::{interface, tests::unused_port};

    async fn receive(link: &Link) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 64];
        let receive = poll_fn(|cx| link.poll_receive(cx, &mut buffer));
        let (length, from) = tokio::time::timeout(Duration::from_secs(10), receive).await.unwrap().unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[tokio::test]
    async fn all_sockets_of_a_machine_hear_one_another_and_themselves_on_loopback() {
        let lo = interface::read().unwrap().into_iter().find(Interface::is_loopback).unwrap();
        assert_eq!(Family::of(&lo).collect::<Vec<_>>(), [Family::V4]);
        let port = unused_port();
        let [a, b] = [0, 1].map(|_| Link::bind(&lo, Family::V4, port).unwrap());
        a.send_to_all(b"from a").unwrap();
        for link in [&a, &b] {
            let (packet, from) = receive(link).await;
            assert_eq!(packet, b"from a");
            assert_eq!(from, SocketAddr::from(([127, 0, 0, 1], port)));
        }
        b.send_to_all(b"from b").unwrap();
        assert_eq!(receive(&a).await.0, b"from b");
    }

    #[tokio::test]
    async fn unicast_is_not_heard() {
        let lo = interface::read().unwrap().into_iter().find(Interface::is_loopback).unwrap();
        let port = unused_port();
        let link = Link::bind(&lo, Family::V4, port).unwrap();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"unicast", ("127.0.0.1", port)).ok();
        link.send_to_all(b"multicast").unwrap();
        assert_eq!(receive(&link).await.0, b"multicast");
    }
    /// With `SO_REUSEPORT`, what came in on one interface was given to the socket of another, for about half of all senders.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn sockets_are_in_no_balancing_group() {
        let lo = interface::read().unwrap().into_iter().find(Interface::is_loopback).unwrap();
        let link = Link::bind(&lo, Family::V4, unused_port()).unwrap();
        assert!(SockRef::from(&link.socket).reuse_address().unwrap());
        assert!(!SockRef::from(&link.socket).reuse_port().unwrap());
    }
}
