//! The replica by itself: what it takes, keeps and lets go.

use ed25519_dalek::SigningKey;

use super::{element::Lack, *};
use crate::{
    NetworkId, Service, Statement,
    frame::{Prefix, Records, What},
    record::{TTL_MAX, TTL_MIN},
};

const CONFIG: Config = Config::new(NetworkId([0; 16]), 3);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The wall clock in these tests starts here.
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

fn record(n: u8, seq: u64, name: &str) -> Record {
    Record {
        network: CONFIG.network,
        generation: CONFIG.generation,
        owner: node(n),
        seq,
        issued_ms: START_MS,
        ttl: TTL_MIN,
        statement: Statement { name: name.into(), ..Statement::default() },
        credential: None,
    }
}

fn signed(n: u8, seq: u64, name: &str) -> SignedRecord {
    SignedRecord::sign(record(n, seq, name), &key(n)).unwrap()
}

fn news(signed: &SignedRecord) -> Unverified {
    Unverified::decode(signed.bytes()).unwrap()
}

/// What `replica` makes of a record heard at `seconds`.
fn hear(replica: &mut Replica, seconds: u64, signed: &SignedRecord) -> Outcome {
    replica.observe(at(seconds), news(signed), None, true)
}

fn replica() -> Replica {
    with(CONFIG)
}

fn with(config: Config) -> Replica {
    Replica::new(config, node(0))
}

const NEW: Outcome = Outcome::Newer { changed: true };

#[test]
fn the_newest_stays_and_the_rest_is_known() {
    let mut replica = replica();
    assert_eq!(hear(&mut replica, 0, &signed(1, 5, "a")), NEW);
    assert_eq!(hear(&mut replica, 0, &signed(1, 5, "a")), Outcome::Known);
    assert_eq!(hear(&mut replica, 0, &signed(1, 4, "b")), Outcome::Known);
    assert_eq!(hear(&mut replica, 0, &signed(1, 6, "a")), Outcome::Newer { changed: false });
    assert_eq!(hear(&mut replica, 0, &signed(1, 7, "b")), NEW);
    assert_eq!(replica.get(&node(1)).unwrap().record().seq, 7);
    assert_eq!(replica.owners(), 1);
}

#[test]
fn what_its_owner_did_not_sign_is_never_held() {
    let mut replica = replica();
    let mut bytes = signed(1, 5, "a").bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(replica.observe(at(0), Unverified::decode(&bytes).unwrap(), None, true), Outcome::Forged);
    let stranger = SignedRecord::sign(Record { network: NetworkId([9; 16]), ..record(1, 5, "a") }, &key(1)).unwrap();
    assert_eq!(hear(&mut replica, 0, &stranger), Outcome::Foreign);
    let older = SignedRecord::sign(Record { generation: 2, ..record(1, 5, "a") }, &key(1)).unwrap();
    assert_eq!(hear(&mut replica, 0, &older), Outcome::Refused(Refusal::Generation));
    assert_eq!((replica.owners(), replica.summary()), (0, (0, 0)));
}

#[test]
fn dates_are_judged_on_first_sight_only() {
    let dated = |n, seq, issued_ms| SignedRecord::sign(Record { issued_ms, ..record(n, seq, "a") }, &key(n)).unwrap();
    let mut replica = replica();
    for (n, issued_ms, fits) in [
        (1, START_MS + DAY_MS, true),
        (2, START_MS + DAY_MS + 1, false),
        (3, START_MS - DAY_MS, true),
        (4, START_MS - DAY_MS - 1, false),
    ] {
        let expected = if fits { NEW } else { Outcome::Refused(Refusal::Date) };
        assert_eq!(hear(&mut replica, 0, &dated(n, 5, issued_ms)), expected, "node {n}");
    }
    assert_eq!(hear(&mut replica, 0, &dated(1, 6, 0)), Outcome::Newer { changed: false });
    assert_eq!(hear(&mut replica, 0, &dated(1, 7, u64::MAX)), Outcome::Newer { changed: false });
}

#[test]
fn no_owner_can_use_up_all_numbers() {
    let mut replica = replica();
    assert_eq!(hear(&mut replica, 0, &signed(1, START_MS + SEQ_AHEAD_MAX, "a")), NEW);
    for seq in [START_MS + SEQ_AHEAD_MAX + 1, u64::MAX] {
        assert_eq!(hear(&mut replica, 0, &signed(1, seq, "a")), Outcome::Refused(Refusal::Sequence));
    }
}

