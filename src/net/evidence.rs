//! What the network's task remembers of what went well and what did not, until somebody asks. Pure: time is an argument.
//!
//! **Absent on purpose.** No conclusions. Whoever asks gets the [`Facts`] and judges them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, TransportError,
    kad::{self, GetProvidersOk, QueryResult},
    multiaddr::Protocol,
};

use super::{
    Transport, complaint,
    facts::{Bootstrap, CameIn, Dials, Facts, Fault, Meeting, Sighting, TurnedAway},
    listen,
};

/// Sightings that are remembered: one for each peer and transport, the newest.
const SIGHTINGS: usize = 64;

/// Members not reached that are remembered, and bootstrap peers.
const UNREACHED: usize = 256;

/// Reasons for which somebody was turned away; most are one of a dozen.
const REASONS: usize = 32;

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    dials: BTreeMap<&'static str, Dials>,
    came_in: CameIn,
    sightings: VecDeque<Sighting>,
    meeting: Meeting,
    bootstrap: BTreeMap<String, Option<String>>,
    unreached: BTreeMap<PeerId, (String, Duration)>,
    turned_away: Vec<Turned>,
}

#[derive(Debug)]
struct Turned {
    why: String,
    by_admission: bool,
    count: u64,
    address: String,
    at: Duration,
}

impl Evidence {
    /// A member was reached at `address`, after these tries.
    pub(super) fn reached(&mut self, peer: PeerId, address: &Multiaddr) {
        self.unreached.remove(&peer);
        if !listen::is_relayed(address) {
            self.dials.entry(Transport::of(address).as_str()).or_default().reached += 1;
        }
    }

    /// These addresses of one peer led nowhere.
    pub(super) fn tried<E>(&mut self, attempts: &[(Multiaddr, TransportError<E>)])
    where
        E: std::error::Error + 'static,
    {
        for (address, error) in attempts.iter().filter(|(address, _)| !listen::is_relayed(address)) {
            let dials = self.dials.entry(Transport::of(address).as_str()).or_default();
            if complaint::is_by_admission(error) {
                // The transport has done its part.
                dials.reached += 1;
                continue;
            }
            dials.failed += 1;
            dials.fault = Some(complaint::of(error));
        }
    }

    /// A member was not reached at any address.
    pub(super) fn missed(&mut self, now: Duration, peer: PeerId, why: &str) {
        if self.unreached.len() >= UNREACHED && !self.unreached.contains_key(&peer) {
            let oldest = self.unreached.iter().min_by_key(|(_, (_, at))| *at).map(|(peer, _)| *peer);
            oldest.into_iter().for_each(|oldest| drop(self.unreached.remove(&oldest)));
        }
        self.unreached.insert(peer, (why.to_owned(), now));
    }

    /// What came of dialling a bootstrap peer.
    pub(super) fn bootstrap(&mut self, address: &Multiaddr, fault: Option<&str>) {
        let address = address.to_string();
        if self.bootstrap.len() < UNREACHED || self.bootstrap.contains_key(&address) {
            self.bootstrap.insert(address, fault.map(str::to_owned));
        }
    }

    /// A member dialled this node, from this machine or a private address, or from afar.
    pub(super) fn came_in(&mut self, peer: PeerId, is_near: bool) {
        self.unreached.remove(&peer);
        match is_near {
            true => self.came_in.near += 1,
            false => self.came_in.afar += 1,
        }
    }

