//! From facts to findings. Pure.
//!
//! Each function looks at one thing and says one sentence. `Fail` is what keeps nodes apart, `Warn` what may, and what has not
//! shown is `Unknown` and not `Ok`: a way that nobody took may be closed.

mod company;
mod machine;
mod ways;

use p2p_fed::api::{Checkup, TokenFacts};

pub(super) use machine::{clock, files, token};

use super::finding::Finding;

/// A token that was found here, and where.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) facts: TokenFacts,
    pub(super) origin: String,
}

/// All that a running node's facts show. `found` is the token that a command here would use, if there is one.
pub(super) fn checkup(checkup: &Checkup, found: Option<&Found>) -> Vec<Finding> {
    let net = &checkup.net;
    let always = [
        token(&checkup.token, found),
        machine::clock_of(checkup),
        files(&checkup.files),
        machine::listening(net),
        company::members(checkup),
    ];
    let others = [
        company::bootstrap(checkup),
        company::admission(net),
        company::refused(checkup),
        company::records(checkup),
        Some(company::mdns(net)),
        Some(company::dht(net)),
        Some(ways::transport(checkup, "tcp")),
        Some(ways::transport(checkup, "quic")),
        Some(machine::mtu(checkup)),
        Some(ways::nat(net)),
        Some(ways::reachable(net)),
        ways::router(net),
        Some(ways::relays(net)),
        ways::punching(checkup),
    ];
    always.into_iter().chain(others.into_iter().flatten()).collect()
}

/// `1 peer`, `2 peers`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A few of many, and how many more there are.
fn some(all: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = all.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
    if more > 0 { format!("{}, and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

#[cfg(test)]
pub(super) mod tests {
    use p2p_fed::{
        api::{Files, Known, Mtu, Node, Peer},
        net::facts::{CameIn, Dials, Facts, Link, Meeting},
    };

    use super::*;
    use crate::doctor::finding::State;

    pub(super) fn peer(name: &str) -> Peer {
        Peer {
            legacy: false,
            id: format!("id-of-{name}"),
            name: Some(name.into()),
            path: "direct".into(),
            transport: "tcp".into(),
            carrier: "stream".into(),
            address: "/ip4/192.168.1.7/tcp/4001".into(),
            rtt_ms: Some(0.4),
            responsive: true,
            clock_ahead_s: 0.1,
            offences: [].into(),
        }
    }

    pub(super) fn known(name: &str, is_connected: bool) -> Known {
        let addresses = vec!["/ip4/192.168.1.7/tcp/4001".to_owned()];
        Known { node: format!("id-of-{name}"), name: name.into(), is_connected, is_leaving: false, addresses }
    }

    /// One of two on a LAN.
    pub(super) fn healthy() -> Checkup {
        let dials = Dials { reached: 1, failed: 0, fault: None };
        let link =
            Link { interface: "eth0".into(), family: "ipv4".into(), sent: 3, own: 3, answers: 2, ..Link::default() };
        Checkup {
            version: "0.1.0".into(),
            network: "k7qd-93ma".into(),
            node: Node { id: "id-of-laptop".into(), name: "laptop".into(), addresses: vec![], uptime_s: 75 },
            unix_ms: 1_790_000_000_000,
            token: TokenFacts { network: "k7qd-93ma".into(), interval_s: 360, ..TokenFacts::default() },
            peers: vec![peer("gpu1")],
            barred: vec![],
            members: vec![known("gpu1", true)],
            refusals: vec![],
            net: Facts {
                listening: ["/ip4/192.168.1.2/tcp/4001", "/ip4/192.168.1.2/udp/4001/quic-v1"].map(str::to_owned).into(),
                dials: ["tcp", "quic"].map(|transport| (transport.to_owned(), dials.clone())).into(),
                came_in: CameIn { near: 1, afar: 0 },
                mdns: Some(vec![link]),
                dht: Some(Meeting {
                    is_public: true,
                    servers: 9,
                    has_answered: true,
                    announced: 2,
                    found: 1,
                    ..Meeting::default()
                }),
                ..Facts::default()
            },
            mtus: vec![Mtu { node: "id-of-gpu1".into(), ip: "192.168.1.7".into(), bytes: 1500 }],
            files: Files { limit: Some(524_288), open: Some(40), wanted: 36_000 },
        }
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_pair() {
        let findings = checkup(&healthy(), None);
        assert!(findings.iter().all(|finding| !matches!(finding.state, State::Warn | State::Fail)), "{findings:#?}");
        assert!(findings.len() > 10);
    }

    #[test]
    fn few_are_listed_and_many_are_counted() {
        let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        assert_eq!(some(&names(2)), "n0, n1");
        assert_eq!(some(&names(7)), "n0, n1, n2, n3, and 3 more");
        assert_eq!([count(1, "peer"), count(2, "peer")], ["1 peer", "2 peers"]);
    }
}
