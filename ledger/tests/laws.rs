//! The laws of the ledger, tried on arbitrary histories.
//!
//! The numbers in the names of the tests are those of the invariants in the documentation.

// What clippy allows in tests it does not allow in their helpers.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use p2p_fed_ledger::{
    Config, Input, Ledger, Model, Moment, NetworkId, NodeId, Output, Protocol, Record, Service, SignedRecord,
    Statement, Unverified, Verdict, message_id,
};
use proptest::{collection::vec, prelude::*, sample::Index};

const START_MS: u64 = 1_800_000_000_000;
const NETWORK: NetworkId = NetworkId([0x11; 16]);
const HOUR: Duration = Duration::from_secs(3600);
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Who passes everything on.
const CARRIER: u8 = 200;
/// Whose ledger is looked at.
const ME: u8 = 100;
/// Bytes before the record in the gossip payload of a record.
const KIND_RECORD: u8 = 1;

// --- actors ---

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn node(n: u8) -> NodeId {
    key(n).verifying_key().into()
}

fn config() -> Config {
    Config { ttl: HOUR, ..Config::new(NETWORK, 0) }
}

fn at(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), unix_ms: START_MS + seconds * 1000 }
}

fn ledger(n: u8) -> Ledger {
    let mut ledger = Ledger::new(config(), key(n), None, at(0), u64::from(n));
    ledger.handle(at(0), Input::PeerUp(node(CARRIER)));
    drain(&mut ledger);
    ledger
}

fn drain(ledger: &mut Ledger) -> Vec<Output> {
    std::iter::from_fn(|| ledger.poll_output()).collect()
}

/// Gives `ledger` a gossip message. Far enough apart in time, no message is too much.
fn hear(ledger: &mut Ledger, now: Moment, bytes: Vec<u8>) -> Verdict {
    ledger.handle(now, Input::Gossip { ticket: 1, from: node(CARRIER), bytes });
    let judged = drain(ledger).into_iter().find_map(|output| match output {
        Output::Judge { verdict, .. } => Some(verdict),
        _ => None,
    });
    judged.expect("every message is judged")
}

fn payload(signed: &SignedRecord) -> Vec<u8> {
    [&[KIND_RECORD], signed.bytes()].concat()
}

/// A ledger that heard `told` in this order.
fn after_hearing(told: &[SignedRecord]) -> Ledger {
    let mut ledger = ledger(ME);
    for (seconds, record) in (0..).step_by(7).zip(told) {
        hear(&mut ledger, at(seconds), payload(record));
    }
    ledger
}

/// Runs one session between two ledgers. Frames exchanged.
fn sync(dialler: &mut Ledger, responder: &mut Ledger, now: Moment, session: u64) -> usize {
    let (a, b) = (dialler.node_id(), responder.node_id());
    dialler.handle(now, Input::PeerUp(b));
    responder.handle(now, Input::PeerUp(a));
    let mut frames = 0;
    let mut queue = VecDeque::from([
        (false, Input::SessionOpened { session, peer: a, dialled: false }),
        (true, Input::SessionOpened { session, peer: b, dialled: true }),
    ]);
    while let Some((to_dialler, input)) = queue.pop_front() {
        let ledger = if to_dialler { &mut *dialler } else { &mut *responder };
        ledger.handle(now, input);
        for output in drain(ledger) {
            match output {
                Output::Send { session, bytes } => {
                    frames += 1;
                    queue.push_back((!to_dialler, Input::SessionFrame { session, bytes }));
                }
                Output::CloseSession { session } => queue.push_back((!to_dialler, Input::SessionClosed { session })),
                Output::Misbehaved { offence, .. } => panic!("an honest peer is blamed: {offence}"),
                _ => {}
            }
        }
        assert!(frames < 10_000, "a session that does not end");
    }
    frames
}

/// What matters of a ledger: per owner its record, and whether it is quarantined and fresh.
fn held(ledger: &Ledger) -> BTreeMap<NodeId, (Record, bool, bool)> {
    let view = ledger.view();
    view.nodes.iter().map(|(id, entry)| (*id, ((*entry.record).clone(), entry.quarantined, entry.fresh))).collect()
}

fn records(ledger: &Ledger) -> BTreeMap<NodeId, Record> {
    held(ledger).into_iter().map(|(id, (record, ..))| (id, record)).collect()
}

// --- arbitrary histories ---

