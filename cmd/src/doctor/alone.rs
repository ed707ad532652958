//! What can be looked at without a node: token, clock, the limit of files, the way to the internet, ports that are to be bound.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

use p2p_fed::{api::Files, net::path_mtu, node};
use rustix::process::{Resource, getrlimit};

use super::{
    finding::Finding,
    judge::{self, Found},
};
use crate::{clock, exit::Failure};

/// Files and sockets of a node without fronts, and as many connections as it has to others at most.
const WANTED: u64 = 2048 + 128;

/// An address of the internet that belongs to nobody (RFC 5737). Nothing is sent there; it is asked which way it would go.
const INTERNET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// All that shows. `config` is what a node would be started with, where it is known.
pub(super) fn findings(token: Result<&Found, &Failure>, config: Option<&node::Config>) -> Vec<Finding> {
    let advice = "start one with `p2p-fed serve` or `p2p-fed expose`, then look again: most shows while it runs";
    let mut findings = vec![
        Finding::warn("node", "no node is running here: only what can be seen without one was looked at", advice),
        match token {
            Ok(found) => judge::token(&found.facts, None),
            Err(failure) => {
                Finding::fail("token", failure.what(), "pass --token-file with the file that the other machines have")
            }
        },
        judge::clock(clock::unix_ms()),
        judge::files(&files(config)),
        internet(path_mtu(INTERNET)),
    ];
    findings.extend(config.map(|config| ports(&taken(config))));
    findings
}

/// The limit is raised by a node that starts, as far as the system allows.
fn files(config: Option<&node::Config>) -> Files {
    let clients: u64 =
        config.iter().flat_map(|config| &config.fronts).map(|front| front.front.max_connections as u64).sum();
    Files {
        limit: getrlimit(Resource::Nofile).maximum,
        open: fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64),
        wanted: WANTED + 2 * clients,
    }
}

fn internet(mtu: io::Result<u32>) -> Finding {
    const CHECK: &str = "internet";
    match mtu {
        Ok(mtu) => Finding::ok(CHECK, format!("this machine has a route there, for packets of {mtu} bytes")),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Finding::unknown(CHECK, "the system does not tell"),
        Err(_) => Finding::warn(
            CHECK,
            "this machine has no route there (IPv4)",
            "on a LAN say --no-dht; else connect it to a network",
        ),
    }
}

/// Ports that the configuration names and somebody else has, with the reason.
fn taken(config: &node::Config) -> Vec<String> {
    let listeners = config.net.listen.iter().map(ToString::to_string);
    let of_nodes = listeners.filter_map(|address| {
        let (socket, is_udp) = parse(&address)?;
        let bound = if is_udp { UdpSocket::bind(socket).map(drop) } else { TcpListener::bind(socket).map(drop) };
        bound.err().map(|error| format!("{address}: {error}"))
    });
    let of_fronts = config.fronts.iter().filter_map(|front| {
        let listen = front.front.listen;
        let bound = match front.front.mode.to_string() == "udp" {
            true => UdpSocket::bind(listen).map(drop),
            false => TcpListener::bind(listen).map(drop),
        };
        bound.err().map(|error| format!("{listen} ({}): {error}", front.front.service))
    });
    of_nodes.chain(of_fronts).collect()
}

fn ports(taken: &[String]) -> Finding {
    const CHECK: &str = "ports";
    match taken.is_empty() {
        true => Finding::ok(CHECK, "all that the configuration names can be bound"),
        false => Finding::fail(CHECK, taken.join("; "), "stop what uses them (`ss -lntup`), or choose others"),
    }
}

/// `/ip4/IP/tcp/PORT` or `/ip6/IP/udp/PORT/…`, and whether it is UDP.
fn parse(address: &str) -> Option<(SocketAddr, bool)> {
    let mut parts = address.split('/').skip(2);
    let ip: IpAddr = parts.next()?.parse().ok()?;
    let is_udp = match parts.next()? {
        "udp" => true,
        "tcp" => false,
        _ => return None,
    };
    Some((SocketAddr::new(ip, parts.next()?.parse().ok()?), is_udp))
}

#[cfg(test)]
mod tests {
    use p2p_fed::config::Settings;

    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_port_that_another_program_has_is_told() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let config = |port: u16| {
            let text = format!("listen_addrs: [/ip4/127.0.0.1/tcp/{port}, /ip4/127.0.0.1/udp/0/quic-v1]");
            Settings::parse(&text).unwrap().resolve().unwrap()
        };
        let told = taken(&config(port));
        assert!(told.len() == 1 && told[0].contains(&format!("/tcp/{port}")), "{told:?}");
        assert_eq!((ports(&told).state, ports(&taken(&config(0))).state), (State::Fail, State::Ok));
    }

    #[test]
    fn the_way_to_the_internet() {
        assert_eq!(internet(Ok(1500)).state, State::Ok);
        assert_eq!(internet(Err(io::ErrorKind::NetworkUnreachable.into())).state, State::Warn);
        assert_eq!(internet(Err(io::ErrorKind::Unsupported.into())).state, State::Unknown);
    }

    #[test]
    fn without_a_token_nothing_can_join() {
        let failure = Failure::usage("no token: make one");
        let findings = findings(Err(&failure), None);
        let token = findings.iter().find(|finding| finding.check == "token").unwrap();
        assert_eq!((token.state, &*token.what), (State::Fail, "no token: make one"));
        assert!(findings.iter().all(|finding| finding.check != "ports"), "no configuration names any");
    }
}
