//! Sessions between replicas, honest and not.

use ed25519_dalek::SigningKey;

use super::*;
use crate::{
    Config, FRAME_MAX, Moment, NetworkId, Record, Statement, Unverified,
    frame::{Prefix, SYMBOLS_MAX, What},
    lease::{SignedLease, UnverifiedLease},
    replica::Outcome,
    rules::Enacted,
    rumour::tell,
    signed::SignedRecord,
    sketch::Symbol,
};

const CONFIG: Config = Config::new(NetworkId([0; 16]), 0);
const NOW: Moment = Moment { mono: Duration::from_secs(1), unix_ms: 1_800_000_000_000 };

fn key(n: u16) -> SigningKey {
    let mut secret = [0; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&secret)
}

fn signed(n: u16, seq: u64, name: &str) -> SignedRecord {
    let key = key(n);
    let record = Record {
        network: CONFIG.network,
        generation: 0,
        owner: key.verifying_key().into(),
        seq,
        issued_ms: NOW.unix_ms,
        ttl: Duration::from_secs(60),
        statement: Statement { name: name.into(), ..Statement::default() },
        credential: None,
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
        Rumour::Record(pair) => replica.observe(NOW, pair.0, pair.1, false),
        Rumour::Lease(lease) => replica.renew(NOW, *lease),
        Rumour::Evidence(pair) => replica.accuse(NOW, pair.0, pair.1),
        Rumour::Decree(decree) => return assert_eq!(replica.enact(NOW, *decree), Enacted::Newer),
    };
    assert!(!matches!(outcome, Outcome::Forged | Outcome::Foreign | Outcome::Refused(_)), "{outcome:?}");
}

fn peer() -> NodeId {
    NodeId::from_bytes([1; 32])
}

const OPENING: Opening = Opening { salt: 77, symbols: 8 };

/// One whole session. Frames and bytes of both sides.
fn run(dialler: &mut Replica, responder: &mut Replica) -> (usize, usize) {
    let (mut here, first) = Session::dial(NOW.mono, peer(), OPENING, dialler);
    let mut there = Session::accept(NOW.mono, peer());
    let (mut frames, mut bytes, mut next) = (0, 0, Some(first));
    while let Some(frame) = next {
        let encoded = frame.encode();
        assert!(encoded.len() <= FRAME_MAX);
        (frames, bytes) = (frames + 1, bytes + encoded.len());
        assert!(frames < 1000, "it does not end");
        let from_dialler = frames % 2 == 1;
        let (session, replica) = if from_dialler { (&mut there, &mut *responder) } else { (&mut here, &mut *dialler) };
        next = hand(session, &encoded, replica).unwrap();
        assert!(next.is_some() || !from_dialler, "only the dialler ends a session");
    }
    (frames, bytes)
}

/// Gives a session a frame, and the replica what is in it.
fn hand(session: &mut Session, bytes: &[u8], replica: &mut Replica) -> Result<Option<Frame>, Offence> {
    session.take(NOW.mono, bytes)?.into_iter().for_each(|rumour| learn(replica, rumour));
    session.answer(replica)
}

#[test]
fn equal_ledgers_cost_two_small_frames() {
    let records = || (0..50).map(|n| signed(n, 1, "a"));
    assert_eq!(run(&mut replica(records()), &mut replica(records())), (2, 58));
    assert_eq!(run(&mut replica([]), &mut replica([])), (2, 58));
}

#[test]
fn what_either_side_lacks_moves() {
    let mut here = replica([signed(1, 5, "a"), signed(2, 7, "b"), signed(3, 1, "c")]);
    let mut there = replica([signed(1, 6, "x"), signed(2, 6, "y"), signed(4, 1, "z")]);
    let (frames, _) = run(&mut here, &mut there);
    assert_eq!(here.summary(), there.summary());
    assert!(frames <= 10, "{frames}: hello, symbols once or twice, records in, records out");
    for (n, seq) in [(1, 6), (2, 7), (3, 1), (4, 1)] {
        assert_eq!(here.get(&signed(n, 1, "a").record().owner).unwrap().record().seq, seq);
    }
    assert_eq!(run(&mut here, &mut there).0, 2);
}