#[test]
fn it_is_fresh_for_its_ttl_then_stale_then_forgotten_and_never_comes_back() {
    let mut replica = replica();
    hear(&mut replica, 0, &signed(1, 5, "a"));
    let lifetime = TTL_MIN.as_secs() + CONFIG.forget_after.as_secs();
    assert!(replica.take_changed());
    replica.expire(Duration::from_secs(59));
    assert!(!replica.take_changed());
    assert!(replica.entries()[&node(1)].fresh);
    assert_eq!(replica.deadline(), Some(TTL_MIN));

    replica.expire(TTL_MIN);
    assert!(replica.take_changed());
    assert!(!replica.entries()[&node(1)].fresh);
    assert_eq!(replica.summary(), (0, 0), "what is stale is not offered");
    assert_eq!(replica.page(None), (None, Records::default()));
    assert_eq!((replica.elements().count(), replica.element(node(1).prefix())), (0, None));
    assert_eq!(hear(&mut replica, 61, &signed(1, 5, "a")), Outcome::Known, "a replay is no sign of life");
    assert!(!replica.entries()[&node(1)].fresh);

    replica.expire(Duration::from_secs(lifetime));
    assert_eq!((replica.owners(), replica.bytes()), (0, 0));
    for seq in [4, 5] {
        assert_eq!(hear(&mut replica, lifetime, &signed(1, seq, "a")), Outcome::Known, "the floor refuses {seq}");
    }
    let kept = lifetime + 2 * DAY_MS / 1000 + TTL_MIN.as_secs();
    replica.expire(Duration::from_secs(kept - 1));
    assert_eq!(hear(&mut replica, kept - 1, &signed(1, 5, "a")), Outcome::Known);
    replica.expire(Duration::from_secs(kept));
    assert_eq!(replica.deadline(), None);
    assert_eq!(hear(&mut replica, kept, &signed(1, 5, "a")), Outcome::Refused(Refusal::Date), "then the date does");
}

#[test]
fn who_comes_back_after_being_forgotten_is_welcome_whatever_its_clock() {
    let mut replica = replica();
    hear(&mut replica, 0, &signed(1, 5, "a"));
    replica.expire(Duration::from_secs(60));
    replica.expire(Duration::from_secs(660));
    assert_eq!(replica.owners(), 0);
    let odd = SignedRecord::sign(Record { issued_ms: 0, ..record(1, 6, "a") }, &key(1)).unwrap();
    assert_eq!(hear(&mut replica, 700, &odd), NEW);
    assert!(replica.entries()[&node(1)].fresh);
}