fn service() -> impl Strategy<Value = Service> {
    let labels = prop::collection::btree_map("[a-z]{1,8}", "[ -~]{0,12}", 0..4);
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Http), Just(Protocol::Http2), Just(Protocol::Udp)];
    let models = prop::collection::btree_map("[!-~]{1,40}", any::<bool>(), 0..4)
        .prop_map(|models| models.into_iter().map(|(name, loaded)| Model { name, loaded }).collect());
    ("[a-z0-9.-]{1,63}", protocol, 1..=u8::MAX, any::<u16>(), labels, any::<u8>(), models).prop_map(
        |(name, protocol, weight, slots, labels, tier, models)| Service {
            name,
            protocol,
            weight,
            slots,
            labels,
            tier,
            models,
        },
    )
}

fn statement() -> impl Strategy<Value = Statement> {
    let services = vec(service(), 0..5).prop_map(|mut services| {
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services.dedup_by(|a, b| a.name == b.name);
        services
    });
    ("[a-z0-9.-]{1,63}", vec("/[!-~]{0,127}", 0..=8), services, any::<bool>(), any::<bool>()).prop_map(
        |(name, addresses, services, draining, leaving)| Statement { name, addresses, services, draining, leaving },
    )
}

fn record_of(owner: u8, seq: u64, statement: Statement) -> Record {
    let (issued_ms, owner) = (START_MS, node(owner));
    Record { network: NETWORK, generation: 0, owner, seq, issued_ms, ttl: HOUR, statement, credential: None }
}

fn signed_by(owner: u8, seq: u64, name: &str) -> SignedRecord {
    let statement = Statement { name: name.into(), ..Statement::default() };
    SignedRecord::sign(record_of(owner, seq, statement), &key(owner)).expect("a valid record")
}

/// Records of a few owners whose numbers never collide.
fn honest_history() -> impl Strategy<Value = Vec<SignedRecord>> {
    // The number decides the name, so that one number has one record.
    vec((1..6_u8, 1..12_u64), 0..24)
        .prop_map(|list| list.into_iter().map(|(owner, seq)| signed_by(owner, seq, &format!("n{seq}"))).collect())
}

/// Records of a few owners, some of whom sign different records with one number.
fn any_history() -> impl Strategy<Value = Vec<SignedRecord>> {
    vec((1..5_u8, 1..5_u64, "[ab]"), 0..24)
        .prop_map(|list| list.into_iter().map(|(owner, seq, name)| signed_by(owner, seq, &name)).collect())
}

/// Whether there are fields, of a record or of its services, that a reader may skip.
fn has_skippable(mut fields: &[u8]) -> bool {
    const SERVICE: u8 = 0x0b;
    while let [tag, high, low, rest @ ..] = fields {
        let (value, tail) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *tag >= 0x80 || (*tag == SERVICE && has_skippable(value)) {
            return true;
        }
        fields = tail;
    }
    false
}

