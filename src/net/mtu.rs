//! How large a packet may be on the way to somebody, as far as this machine knows.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

/// Any port: nothing is sent there.
const NOWHERE: u16 = 9;

/// The largest packet in bytes, headers included, that this machine would send to `ip`: what its interface takes, or less where
/// a router on the way has complained. Nothing is sent.
///
/// # Errors
/// There is no way to `ip`, or the system does not tell.
pub fn path_mtu(ip: IpAddr) -> io::Result<u32> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(ip, NOWHERE))?;
    of(&socket, ip)
}

#[cfg(target_os = "linux")]
fn of(socket: &UdpSocket, ip: IpAddr) -> io::Result<u32> {
    use rustix::net::sockopt;
    let mtu = match ip {
        IpAddr::V4(_) => sockopt::ip_mtu(socket),
        IpAddr::V6(_) => sockopt::ipv6_mtu(socket),
    };
    Ok(mtu?)
}

#[cfg(not(target_os = "linux"))]
fn of(_: &UdpSocket, _: IpAddr) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn loopback_takes_large_packets() {
        assert!(path_mtu(Ipv4Addr::LOCALHOST.into()).unwrap() >= 1500);
    }
}
