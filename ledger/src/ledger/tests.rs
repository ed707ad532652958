//! One ledger, driven by hand.

use super::*;
use crate::{
    Decree, FRAME_MAX, Invitation, NetworkId, Protocol, Record, Roles, Rotation, Serial, Service, SignedInvitation,
    lease::SignedLease,
    rumour::{Evidence, tell_lease},
};

const CONFIG: Config = Config::new(NetworkId([0; 16]), 0);
const START_MS: u64 = 1_800_000_000_000;

fn at(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), unix_ms: START_MS + seconds * 1000 }
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn node(n: u8) -> NodeId {
    key(n).verifying_key().into()
}

fn ledger(n: u8) -> Ledger {
    Ledger::new(CONFIG, key(n), None, at(0), u64::from(n))
}

fn statement(name: &str) -> Statement {
    Statement { name: name.into(), ..Statement::default() }
}

fn record(n: u8, seq: u64, name: &str) -> SignedRecord {
    let record = Record {
        network: CONFIG.network,
        generation: 0,
        owner: node(n),
        seq,
        issued_ms: START_MS,
        ttl: Duration::from_secs(60),
        statement: statement(name),
        credential: None,
    };
    SignedRecord::sign(record, &key(n)).unwrap()
}

fn outputs(ledger: &mut Ledger) -> Vec<Output> {
    std::iter::from_fn(|| ledger.poll_output()).collect()
}

fn give(ledger: &mut Ledger, seconds: u64, input: Input) -> Vec<Output> {
    ledger.handle(at(seconds), input);
    outputs(ledger)
}

fn gossip(ledger: &mut Ledger, seconds: u64, from: u8, bytes: Vec<u8>) -> (Verdict, Vec<Output>) {
    let mut outputs = give(ledger, seconds, Input::Gossip { ticket: 7, from: node(from), bytes });
    let judged = outputs.iter().position(|output| matches!(output, Output::Judge { ticket: 7, .. })).unwrap();
    match outputs.remove(judged) {
        Output::Judge { verdict, .. } => (verdict, outputs),
        _ => unreachable!(),
    }
}

fn kinds(outputs: &[Output]) -> String {
    let kind = |output: &Output| match output {
        Output::Persist { .. } => "persist",
        Output::Broadcast(_) => "broadcast",
        Output::Judge { .. } => "judge",
        Output::OpenSession { .. } => "open",
        Output::Send { .. } => "send",
        Output::CloseSession { .. } => "close",
        Output::View(_) => "view",
        Output::Misbehaved { .. } => "misbehaved",
        Output::Expel { .. } => "expel",
        Output::Decree(_) => "decree",
        Output::Refused(_) => "refused",
        Output::KeyShared => "shared",
    };
    outputs.iter().map(kind).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_change_is_persisted_then_told_then_seen() {
    let mut ledger = ledger(1);
    let out = give(&mut ledger, 0, Input::Publish(statement("a")));
    assert_eq!(kinds(&out), "persist broadcast view");
    assert!(matches!(out[0], Output::Persist { seq } if seq == START_MS));
    let Output::View(view) = &out[2] else { panic!() };
    assert_eq!((view.revision, view.nodes[&node(1)].record.statement.name.as_str()), (1, "a"));
    assert!(view.nodes[&node(1)].fresh && !view.nodes[&node(1)].quarantined);

    assert_eq!(kinds(&give(&mut ledger, 1, Input::Publish(statement("a")))), "", "the same again");
    assert_eq!(kinds(&give(&mut ledger, 1, Input::Publish(statement("NOT"))),), "refused");
    assert_eq!(kinds(&give(&mut ledger, 1, Input::Publish(statement("a").farewell()))), "persist broadcast view");
    assert!(ledger.view().nodes[&node(1)].record.statement.leaving);
    assert_eq!(ledger.view().revision, 2);
}

#[test]
fn a_renewal_is_persisted_and_not_told() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::Publish(statement("a")));
    let due = ledger.poll_timeout().unwrap();
    ledger.handle_timeout(Moment { mono: due - Duration::from_nanos(1), unix_ms: 0 });
    assert_eq!(kinds(&outputs(&mut ledger)), "");
    ledger.handle_timeout(Moment { mono: due, unix_ms: 5 });
    assert_eq!(kinds(&outputs(&mut ledger)), "persist", "a lease shows in no view");
    assert_eq!(ledger.number(&node(1)), Some(START_MS + 1), "the number goes on");
    assert_eq!(ledger.counters(), Counters { published: 1, renewed: 1, ..Counters::default() });
    assert!(ledger.poll_timeout().unwrap() > due);
    ledger.handle_timeout(Moment { mono: Duration::from_secs(9 * 3600), unix_ms: 5 });
    assert_eq!(kinds(&outputs(&mut ledger)), "persist view");
    let own = ledger.record(&node(1)).unwrap().record();
    assert_eq!((own.seq, own.issued_ms), (START_MS + 2, 5), "signed anew, dated by the clock");
    assert_eq!(ledger.counters(), Counters { published: 1, renewed: 2, ..Counters::default() });
}