/// One change to some bytes.
fn mutated(mut bytes: Vec<u8>, how: u8, place: Index, value: u8) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    let at = place.index(bytes.len());
    match how % 5 {
        0 => bytes[at] ^= value | 1,
        1 => bytes.truncate(at),
        2 => bytes.insert(at, value),
        3 => drop(bytes.remove(at)),
        _ => bytes.extend(std::iter::repeat_n(value, at)),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i1_join_is_commutative_and_idempotent(
        history in honest_history(),
        (shuffled, repeats) in (any::<prop::sample::Index>(), vec(any::<Index>(), 0..10)),
    ) {
        let mut other = history.clone();
        if !other.is_empty() {
            let middle = shuffled.index(other.len());
            other.rotate_left(middle);
            other.reverse();
            repeats.iter().for_each(|again| other.push(other[again.index(other.len())].clone()));
        }
        let (one, two) = (after_hearing(&history), after_hearing(&other));
        prop_assert_eq!(one.fingerprint(), two.fingerprint());
        prop_assert_eq!(held(&one), held(&two));
    }

    #[test]
    fn i1_join_is_associative(a in honest_history(), b in honest_history(), c in honest_history()) {
        let now = at(500);
        let (mut left, mut right) = (after_hearing(&a), after_hearing(&a));
        let carrier = |history: &[SignedRecord], n| {
            let mut ledger = ledger(n);
            history.iter().zip((0..).step_by(7)).for_each(|(r, s)| { hear(&mut ledger, at(s), payload(r)); });
            ledger
        };
        let (mut b1, mut c1, mut b2, mut c2) = (carrier(&b, 101), carrier(&c, 102), carrier(&b, 101), carrier(&c, 102));
        sync(&mut left, &mut b1, now, 1);
        sync(&mut left, &mut c1, now, 2);
        sync(&mut b2, &mut c2, now, 3);
        sync(&mut right, &mut b2, now, 4);
        prop_assert_eq!(left.fingerprint(), right.fingerprint());
        prop_assert_eq!(held(&left), held(&right));
    }

    #[test]
    fn i2_i3_only_what_owners_signed_is_held_and_numbers_only_grow(
        history in any_history(),
        changes in vec((any::<Index>(), any::<u8>(), any::<Index>(), any::<u8>()), 0..24),
    ) {
        let signed: Vec<_> = history.iter().map(|signed| (**signed.record()).clone()).collect();
        let mut ledger = ledger(ME);
        let mut numbers: BTreeMap<NodeId, u64> = BTreeMap::new();
        let originals = history.iter().map(payload);
        let forgeries = changes.into_iter().filter(|_| !history.is_empty()).map(|(of, how, place, value)| {
            mutated(payload(&history[of.index(history.len())]), how, place, value)
        });
        for (seconds, bytes) in (0..).step_by(7).zip(originals.chain(forgeries).collect::<Vec<_>>()) {
            hear(&mut ledger, at(seconds), bytes);
            for (owner, record) in records(&ledger) {
                prop_assert!(signed.contains(&record), "nobody signed {record:?}");
                prop_assert!(numbers.insert(owner, record.seq).is_none_or(|before| before <= record.seq));
            }
        }
    }

    #[test]
    fn i7_an_attacker_changes_only_its_own_records(
        history in honest_history(),
        attack in vec((1..8_u8, any::<bool>(), 0..40_u64, any::<u8>(), any::<Index>(), any::<u8>()), 1..40),
    ) {
        const ATTACKERS: [u8; 2] = [6, 7];
        let honest = after_hearing(&history);
        let mut attacked = after_hearing(&history);
        for (n, (target, resign, seq, how, place, value)) in (0..).zip(attack) {
            // It claims to be the target, with the signature of its own key, or changes what the target once signed.
            let statement = Statement { name: "evil".into(), ..Statement::default() };
            let signed = SignedRecord::sign(record_of(target, seq, statement), &key(ATTACKERS[0])).expect("valid");
            let mut claim = signed.bytes().to_vec();
            let own = node(ATTACKERS[0]);
            let at_owner = claim.windows(32).position(|bytes| bytes == own.as_bytes()).expect("the owner is in it");
            if target != ATTACKERS[1] {
                claim[at_owner..at_owner + 32].copy_from_slice(node(target).as_bytes());
            }
            let bytes = [&[KIND_RECORD][..], &claim].concat();
            let bytes = if resign { bytes } else { mutated(bytes, how, place, value) };
            hear(&mut attacked, at(400 + 7 * n), bytes);
        }
        let theirs: BTreeSet<_> = ATTACKERS.map(node).into();
        let others = |ledger: &Ledger| {
            held(ledger).into_iter().filter(|(owner, _)| !theirs.contains(owner)).collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(others(&honest), others(&attacked));
    }

    #[test]
    fn i9_jumping_clocks_change_no_flag(history in honest_history(), jumps in vec(-24_i64..=24, 1..24)) {
        let steady = after_hearing(&history);
        let mut jumping = ledger(ME);
        let met: Vec<_> = (1..6).map(|owner| signed_by(owner, 0, "met")).collect();
        met.iter().for_each(|record| { hear(&mut jumping, at(0), payload(record)); });
        for ((seconds, record), jump) in (0..).step_by(7).zip(&history).zip(jumps.iter().cycle()) {
            let now = at(seconds);
            let unix_ms = now.unix_ms.saturating_add_signed(jump * 3_600_000);
            hear(&mut jumping, Moment { unix_ms, ..now }, payload(record));
        }
        let jumped = held(&jumping);
        for (owner, state) in held(&steady) {
            prop_assert_eq!(jumped.get(&owner), Some(&state));
        }
    }

    #[test]
    fn i11_the_encoding_is_canonical(statement in statement(), seq: u64, issued_ms: u64, ttl in 60..=3600_u64) {
        let record = Record { issued_ms, ttl: Duration::from_secs(ttl), ..record_of(3, seq, statement) };
        let Ok(signed) = SignedRecord::sign(record.clone(), &key(3)) else { return Err(TestCaseError::reject("size")) };
        let read = Unverified::decode(signed.bytes()).expect("it is valid").verify().expect("it is signed");
        prop_assert_eq!(&**read.record(), &record);
        let again = SignedRecord::sign((**read.record()).clone(), &key(3)).expect("it was valid");
        prop_assert_eq!(again.bytes(), signed.bytes());
    }

    #[test]
    fn i11_other_bytes_are_another_record_or_none(
        statement in statement(),
        (how, place, value) in (any::<u8>(), any::<Index>(), any::<u8>()),
    ) {
        let Ok(signed) = SignedRecord::sign(record_of(3, 7, statement), &key(3)) else {
            return Err(TestCaseError::reject("size"));
        };
        let bytes = mutated(signed.bytes().to_vec(), how, place, value);
        if let Ok(read) = Unverified::decode(&bytes) {
            let body = &bytes[..bytes.len() - 64];
            if read.record().owner == node(3) {
                let again = SignedRecord::sign(read.record().clone(), &key(3)).expect("what is read is valid");
                // Fields that may be skipped are the one thing that a record does not show.
                let same = again.bytes()[..again.bytes().len() - 64] == *body;
                prop_assert!(same || has_skippable(body), "two encodings of one record");
            }
            prop_assert!(bytes == signed.bytes() || read.verify().is_err());
        }
    }

    #[test]
    fn i13_equivocation_has_one_winner_and_is_known_to_all(
        history in any_history(),
        order in vec(any::<Index>(), 24),
        split in any::<Index>(),
    ) {
        let mut shuffled = history.clone();
        for (n, swap) in order.iter().enumerate().take(history.len()) {
            shuffled.swap(n, swap.index(history.len()));
        }
        let (one, two) = (after_hearing(&history), after_hearing(&shuffled));
        prop_assert_eq!(records(&one), records(&two));

        // Two halves of a network that each saw a part, then meet.
        let at_split = split.index(history.len() + 1);
        let mut left = ledger(1 + ME);
        let mut right = ledger(2 + ME);
        for (ledger, part) in [(&mut left, &history[..at_split]), (&mut right, &history[at_split..])] {
            part.iter().zip((0..).step_by(7)).for_each(|(r, s)| { hear(ledger, at(s), payload(r)); });
        }
        sync(&mut left, &mut right, at(500), 1);
        sync(&mut right, &mut left, at(500), 2);
        prop_assert_eq!(left.fingerprint(), right.fingerprint());
        prop_assert_eq!(held(&left), held(&right));
        prop_assert_eq!(records(&left), records(&one));
        // Who signed two different newest records is quarantined everywhere.
        for (owner, newest) in records(&one) {
            let rivals = history.iter().filter(|r| r.record().owner == owner && r.record().seq == newest.seq);
            let ids: BTreeSet<_> = rivals.map(SignedRecord::id).collect();
            prop_assert!(ids.len() < 2 || held(&left)[&owner].1, "{owner} got away");
        }
    }

    #[test]
    fn i14_what_was_forgotten_is_not_revived(history in any_history(), later in 4400..100_000_u64) {
        let mut ledger = after_hearing(&history);
        let (mut now, end) = (Duration::ZERO, at(later).mono);
        while let Some(due) = ledger.poll_timeout().filter(|due| *due <= end) {
            prop_assert!(due >= now);
            now = due;
            ledger.handle_timeout(Moment { mono: due, unix_ms: START_MS });
            drain(&mut ledger);
        }
        prop_assert_eq!(ledger.owners(), 0, "an hour and ten minutes later all are forgotten");
        let before = (ledger.fingerprint(), ledger.view().revision);
        for (n, record) in (0..).zip(&history) {
            hear(&mut ledger, at(later + n), payload(record));
        }
        prop_assert_eq!((ledger.fingerprint(), ledger.view().revision), before);
    }

    #[test]
    fn i15_any_two_ledgers_are_equal_after_a_sync(a in honest_history(), b in honest_history(), dials: bool) {
        let (mut one, mut two) = (after_hearing(&a), ledger(101));
        b.iter().zip((0..).step_by(7)).for_each(|(r, s)| { hear(&mut two, at(s), payload(r)); });
        for (ledger, name) in [(&mut one, "one"), (&mut two, "two")] {
            ledger.handle(at(400), Input::Publish(Statement { name: name.into(), ..Statement::default() }));
            drain(ledger);
        }
        let frames = if dials { sync(&mut one, &mut two, at(500), 1) } else { sync(&mut two, &mut one, at(500), 1) };
        prop_assert_eq!(one.fingerprint(), two.fingerprint());
        prop_assert_eq!(held(&one), held(&two));
        prop_assert!(frames <= 20);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        gossip in vec(vec(any::<u8>(), 0..300), 0..20),
        frames in vec((0..9_u8, vec(any::<u8>(), 0..300)), 0..40),
        dialled: bool,
    ) {
        let mut ledger = ledger(ME);
        for (n, bytes) in (0..).zip(gossip) {
            prop_assert_ne!(hear(&mut ledger, at(n), bytes), Verdict::Accept);
        }
        for (session, (kind, tail)) in (0..).zip(frames) {
            ledger.handle(at(50 + session), Input::SessionOpened { session, peer: node(CARRIER), dialled });
            for bytes in [vec![1; 21], [&[kind][..], &tail].concat()] {
                ledger.handle(at(50 + session), Input::SessionFrame { session, bytes });
            }
            ledger.handle(at(50 + session), Input::SessionClosed { session });
            drain(&mut ledger);
            prop_assert_eq!(ledger.sessions(), 0);
        }
        prop_assert_eq!((ledger.owners(), ledger.bytes()), (0, 0));
    }
}

/// The record of `golden_record`: fields, then the signature.
const GOLDEN: &str = concat!(
    "010001010200107369787465656e20627974657320696403000400000007040020197f6b23e16c8532c6abc838facd5ea789",
    "be0c76b2920334039bfa8b3d368d61050008000001a3185c5001060008000001a3185c5000070004000000f0080001010900",
    "0c776f726b65722d312e6c616e0a001f2f6970342f3139322e302e322e312f7564702f343030312f717569632d76310b002d",
    "0100036c6c6d0200010203000164040002000405000b6d6f64656c3d6c6c616d610500097a6f6e653d65752d310b00130100",
    "037373680200010103000101040002000019905cbf2e2841aece953d7a3062b9581ce192150f4efcea81e4cd8444ead555f0",
    "0a8af22e0f8509297920f7dc62f6356a52581b79c3e45509979f442f184005",
);

/// A record with everything in it, byte for byte: who changes the format changes this, and the version.
#[test]
fn golden_record() {
    let labels = [("model".into(), "llama".into()), ("zone".into(), "eu-1".into())].into();
    let services = vec![
        Service { slots: 4, labels, ..Service::new("llm", Protocol::Http) },
        Service { weight: 1, ..Service::new("ssh", Protocol::Tcp) },
    ];
    let record = Record {
        network: NetworkId(*b"sixteen bytes id"),
        generation: 7,
        owner: node(42),
        seq: 1_800_000_000_001,
        issued_ms: 1_800_000_000_000,
        ttl: Duration::from_secs(240),
        statement: Statement {
            name: "worker-1.lan".into(),
            addresses: vec!["/ip4/192.0.2.1/udp/4001/quic-v1".into()],
            services,
            draining: true,
            leaving: false,
        },
        credential: None,
    };
    let signed = SignedRecord::sign(record.clone(), &key(42)).expect("a valid record");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(signed.bytes()), GOLDEN);
    assert_eq!(hex(&signed.id().0), "43d6439d581a2e6948d8478c46b889b6c65318cdff180635a5741a6c8beb313d");
    assert_eq!(hex(&message_id(&payload(&signed))), "e66879042b2d0814a50e4750fbef5162");
    let read = Unverified::decode(signed.bytes()).expect("it is valid").verify().expect("it is signed");
    assert_eq!(**read.record(), record);
}

/// The wall clock's bounds on first sight are a day either way; a replay of yesterday's records finds no newcomer.
#[test]
fn a_newcomer_refuses_a_capture_that_is_too_old() {
    let mut ledger = ledger(ME);
    let late = Moment { mono: Duration::ZERO, unix_ms: START_MS + DAY_MS + 1 };
    assert_eq!(hear(&mut ledger, late, payload(&signed_by(1, 5, "a"))), Verdict::Ignore);
    assert_eq!(ledger.counters().refused_date, 1);
}
