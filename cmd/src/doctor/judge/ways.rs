//! What is between this node and others: transports, NATs, the router, relays, punched holes.

use std::collections::BTreeSet;

use p2p_fed::{
    api::Checkup,
    net::facts::{Facts, Sighting},
};

use super::{count, some};
use crate::doctor::finding::Finding;

const NEEDS_PORT: &str = "forward a port to this machine and name it with --announce-addr, or run `p2p-fed relay` on a machine that all can dial";

/// Whether `transport` leads anywhere.
pub(super) fn transport(checkup: &Checkup, transport: &'static str) -> Finding {
    let (check, advice) = match transport {
        "quic" => ("udp", "let UDP through the firewalls between the machines; until then TCP is used"),
        _ => ("tcp", "is the other node running, and may its port be dialled? try `nc -vz HOST PORT`"),
    };
    let connected = checkup.peers.iter().filter(|peer| peer.transport == transport).count();
    let dials = checkup.net.dials.get(transport).cloned().unwrap_or_default();
    let was_seen = checkup.net.sightings.iter().any(|sighting| sighting.transport == transport);
    match (connected, dials.reached, dials.failed) {
        (1.., ..) => Finding::ok(check, format!("{} over {transport}", count(connected, "peer"))),
        (0, 1.., _) => Finding::ok(
            check,
            format!("{} had been made over {transport}", count(dials.reached as usize, "connection")),
        ),
        (0, 0, _) if was_seen => Finding::ok(check, format!("others had come over {transport}")),
        (0, 0, 1..) => {
            let fault = dials.fault.unwrap_or_else(|| "no reason known".to_owned());
            Finding::warn(
                check,
                format!("{} by {transport} in vain: {fault}", count(dials.failed as usize, "attempt")),
                advice,
            )
        }
        (0, 0, 0) => Finding::unknown(check, format!("no connection over {transport} yet")),
    }
}