#[test]
fn a_difference_costs_what_it_is_and_not_what_the_ledgers_are() {
    let all = |changed: u16| (0..1000).map(move |n| signed(n, if n < changed { 2 } else { 1 }, "a-name"));
    let mut costs = Vec::new();
    for changed in [1, 40] {
        let (mut old, mut new) = (replica(all(0)), replica(all(changed)));
        let (_, bytes) = run(&mut old, &mut new);
        assert_eq!(old.summary(), new.summary());
        costs.push(bytes);
    }
    assert!(costs[0] < 1000, "{} bytes for one change among a thousand", costs[0]);
    assert!(costs[1] < 40 * 400, "{} bytes for forty", costs[1]);
}

#[test]
fn leases_move_without_their_records_either_way() {
    let records: Vec<_> = (0..60).map(|n| signed(n, 1, "a-name-of-usual-length")).collect();
    let (mut here, mut there) = (replica(records.clone()), replica(records.clone()));
    for n in 0..40_u16 {
        let signed = SignedLease::sign(records[usize::from(n)].id(), 2, Duration::from_secs(420), &key(n));
        let lease = Rumour::Lease(Box::new(UnverifiedLease::decode(signed.bytes()).unwrap()));
        learn(if n % 2 == 0 { &mut here } else { &mut there }, lease);
    }
    assert_ne!(here.summary(), there.summary());
    let (_, bytes) = run(&mut here, &mut there);
    assert_eq!(here.summary(), there.summary());
    assert!(bytes < 40 * 250, "{bytes} bytes for forty leases");
    let mut newcomer = replica([]);
    run(&mut newcomer, &mut here);
    assert_eq!(newcomer.summary(), here.summary(), "records come with their leases");
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
        let told: usize = records.iter().map(|record| record.bytes().len() + 3).sum();
        assert!(frames < 40 && bytes < told + 2000, "{frames} frames, {bytes} bytes for {told}");
    }
}

#[test]
fn a_difference_that_is_too_large_for_symbols_is_found_by_pages() {
    let sides = |seq: u64| (0..2600).map(move |n| signed(n, seq, "a"));
    let (mut here, mut there) = (replica(sides(1)), replica(sides(2)));
    let mine = signed(5000, 1, "mine");
    learn(&mut here, Rumour::decode(&tell(&mine)).unwrap());
    run(&mut here, &mut there);
    assert_eq!(here.summary(), there.summary());
    assert_eq!(here.owners(), 2601);
}

#[test]
fn conflicts_are_known_to_both_afterwards() {
    let (a, b) = (signed(1, 5, "a"), signed(1, 5, "b"));
    for (first, second) in [(&a, &b), (&b, &a)] {
        let (mut here, mut there) = (replica([first.clone()]), replica([second.clone()]));
        run(&mut here, &mut there);
        assert_eq!(here.summary(), there.summary());
        let owner = a.record().owner;
        assert!(here.entries()[&owner].quarantined && there.entries()[&owner].quarantined);
        assert_eq!(here.get(&owner), there.get(&owner));
    }
    for dials in [true, false] {
        let (mut here, mut there) = (replica([a.clone(), b.clone()]), replica([signed(1, 9, "c")]));
        let (one, other) = if dials { (&mut here, &mut there) } else { (&mut there, &mut here) };
        run(one, other);
        run(one, other);
        assert_eq!(here.summary(), there.summary());
        assert!(there.entries()[&a.record().owner].quarantined, "old evidence reaches who only saw the newest record");
    }
}

#[test]
fn a_stale_record_is_not_asked_for_again() {
    let mut here = replica([signed(1, 5, "a")]);
    here.expire(Duration::from_secs(61));
    let mut there = replica([signed(1, 5, "a")]);
    assert_eq!(run(&mut here, &mut there).0, 4, "two hellos, one question for symbols");
    assert!(!here.entries()[&signed(1, 5, "a").record().owner].fresh);
}