#[test]
fn gossip_is_judged_by_what_it_is() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    let good = tell(&record(2, 5, "a"));
    assert_eq!(gossip(&mut ledger, 0, 8, good.clone()).0, Verdict::Ignore, "8 is not up");
    let (verdict, out) = gossip(&mut ledger, 0, 9, good.clone());
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Accept, "view"));
    let (verdict, out) = gossip(&mut ledger, 0, 9, good.clone());
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Ignore, ""));

    let cut = good.split_last().unwrap().1.to_vec();
    for bytes in [cut, vec![], vec![1, 2, 3], vec![1; RUMOUR_MAX + 1]] {
        let (verdict, out) = gossip(&mut ledger, 0, 9, bytes);
        assert_eq!(verdict, Verdict::Reject);
        let [Output::Misbehaved { peer, offence }] = out[..] else { panic!("{out:?}") };
        assert_eq!((peer, offence), (node(9), Offence::Malformed));
    }
    let lease = SignedLease::sign(record(2, 5, "a").id(), 6, Duration::from_secs(60), &key(2));
    give(&mut ledger, 0, Input::PeerUp(node(8)));
    let (verdict, out) = gossip(&mut ledger, 0, 8, tell_lease(&lease));
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Reject, "misbehaved"), "leases travel by sync alone");
    let (verdict, _) = gossip(&mut ledger, 0, 9, vec![77, 1]);
    assert_eq!(verdict, Verdict::Ignore, "a later version is nobody's fault");
    let counters = ledger.counters();
    assert_eq!((counters.gossip_accepted, counters.gossip_ignored, counters.gossip_rejected), (1, 3, 5));
}

#[test]
fn a_kind_of_a_later_version_is_ignored_unless_it_is_too_long() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    assert_eq!(gossip(&mut ledger, 0, 9, vec![200; RUMOUR_MAX]).0, Verdict::Ignore);
    assert_eq!(gossip(&mut ledger, 0, 9, vec![200; RUMOUR_MAX + 1]).0, Verdict::Reject);
}

#[test]
fn a_forged_record_costs_the_sender() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    let mut forged = tell(&record(2, 5, "a"));
    *forged.last_mut().unwrap() ^= 1;
    let (verdict, out) = gossip(&mut ledger, 0, 9, forged);
    assert_eq!(verdict, Verdict::Reject);
    assert!(matches!(out[..], [Output::Misbehaved { offence: Offence::Forged, .. }]));
    assert_eq!(ledger.owners(), 0);
}

#[test]
fn the_fifth_forgery_gets_a_peer_expelled() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    let mut forged = tell(&record(2, 5, "a"));
    *forged.last_mut().unwrap() ^= 1;
    let told: Vec<_> = (0..5).map(|_| kinds(&gossip(&mut ledger, 0, 9, forged.clone()).1)).collect();
    assert_eq!(told, ["misbehaved", "misbehaved", "misbehaved", "misbehaved", "misbehaved expel"]);
    let (peer, offences) = ledger.offences().next().unwrap();
    assert_eq!((peer, offences[&Offence::Forged], ledger.counters().expelled), (node(9), 5, 1));
}

// --- networks with an issuer ---

const ISSUER: u8 = 99;
const HOLDER: u8 = 98;

fn governed() -> Config {
    Config { issuer: Some(key(ISSUER).verifying_key().into()), ..CONFIG }
}

fn credential(n: u8) -> Credential {
    let invitation = Invitation {
        network: CONFIG.network,
        serial: Serial([n; 16]),
        holder: key(HOLDER).verifying_key().to_bytes(),
        roles: Roles::ALL,
        services: "*".parse().unwrap(),
        expires_unix_s: 0,
        once: true,
    };
    Credential::bind(SignedInvitation::sign(invitation, &key(ISSUER)), &key(HOLDER), node(n))
}

fn member(n: u8) -> Ledger {
    let mut ledger = Ledger::new(governed(), key(n), None, at(0), u64::from(n));
    ledger.show(credential(n));
    give(&mut ledger, 0, Input::Publish(statement("member")));
    ledger
}

fn decree(number: u64, change: impl FnOnce(&mut Decree)) -> Box<UnverifiedDecree> {
    let mut decree = Decree::empty(CONFIG.network, number, 0);
    change(&mut decree);
    Box::new(UnverifiedDecree::decode(SignedDecree::sign(decree, &key(ISSUER)).unwrap().bytes()).unwrap())
}

fn told(decree: &UnverifiedDecree) -> Vec<u8> {
    tell_decree(&decree.clone().verify(&key(ISSUER).verifying_key().into()).unwrap())
}