#[test]
fn two_records_with_one_number_have_one_winner_and_are_evidence() {
    let (a, b) = (signed(1, 5, "a"), signed(1, 5, "b"));
    let winner = a.id().max(b.id());
    let mut fingerprints = Vec::new();
    for (first, second) in [(&a, &b), (&b, &a)] {
        let mut replica = replica();
        hear(&mut replica, 0, first);
        let Outcome::Conflict { newer, .. } = hear(&mut replica, 0, second) else { panic!("no conflict") };
        assert_eq!(newer, second.id() == winner);
        assert_eq!(replica.get(&node(1)).unwrap().id(), winner);
        assert!(replica.entries()[&node(1)].quarantined);
        for again in [&a, &b] {
            assert_eq!(hear(&mut replica, 0, again), Outcome::Known);
        }
        fingerprints.push(replica.summary());
        assert_eq!(hear(&mut replica, 0, &signed(1, 6, "c")), NEW);
        assert!(replica.entries()[&node(1)].quarantined, "a newer record is no excuse");
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
}

#[test]
fn a_second_record_with_the_same_number_is_no_sign_of_life() {
    let (a, b) = (signed(1, 5, "a"), signed(1, 5, "b"));
    let (lower, higher) = if a.id() < b.id() { (a, b) } else { (b, a) };
    let mut replica = replica();
    hear(&mut replica, 0, &lower);
    replica.expire(TTL_MIN);
    assert!(matches!(hear(&mut replica, 61, &higher), Outcome::Conflict { newer: true, .. }));
    assert_eq!(replica.get(&node(1)), Some(&higher));
    assert!(!replica.entries()[&node(1)].fresh);
}

#[test]
fn evidence_alone_brings_the_record_and_the_quarantine() {
    let evidence = Evidence::of(signed(1, 5, "a"), signed(1, 5, "b")).unwrap();
    let accuse = |replica: &mut Replica| match crate::rumour::Rumour::decode(&evidence.tell()) {
        Ok(crate::rumour::Rumour::Evidence(pair)) => replica.accuse(at(0), pair.0, pair.1),
        other => panic!("{other:?}"),
    };
    let mut blank = replica();
    assert!(matches!(accuse(&mut blank), Outcome::Conflict { newer: true, .. }));
    assert_eq!(accuse(&mut blank), Outcome::Known);

    let mut later = replica();
    hear(&mut later, 0, &signed(1, 9, "c"));
    assert!(matches!(accuse(&mut later), Outcome::Conflict { .. }));
    assert_eq!(later.get(&node(1)).unwrap().record().seq, 9, "evidence of old does not bring the old record back");
    assert!(later.entries()[&node(1)].quarantined);

    let mut full = with(Config { bytes_max: 400, ..CONFIG });
    hear(&mut full, 0, &signed(1, 9, "c"));
    assert_eq!(accuse(&mut full), Outcome::Refused(Refusal::Full), "what is not kept is not counted");
    assert!(!full.entries()[&node(1)].quarantined);
}

#[test]
fn evidence_stays_in_the_account_when_its_owner_says_something_newer() {
    let (one, other, newer) = (signed(1, 5, "a"), signed(1, 5, "b"), signed(1, 6, "longer-by-far"));
    let all = |bytes_max| {
        let mut replica = with(Config { bytes_max, ..CONFIG });
        hear(&mut replica, 0, &one);
        assert!(matches!(hear(&mut replica, 0, &other), Outcome::Conflict { .. }));
        (hear(&mut replica, 0, &newer), replica.bytes())
    };
    let room = one.bytes().len() + other.bytes().len() + newer.bytes().len();
    assert_eq!(all(room), (NEW, room));
    let before = one.bytes().len() * 2 + other.bytes().len();
    assert_eq!(all(room - 1), (Outcome::Refused(Refusal::Full), before));
}

#[test]
fn one_owner_may_not_change_too_often_by_gossip() {
    let mut replica = replica();
    let outcomes: Vec<_> = (1..=30).map(|seq| hear(&mut replica, 0, &signed(1, seq, "a"))).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Refused(Refusal::Pace)).count(), 13);
    assert_eq!(
        replica.observe(at(0), news(&signed(1, 31, "a")), None, false),
        Outcome::Newer { changed: false },
        "by sync"
    );
    assert_eq!(hear(&mut replica, 6, &signed(1, 32, "a")), Outcome::Newer { changed: false });
}

#[test]
fn forgeries_do_not_use_up_an_owners_pace() {
    let mut replica = replica();
    hear(&mut replica, 0, &signed(1, 1, "a"));
    let mut bytes = signed(1, 50, "a").bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    for _ in 0..50 {
        assert_eq!(replica.observe(at(0), Unverified::decode(&bytes).unwrap(), None, true), Outcome::Forged);
    }
    assert_eq!(hear(&mut replica, 0, &signed(1, 51, "b")), NEW);
}

#[test]
fn when_full_strangers_give_way_to_peers_the_newest_first() {
    let mut replica = with(Config { owners_max: 4, ..CONFIG });
    replica.publish(signed(0, 1, "me"));
    (1..4).for_each(|n| assert_eq!(hear(&mut replica, 0, &signed(n, 5, "a")), NEW));
    replica.connect(node(3));
    replica.disconnect(&node(3));
    assert_eq!(hear(&mut replica, 0, &signed(4, 5, "a")), Outcome::Refused(Refusal::Full));
    assert_eq!(hear(&mut replica, 0, &signed(2, 6, "b")), NEW, "who is held may go on changing");

    replica.connect(node(5));
    assert_eq!(hear(&mut replica, 0, &signed(5, 5, "a")), NEW);
    assert!(replica.get(&node(2)).is_none(), "the newest that was never connected goes first");
    replica.connect(node(6));
    assert_eq!(hear(&mut replica, 0, &signed(6, 5, "a")), NEW);
    assert!(replica.get(&node(1)).is_none(), "then the one before");
    replica.connect(node(7));
    assert_eq!(hear(&mut replica, 0, &signed(7, 5, "a")), NEW);
    assert!(replica.get(&node(3)).is_none(), "then who was connected once");
    replica.connect(node(8));
    assert_eq!(hear(&mut replica, 0, &signed(8, 5, "a")), Outcome::Refused(Refusal::Full));
    assert!(replica.get(&node(0)).is_some(), "this node itself never goes");
    assert_eq!(replica.owners(), 4);
    assert_eq!(hear(&mut replica, 0, &signed(3, 5, "a")), Outcome::Known, "who went left a floor");
}