/// What others see of this node, against what it has.
pub(super) fn nat(net: &Facts) -> Finding {
    const CHECK: &str = "nat";
    let own: BTreeSet<&str> = net.listening.iter().filter_map(|address| ip_of(address)).collect();
    let outside: Vec<_> = net.sightings.iter().filter(|seen| !own.contains(&*seen.ip)).collect();
    if net.sightings.is_empty() {
        return Finding::unknown(CHECK, "no peer has told yet where it sees this node");
    }
    if outside.is_empty() {
        return Finding::ok(
            CHECK,
            format!("none: seen at its own addresses by {}", count(net.sightings.len(), "peer")),
        );
    }
    // Over UDP all goes out by the port where the node listens; over TCP by one of the system's choice, if that is taken.
    let by = |transport: &str| {
        outside.iter().copied().filter(|seen| seen.transport == transport && seen.is_dialled).collect::<Vec<_>>()
    };
    let (transport, seen) = match by("quic") {
        quic if quic.is_empty() => ("tcp", by("tcp")),
        quic => ("quic", quic),
    };
    let ips: Vec<String> = seen.iter().map(|seen| seen.ip.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    match kind(&seen, &ports_of(net, transport)) {
        Kind::Forwarded => Finding::ok(CHECK, "others dial it at an outside address: the port is forwarded".to_owned()),
        Kind::Keeps => Finding::ok(CHECK, format!("a NAT at {} that keeps ports: holes can be punched", some(&ips))),
        Kind::Cone => Finding::ok(
            CHECK,
            format!("a NAT at {} that gives all peers the same port: holes can be punched", some(&ips)),
        ),
        Kind::Several if transport == "tcp" => {
            Finding::unknown(CHECK, format!("a NAT at {}; over TCP it cannot be told of which kind", some(&ips)))
        }
        Kind::Several => Finding::warn(
            CHECK,
            format!(
                "a NAT at {} that gives each peer another port (symmetric): holes are hardly ever punched",
                some(&ips)
            ),
            NEEDS_PORT,
        ),
        Kind::OneWitness => {
            Finding::unknown(CHECK, format!("a NAT at {}; one peer cannot tell of which kind", some(&ips)))
        }
    }
}

enum Kind {
    /// Nothing that this node dialled went through it, and yet others come from outside.
    Forwarded,
    /// Outside the port is the one that is bound.
    Keeps,
    /// One port outside, for all.
    Cone,
    /// Several.
    Several,
    /// One, of one.
    OneWitness,
}

fn kind(seen: &[&Sighting], bound: &BTreeSet<u16>) -> Kind {
    let outside: BTreeSet<(&str, u16)> = seen.iter().map(|seen| (&*seen.ip, seen.port)).collect();
    let ports: BTreeSet<u16> = outside.iter().map(|(_, port)| *port).collect();
    match (seen.len(), outside.len()) {
        (0, _) => Kind::Forwarded,
        _ if ports.is_subset(bound) => Kind::Keeps,
        (1, _) => Kind::OneWitness,
        (_, 1) => Kind::Cone,
        _ => Kind::Several,
    }
}

/// Ports where this node listens.
fn ports_of(net: &Facts, transport: &str) -> BTreeSet<u16> {
    let protocol = if transport == "quic" { "/udp/" } else { "/tcp/" };
    let port = |address: &String| address.split_once(protocol)?.1.split('/').next()?.parse().ok();
    net.listening.iter().filter_map(port).collect()
}

/// `/ip4/IP/…`.
fn ip_of(address: &str) -> Option<&str> {
    address.strip_prefix("/ip4/").or_else(|| address.strip_prefix("/ip6/"))?.split('/').next()
}

/// Whether others can dial this node: what was tried (AutoNAT), or else who did.
pub(super) fn reachable(net: &Facts) -> Finding {
    const CHECK: &str = "reachable";
    let came_in = net.came_in;
    let (open, closed): (Vec<_>, Vec<_>) = net.probed.iter().partition(|probed| probed.is_reachable);
    let addresses = |probed: Vec<&p2p_fed::net::facts::Probed>| {
        some(&probed.into_iter().map(|probed| probed.address.clone()).collect::<Vec<_>>())
    };
    if !open.is_empty() {
        return Finding::ok(CHECK, format!("others could dial {}", addresses(open)));
    }
    if came_in.afar > 0 {
        return Finding::ok(CHECK, format!("{} came in from the internet", count(came_in.afar as usize, "connection")));
    }
    if !closed.is_empty() {
        let what = format!("others could not dial {}", addresses(closed));
        return match net.relays.iter().any(|relay| relay.reservation == "held") {
            true => Finding::ok(CHECK, format!("{what}; relays make up for it")),
            false => Finding::warn(CHECK, what, NEEDS_PORT),
        };
    }
    match came_in.near {
        0 => Finding::unknown(CHECK, "no other node has dialled this one yet"),
        near => Finding::ok(CHECK, format!("{} came in from private addresses", count(near as usize, "connection"))),
    }
}

/// What the router said (UPnP), where it was asked.
pub(super) fn router(net: &Facts) -> Option<Finding> {
    const CHECK: &str = "router";
    let mapping = net.mapping.as_ref()?;
    Some(match (mapping.opened.is_empty(), &mapping.fault) {
        (false, _) => Finding::ok(CHECK, format!("it opened {}", some(&mapping.opened))),
        (true, Some(fault)) => Finding::unknown(CHECK, format!("it opens no port: {fault}")),
        (true, None) => Finding::unknown(CHECK, "it has not answered yet"),
    })
}

/// Relays that this node can be reached by.
pub(super) fn relays(net: &Facts) -> Finding {
    const CHECK: &str = "relays";
    let held: Vec<_> =
        net.relays.iter().filter(|relay| relay.reservation == "held").map(|relay| relay.address.clone()).collect();
    if !held.is_empty() {
        return Finding::ok(CHECK, format!("reachable by {}", some(&held)));
    }
    let is_reachable = net.came_in.afar > 0 || net.is_forwarded || net.probed.iter().any(|probed| probed.is_reachable);
    let failing: Vec<_> = net
        .relays
        .iter()
        .filter_map(|relay| {
            let fault = relay.fault.as_ref().filter(|_| relay.failures > 0)?;
            Some(format!("{}: {fault}", relay.address))
        })
        .collect();
    match (failing.is_empty(), is_reachable) {
        (false, false) => Finding::warn(
            CHECK,
            format!("none grants a reservation: {}", some(&failing)),
            "is the relay running, does it hold this token, and is there room? `p2p-fed peers` there",
        ),
        (_, true) => Finding::ok(CHECK, "none needed, others can dial this node"),
        (true, false) if net.relays.is_empty() => {
            Finding::unknown(CHECK, "none is known; two nodes behind NATs need one")
        }
        (true, false) => {
            Finding::unknown(CHECK, format!("{} known, none has answered yet", count(net.relays.len(), "relay")))
        }
    }
}

/// Dials from both ends at once, where a relay made them worth it.
pub(super) fn punching(checkup: &Checkup) -> Option<Finding> {
    const CHECK: &str = "punching";
    let punches = &checkup.net.punches;
    let relayed = checkup.peers.iter().filter(|peer| peer.path == "relayed").count();
    let fault = punches.fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
    match (punches.opened, relayed, punches.dialled, punches.asked) {
        (0, 0, ..) => None,
        (1.., 0, dialled, _) => {
            Some(Finding::ok(CHECK, format!("{} of {} opened", punches.opened, count(dialled as usize, "hole"))))
        }
        (_, _, 0, 0) => {
            Some(Finding::unknown(CHECK, format!("{} by a relay, the other end has to begin", count(relayed, "peer"))))
        }
        (_, _, dialled, asked) => {
            let what = format!(
                "{} by a relay alone; {} of {} opened{fault}",
                count(relayed, "peer"),
                punches.opened,
                count(dialled.max(asked) as usize, "attempt")
            );
            Some(Finding::warn(CHECK, what, NEEDS_PORT))
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_fed::{
        api::Peer,
        net::facts::{CameIn, Dials, Mapping, Probed, Punches, Relay},
    };

    use super::{
        super::tests::{healthy, peer},
        *,
    };
    use crate::doctor::finding::State;

    fn sighting(n: u8, ip: &str, port: u16, transport: &str) -> Sighting {
        let (ip, transport) = (ip.to_owned(), transport.to_owned());
        Sighting { peer: format!("p{n}"), from: Some(format!("192.0.2.{n}")), transport, ip, port, is_dialled: true }
    }

    fn nat_of(sightings: Vec<Sighting>) -> (State, String) {
        let finding = nat(&Facts { sightings, ..healthy().net });
        (finding.state, finding.what)
    }

    #[test]
    fn nats_by_what_peers_see() {
        assert_eq!(nat_of(vec![]).0, State::Unknown);
        let own = nat_of(vec![sighting(1, "192.168.1.2", 4001, "tcp")]);
        assert_eq!(own, (State::Ok, "none: seen at its own addresses by 1 peer".into()));
        let outside = |ports: &[u16], transport| {
            nat_of(ports.iter().zip(1..).map(|(port, n)| sighting(n, "203.0.113.9", *port, transport)).collect())
        };
        assert!(outside(&[4001], "quic").1.contains("keeps ports"));
        assert!(outside(&[5000, 5000], "quic").1.contains("the same port"));
        assert_eq!(outside(&[5000, 5001], "quic").0, State::Warn);
        assert!(outside(&[5000, 5001], "quic").1.contains("symmetric"));
        assert_eq!(outside(&[5000], "quic").0, State::Unknown, "one witness");
        assert_eq!(outside(&[5000, 5001], "tcp").0, State::Unknown, "the system may have chosen the ports");
        let came_in = Sighting { is_dialled: false, ..sighting(1, "203.0.113.9", 4001, "tcp") };
        assert!(nat_of(vec![came_in]).1.contains("forwarded"));
    }

    #[test]
    fn transports_by_what_they_led_to() {
        let with = |peers: Vec<Peer>, reached, failed| {
            let dials = Dials { reached, failed, fault: Some("timed out".into()) };
            let net = Facts { dials: [("quic".to_owned(), dials)].into(), ..Facts::default() };
            transport(&Checkup { peers, net, ..healthy() }, "quic")
        };
        let over_quic = || vec![Peer { transport: "quic".into(), ..peer("gpu1") }];
        assert_eq!(with(over_quic(), 0, 0).what, "1 peer over quic");
        assert_eq!(with(vec![], 2, 1).state, State::Ok);
        assert_eq!(with(vec![], 0, 0).state, State::Unknown);
        let vain = with(vec![peer("gpu1")], 0, 3);
        assert_eq!((vain.state, &*vain.what), (State::Warn, "3 attempts by quic in vain: timed out"));
    }

    #[test]
    fn reachability_by_what_was_tried_and_else_by_who_came() {
        let with = |probed: &[bool], near, afar, relays| {
            let probed =
                probed.iter().map(|open| Probed { address: "/ip4/203.0.113.9/tcp/1".into(), is_reachable: *open });
            let net = Facts { probed: probed.collect(), came_in: CameIn { near, afar }, relays, ..Facts::default() };
            reachable(&net).state
        };
        assert_eq!(with(&[], 0, 0, vec![]), State::Unknown);
        assert_eq!(with(&[], 1, 0, vec![]), State::Ok);
        assert_eq!(with(&[false, true], 0, 0, vec![]), State::Ok);
        assert_eq!(with(&[false], 1, 0, vec![]), State::Warn);
        assert_eq!(with(&[false], 0, 1, vec![]), State::Ok);
        assert_eq!(with(&[false], 0, 0, vec![relay("held", None)]), State::Ok);
    }

    #[test]
    fn routers_that_were_asked() {
        let with = |opened: &[&str], fault: Option<&str>| {
            let opened = opened.iter().map(|address| (*address).to_owned()).collect();
            let mapping = Some(Mapping { opened, fault: fault.map(str::to_owned) });
            router(&Facts { mapping, ..Facts::default() }).unwrap().state
        };
        assert_eq!(router(&Facts::default()), None);
        assert_eq!(with(&["/ip4/203.0.113.9/tcp/1"], None), State::Ok);
        assert_eq!(with(&[], Some("no gateway")), State::Unknown);
    }

    fn relay(reservation: &str, fault: Option<&str>) -> Relay {
        Relay {
            peer: "r".into(),
            address: "/ip4/203.0.113.1/tcp/1".into(),
            is_named: true,
            reservation: reservation.into(),
            failures: fault.is_some().into(),
            fault: fault.map(str::to_owned),
        }
    }

    #[test]
    fn relays_by_what_they_granted() {
        let with = |relays| relays_of(Facts { relays, ..Facts::default() });
        assert_eq!(with(vec![]).state, State::Unknown);
        assert_eq!(with(vec![relay("held", None)]).state, State::Ok);
        assert_eq!(with(vec![relay("asked", None)]).state, State::Unknown);
        let refused = with(vec![relay("free", Some("resource limit exceeded"))]);
        assert!(refused.state == State::Warn && refused.what.contains("resource limit exceeded"), "{refused:?}");
        let is_dialled = Facts {
            came_in: CameIn { near: 0, afar: 1 },
            relays: vec![relay("free", Some("full"))],
            ..Facts::default()
        };
        assert_eq!(relays_of(is_dialled).state, State::Ok);
    }

    fn relays_of(net: Facts) -> Finding {
        relays(&net)
    }

    #[test]
    fn punched_holes() {
        let with = |path: &str, opened, failed, dialled, asked| {
            let punches = Punches { asked, dialled, opened, failed, fault: Some("timed out".into()) };
            let peers = vec![Peer { path: path.into(), ..peer("gpu1") }];
            punching(&Checkup { peers, net: Facts { punches, ..Facts::default() }, ..healthy() })
        };
        assert_eq!(with("direct", 0, 0, 0, 0), None, "nothing was to be punched");
        assert_eq!(with("punched", 1, 0, 1, 1).unwrap().what, "1 of 1 hole opened");
        assert_eq!(with("relayed", 0, 0, 0, 0).unwrap().state, State::Unknown);
        let vain = with("relayed", 0, 3, 3, 4).unwrap();
        assert_eq!(
            (vain.state, &*vain.what),
            (State::Warn, "1 peer by a relay alone; 0 of 4 attempts opened: timed out")
        );
    }
}