#[test]
fn only_the_issuers_guests_are_heard_and_only_within_their_grant() {
    let mut ledger = member(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    assert_eq!(gossip(&mut ledger, 0, 9, tell(&record(2, 5, "a"))).0, Verdict::Ignore);
    let shown = Record { credential: Some(credential(2)), ..(**record(2, 6, "a").record()).clone() };
    let shown = SignedRecord::sign(shown, &key(2)).unwrap();
    assert_eq!(gossip(&mut ledger, 0, 9, tell(&shown)).0, Verdict::Accept);
    let stolen = Record { credential: Some(credential(2)), ..(**record(3, 6, "a").record()).clone() };
    let stolen = SignedRecord::sign(stolen, &key(3)).unwrap();
    assert_eq!(gossip(&mut ledger, 0, 9, tell(&stolen)).0, Verdict::Ignore);
    assert_eq!((ledger.owners(), ledger.counters().refused_credential), (2, 2));
}

#[test]
fn evidence_lets_nobody_in_who_was_not_invited() {
    let mut ledger = member(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    let evidence = Evidence::of(record(2, 5, "a"), record(2, 5, "b")).unwrap().tell();
    assert_eq!(gossip(&mut ledger, 0, 9, evidence).0, Verdict::Ignore);
    assert_eq!((ledger.owners(), ledger.counters().refused_credential), (1, 1));
}

#[test]
fn a_decree_spreads_by_gossip_and_its_bans_hold_at_once() {
    let (mut one, mut other, banned) = (member(1), member(2), member(3));
    for ledger in [&mut one, &mut other] {
        give(ledger, 0, Input::PeerUp(node(9)));
        assert_eq!(gossip(ledger, 0, 9, tell(banned.record(&node(3)).unwrap())).0, Verdict::Accept);
    }
    let ban = decree(7, |decree| _ = decree.banned.insert(node(3)));
    assert_eq!(kinds(&give(&mut one, 1, Input::Decree(ban.clone()))), "decree broadcast view");
    assert_eq!(kinds(&give(&mut one, 1, Input::Decree(ban.clone()))), "", "the same again");
    let (verdict, out) = gossip(&mut other, 1, 9, told(&ban));
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Accept, "decree view"));
    for ledger in [&mut one, &mut other] {
        assert!(ledger.record(&node(3)).is_none() && !ledger.view().nodes.contains_key(&node(3)));
        assert_eq!(gossip(ledger, 2, 9, tell(banned.record(&node(3)).unwrap())).0, Verdict::Ignore);
        assert_eq!(ledger.decree().unwrap().decree().number, 7);
    }
    let forged = SignedDecree::sign(Decree::empty(CONFIG.network, 8, 0), &key(1)).unwrap();
    let (verdict, out) = gossip(&mut other, 2, 9, tell_decree(&forged));
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Reject, "misbehaved"), "a member is not the issuer");
}

#[test]
fn a_sync_moves_the_newer_decree_first_whoever_dials() {
    for dialler_knows in [true, false] {
        let (mut a, mut b) = (member(1), member(2));
        give(&mut a, 0, Input::PeerUp(node(2)));
        give(&mut b, 0, Input::PeerUp(node(1)));
        let knows = if dialler_knows { &mut a } else { &mut b };
        give(knows, 0, Input::Decree(decree(7, |decree| _ = decree.banned.insert(node(3)))));
        sync(&mut a, &mut b, 0, 1);
        for ledger in [&a, &b] {
            assert_eq!(ledger.decree().unwrap().decree().number, 7);
            assert_eq!(ledger.owners(), 2);
        }
        assert_eq!(a.fingerprint(), b.fingerprint());
    }
}

#[test]
fn members_move_to_the_new_generation_and_the_old_one_ends_with_its_grace() {
    let (mut mover, mut other, stays) = (member(1), member(2), member(3));
    give(&mut other, 0, Input::PeerUp(node(9)));
    for ledger in [&mover, &stays] {
        gossip(&mut other, 0, 9, tell(ledger.record(&ledger.node_id()).unwrap()));
    }
    let rotation =
        Rotation { generation: 1, grace: Duration::from_secs(60), ephemeral: [0; 32], sealed: Default::default() };
    let rotate = decree(7, |decree| decree.rotation = Some(rotation));
    gossip(&mut other, 10, 9, told(&rotate));
    give(&mut mover, 10, Input::Decree(rotate));
    let out = give(&mut mover, 10, Input::Generation(1));
    assert_eq!(kinds(&out), "persist broadcast view", "who has the secret says so");
    assert_eq!(kinds(&give(&mut mover, 10, Input::Generation(1))), "", "once");
    let moved = mover.record(&node(1)).unwrap().clone();
    assert_eq!(moved.record().generation, 1);
    assert_eq!(gossip(&mut other, 11, 9, tell(&moved)).0, Verdict::Accept);
    assert_eq!(other.owners(), 3, "both count during the grace");
    assert_eq!(other.grace_ends(), Some(at(70).mono));

    let mut restarted = Ledger::new(governed(), key(2), None, at(30), 2);
    for item in other.snapshot(at(20)) {
        restarted.restore(at(30), &item);
    }
    assert_eq!((restarted.owners(), restarted.grace_ends()), (2, Some(at(70).mono)), "as it was, but for itself");

    other.handle_timeout(at(70));
    assert!(other.record(&node(3)).is_none() && other.record(&node(1)).is_some());
    assert_eq!(gossip(&mut other, 71, 9, tell(stays.record(&node(3)).unwrap())).0, Verdict::Ignore);
    assert!(other.counters().refused_generation > 0);
}

