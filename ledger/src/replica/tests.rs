//! The replica by itself: what it takes, keeps and lets go.

use ed25519_dalek::SigningKey;

use super::{digest::Lack, *};
use crate::{NetworkId, Service, Statement, record::TTL_MIN};

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
    replica.observe(at(seconds), news(signed), true)
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
    assert_eq!(replica.observe(at(0), Unverified::decode(&bytes).unwrap(), true), Outcome::Forged);
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
    assert!(!replica.expire(Duration::from_secs(59)));
    assert!(replica.entries()[&node(1)].fresh);
    assert_eq!(replica.deadline(), Some(TTL_MIN));

    assert!(replica.expire(TTL_MIN));
    assert!(!replica.entries()[&node(1)].fresh);
    assert_eq!(replica.summary(), (0, 0), "what is stale is not offered");
    assert!(replica.page(None, 10).0.is_empty());
    assert_eq!(replica.rumours(&node(1)).count(), 0);
    assert_eq!(hear(&mut replica, 61, &signed(1, 5, "a")), Outcome::Known, "a replay is no sign of life");
    assert!(!replica.entries()[&node(1)].fresh);

    assert!(replica.expire(Duration::from_secs(lifetime)));
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
fn one_owner_may_not_change_too_often_by_gossip() {
    let mut replica = replica();
    let outcomes: Vec<_> = (1..=30).map(|seq| hear(&mut replica, 0, &signed(1, seq, "a"))).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Refused(Refusal::Pace)).count(), 13);
    assert_eq!(replica.observe(at(0), news(&signed(1, 31, "a")), false), Outcome::Newer { changed: false }, "by sync");
    assert_eq!(hear(&mut replica, 6, &signed(1, 32, "a")), Outcome::Newer { changed: false });
}

#[test]
fn forgeries_do_not_use_up_an_owners_pace() {
    let mut replica = replica();
    hear(&mut replica, 0, &signed(1, 1, "a"));
    let mut bytes = signed(1, 50, "a").bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    for _ in 0..50 {
        assert_eq!(replica.observe(at(0), Unverified::decode(&bytes).unwrap(), true), Outcome::Forged);
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
        let service = Service { name: "s".into(), protocol: crate::Protocol::Tcp, weight: 1, slots: 0, labels };
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

#[test]
fn both_sides_of_a_sync_agree_on_who_lacks_what() {
    let (mut here, mut there) = (replica(), with(CONFIG));
    for (n, mine, theirs) in [(1, Some(5), Some(5)), (2, Some(5), Some(6)), (3, Some(6), Some(5)), (4, None, Some(1))] {
        let tell = |replica: &mut Replica, seq: Option<u64>| {
            if let Some(seq) = seq {
                hear(replica, 0, &signed(n, seq, "a"));
            }
        };
        tell(&mut here, mine);
        tell(&mut there, theirs);
    }
    let lacks: BTreeMap<_, _> = there.page(None, 10).0.iter().map(|line| (line.owner, here.lack(line))).collect();
    assert_eq!(lacks[&node(1)], Lack { here: false, there: false });
    assert_eq!(lacks[&node(2)], Lack { here: true, there: false });
    assert_eq!(lacks[&node(3)], Lack { here: false, there: true });
    assert_eq!(lacks[&node(4)], Lack { here: true, there: false });
}

#[test]
fn two_sides_of_a_conflict_both_lack_the_other_record() {
    let (mut here, mut there) = (replica(), replica());
    hear(&mut here, 0, &signed(1, 5, "a"));
    hear(&mut there, 0, &signed(1, 5, "b"));
    let (mine, theirs) = (here.page(None, 1).0[0], there.page(None, 1).0[0]);
    assert!(here.lack(&theirs).here && there.lack(&mine).here);
    hear(&mut here, 0, &signed(1, 5, "b"));
    let told = here.page(None, 1).0[0];
    assert!(there.lack(&told).here && !here.lack(&theirs).here && here.lack(&theirs).there);
}

#[test]
fn nothing_is_asked_for_that_would_not_be_taken_nor_told_that_is_stale() {
    let mut full = with(Config { owners_max: 1, ..CONFIG });
    hear(&mut full, 0, &signed(1, 5, "a"));
    let line = |n, seq| Line { owner: node(n), seq, prefix: [0; 8], quarantined: false };
    assert_eq!(full.lack(&line(2, 5)), Lack { here: false, there: false });
    full.connect(node(2));
    assert_eq!(full.lack(&line(2, 5)), Lack { here: true, there: false });

    assert_eq!(full.lack(&line(1, 4)), Lack { here: false, there: true });
    full.expire(TTL_MIN);
    assert_eq!(full.lack(&line(1, 4)), Lack { here: false, there: false });
    assert_eq!(full.lack(&line(1, 6)), Lack { here: true, there: false });
}

#[test]
fn pages_cover_all_in_order() {
    let mut replica = replica();
    (1..8).for_each(|n| assert_eq!(hear(&mut replica, 0, &signed(n, 5, "a")), NEW));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let (lines, last) = replica.page(after, 3);
        seen.extend(lines.iter().map(|line| line.owner));
        after = lines.last().map(|line| line.owner);
        if last {
            break;
        }
        assert_eq!(lines.len(), 3);
    }
    let all: Vec<_> = replica.entries().into_keys().collect();
    assert_eq!(seen, all);
    assert_eq!(replica.fresh_between(Some(all[0]), Some(all[3])).collect::<Vec<_>>(), all[1..=3]);
}