    /// Somebody came and was not let through.
    pub(super) fn turned_away(&mut self, now: Duration, from: &Multiaddr, error: &(dyn std::error::Error + 'static)) {
        let (why, by_admission) = (complaint::of(error), complaint::is_by_admission(error));
        let address = from.to_string();
        if let Some(known) = self.turned_away.iter_mut().find(|known| known.why == why) {
            (known.count, known.address, known.at) = (known.count + 1, address, now);
            return;
        }
        if self.turned_away.len() >= REASONS {
            let oldest = self.turned_away.iter().enumerate().min_by_key(|(_, turned)| turned.at);
            oldest.map(|(index, _)| index).into_iter().for_each(|index| drop(self.turned_away.swap_remove(index)));
        }
        self.turned_away.push(Turned { why, by_admission, count: 1, address, at: now });
    }

    /// A peer, at `theirs` where that is known, sees this node at `seen`.
    pub(super) fn seen(&mut self, peer: PeerId, theirs: Option<&Multiaddr>, seen: &Multiaddr, is_dialled: bool) {
        let (Some(ip), Some(port)) = (listen::ip_of(seen), port_of(seen)) else { return };
        let from = theirs.and_then(listen::ip_of).map(|ip| ip.to_string());
        let (peer, transport) = (peer.to_string(), Transport::of(seen).as_str().to_owned());
        self.sightings.retain(|known| known.peer != peer || known.transport != transport);
        let sighting = Sighting { peer, from, transport, ip: ip.to_string(), port, is_dialled };
        self.sightings.push_front(sighting);
        self.sightings.truncate(SIGHTINGS);
    }

    /// A server of the DHT is there.
    pub(super) fn dht_answers(&mut self) {
        self.meeting.has_answered = true;
    }

    /// Something came of a question to the DHT.
    pub(super) fn queried(&mut self, local: &PeerId, event: &kad::Event) {
        let kad::Event::OutboundQueryProgressed { result, step, .. } = event else { return };
        let mut fail = |why: String| {
            self.meeting.failed += 1;
            self.meeting.fault = Some(why);
        };
        match result {
            QueryResult::StartProviding(Ok(_)) => self.meeting.announced += 1,
            QueryResult::StartProviding(Err(error)) => fail(error.to_string()),
            QueryResult::GetProviders(Ok(found)) => {
                if let GetProvidersOk::FoundProviders { providers, .. } = found {
                    self.meeting.found += providers.iter().filter(|peer| *peer != local).count() as u64;
                }
                self.meeting.lookups += u64::from(step.last);
            }
            QueryResult::GetProviders(Err(error)) => fail(error.to_string()),
            _ => {}
        }
    }

    /// All of it; what others know of remains to be said.
    pub(super) fn facts(&self, now: Duration, named: &[Multiaddr]) -> Facts {
        let ago_s = |at: Duration| now.saturating_sub(at).as_secs();
        let bootstrap = |address: &Multiaddr| {
            let address = address.to_string();
            let outcome = self.bootstrap.get(&address);
            let fault = outcome.cloned().flatten();
            Bootstrap { address, reached: outcome.is_some() && fault.is_none(), fault }
        };
        let turned_away = |turned: &Turned| TurnedAway {
            why: turned.why.clone(),
            by_admission: turned.by_admission,
            count: turned.count,
            address: turned.address.clone(),
            ago_s: ago_s(turned.at),
        };
        Facts {
            dials: self.dials.iter().map(|(transport, dials)| ((*transport).to_owned(), dials.clone())).collect(),
            came_in: self.came_in,
            sightings: self.sightings.iter().cloned().collect(),
            dht: Some(self.meeting.clone()),
            bootstrap: named.iter().map(bootstrap).collect(),
            unreached: self
                .unreached
                .iter()
                .map(|(peer, (why, at))| (peer.to_string(), Fault { why: why.clone(), ago_s: ago_s(*at) }))
                .collect(),
            turned_away: self.turned_away.iter().map(turned_away).collect(),
            ..Facts::default()
        }
    }
}

fn port_of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn dials_are_counted_by_transport_and_relays_are_not() {
        let mut evidence = Evidence::default();
        let (tcp, quic) = (address("/ip4/192.0.2.1/tcp/1"), address("/ip4/192.0.2.1/udp/1/quic-v1"));
        let refused = || TransportError::Other(io::Error::from_raw_os_error(111));
        let wrong = TransportError::Other(io::Error::other(super::super::AdmissionError::WrongToken));
        evidence.tried(&[(tcp.clone(), refused()), (quic.clone(), refused()), (tcp.clone(), wrong)]);
        evidence.reached(PeerId::random(), &tcp);
        evidence.reached(PeerId::random(), &tcp.with(Protocol::P2pCircuit));
        let facts = evidence.facts(S, &[]);
        let fault = Some("connection refused".to_owned());
        assert_eq!(facts.dials["tcp"], Dials { reached: 2, failed: 1, fault: fault.clone() });
        assert_eq!(facts.dials["quic"], Dials { reached: 0, failed: 1, fault });
    }