#[test]
fn in_an_open_network_a_decree_is_a_forgery() {
    let mut open = ledger(1);
    give(&mut open, 0, Input::PeerUp(node(9)));
    let (verdict, out) = gossip(&mut open, 0, 9, told(&decree(1, |_| {})));
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Reject, "misbehaved"));
    assert!(open.decree().is_none());
}

#[test]
fn a_node_without_its_number_on_disk_goes_on_above_its_snapshot() {
    let mut before = ledger(1);
    give(&mut before, 0, Input::PeerUp(node(9)));
    give(&mut before, 0, Input::Publish(statement("a")));
    gossip(&mut before, 0, 9, tell(&record(2, 5, "b")));
    let early = Moment { mono: Duration::ZERO, unix_ms: START_MS - 1000 };
    let mut after = Ledger::new(CONFIG, key(1), None, early, 1);
    assert!(before.snapshot(at(1)).all(|item| after.restore(early, &item)));
    assert!(!after.restore(early, b"nonsense"));
    after.handle(early, Input::Publish(statement("a")));
    assert_eq!(after.record(&node(1)).unwrap().record().seq, START_MS + 1);
    assert_eq!(after.owners(), 2);
}

#[test]
fn one_peer_at_a_time_brings_a_newcomer_the_bulk() {
    let mut newcomer = ledger(1);
    give(&mut newcomer, 0, Input::Publish(statement("new")));
    let hello = |count| Frame::Hello { count, fingerprint: 7, decree: 0 }.encode();
    let mut told = Vec::new();
    for (session, peer, seconds) in [(1, 2, 0), (2, 3, 1), (3, 4, 3)] {
        give(&mut newcomer, seconds, Input::PeerUp(node(peer)));
        give(&mut newcomer, seconds, Input::SessionOpened { session, peer: node(peer), dialled: false });
        told.push(kinds(&give(&mut newcomer, seconds, Input::SessionFrame { session, bytes: hello(500) })));
    }
    assert_eq!(told, ["send", "close", "send"], "a second one while the first is lively is declined");
    give(&mut newcomer, 3, Input::PeerUp(node(5)));
    give(&mut newcomer, 3, Input::SessionOpened { session: 4, peer: node(5), dialled: false });
    let small = give(&mut newcomer, 3, Input::SessionFrame { session: 4, bytes: hello(5) });
    assert_eq!(kinds(&small), "send", "who has little to bring may always come");
    assert_eq!(newcomer.counters().sessions_declined, 1);
}

#[test]
fn a_flood_is_ignored_and_told() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    let told: Vec<_> = (0..300).flat_map(|_| gossip(&mut ledger, 0, 9, vec![77]).1).collect();
    assert_eq!(ledger.counters().dropped_sender, 100);
    assert!(matches!(told[..], [Output::Misbehaved { offence: Offence::Flood, .. }]));
}

#[test]
fn an_echo_of_a_former_life_is_outbid() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    give(&mut ledger, 0, Input::Publish(statement("now")));
    let (verdict, out) = gossip(&mut ledger, 0, 9, tell(&record(1, START_MS + 500, "before")));
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Ignore, "persist broadcast view"));
    let own = ledger.record(&node(1)).unwrap().record();
    assert_eq!((own.seq, own.statement.name.as_str()), (START_MS + 501, "now"));
    assert_eq!(gossip(&mut ledger, 0, 9, tell(&record(1, START_MS + 3, "older"))).0, Verdict::Ignore);
    assert_eq!(ledger.record(&node(1)).unwrap().record().seq, START_MS + 501);

    let shared: Vec<_> = (1..10)
        .flat_map(|n| gossip(&mut ledger, 1, 9, tell(&record(1, START_MS + 600 + 10 * n, "other"))).1)
        .filter(|output| matches!(output, Output::KeyShared))
        .collect();
    assert_eq!(shared.len(), 1, "said once");
}