#[test]
fn what_elements_do_not_show_is_found_by_pages() {
    // The peer's fingerprint differs, its symbols do not: twice, so that it is no accident.
    let mut replica = replica([signed(1, 5, "a")]);
    let mut session = dialler_after_hello(&mut replica);
    let nothing = Frame::Symbols(replica.sketch(OPENING.salt).next(8)).encode();
    let again = hand(&mut session, &nothing, &mut replica).unwrap();
    assert_eq!(again, Some(replica.hello()));
    let turned = hand(&mut session, &hello(), &mut replica).unwrap();
    assert_eq!(turned, Some(Frame::Turn { after: None }));
}

// --- hostile peers ---

#[test]
fn a_page_that_is_not_the_last_has_something_on_it() {
    let mut replica = replica([]);
    let (mut session, _) = Session::dial(NOW.mono, peer(), OPENING, &replica);
    let many = Frame::Hello { count: 500, fingerprint: 9, decree: 0 }.encode();
    hand(&mut session, &many, &mut replica).unwrap();
    let page = Frame::Page { until: Some(NodeId::from_bytes([9; 32])), records: Records::default() };
    assert_eq!(session.take(NOW.mono, &page.encode()).map(drop), Err(Offence::Malformed));
}

#[test]
fn nobody_is_told_the_same_over_and_over() {
    let mut replica = replica((0..9).map(|n| signed(n, 1, "a")));
    let known = replica.elements().next().unwrap().prefix;
    let wants = [(known, What::All), (Prefix::default(), What::Decree)];
    for (frame, answered) in [(Frame::Want(vec![wants[0]]), 82), (Frame::Want(vec![wants[1]]), 1), (replica.hello(), 2)]
    {
        let mut responder = Session::accept(NOW.mono, peer());
        hand(&mut responder, &hello(), &mut replica).unwrap();
        let ended = (0..200).find(|_| hand(&mut responder, &frame.encode(), &mut replica) == Err(Offence::Excess));
        assert_eq!(ended, Some(answered), "{frame:?}");
    }
}

fn hello() -> Vec<u8> {
    Frame::Hello { count: 1, fingerprint: 9, decree: 0 }.encode()
}

fn dialler_after_hello(replica: &mut Replica) -> Session {
    let (mut session, _) = Session::dial(NOW.mono, peer(), OPENING, replica);
    let asked = hand(&mut session, &hello(), replica).unwrap();
    assert_eq!(asked, Some(Frame::Ask { salt: OPENING.salt, from: 0, count: 8 }));
    session
}

fn records(list: &[&SignedRecord]) -> Frame {
    let mut records = Records::default();
    assert!(list.iter().all(|record| records.add([tell(record)].into_iter())));
    Frame::Records(records)
}

#[test]
fn frames_out_of_turn_end_the_session() {
    let mut replica = replica([signed(1, 1, "a")]);
    let hello = Frame::Hello { count: 0, fingerprint: 0, decree: 0 };
    let symbols = Frame::Symbols(vec![Symbol::default()]);
    let want = Frame::Want(vec![(Prefix::default(), What::All)]);
    let ask = Frame::Ask { salt: 1, from: 0, count: 8 };
    let turn = Frame::Turn { after: None };
    let page = Frame::Page { until: None, records: Records::default() };
    let mut handle = |session: &mut Session, frame: &Frame| hand(session, &frame.encode(), &mut replica).map(drop);

    for frame in [&symbols, &want, &ask, &turn, &page, &Frame::Taken, &records(&[])] {
        let mut responder = Session::accept(NOW.mono, peer());
        assert_eq!(handle(&mut responder, frame), Err(Offence::OutOfTurn), "before the hello");
        let (mut dialler, _) = Session::dial(NOW.mono, peer(), OPENING, &self::replica([]));
        assert_eq!(handle(&mut dialler, frame), Err(Offence::OutOfTurn), "instead of the hello");
    }
    for frame in [&symbols, &page, &Frame::Taken] {
        let mut responder = Session::accept(NOW.mono, peer());
        handle(&mut responder, &hello).unwrap();
        assert_eq!(handle(&mut responder, frame), Err(Offence::OutOfTurn));
    }
    for frame in [&hello, &want, &records(&[]), &Frame::Taken, &ask, &turn, &page] {
        let mut dialler = dialler_after_hello(&mut self::replica([signed(1, 1, "a")]));
        assert_eq!(handle(&mut dialler, frame), Err(Offence::OutOfTurn));
    }
    let mut dialler = dialler_after_hello(&mut self::replica([]));
    assert_eq!(dialler.take(NOW.mono, &[0]).map(drop), Err(Offence::Malformed));
}

