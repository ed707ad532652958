//! The others: who is known, how they are found, and who is turned away.

use std::collections::BTreeSet;

use p2p_fed::{
    api::Checkup,
    net::facts::{Facts, Link},
};

use super::{count, some};
use crate::{doctor::finding::Finding, table::span};

const COMPARE_TOKENS: &str = "compare `p2p-fed token show` on both machines: the networks must be the same";

/// What to do about a connection that failed for this reason.
fn advice(why: &str) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|part| why.contains(part));
    match () {
        () if has(&["hold this network's token", "hung up during admission", "may hold another token"]) => {
            COMPARE_TOKENS
        }
        () if has(&["is not let in", "does not let this node in"]) => {
            "ask the keeper of the issuer's key: `p2p-fed token invite`, and `p2p-fed ledger` shows who was invited"
        }
        () if has(&["no p2p-fed node"]) => {
            "another program answers at that address: look up the port in the other node's `ready` line"
        }
        () if has(&["another node answers there"]) => {
            "the node there has another identity now: take the address from its `ready` line"
        }
        () if has(&["connection refused"]) => {
            "start the node there, and compare the port with the one in its `ready` line"
        }
        () if has(&["timed out", "timeout", "did not prove"]) => {
            "a firewall or NAT drops it: open the port on that machine, or use a relay (`p2p-fed relay`)"
        }
        () if has(&["unreachable", "no route"]) => {
            "this machine has no route there: are both in one network, or one VPN?"
        }
        () if has(&["resolve", "dns", "lookup"]) => "the name does not resolve here: try an IP address",
        () => "`p2p-fed --log-level debug` on both machines says more",
    }
}

/// Those that the ledger lists against those that are connected.
pub(super) fn members(checkup: &Checkup) -> Finding {
    const CHECK: &str = "members";
    let there = || checkup.members.iter().filter(|known| !known.is_leaving);
    let missing: Vec<_> = there().filter(|known| !known.is_connected).collect();
    let faults: Vec<_> = missing
        .iter()
        .filter_map(|known| {
            let fault = checkup.net.unreached.get(&known.node)?;
            Some((format!("{}: {}", known.name, fault.why), advice(&fault.why)))
        })
        .collect();
    let told = some(&faults.iter().map(|(fault, _)| fault.clone()).collect::<Vec<_>>());
    let cure = faults.first().map_or("wait a minute, then look again", |(_, advice)| advice);
    match (checkup.peers.len(), there().count(), faults.len()) {
        (0, 0, _) => Finding::warn(
            CHECK,
            "this node is alone in its network",
            "is another node running with the same token? If so, name an address of its `ready` line with --peer",
        ),
        (0, _, 0) => Finding::fail(CHECK, format!("{} known, none connected", count(missing.len(), "member")), cure),
        (0, ..) => Finding::fail(CHECK, format!("none connected: {told}"), cure),
        (connected, _, 0) if missing.is_empty() => {
            Finding::ok(CHECK, format!("{} connected", count(connected, "member")))
        }
        // Large networks do without some connections.
        (connected, known, 0) => Finding::ok(CHECK, format!("{connected} of {} connected", count(known, "member"))),
        (connected, known, _) => {
            Finding::warn(CHECK, format!("{connected} of {} connected; not {told}", count(known, "member")), cure)
        }
    }
}

/// The peers that the user named.
pub(super) fn bootstrap(checkup: &Checkup) -> Option<Finding> {
    const CHECK: &str = "bootstrap";
    let named = &checkup.net.bootstrap;
    let reached = named.iter().filter(|peer| peer.reached).count();
    let faults: Vec<_> = named.iter().filter_map(|peer| Some((&peer.address, peer.fault.as_ref()?))).collect();
    let told = || some(&faults.iter().map(|(address, fault)| format!("{address}: {fault}")).collect::<Vec<_>>());
    match (named.len(), faults.first()) {
        (0, _) => None,
        (all, None) if reached == 0 && checkup.peers.is_empty() => {
            Some(Finding::unknown(CHECK, format!("{}, none has answered yet", count(all, "named peer"))))
        }
        (_, None) => Some(Finding::ok(CHECK, "all that are named were reached, or came by themselves")),
        (_, Some((_, fault))) if checkup.peers.is_empty() => Some(Finding::fail(CHECK, told(), advice(fault))),
        (_, Some((_, fault))) => Some(Finding::warn(CHECK, told(), advice(fault))),
    }
}