#[test]
fn a_second_record_with_the_own_number_quarantines_this_node() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    give(&mut ledger, 0, Input::Publish(statement("a")));
    let (_, out) = gossip(&mut ledger, 0, 9, tell(&record(1, START_MS, "b")));
    assert_eq!(kinds(&out), "broadcast persist broadcast view");
    assert!(ledger.view().nodes[&node(1)].quarantined);
    assert_eq!(ledger.record(&node(1)).unwrap().record().seq, START_MS + 1);
    let Counters { quarantined, echoes, published, .. } = ledger.counters();
    assert_eq!((quarantined, echoes, published), (1, 1, 2));
}

#[test]
fn a_conflict_is_told_as_evidence_and_evidence_is_passed_on() {
    let (mut finder, mut other) = (ledger(1), ledger(2));
    give(&mut finder, 0, Input::PeerUp(node(9)));
    give(&mut other, 0, Input::PeerUp(node(9)));
    gossip(&mut finder, 0, 9, tell(&record(3, 5, "a")));
    let (_, out) = gossip(&mut finder, 0, 9, tell(&record(3, 5, "b")));
    let [Output::Broadcast(evidence), Output::View(view)] = &out[..] else { panic!("{out:?}") };
    assert!(view.nodes[&node(3)].quarantined);
    let (verdict, out) = gossip(&mut other, 0, 9, evidence.clone());
    assert_eq!((verdict, kinds(&out).as_str()), (Verdict::Accept, "view"), "passed on, not said again");
    assert_eq!(gossip(&mut other, 0, 9, evidence.clone()).0, Verdict::Ignore);
    assert_eq!(other.fingerprint(), finder.fingerprint());
}

/// Opens a session between two ledgers and carries frames until it ends. All other outputs, by ledger.
fn sync(dialler: &mut Ledger, responder: &mut Ledger, seconds: u64, session: u64) -> [Vec<Output>; 2] {
    let (a, b) = (dialler.node_id(), responder.node_id());
    let mut rest = [vec![], vec![]];
    let mut queue = VecDeque::from([
        (1, Input::SessionOpened { session, peer: a, dialled: false }),
        (0, Input::SessionOpened { session, peer: b, dialled: true }),
    ]);
    while let Some((to, input)) = queue.pop_front() {
        let ledger = if to == 0 { &mut *dialler } else { &mut *responder };
        for output in give(ledger, seconds, input) {
            match output {
                Output::Send { session, bytes } => queue.push_back((1 - to, Input::SessionFrame { session, bytes })),
                Output::CloseSession { session } => queue.push_back((1 - to, Input::SessionClosed { session })),
                other => rest[to].push(other),
            }
        }
    }
    rest
}

#[test]
fn news_by_sync_is_told_once_the_node_has_synced_before() {
    let (mut old, mut young) = (ledger(1), ledger(2));
    give(&mut old, 0, Input::PeerUp(node(2)));
    give(&mut young, 0, Input::PeerUp(node(1)));
    give(&mut old, 0, Input::Publish(statement("old")));
    give(&mut young, 0, Input::Publish(statement("young")));
    assert!(!young.is_synced());
    let [_, told] = sync(&mut old, &mut young, 0, 1);
    assert_eq!(kinds(&told), "view", "to a newcomer all is new: it keeps quiet");
    assert!(young.is_synced() && old.is_synced());
    assert_eq!(old.fingerprint(), young.fingerprint());

    give(&mut old, 1, Input::Publish(statement("changed")));
    let [_, told] = sync(&mut old, &mut young, 1, 2);
    assert_eq!(kinds(&told), "broadcast view");
    for ledger in [&mut old, &mut young] {
        ledger.handle_timeout(at(200));
        assert!(kinds(&outputs(ledger)).starts_with("persist"), "both renew");
    }
    let [_, told] = sync(&mut old, &mut young, 200, 3);
    assert_eq!(kinds(&told), "", "a renewal is no news");
    assert_eq!(young.number(&node(1)), old.number(&node(1)));
    assert_eq!(old.fingerprint(), young.fingerprint());
}

#[test]
fn of_two_crossed_sessions_both_sides_keep_the_same() {
    let (small, large) = if node(1) < node(2) { (1, 2) } else { (2, 1) };
    for first in [true, false] {
        let (mut a, mut b) = (ledger(small), ledger(large));
        give(&mut a, 0, Input::PeerUp(node(large)));
        give(&mut b, 0, Input::PeerUp(node(small)));
        // Session 10 is dialled by the smaller id, 20 by the larger; they arrive in either order.
        let order = if first { [10, 20] } else { [20, 10] };
        let mut closed = (vec![], vec![]);
        for session in order {
            let opened = |peer, dialled| Input::SessionOpened { session, peer: node(peer), dialled };
            closed.0.extend(give(&mut a, 0, opened(large, session == 10)));
            closed.1.extend(give(&mut b, 0, opened(small, session == 20)));
        }
        for closed in [closed.0, closed.1] {
            let closed: Vec<_> = closed
                .iter()
                .filter_map(|output| match output {
                    Output::CloseSession { session } => Some(*session),
                    _ => None,
                })
                .collect();
            assert_eq!(closed, [20]);
        }
        assert_eq!((a.sessions(), b.sessions()), (1, 1));
    }
}