#[test]
fn symbols_are_asked_for_in_order_and_not_without_end() {
    let mut replica = replica((0..9).map(|n| signed(n, 1, "a")));
    let mut responder = Session::accept(NOW.mono, peer());
    hand(&mut responder, &hello(), &mut replica).unwrap();
    let mut ask = |salt, from, count| hand(&mut responder, &Frame::Ask { salt, from, count }.encode(), &mut replica);
    assert!(matches!(ask(5, 0, 8), Ok(Some(Frame::Symbols(symbols))) if symbols.len() == 8));
    assert_eq!(ask(5, 9, 8), Err(Offence::OutOfTurn), "not where the last ones ended");
    assert_eq!(ask(6, 8, 8), Err(Offence::OutOfTurn), "of another salt");
    for from in (8..4096).step_by(8) {
        assert!(ask(5, from, 8).is_ok());
    }
    assert_eq!(ask(5, 4096, 1), Err(Offence::Excess));
}

#[test]
fn small_questions_do_not_make_it_look_at_everything_again() {
    let mut replica = replica((0..9).map(|n| signed(n, 1, "a")));
    let greeted = || {
        let mut responder = Session::accept(NOW.mono, peer());
        hand(&mut responder, &hello(), &mut self::replica([])).unwrap();
        responder
    };
    let ask = Frame::Ask { salt: 5, from: 0, count: 8 }.encode();
    let mut responder = greeted();
    assert!(hand(&mut responder, &ask, &mut replica).is_ok());
    assert_eq!(hand(&mut responder, &ask, &mut replica), Err(Offence::OutOfTurn));

    let mut responder = greeted();
    let mut turn = |after| hand(&mut responder, &Frame::Turn { after }.encode(), &mut replica).map(drop);
    let owner = |n| Some(NodeId::from_bytes([n; 32]));
    assert_eq!([turn(None), turn(owner(1)), turn(owner(2))], [Ok(()); 3]);
    assert_eq!(turn(owner(2)), Err(Offence::OutOfTurn));
    let mut responder = greeted();
    let mut turn = |after| hand(&mut responder, &Frame::Turn { after }.encode(), &mut replica).map(drop);
    assert_eq!([turn(None), turn(None)], [Ok(()), Err(Offence::OutOfTurn)]);
}

#[test]
fn symbols_that_never_end_lead_to_pages_and_those_to_an_end() {
    let mut replica = replica([]);
    let mut session = dialler_after_hello(&mut replica);
    let mut noise = 1_u64;
    let mut symbols = |count: u16| {
        let mut bytes = vec![3];
        bytes.extend((0..usize::from(count) * 26).map(|_| {
            noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (noise >> 56) as u8
        }));
        bytes
    };
    let mut asked = 8;
    let turned = loop {
        match hand(&mut session, &symbols(asked), &mut replica).unwrap() {
            Some(Frame::Ask { count, .. }) => asked = count,
            other => break other,
        }
        assert!(usize::from(asked) <= SYMBOLS_MAX);
    };
    assert_eq!(turned, Some(Frame::Turn { after: None }));
    // A liar that always has another page, with nothing on it that this version understands.
    let mut unknown = Records::default();
    unknown.add([vec![77]].into_iter());
    let end = (1..u16::MAX).find_map(|page| {
        let mut owner = [0; 32];
        owner[..2].copy_from_slice(&page.to_be_bytes());
        let frame = Frame::Page { until: Some(NodeId::from_bytes(owner)), records: unknown.clone() };
        hand(&mut session, &frame.encode(), &mut replica).err()
    });
    assert_eq!(end, Some(Offence::Excess));
    assert_eq!(session.count_useless(USELESS_MAX), Ok(()));
    assert_eq!(session.count_useless(1), Err(Offence::Excess));
}