    #[test]
    fn who_was_missed_is_forgotten_when_it_is_there() {
        let mut evidence = Evidence::default();
        let [one, two] = [(); 2].map(|()| PeerId::random());
        evidence.missed(S, one, "no way");
        evidence.missed(2 * S, two, "no way");
        assert_eq!(evidence.facts(5 * S, &[]).unreached[&one.to_string()], Fault { why: "no way".into(), ago_s: 4 });
        evidence.reached(one, &address("/ip4/192.0.2.1/tcp/1"));
        evidence.came_in(two, false);
        let facts = evidence.facts(5 * S, &[]);
        assert!(facts.unreached.is_empty());
        assert_eq!(facts.came_in, CameIn { near: 0, afar: 1 });
        for n in 0..2 * UNREACHED as u32 {
            evidence.missed(n * S, PeerId::random(), "no way");
        }
        assert_eq!(evidence.unreached.len(), UNREACHED);
    }

    #[test]
    fn those_turned_away_are_counted_by_reason_and_the_oldest_reason_goes() {
        let mut evidence = Evidence::default();
        let from = |n: u32| address(&format!("/ip4/192.0.2.1/tcp/{n}"));
        let wrong = io::Error::other(super::super::AdmissionError::WrongToken);
        evidence.turned_away(S, &from(1), &wrong);
        evidence.turned_away(2 * S, &from(2), &wrong);
        let turned = &evidence.facts(5 * S, &[]).turned_away[0];
        assert_eq!((turned.count, &*turned.address, turned.ago_s), (2, "/ip4/192.0.2.1/tcp/2", 3));
        assert!(turned.by_admission && turned.why.contains("token"), "{turned:?}");
        for n in 0..REASONS as u32 {
            evidence.turned_away((3 + n) * S, &from(n), &io::Error::other(n.to_string()));
        }
        let facts = evidence.facts(60 * S, &[]);
        assert_eq!(facts.turned_away.len(), REASONS);
        assert!(facts.turned_away.iter().all(|turned| !turned.by_admission), "it was the oldest");
    }

    #[test]
    fn bootstrap_peers_are_reached_missed_or_not_tried_yet() {
        let mut evidence = Evidence::default();
        let named = [1, 2, 3].map(|n| address(&format!("/ip4/192.0.2.1/tcp/{n}")));
        evidence.bootstrap(&named[0], Some("connection refused"));
        evidence.bootstrap(&named[1], Some("connection refused"));
        evidence.bootstrap(&named[1], None);
        let told = evidence.facts(S, &named).bootstrap;
        let told: Vec<_> = told.iter().map(|peer| (peer.reached, peer.fault.as_deref())).collect();
        assert_eq!(told, [(false, Some("connection refused")), (true, None), (false, None)]);
    }

    #[test]
    fn each_peer_s_newest_sighting_is_kept() {
        let mut evidence = Evidence::default();
        let peer = PeerId::random();
        let seen = |port: u16| address(&format!("/ip4/203.0.113.9/udp/{port}/quic-v1"));
        let theirs = address("/ip4/192.0.2.1/udp/1/quic-v1");
        evidence.seen(peer, Some(&theirs), &seen(1), true);
        evidence.seen(peer, Some(&theirs), &seen(2), true);
        evidence.seen(peer, Some(&theirs), &address("/dns4/a.example/tcp/1"), true);
        let sightings = evidence.facts(S, &[]).sightings;
        assert_eq!((sightings.len(), sightings[0].port, sightings[0].from.as_deref()), (1, 2, Some("192.0.2.1")));
        (0..2 * SIGHTINGS).for_each(|_| evidence.seen(PeerId::random(), None, &seen(1), false));
        assert_eq!(evidence.sightings.len(), SIGHTINGS);
    }
}
