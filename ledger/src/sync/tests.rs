//! Sessions between replicas, honest and not.

use ed25519_dalek::SigningKey;

use super::*;
use crate::{
    Config, FRAME_MAX, Moment, NetworkId, Record, Statement, Unverified,
    replica::{Line, Outcome},
    rumour::tell,
    signed::SignedRecord,
};

const CONFIG: Config = Config::new(NetworkId([0; 16]), 0);
const NOW: Moment = Moment { mono: Duration::from_secs(1), unix_ms: 1_800_000_000_000 };

fn signed(n: u16, seq: u64, name: &str) -> SignedRecord {
    let mut secret = [0; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    let key = SigningKey::from_bytes(&secret);
    let record = Record {
        network: CONFIG.network,
        generation: 0,
        owner: key.verifying_key().into(),
        seq,
        issued_ms: NOW.unix_ms,
        ttl: Duration::from_secs(60),
        statement: Statement { name: name.into(), ..Statement::default() },
    };
    SignedRecord::sign(record, &key).unwrap()
}

fn replica(records: impl IntoIterator<Item = SignedRecord>) -> Replica {
    let mut replica = Replica::new(CONFIG, NodeId::from_bytes([0xff; 32]));
    records.into_iter().for_each(|record| learn(&mut replica, Rumour::decode(&tell(&record)).unwrap()));
    replica
}

fn learn(replica: &mut Replica, rumour: Rumour) {
    let outcome = match rumour {
        Rumour::Record(record) => replica.observe(NOW, *record, false),
        Rumour::Evidence(pair) => replica.accuse(NOW, pair.0, pair.1),
    };
    assert!(!matches!(outcome, Outcome::Forged | Outcome::Foreign | Outcome::Refused(_)), "{outcome:?}");
}

fn peer() -> NodeId {
    NodeId::from_bytes([1; 32])
}

/// One whole session. Frames and bytes of both sides.
fn run(dialler: &mut Replica, responder: &mut Replica) -> (usize, usize) {
    let (mut here, first) = Session::open(NOW.mono, peer(), true, dialler);
    let (mut there, none) = Session::open(NOW.mono, peer(), false, responder);
    assert_eq!(none, None);
    let (mut frames, mut bytes, mut next) = (0, 0, first);
    while let Some(frame) = next {
        let encoded = frame.encode();
        assert!(encoded.len() <= FRAME_MAX);
        (frames, bytes) = (frames + 1, bytes + encoded.len());
        assert!(frames < 1000, "it does not end");
        let from_dialler = frames % 2 == 1;
        let (session, replica) = if from_dialler { (&mut there, &mut *responder) } else { (&mut here, &mut *dialler) };
        let reaction = session.handle(NOW.mono, &encoded, replica).unwrap();
        reaction.rumours.into_iter().for_each(|rumour| learn(replica, rumour));
        next = reaction.answer;
        assert!(next.is_some() || !from_dialler, "only the dialler ends a session");
    }
    (frames, bytes)
}

#[test]
fn equal_ledgers_cost_two_small_frames() {
    let records = || (0..50).map(|n| signed(n, 1, "a"));
    assert_eq!(run(&mut replica(records()), &mut replica(records())), (2, 42));
    assert_eq!(run(&mut replica([]), &mut replica([])), (2, 42));
}

#[test]
fn what_either_side_lacks_moves() {
    let mut here = replica([signed(1, 5, "a"), signed(2, 7, "b"), signed(3, 1, "c")]);
    let mut there = replica([signed(1, 6, "x"), signed(2, 6, "y"), signed(4, 1, "z")]);
    let (frames, _) = run(&mut here, &mut there);
    assert_eq!(here.summary(), there.summary());
    assert_eq!(frames, 8, "hello, digest, records in, records out");
    for (n, seq) in [(1, 6), (2, 7), (3, 1), (4, 1)] {
        assert_eq!(here.get(&signed(n, 1, "a").record().owner).unwrap().record().seq, seq);
    }
    assert_eq!(run(&mut here, &mut there).0, 2);
}

#[test]
fn a_newcomer_on_either_side_gets_all_of_a_large_ledger() {
    let records: Vec<_> = (0..2500).map(|n| signed(n, 1, "a-name-of-usual-length")).collect();
    let full = || replica(records.iter().cloned());
    for newcomer_dials in [true, false] {
        let (mut blank, mut full) = (replica([signed(9999, 1, "me")]), full());
        let (frames, bytes) = if newcomer_dials { run(&mut blank, &mut full) } else { run(&mut full, &mut blank) };
        assert_eq!(blank.summary(), full.summary());
        assert_eq!(blank.owners(), 2501);
        assert!(frames < 40 && bytes < 2500 * 300, "{frames} frames, {bytes} bytes");
    }
}

#[test]
fn conflicts_are_known_to_both_afterwards() {
    let (a, b) = (signed(1, 5, "a"), signed(1, 5, "b"));
    for (first, second) in [(&a, &b), (&b, &a)] {
        let (mut here, mut there) = (replica([first.clone()]), replica([second.clone()]));
        // The side that finds out tells the other in the next session at the latest.
        run(&mut here, &mut there);
        run(&mut here, &mut there);
        assert_eq!(here.summary(), there.summary());
        let owner = a.record().owner;
        assert!(here.entries()[&owner].quarantined && there.entries()[&owner].quarantined);
        assert_eq!(here.get(&owner), there.get(&owner));
    }
    let (mut here, mut there) = (replica([a.clone(), b]), replica([signed(1, 9, "c")]));
    run(&mut there, &mut here);
    assert_eq!(here.summary(), there.summary());
    assert!(there.entries()[&a.record().owner].quarantined, "old evidence reaches who only saw the newest record");
}

#[test]
fn a_stale_record_is_not_asked_for_again() {
    let mut here = replica([signed(1, 5, "a")]);
    here.expire(Duration::from_secs(61));
    let mut there = replica([signed(1, 5, "a")]);
    assert_eq!(run(&mut here, &mut there).0, 4, "two hellos and a digest");
    assert!(!here.entries()[&signed(1, 5, "a").record().owner].fresh);
}

// --- hostile peers ---

fn dialler_after_hello(replica: &Replica) -> Session {
    let (mut session, _) = Session::open(NOW.mono, peer(), true, replica);
    let hello = Frame::Hello { count: 9, fingerprint: 9 }.encode();
    assert_eq!(session.handle(NOW.mono, &hello, replica).unwrap().answer, Some(Frame::Ask { after: None }));
    session
}

fn line(n: u16, seq: u64) -> Line {
    let mut owner = [0; 32];
    owner[..2].copy_from_slice(&n.to_be_bytes());
    Line { owner: NodeId::from_bytes(owner), seq, prefix: [0; 8], quarantined: false }
}

fn records(list: &[&SignedRecord]) -> Frame {
    let mut records = Records::default();
    assert!(list.iter().all(|record| records.add([tell(record)].into_iter())));
    Frame::Records(records)
}

#[test]
fn frames_out_of_turn_end_the_session() {
    let replica = replica([signed(1, 1, "a")]);
    let hello = Frame::Hello { count: 0, fingerprint: 0 };
    let digest = Frame::Digest { last: true, lines: vec![] };
    let want = Frame::Want(vec![peer()]);
    let handle = |session: &mut Session, frame: &Frame| session.handle(NOW.mono, &frame.encode(), &replica).map(drop);

    for frame in [&digest, &want, &Frame::Ask { after: None }, &Frame::Taken, &records(&[])] {
        let (mut responder, _) = Session::open(NOW.mono, peer(), false, &replica);
        assert_eq!(handle(&mut responder, frame), Err(Offence::OutOfTurn), "before the hello");
        let (mut dialler, _) = Session::open(NOW.mono, peer(), true, &replica);
        assert_eq!(handle(&mut dialler, frame), Err(Offence::OutOfTurn), "instead of the hello");
    }
    for frame in [&hello, &digest, &Frame::Taken] {
        let (mut responder, _) = Session::open(NOW.mono, peer(), false, &replica);
        handle(&mut responder, &hello).unwrap();
        assert_eq!(handle(&mut responder, frame), Err(Offence::OutOfTurn));
    }
    for frame in [&hello, &want, &records(&[]), &Frame::Taken, &Frame::Ask { after: None }] {
        assert_eq!(handle(&mut dialler_after_hello(&replica), frame), Err(Offence::OutOfTurn));
    }
    assert_eq!(dialler_after_hello(&replica).handle(NOW.mono, &[0], &replica).map(drop), Err(Offence::Malformed));
}

#[test]
fn every_frame_gives_more_time() {
    let replica = replica([]);
    let (mut session, _) = Session::open(NOW.mono, peer(), false, &replica);
    assert_eq!(session.deadline, NOW.mono + SILENCE_MAX);
    let later = NOW.mono + SILENCE_MAX / 2;
    session.handle(later, &Frame::Hello { count: 0, fingerprint: 0 }.encode(), &replica).unwrap();
    assert_eq!(session.deadline, later + SILENCE_MAX);
}

#[test]
fn a_digest_that_goes_back_ends_the_session() {
    let replica = replica([]);
    let mut session = dialler_after_hello(&replica);
    let page = |from: u16| Frame::Digest { last: false, lines: (from..from + 1024).map(|n| line(n, 1)).collect() };
    let wanted = session.handle(NOW.mono, &page(0).encode(), &replica).unwrap();
    assert!(matches!(wanted.answer, Some(Frame::Want(owners)) if owners.len() == 1024));
    let nothing = session.handle(NOW.mono, &records(&[]).encode(), &replica).unwrap();
    assert_eq!(
        nothing.answer,
        Some(Frame::Ask { after: Some(line(1023, 1).owner) }),
        "a broken promise is not insisted on"
    );
    let again = session.handle(NOW.mono, &page(1000).encode(), &replica);
    assert_eq!(again.map(drop), Err(Offence::Malformed));
}

#[test]
fn records_that_were_not_wanted_end_the_session() {
    let replica = replica([]);
    let mut session = dialler_after_hello(&replica);
    let wanted = signed(1, 1, "a");
    let lines = vec![Line { owner: wanted.record().owner, seq: 1, prefix: wanted.id().prefix(), quarantined: false }];
    session.handle(NOW.mono, &Frame::Digest { last: true, lines }.encode(), &replica).unwrap();
    let other = records(&[&wanted, &signed(2, 1, "b")]);
    assert_eq!(session.handle(NOW.mono, &other.encode(), &replica).map(drop), Err(Offence::OutOfTurn));
}

#[test]
fn an_endless_peer_is_cut_off() {
    let replica = replica([]);
    let mut session = dialler_after_hello(&replica);
    let mut frames = 1;
    // A liar that always has another page of owners that it then does not give.
    let end = (0..u16::MAX).find_map(|page| {
        let lines = (0..1024_u16).map(|n| {
            let mut owner = [0; 32];
            owner[..2].copy_from_slice(&page.to_be_bytes());
            owner[2..4].copy_from_slice(&n.to_be_bytes());
            Line { owner: NodeId::from_bytes(owner), seq: 1, prefix: [0; 8], quarantined: false }
        });
        let digest = Frame::Digest { last: false, lines: lines.collect() };
        frames += 2;
        session
            .handle(NOW.mono, &digest.encode(), &replica)
            .and_then(|_| session.handle(NOW.mono, &records(&[]).encode(), &replica))
            .err()
    });
    assert_eq!(end, Some(Offence::Excess));
    assert!(frames <= 4100, "{frames}");
    assert_eq!(session.count_useless(USELESS_MAX), Ok(()));
    assert_eq!(session.count_useless(1), Err(Offence::Excess));
}

#[test]
fn rumours_of_later_versions_are_passed_over() {
    let known = signed(1, 1, "a");
    let mut packed = Records::default();
    packed.add([vec![9, 9, 9], tell(&known)].into_iter());
    let rumours = decode(&packed).unwrap();
    assert_eq!(rumours.len(), 1);
    assert_eq!(rumours[0].owner(), known.record().owner);
    let mut broken = Records::default();
    broken.add([tell(&known)[..40].to_vec()].into_iter());
    assert_eq!(decode(&broken).map(drop), Err(Offence::Malformed));
    assert!(Unverified::decode(known.bytes()).is_ok());
}