#[test]
fn who_was_connected_when_it_arrived_stays_before_who_never_was() {
    let mut replica = with(Config { owners_max: 2, ..CONFIG });
    replica.connect(node(2));
    (1..3).for_each(|n| assert_eq!(hear(&mut replica, 0, &signed(n, 5, "a")), NEW));
    replica.disconnect(&node(2));
    replica.connect(node(3));
    assert_eq!(hear(&mut replica, 0, &signed(3, 5, "a")), NEW);
    assert!(replica.get(&node(1)).is_none() && replica.get(&node(2)).is_some());
}

#[test]
fn bytes_are_bounded_also_when_records_grow() {
    let large = |n, seq| {
        let labels = [("k".to_owned(), "v".repeat(200))].into();
        let service = Service {
            name: "s".into(),
            protocol: crate::Protocol::Tcp,
            weight: 1,
            slots: 0,
            labels,
            tier: 0,
            models: Vec::new(),
        };
        let mut record = record(n, seq, "a");
        record.statement.services.push(service);
        SignedRecord::sign(record, &key(n)).unwrap()
    };
    let small = signed(1, 5, "a").bytes().len();
    let mut replica = with(Config { bytes_max: 3 * small, ..CONFIG });
    (1..4).for_each(|n| assert_eq!(hear(&mut replica, 0, &signed(n, 5, "a")), NEW));
    assert_eq!(
        hear(&mut replica, 0, &large(3, 6)),
        Outcome::Refused(Refusal::Full),
        "the newest can't push others out"
    );
    assert_eq!(replica.get(&node(3)).unwrap().record().seq, 5);
    assert_eq!(hear(&mut replica, 0, &large(1, 6)), NEW);
    assert!(replica.bytes() <= 3 * small);
    assert_eq!(replica.owners(), 1);
}

// --- leases ---

fn lease(n: u8, of: &SignedRecord, seq: u64) -> UnverifiedLease {
    UnverifiedLease::decode(SignedLease::sign(of.id(), seq, TTL_MAX, &key(n)).bytes()).unwrap()
}

#[test]
fn a_lease_keeps_its_record_fresh_and_shows_in_no_view() {
    let mut replica = replica();
    let record = signed(1, 5, "a");
    hear(&mut replica, 0, &record);
    let before = replica.summary();
    assert!(replica.take_changed());
    assert_eq!(replica.renew(at(50), lease(1, &record, 6)), Outcome::Newer { changed: false });
    assert!(!replica.take_changed());
    assert_eq!(replica.number(&node(1)), Some(6));
    assert_ne!(replica.summary(), before, "others have to learn of it");
    assert_eq!(replica.deadline(), Some(Duration::from_secs(50) + TTL_MAX));
    assert_eq!(replica.renew(at(51), lease(1, &record, 6)), Outcome::Known);
    assert_eq!(hear(&mut replica, 51, &record), Outcome::Known);

    replica.expire(Duration::from_secs(50) + TTL_MAX);
    assert!(!replica.entries()[&node(1)].fresh && replica.take_changed());
    assert_eq!(replica.renew(at(3700), lease(1, &record, 6)), Outcome::Known, "a replay is no sign of life");
    assert_eq!(replica.renew(at(3700), lease(1, &record, 7)), Outcome::Newer { changed: false });
    assert!(replica.entries()[&node(1)].fresh && replica.take_changed());

    assert_eq!(hear(&mut replica, 3700, &signed(1, 8, "b")), NEW);
    assert_eq!(replica.number(&node(1)), Some(8), "the lease went with its record");
    assert_eq!(replica.bytes(), signed(1, 8, "b").bytes().len());
}