#[test]
fn pages_that_go_back_or_hold_others_end_the_session() {
    let page = |until: Option<u8>, list: &[&SignedRecord]| {
        let Frame::Records(records) = records(list) else { unreachable!() };
        Frame::Page { until: until.map(|n| NodeId::from_bytes([n; 32])), records }.encode()
    };
    let turning = || {
        let mut replica = replica([]);
        let (mut session, _) = Session::dial(NOW.mono, peer(), OPENING, &replica);
        let many = Frame::Hello { count: 500, fingerprint: 9, decree: 0 }.encode();
        assert_eq!(hand(&mut session, &many, &mut replica), Ok(Some(Frame::Turn { after: None })));
        (session, replica)
    };
    let record = signed(1, 1, "a");
    let (mut session, mut replica) = turning();
    assert!(hand(&mut session, &page(Some(0xff), &[&record]), &mut replica).is_ok());
    let again = session.take(NOW.mono, &page(Some(0xff), &[&record]));
    assert_eq!(again.map(drop), Err(Offence::Malformed), "it does not go on");
    let below = record.record().owner.as_bytes()[0] - 1;
    let (mut session, _) = turning();
    let beyond = session.take(NOW.mono, &page(Some(below), &[&record]));
    assert_eq!(beyond.map(drop), Err(Offence::Malformed), "an owner beyond the page");
}

#[test]
fn records_that_were_not_wanted_end_the_session() {
    let mut here = replica([]);
    let mut session = dialler_after_hello(&mut here);
    let wanted = signed(1, 1, "a");
    let there = replica([wanted.clone()]);
    let symbols = Frame::Symbols(there.sketch(OPENING.salt).next(8));
    let asked = hand(&mut session, &symbols.encode(), &mut here).unwrap();
    assert_eq!(asked, Some(Frame::Want(vec![(wanted.record().owner.prefix(), What::All)])));
    let other = records(&[&wanted, &signed(2, 1, "b")]);
    assert_eq!(session.take(NOW.mono, &other.encode()).map(drop), Err(Offence::OutOfTurn));
}

#[test]
fn a_broken_promise_is_not_insisted_on() {
    let mut here = replica([]);
    let mut session = dialler_after_hello(&mut here);
    let symbols = Frame::Symbols(replica([signed(1, 1, "a")]).sketch(OPENING.salt).next(8));
    hand(&mut session, &symbols.encode(), &mut here).unwrap();
    assert_eq!(hand(&mut session, &records(&[]).encode(), &mut here), Ok(None));
}

#[test]
fn every_frame_gives_more_time() {
    let replica = replica([]);
    let mut session = Session::accept(NOW.mono, peer());
    assert_eq!(session.deadline(), NOW.mono + SILENCE_MAX);
    let later = NOW.mono + SILENCE_MAX / 2;
    session.take(later, &replica.hello().encode()).unwrap();
    assert_eq!(session.deadline(), later + SILENCE_MAX);
}

#[test]
fn rumours_of_later_versions_are_passed_over() {
    let known = signed(1, 1, "a");
    let mut packed = Records::default();
    packed.add([vec![9, 9, 9], tell(&known)].into_iter());
    let rumours = decode(&packed).unwrap();
    assert_eq!(rumours.len(), 1);
    assert_eq!(rumours[0].owner(), Some(known.record().owner));
    let mut broken = Records::default();
    broken.add([tell(&known)[..40].to_vec()].into_iter());
    assert_eq!(decode(&broken).map(drop), Err(Offence::Malformed));
    assert!(Unverified::decode(known.bytes()).is_ok());
}