#[test]
fn sessions_are_bounded_and_silence_ends_them() {
    let mut ledger = ledger(1);
    let opened = |session, n| Input::SessionOpened { session, peer: node(n), dialled: false };
    assert_eq!(kinds(&give(&mut ledger, 0, opened(1, 9))), "close", "9 is not up");
    for n in 2..80 {
        give(&mut ledger, 0, Input::PeerUp(node(n)));
        give(&mut ledger, 0, opened(u64::from(n), n));
    }
    assert_eq!(ledger.sessions(), SESSIONS_MAX);
    assert_eq!(kinds(&give(&mut ledger, 0, opened(1000, 2))), "close", "a second one with one peer");
    let excess: Vec<_> = (1001..1010).flat_map(|session| give(&mut ledger, 0, opened(session, 2))).collect();
    assert!(kinds(&excess).contains("misbehaved"), "who opens too many is told");

    give(&mut ledger, 1, Input::PeerDown(node(3)));
    assert_eq!(ledger.sessions(), SESSIONS_MAX - 1);
    ledger.handle_timeout(at(20));
    let told = outputs(&mut ledger);
    assert_eq!(ledger.sessions(), 0);
    let stalled = told.iter().filter(|o| matches!(o, Output::Misbehaved { offence: Offence::Stalled, .. })).count();
    assert_eq!(stalled, SESSIONS_MAX - 1);
    assert_eq!(kinds(&give(&mut ledger, 21, Input::SessionFrame { session: 5, bytes: vec![0; FRAME_MAX] })), "");
    assert_eq!(kinds(&give(&mut ledger, 21, Input::SessionClosed { session: 5 })), "");
}

#[test]
fn a_peer_that_breaks_a_session_is_told_and_cut_off() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(2)));
    for (session, frame, offence) in [(1, vec![99], Offence::Malformed), (2, vec![6], Offence::OutOfTurn)] {
        give(&mut ledger, 0, Input::SessionOpened { session, peer: node(2), dialled: false });
        let out = give(&mut ledger, 0, Input::SessionFrame { session, bytes: frame });
        assert_eq!(kinds(&out), "close misbehaved");
        assert!(matches!(out[1], Output::Misbehaved { offence: told, .. } if told == offence));
        assert_eq!(ledger.sessions(), 0);
    }
}

#[test]
fn syncs_are_asked_for_when_due_and_timeouts_move_on() {
    let (small, large) = if node(1) < node(2) { (1, 2) } else { (2, 1) };
    let mut ledger = ledger(small);
    give(&mut ledger, 0, Input::PeerUp(node(large)));
    let mut asked = 0;
    for _ in 0..40 {
        let due = ledger.poll_timeout().unwrap();
        ledger.handle_timeout(Moment { mono: due, unix_ms: START_MS });
        assert!(ledger.poll_timeout().unwrap() > due, "it would spin");
        asked += outputs(&mut ledger).iter().filter(|output| matches!(output, Output::OpenSession { .. })).count();
        assert!(ledger.poll_output().is_none());
    }
    assert!((15..=41).contains(&asked), "{asked}: one at first, then one in 5 s unless the last is still opening");
}

#[test]
fn a_stream_that_did_open_is_not_waited_for() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(2)));
    for session in 0..5 {
        // The first sync may fall to the other side; then this node's first one is the random one.
        let due = loop {
            let due = ledger.poll_timeout().unwrap();
            ledger.handle_timeout(Moment { mono: due, unix_ms: START_MS });
            if kinds(&outputs(&mut ledger)) == "open" {
                break due;
            }
        };
        assert!(due <= Duration::from_secs(6 * (session + 1)), "one in every interval");
        let now = Moment { mono: due, unix_ms: START_MS };
        ledger.handle(now, Input::SessionOpened { session, peer: node(2), dialled: true });
        ledger.handle(now, Input::SessionClosed { session });
        assert_eq!(kinds(&outputs(&mut ledger)), "send");
    }
}

#[test]
fn a_peer_that_went_down_no_longer_has_a_place_of_its_own() {
    let config = Config { owners_max: 1, ..CONFIG };
    let mut ledger = Ledger::new(config, key(1), None, at(0), 1);
    for n in [9, 2, 3] {
        give(&mut ledger, 0, Input::PeerUp(node(n)));
    }
    assert_eq!(gossip(&mut ledger, 0, 9, tell(&record(2, 5, "a"))).0, Verdict::Accept);
    assert_eq!(gossip(&mut ledger, 0, 9, tell(&record(3, 5, "a"))).0, Verdict::Ignore, "2 is connected");
    give(&mut ledger, 1, Input::PeerDown(node(2)));
    assert_eq!(gossip(&mut ledger, 1, 9, tell(&record(3, 5, "a"))).0, Verdict::Accept);
    assert_eq!((ledger.owners(), ledger.counters().refused_full), (1, 1));
}