#[test]
fn a_lease_without_its_record_or_signature_does_nothing() {
    let mut replica = replica();
    let record = signed(1, 5, "a");
    assert_eq!(replica.renew(at(0), lease(1, &record, 6)), Outcome::Refused(Refusal::Unfounded));
    hear(&mut replica, 0, &record);
    let of_another = lease(1, &signed(1, 5, "b"), 6);
    assert_eq!(replica.renew(at(0), of_another), Outcome::Refused(Refusal::Unfounded));
    let far = lease(1, &record, START_MS + SEQ_AHEAD_MAX + 1);
    assert_eq!(replica.renew(at(0), far), Outcome::Refused(Refusal::Sequence));
    let mut bytes = SignedLease::sign(record.id(), 6, TTL_MAX, &key(1)).bytes().to_vec();
    bytes[123] ^= 1;
    assert_eq!(replica.renew(at(0), UnverifiedLease::decode(&bytes).unwrap()), Outcome::Forged);
    let forged = UnverifiedLease::decode(&bytes).unwrap();
    let newer = signed(1, 7, "b");
    assert_eq!(replica.observe(at(0), news(&newer), Some(forged), false), Outcome::Forged);
    assert_eq!(replica.number(&node(1)), Some(5));
}

#[test]
fn a_record_comes_with_its_lease_and_what_is_forgotten_stays_so() {
    let mut replica = replica();
    let record = signed(1, 5, "a");
    assert_eq!(replica.observe(at(0), news(&record), Some(lease(1, &record, 9)), false), NEW);
    assert_eq!(replica.number(&node(1)), Some(9));
    replica.expire(TTL_MAX);
    replica.expire(TTL_MAX + CONFIG.forget_after);
    assert_eq!(replica.owners(), 0);
    let later = 3600 + 601;
    for lease in [None, Some(lease(1, &record, 9))] {
        assert_eq!(replica.observe(at(later), news(&record), lease, false), Outcome::Known);
    }
    assert_eq!(hear(&mut replica, later, &signed(1, 8, "b")), Outcome::Known, "below the last lease");
    assert_eq!(replica.observe(at(later), news(&record), Some(lease(1, &record, 10)), false), NEW);
}

#[test]
fn a_conflict_under_a_lease_is_still_one() {
    let (a, b) = (signed(1, 5, "a"), signed(1, 5, "b"));
    let mut replica = replica();
    hear(&mut replica, 0, &a);
    replica.renew(at(1), lease(1, &a, 6));
    assert!(matches!(hear(&mut replica, 2, &b), Outcome::Conflict { newer: false, .. }));
    assert_eq!(replica.get(&node(1)), Some(&a), "the number of the lease is the greater");
    assert!(replica.entries()[&node(1)].quarantined);
}

// --- what a sync asks ---

fn element(replica: &Replica, n: u8) -> Option<Element> {
    replica.element(node(n).prefix())
}

fn lack(replica: &Replica, n: u8, theirs: &Replica) -> Lack {
    replica.lack(node(n).prefix(), element(theirs, n).as_ref())
}

#[test]
fn both_sides_of_a_sync_agree_on_who_lacks_what() {
    let (mut here, mut there) = (replica(), replica());
    let cases =
        [(1, Some(5), Some(5)), (2, Some(5), Some(6)), (3, Some(6), Some(5)), (4, None, Some(1)), (5, Some(1), None)];
    for (n, mine, theirs) in cases {
        mine.into_iter().for_each(|seq| drop(hear(&mut here, 0, &signed(n, seq, "a"))));
        theirs.into_iter().for_each(|seq| drop(hear(&mut there, 0, &signed(n, seq, "a"))));
    }
    let all = Some(What::All);
    for (n, here_lacks, there_lacks) in
        [(1, None, None), (2, all, None), (3, None, all), (4, all, None), (5, None, all)]
    {
        assert_eq!(lack(&here, n, &there), Lack { here: here_lacks, there: there_lacks }, "node {n}");
        assert_eq!(lack(&there, n, &here), Lack { here: there_lacks, there: here_lacks }, "node {n}");
    }
    let record = signed(1, 5, "a");
    here.renew(at(1), lease(1, &record, 6));
    assert_eq!(lack(&here, 1, &there), Lack { here: None, there: Some(What::Lease) });
    assert_eq!(lack(&there, 1, &here), Lack { here: Some(What::Lease), there: None });
}