/// Who came and did not prove the token.
pub(super) fn admission(net: &Facts) -> Option<Finding> {
    const CHECK: &str = "admission";
    let turned: Vec<_> = net.turned_away.iter().filter(|turned| turned.by_admission).collect();
    let Some(newest) = turned.iter().min_by_key(|turned| turned.ago_s) else {
        return Some(Finding::ok(CHECK, "nobody was turned away"));
    };
    let told: Vec<_> = turned
        .iter()
        .map(|turned| {
            let times = count(usize::try_from(turned.count).unwrap_or(usize::MAX), "time");
            format!("{} ({times}, the last {} ago from {})", turned.why, span(turned.ago_s), turned.address)
        })
        .collect();
    Some(Finding::warn(CHECK, format!("turned away: {}", some(&told)), advice(&newest.why)))
}

/// Members that this node refuses.
pub(super) fn refused(checkup: &Checkup) -> Option<Finding> {
    let told: Vec<_> = checkup
        .barred
        .iter()
        .map(|barred| {
            let name = barred.name.as_ref().unwrap_or(&barred.id);
            let left = barred.remaining_s.map_or_else(String::new, |left| format!(", for another {}", span(left)));
            format!("{name} ({}{left})", barred.reason)
        })
        .collect();
    let advice = "`p2p-fed peers` tells what they did; a ban is the issuer's, and ends with a new decree";
    (!told.is_empty()).then(|| Finding::warn("refused", format!("not let in: {}", some(&told)), advice))
}

/// What the ledger did not take, for reasons that somebody can mend.
pub(super) fn records(checkup: &Checkup) -> Option<Finding> {
    const MENDABLE: [&str; 6] = ["generation", "credential", "role", "revoked", "expired", "full"];
    let such = checkup.refusals.iter().filter(|refusal| refusal.count > 0 && MENDABLE.contains(&&*refusal.reason));
    let told: Vec<_> = such.map(|refusal| format!("{} ({} times)", refusal.meaning, refusal.count)).collect();
    let advice = "give those machines a token of today: `p2p-fed token show` tells generation and invitation";
    (!told.is_empty()).then(|| Finding::warn("records", format!("not taken: {}", some(&told)), advice))
}