#[test]
fn workers_of_a_view_are_the_fresh_ones() {
    let mut ledger = ledger(1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    let mut offer = record(2, 5, "a").record().as_ref().clone();
    let labels = BTreeMap::new();
    offer.statement.services = vec![Service {
        name: "web".into(),
        protocol: Protocol::Http,
        weight: 1,
        slots: 0,
        labels,
        tier: 0,
        models: Vec::new(),
    }];
    gossip(&mut ledger, 0, 9, tell(&SignedRecord::sign(offer.clone(), &key(2)).unwrap()));
    assert_eq!(ledger.view().workers("web").count(), 1);
    let mut quarantining = self::ledger(1);
    give(&mut quarantining, 0, Input::PeerUp(node(9)));
    for name in ["one", "other"] {
        offer.statement.name = name.into();
        gossip(&mut quarantining, 0, 9, tell(&SignedRecord::sign(offer.clone(), &key(2)).unwrap()));
    }
    assert!(quarantining.view().nodes[&node(2)].quarantined);
    assert_eq!(quarantining.view().workers("web").count(), 0, "whose word it is can't be known");
    ledger.handle_timeout(at(60));
    assert_eq!(kinds(&outputs(&mut ledger)), "open view");
    assert_eq!(ledger.view().workers("web").count(), 0);
    assert_eq!(ledger.view().nodes.len(), 1, "still there for people to see");
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", ledger(1));
    assert!(shown.starts_with("Ledger") && !shown.contains("[1, 1, 1"), "{shown}");
}

// --- counters ---

/// What a ledger that is told this by gossip counts.
fn counted(config: Config, told: &[Vec<u8>]) -> Counters {
    let mut ledger = Ledger::new(config, key(1), None, at(0), 1);
    give(&mut ledger, 0, Input::PeerUp(node(9)));
    told.iter().for_each(|bytes| drop(gossip(&mut ledger, 0, 9, bytes.clone())));
    ledger.counters()
}

fn changed(n: u8, change: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = (**record(n, 5, "a").record()).clone();
    change(&mut record);
    tell(&SignedRecord::sign(record, &key(n)).unwrap())
}

#[test]
fn each_refusal_is_counted_as_what_it_is() {
    let refused = Counters { gossip_ignored: 1, ..Counters::default() };
    let accepted = Counters { gossip_accepted: 1, ..refused };
    let generation = changed(2, |record| record.generation = 1);
    assert_eq!(counted(CONFIG, &[generation]), Counters { refused_generation: 1, ..refused });
    let date = changed(2, |record| record.issued_ms = 1);
    assert_eq!(counted(CONFIG, &[date]), Counters { refused_date: 1, ..refused });
    let sequence = changed(2, |record| record.seq = u64::MAX);
    assert_eq!(counted(CONFIG, &[sequence]), Counters { refused_sequence: 1, ..refused });
    let full = Config { owners_max: 1, ..CONFIG };
    let two = [changed(2, |_| {}), changed(3, |_| {})];
    assert_eq!(counted(full, &two), Counters { refused_full: 1, ..accepted });
    let often: Vec<_> = (1..=18).map(|seq| changed(2, |record| record.seq = seq)).collect();
    let paced = counted(CONFIG, &often);
    assert_eq!(paced.gossip_accepted + paced.refused_pace, 18);
    assert!(paced.refused_pace > 0 && paced.refused_pace == paced.gossip_ignored);

    assert_eq!(counted(governed(), &[changed(2, |_| {})]), Counters { refused_credential: 1, ..refused });
    let guest = |change: fn(&mut Invitation), service: &str| {
        let mut invitation = credential(2).invitation().clone();
        change(&mut invitation);
        let shown = Credential::bind(SignedInvitation::sign(invitation, &key(ISSUER)), &key(HOLDER), node(2));
        let (name, protocol, labels) = (service.to_owned(), Protocol::Tcp, [].into());
        changed(2, |record| {
            record.credential = Some(shown);
            record.statement.services =
                vec![Service { name, protocol, weight: 1, slots: 0, labels, tier: 0, models: Vec::new() }];
        })
    };
    let limited = guest(|invitation| invitation.services = "llm-*".parse().unwrap(), "ssh");
    assert_eq!(counted(governed(), &[limited]), Counters { refused_role: 1, ..refused });
    let over = guest(|invitation| invitation.expires_unix_s = 1, "llm");
    assert_eq!(counted(governed(), &[over]), Counters { refused_expired: 1, ..refused });
    let decreed = Counters { decrees: 1, ..accepted };
    let ban = told(&decree(7, |decree| _ = decree.banned.insert(node(2))));
    assert_eq!(counted(governed(), &[ban, guest(|_| {}, "llm")]), Counters { refused_banned: 1, ..decreed });
    let revocation = told(&decree(7, |decree| _ = decree.revoked.insert(Serial([2; 16]))));
    assert_eq!(counted(governed(), &[revocation, guest(|_| {}, "llm")]), Counters { refused_revoked: 1, ..decreed });
}

#[test]
fn sessions_are_counted_by_how_they_ended() {
    let (mut dialler, mut responder) = (ledger(1), ledger(2));
    give(&mut dialler, 0, Input::PeerUp(node(2)));
    give(&mut responder, 0, Input::PeerUp(node(1)));
    give(&mut responder, 0, Input::PeerUp(node(9)));
    for n in 3..6 {
        gossip(&mut responder, 0, 9, tell(&record(n, 5, "a")));
    }
    sync(&mut dialler, &mut responder, 1, 1);
    let told = Counters { synced: 3, ..Counters::default() };
    assert_eq!(dialler.counters(), Counters { sessions_opened: 1, sessions_completed: 1, ..told });
    let heard = Counters { gossip_accepted: 3, ..Counters::default() };
    assert_eq!(responder.counters(), Counters { sessions_opened: 1, sessions_ended: 1, ..heard });
    assert_eq!(dialler.fingerprint(), responder.fingerprint());
    assert_eq!(dialler.fingerprint().0, 3);

    give(&mut responder, 2, Input::SessionOpened { session: 2, peer: node(1), dialled: false });
    give(&mut responder, 2, Input::PeerDown(node(1)));
    assert_eq!(responder.counters(), Counters { sessions_opened: 2, sessions_ended: 2, ..heard });
}

#[test]
fn a_session_that_the_other_side_broke_off_was_no_sync() {
    let hello = Frame::Hello { count: 1, fingerprint: 9, decree: 0 }.encode();
    for dialled in [true, false] {
        let mut ledger = ledger(1);
        give(&mut ledger, 0, Input::PeerUp(node(2)));
        for (session, frames) in [(1, 0), (2, 1)] {
            give(&mut ledger, 0, Input::SessionOpened { session, peer: node(2), dialled });
            for _ in 0..frames {
                give(&mut ledger, 0, Input::SessionFrame { session, bytes: hello.clone() });
            }
            give(&mut ledger, 0, Input::SessionClosed { session });
            // Who answers was told by the dialler's end that both hold the same.
            assert_eq!(ledger.is_synced(), !dialled && frames > 0);
        }
    }
}

#[test]
fn as_many_symbols_are_asked_for_first_as_were_usual() {
    let (mut dialler, mut responder) = (ledger(1), ledger(2));
    for ledger in [&mut dialler, &mut responder] {
        [1, 2, 9].into_iter().for_each(|n| drop(give(ledger, 0, Input::PeerUp(node(n)))));
    }
    // Each has what the other has not, so that neither is far behind.
    for n in 10..22 {
        gossip(if n % 2 == 0 { &mut dialler } else { &mut responder }, 0, 9, tell(&record(n, 5, "a")));
    }
    let asked = |ledger: &mut Ledger, session| {
        let frame = Frame::Hello { count: 12, fingerprint: 9, decree: 0 }.encode();
        give(ledger, 1, Input::SessionOpened { session, peer: node(2), dialled: true });
        let out = give(ledger, 1, Input::SessionFrame { session, bytes: frame });
        give(ledger, 1, Input::SessionClosed { session });
        match &out[..] {
            [Output::Send { bytes, .. }] => match Frame::decode(bytes) {
                Ok(Frame::Ask { from: 0, count, .. }) => usize::from(count),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    sync(&mut dialler, &mut responder, 1, 1);
    assert_eq!(dialler.fingerprint(), responder.fingerprint());
    // Eight, and half as many more each time: 8, 12, 18, 27, 40; a difference of twelve takes one of the last three.
    let after = asked(&mut dialler, 2);
    assert!([18, 27, 40].iter().any(|taken| after == (3 * SYMBOLS_AT_FIRST + taken) / 4), "{after}");
}

#[test]
fn a_lease_that_comes_by_sync_shows_in_no_view_unless_it_wakes_its_owner() {
    let (mut owner, mut other) = (ledger(1), ledger(2));
    give(&mut owner, 0, Input::PeerUp(node(2)));
    give(&mut other, 0, Input::PeerUp(node(1)));
    give(&mut owner, 0, Input::Publish(statement("a")));
    assert_eq!(kinds(&sync(&mut other, &mut owner, 0, 1)[0]), "view");
    let mut renewed_at = |seconds| {
        owner.handle_timeout(at(seconds));
        outputs(&mut owner);
        other.handle_timeout(at(seconds));
        outputs(&mut other);
        kinds(&sync(&mut other, &mut owner, seconds, seconds)[0])
    };
    assert_eq!(renewed_at(150), "");
    assert_eq!(renewed_at(2000), "view", "it was stale by then");
}