#[test]
fn two_sides_of_a_conflict_both_lack_the_other_record() {
    let (mut here, mut there) = (replica(), replica());
    hear(&mut here, 0, &signed(1, 5, "a"));
    hear(&mut there, 0, &signed(1, 5, "b"));
    let all = Some(What::All);
    assert_eq!(lack(&here, 1, &there), Lack { here: all, there: all });
    hear(&mut here, 0, &signed(1, 5, "b"));
    assert_eq!(lack(&here, 1, &there), Lack { here: all, there: all }, "quarantined here alone");
    hear(&mut there, 0, &signed(1, 5, "a"));
    assert_eq!(lack(&here, 1, &there), Lack::default());
}

#[test]
fn nothing_is_asked_for_that_would_not_be_taken_nor_told_that_is_stale() {
    let mut full = with(Config { owners_max: 1, ..CONFIG });
    let told = |n, seq| {
        let mut other = replica();
        hear(&mut other, 0, &signed(n, seq, "a"));
        element(&other, n)
    };
    let lack = |full: &Replica, n, seq| full.lack(node(n).prefix(), told(n, seq).as_ref());
    let (all, none) = (Some(What::All), Lack::default());
    hear(&mut full, 0, &signed(1, 5, "a"));
    assert_eq!(lack(&full, 2, 5), none);
    full.connect(node(2));
    assert_eq!(lack(&full, 2, 5), Lack { here: all, there: None });
    full.disconnect(&node(2));

    assert_eq!(lack(&full, 1, 4), Lack { here: None, there: all });
    full.expire(TTL_MIN);
    assert_eq!(lack(&full, 1, 4), none);
    assert_eq!(lack(&full, 1, 5), none);
    full.expire(TTL_MIN + CONFIG.forget_after);
    assert_eq!((lack(&full, 1, 5), full.owners()), (none, 0), "the floor knows");
    assert_eq!(lack(&full, 1, 6), Lack { here: all, there: None });
}

#[test]
fn pages_cover_all_in_order_and_say_what_the_other_side_lacks() {
    let mut replica = replica();
    for n in 1..=200 {
        let mut large = record(n, 5, "a");
        let labels = [("k".to_owned(), "v".repeat(250))].into();
        let service = |i| {
            let (name, labels) = (format!("s{i}"), std::collections::BTreeMap::clone(&labels));
            Service { name, protocol: crate::Protocol::Tcp, weight: 1, slots: 0, labels, tier: 0, models: Vec::new() }
        };
        large.statement.services = (0..4).map(service).collect();
        assert_eq!(hear(&mut replica, 0, &SignedRecord::sign(large, &key(n)).unwrap()), NEW);
    }
    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let (until, records) = replica.page(after);
        let rumours = records.rumours().unwrap();
        let owners: Vec<_> =
            rumours.iter().map(|r| crate::rumour::Rumour::decode(r).unwrap().owner().unwrap()).collect();
        assert_eq!(until, until.and(owners.last().copied()));
        let all = BTreeMap::new();
        assert_eq!(replica.lacking(after, until, &all).collect::<Vec<_>>(), prefixes(&owners), "all of the page");
        seen.extend(owners);
        pages += 1;
        let Some(until) = until else { break };
        after = Some(until);
    }
    assert!(pages > 3);
    assert_eq!(seen, replica.entries().into_keys().collect::<Vec<_>>());
}

fn prefixes(owners: &[NodeId]) -> Vec<Prefix> {
    owners.iter().map(NodeId::prefix).collect()
}

#[test]
fn elements_come_back_from_their_bytes() {
    let mut replica = replica();
    hear(&mut replica, 0, &signed(1, u64::from(u32::MAX) + 9, "a"));
    let element = element(&replica, 1).unwrap();
    assert_eq!(Element::decode(&element.encode()), element);
}

// --- over a restart ---

fn restart(replica: &Replica, saved: Moment, restored: Moment) -> Replica {
    let mut fresh = self::replica();
    for item in replica.snapshot(saved) {
        fresh.restore(restored, &item);
    }
    fresh
}

/// This node's clocks after a restart: the monotonic one starts anew.
fn rebooted(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(3), unix_ms: at(seconds).unix_ms }
}