/// What was heard on the local network.
pub(super) fn mdns(net: &Facts) -> Finding {
    const CHECK: &str = "mdns";
    const FIREWALL: &str =
        "let UDP port 5353 to 224.0.0.251 and ff02::fb through this machine's firewall, or name peers with --peer";
    let Some(links) = &net.mdns else { return Finding::unknown(CHECK, "off") };
    let on = |is_it: &dyn Fn(&Link) -> bool| -> Vec<String> {
        let such = links.iter().filter(|link| is_it(link)).map(|link| link.interface.clone());
        such.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let answers: u64 = links.iter().map(|link| link.answers).sum();
    let open = links.iter().filter(|link| link.fault.is_none());
    let faults: Vec<_> =
        links.iter().filter_map(|link| Some(format!("{}: {}", link.interface, link.fault.as_ref()?))).collect();
    if answers > 0 {
        return Finding::ok(
            CHECK,
            format!("{} heard on {}", count(answers as usize, "answer"), some(&on(&|link| link.answers > 0))),
        );
    }
    if open.count() == 0 {
        return match faults.is_empty() {
            true => Finding::warn(
                CHECK,
                "no interface to use it on",
                "connect this machine to a network, or name peers with --peer",
            ),
            false => Finding::warn(CHECK, format!("not to be used: {}", some(&faults)), FIREWALL),
        };
    }
    if links.iter().all(|link| link.own == 0) && links.iter().any(|link| link.sent > 2) {
        let what =
            format!("what is sent on {} does not even come back to this machine", some(&on(&|link| link.sent > 0)));
        return Finding::warn(CHECK, what, FIREWALL);
    }
    Finding::unknown(CHECK, format!("no other node has answered on {}", some(&on(&|link| link.fault.is_none()))))
}

/// The DHT as a meeting place.
pub(super) fn dht(net: &Facts) -> Finding {
    const CHECK: &str = "dht";
    let Some(meeting) = &net.dht else { return Finding::unknown(CHECK, "off") };
    let fault = meeting.fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
    let announced = format!("announced {}", count(meeting.announced as usize, "time"));
    match (meeting.announced, meeting.found, meeting.has_answered) {
        (1.., 1.., _) => Finding::ok(CHECK, format!("{announced}, others found")),
        (1.., 0, true) => Finding::ok(CHECK, format!("{announced}, nobody found there yet")),
        (0, _, true) if meeting.failed > 0 => Finding::warn(
            CHECK,
            format!("{} failed{fault}", count(meeting.failed as usize, "question")),
            "wait a minute; if it stays so, name peers with --peer",
        ),
        (0, _, true) => Finding::unknown(CHECK, "a server has answered, this node is not announced yet"),
        (.., false) if meeting.is_public => Finding::warn(
            CHECK,
            "no server of the public DHT has answered",
            "without internet say --no-dht; with it, let TCP and UDP out; or name peers with --peer",
        ),
        (.., false) => Finding::unknown(CHECK, format!("no server of the members' own DHT has answered{fault}")),
    }
}

#[cfg(test)]
mod tests {
    use p2p_fed::{
        api::{Barred, Refusal},
        net::facts::{Bootstrap, Fault, Meeting, TurnedAway},
    };

    use super::{
        super::tests::{healthy, known},
        *,
    };
    use crate::doctor::finding::State;

    const WRONG: &str = "the peer does not hold this network's token";

    fn fault(why: &str) -> Fault {
        Fault { why: why.into(), ago_s: 3 }
    }

    #[test]
    fn members_that_are_connected_missed_or_none() {
        let with = |peers: bool, all: Vec<p2p_fed::api::Known>, unreached: &[(&str, &str)]| {
            let unreached = unreached.iter().map(|(name, why)| (format!("id-of-{name}"), fault(why))).collect();
            let net = Facts { unreached, ..Facts::default() };
            let peers = if peers { healthy().peers } else { vec![] };
            members(&Checkup { peers, members: all, net, ..healthy() })
        };
        assert_eq!(with(true, vec![known("gpu1", true)], &[]).what, "1 member connected");
        assert_eq!(with(false, vec![], &[]).state, State::Warn, "alone");
        assert_eq!(with(false, vec![known("gpu1", false)], &[]).state, State::Fail);
        let missed = with(false, vec![known("gpu1", false)], &[("gpu1", "connection refused")]);
        assert_eq!((missed.state, &*missed.what), (State::Fail, "none connected: gpu1: connection refused"));
        assert!(missed.advice.unwrap().contains("start the node"));
        let two = || vec![known("gpu1", true), known("gpu2", false)];
        assert_eq!(with(true, two(), &[]).what, "1 of 2 members connected", "it was not even dialled");
        let one_missed = with(true, two(), &[("gpu2", "timed out")]);
        assert_eq!(
            (one_missed.state, &*one_missed.what),
            (State::Warn, "1 of 2 members connected; not gpu2: timed out")
        );
        let leaving = p2p_fed::api::Known { is_leaving: true, ..known("gpu2", false) };
        assert_eq!(with(true, vec![known("gpu1", true), leaving], &[("gpu2", "x")]).state, State::Ok);
    }

    #[test]
    fn bootstrap_peers() {
        let with = |alone: bool, named: &[(bool, Option<&str>)]| {
            let named = named.iter().map(|(reached, fault)| Bootstrap {
                address: "/ip4/192.0.2.1/tcp/1".into(),
                reached: *reached,
                fault: fault.map(str::to_owned),
            });
            let peers = if alone { vec![] } else { healthy().peers };
            bootstrap(&Checkup { peers, net: Facts { bootstrap: named.collect(), ..Facts::default() }, ..healthy() })
        };
        assert_eq!(with(true, &[]), None);
        assert_eq!(with(true, &[(false, None)]).unwrap().state, State::Unknown);
        assert_eq!(with(false, &[(true, None), (false, None)]).unwrap().state, State::Ok);
        assert_eq!(with(false, &[(true, None), (false, Some("timed out"))]).unwrap().state, State::Warn);
        let wrong = with(true, &[(false, Some(WRONG))]).unwrap();
        assert_eq!((wrong.state, wrong.advice.as_deref()), (State::Fail, Some(COMPARE_TOKENS)));
    }

    #[test]
    fn those_who_were_turned_away() {
        let with = |by_admission, why: &str| {
            let turned = TurnedAway {
                why: why.into(),
                by_admission,
                count: 2,
                address: "/ip4/192.0.2.1/tcp/1".into(),
                ago_s: 75,
            };
            admission(&Facts { turned_away: vec![turned], ..Facts::default() }).unwrap()
        };
        assert_eq!(with(false, "connection reset").state, State::Ok, "the network's noise");
        let wrong = with(true, WRONG);
        assert_eq!(wrong.what, format!("turned away: {WRONG} (2 times, the last 1m15s ago from /ip4/192.0.2.1/tcp/1)"));
        assert_eq!((wrong.state, wrong.advice.as_deref()), (State::Warn, Some(COMPARE_TOKENS)));
    }

    #[test]
    fn those_who_are_refused_and_records_that_are() {
        assert_eq!((refused(&healthy()), records(&healthy())), (None, None));
        let barred = Barred {
            id: "id".into(),
            name: Some("gpu1".into()),
            reason: "forged".into(),
            remaining_s: Some(60),
            offences: [].into(),
            expulsions: 1,
        };
        let finding = refused(&Checkup { barred: vec![barred], ..healthy() }).unwrap();
        assert_eq!(finding.what, "not let in: gpu1 (forged, for another 1m0s)");
        let refusal =
            |reason: &str, count| Refusal { reason: reason.into(), meaning: "of another generation".into(), count };
        let with = |refusals| records(&Checkup { refusals, ..healthy() });
        assert_eq!(with(vec![refusal("generation", 0), refusal("pace", 5)]), None);
        assert_eq!(with(vec![refusal("generation", 4)]).unwrap().what, "not taken: of another generation (4 times)");
    }

    #[test]
    fn what_was_heard_by_mdns() {
        let link = |sent, own, answers, fault: Option<&str>| Link {
            interface: "eth0".into(),
            family: "ipv4".into(),
            fault: fault.map(str::to_owned),
            sent,
            own,
            answers,
            ..Link::default()
        };
        let with = |links| mdns(&Facts { mdns: links, ..Facts::default() });
        assert_eq!(with(None).what, "off");
        assert_eq!(with(Some(vec![])).state, State::Warn);
        assert_eq!(with(Some(vec![link(3, 3, 2, None)])).what, "2 answers heard on eth0");
        assert_eq!(with(Some(vec![link(3, 3, 0, None)])).state, State::Unknown);
        assert_eq!(with(Some(vec![link(1, 0, 0, None)])).state, State::Unknown, "it may be on its way");
        let blocked = with(Some(vec![link(9, 0, 0, None)]));
        assert!(blocked.state == State::Warn && blocked.what.contains("eth0 does not even come back"), "{blocked:?}");
        let taken = with(Some(vec![link(0, 0, 0, Some("address in use"))]));
        assert_eq!((taken.state, &*taken.what), (State::Warn, "not to be used: eth0: address in use"));
    }

    #[test]
    fn the_dht_by_what_came_of_it() {
        let with = |is_public, has_answered, announced, found, failed| {
            let fault = (failed > 0).then(|| "quorum failed".to_owned());
            let meeting = Meeting { is_public, servers: 5, has_answered, announced, lookups: 1, found, failed, fault };
            dht(&Facts { dht: Some(meeting), ..Facts::default() }).state
        };
        assert_eq!(dht(&Facts::default()).what, "off");
        assert_eq!(with(true, true, 1, 1, 0), State::Ok);
        assert_eq!(with(true, true, 1, 0, 0), State::Ok);
        assert_eq!(with(true, true, 0, 0, 3), State::Warn);
        assert_eq!(with(true, true, 0, 0, 0), State::Unknown);
        assert_eq!(with(true, false, 0, 0, 0), State::Warn);
        assert_eq!(with(false, false, 0, 0, 0), State::Unknown);
    }

    #[test]
    fn every_reason_has_its_advice() {
        for (why, part) in [
            (WRONG, "token show"),
            ("the peer hung up during admission; it may hold another token", "token show"),
            ("the peer does not let this node in: its invitation has expired", "token invite"),
            ("the peer is no p2p-fed node", "another program"),
            ("another node answers there: 12D3KooW", "another identity"),
            ("connection refused", "start the node"),
            ("connection timed out", "firewall"),
            ("network is unreachable", "no route"),
            ("failed to lookup address information", "does not resolve"),
            ("something else", "--log-level debug"),
        ] {
            assert!(advice(why).contains(part), "{why}: {}", advice(why));
        }
    }
}