#[test]
fn what_is_restored_is_as_fresh_as_it_would_be() {
    let mut replica = replica();
    let (a, b) = (signed(1, 5, "a"), signed(2, 5, "b"));
    hear(&mut replica, 0, &a);
    replica.renew(at(1), lease(1, &a, 6));
    hear(&mut replica, 0, &b);
    hear(&mut replica, 0, &signed(2, 5, "c"));
    let mut after = restart(&replica, at(10), rebooted(30));
    assert_eq!(after.summary(), replica.summary(), "leases and evidence too");
    assert!(after.entries()[&node(2)].quarantined);
    after.expire(Duration::from_secs(3 + 29));
    assert!(after.entries()[&node(2)].fresh);
    after.expire(Duration::from_secs(3 + 30));
    assert!(!after.entries()[&node(2)].fresh, "60 s after it arrived, the time without power included");
    assert!(after.entries()[&node(1)].fresh);

    let late = restart(&replica, at(10), rebooted(5000));
    assert!(late.entries().values().all(|entry| !entry.fresh), "nobody comes back to life");
    assert_eq!(late.number(&node(1)), Some(6));
    let mut jumped = restart(&replica, at(10), rebooted(5000));
    jumped.take_changed();
    assert_eq!(jumped.renew(rebooted(5000), lease(1, &a, 6)), Outcome::Known, "not by its lease alone");
    let again = jumped.observe(rebooted(5000), news(&a), Some(lease(1, &a, 6)), false);
    assert_eq!(again, Outcome::Newer { changed: false }, "others still offer it: the clock jumped");
    assert!(jumped.entries()[&node(1)].fresh && jumped.take_changed());
    jumped.expire(Duration::from_secs(3) + TTL_MAX);
    assert_eq!(jumped.observe(rebooted(9000), news(&a), Some(lease(1, &a, 6)), false), Outcome::Known, "once");
    let back = restart(&replica, at(10), Moment { mono: Duration::ZERO, unix_ms: 0 });
    assert_eq!(back.deadline(), Some(TTL_MIN), "a clock set back grants no more than the time to live");
}

#[test]
fn what_was_forgotten_stays_so_over_a_restart() {
    let mut replica = replica();
    hear(&mut replica, 0, &signed(1, 5, "a"));
    replica.expire(TTL_MIN);
    let mut stale = restart(&replica, at(70), rebooted(80));
    assert_eq!(hear(&mut stale, 80, &signed(1, 5, "a")), Outcome::Known);
    replica.expire(TTL_MIN + CONFIG.forget_after);
    let mut forgotten = restart(&replica, at(700), rebooted(800));
    assert_eq!(forgotten.owners(), 0);
    assert_eq!(hear(&mut forgotten, 800, &signed(1, 5, "a")), Outcome::Known);
    assert_eq!(hear(&mut forgotten, 800, &signed(1, 6, "a")), NEW);
    let days = 3 * DAY_MS / 1000;
    let mut much_later = restart(&replica, at(700), rebooted(days));
    assert_eq!(much_later.deadline(), None);
    assert_eq!(hear(&mut much_later, days, &signed(1, 5, "a")), Outcome::Refused(Refusal::Date));
}

#[test]
fn a_damaged_or_foreign_item_restores_nothing() {
    let mut replica = replica();
    replica.publish(signed(0, 7, "me"));
    hear(&mut replica, 0, &signed(1, 5, "a"));
    hear(&mut replica, 0, &signed(2, 5, "b"));
    replica.expire(TTL_MIN);
    replica.expire(TTL_MIN + CONFIG.forget_after);
    hear(&mut replica, 700, &signed(3, 5, "a"));
    let items: Vec<_> = replica.snapshot(at(700)).collect();
    assert_eq!(items.len(), 4, "this node, one held, two floors");
    for item in &items {
        assert_ne!(with(CONFIG).restore(at(700), item), Restored::Nothing);
        for cut in 0..item.len() {
            assert_eq!(with(CONFIG).restore(at(700), &item[..cut]), Restored::Nothing, "cut at {cut}");
        }
        let mut elsewhere = with(Config { network: NetworkId([9; 16]), generation: 3, ..CONFIG });
        elsewhere.restore(at(700), item);
        assert_eq!(elsewhere.owners(), 0);
    }
    let own = Restored::Own { number: 7 };
    assert_eq!(items.iter().filter(|item| with(CONFIG).restore(at(700), item) == own).count(), 1);
    for item in &items {
        let mut flipped = item.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut replica = with(CONFIG);
        replica.restore(at(700), &flipped);
        assert_eq!(replica.owners(), 0, "a record is verified as if it came from others");
    }
}
