//! Items of a snapshot, as they come back from a disk: whole, changed, and made up.

use p2p_fed::ledger::{FRAME_MAX, Input, Ledger, Moment, Unverified};

use crate::{
    peers::{IS_DECREE, IS_LEASED, IS_RECORD, accuse, at, config, credential, decree, key, lease, node, record, tell},
    script::Script,
};

const OWNERS: usize = 5;
/// How an item with a decree begins.
const DECREE: u8 = 3;

pub(crate) fn check(bytes: &[u8]) {
    let mut script = Script(bytes);
    let with_issuer = script.byte() % 2 == 1;
    let start = |now: Moment| Ledger::new(config(OWNERS, with_issuer), key(0).clone(), None, now, 0);
    let (now, mut ledger) = (at(100), start(at(100)));
    // A decree comes first, if there is one.
    let mut others = false;
    while !script.is_over() {
        let item = item(&mut script, with_issuer, now);
        if item.first() != Some(&DECREE) || !others {
            others |= ledger.restore(now, &item);
        }
    }
    assert!(ledger.owners() <= OWNERS, "the ledger is bounded");
    while ledger.poll_output().is_some() {}
    for owner in ledger.view().nodes.keys() {
        let held = ledger.record(owner).expect("what is shown is held");
        let whole = Unverified::decode(held.bytes()).expect("what is held is valid");
        assert_eq!(whole.verify().expect("what is held is signed").record().owner, *owner);
    }

    // Kept and restored at the same moment, it is the same.
    let mut again = start(now);
    for item in ledger.snapshot(now) {
        assert!(item.len() <= FRAME_MAX, "an item of {} bytes", item.len());
        assert!(again.restore(now, &item), "what is kept is of use");
    }
    assert_eq!(again.fingerprint(), ledger.fingerprint());
    assert_eq!(again.owners(), ledger.owners());

    // And it goes on: all that was restored ends some time.
    again.handle(now, Input::PeerUp(node(1)));
    again.handle_timeout(at(100_000_000));
    while again.poll_output().is_some() {}
    again.handle_timeout(at(100_001_000));
    while again.poll_output().is_some() {}
    again.handle_timeout(at(200_000_000));
    assert_eq!(again.owners(), 0, "what is not heard of is forgotten");
}

fn item(script: &mut Script<'_>, with_issuer: bool, now: Moment) -> Vec<u8> {
    let (kind, who, seq) = (script.byte(), script.byte(), u64::from(script.byte()));
    let until = now.unix_ms - 10_000 + 100 * script.number() as u64;
    let signed = |name| record(who, seq, name, now, with_issuer.then(|| credential(who)));
    let pack = |rumours: &[Vec<u8>]| {
        let packed = rumours.iter().map(|rumour| [&(rumour.len() as u16).to_be_bytes()[..], rumour].concat());
        [&[1][..], &until.to_be_bytes(), &[who % 2], &packed.collect::<Vec<_>>().concat()].concat()
    };
    let mut item = match kind % 6 {
        0 => script.bytes().to_vec(),
        1 => pack(&[tell(IS_RECORD, signed("a").bytes())]),
        2 => {
            let of = signed("b");
            pack(&[tell(IS_LEASED, &[&lease(who, &of, seq + 1)[..], of.bytes()].concat())])
        }
        3 => {
            let (one, other) = (signed("a"), signed("b"));
            let (one, other) = if one.id() < other.id() { (one, other) } else { (other, one) };
            pack(&[tell(IS_RECORD, other.bytes()), accuse(one.bytes(), other.bytes())])
        }
        4 => [&[2][..], node(who).as_bytes(), &seq.to_be_bytes(), &until.to_be_bytes()].concat(),
        _ => [&[DECREE][..], &until.to_be_bytes(), decree(seq, who, script.byte(), script.byte() % 4).bytes()].concat(),
    };
    if kind >= 128 {
        let at = script.number();
        item.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= script.byte());
    }
    // The kind of a decree again, as a rumour where an item is expected.
    if kind == 127 { tell(IS_DECREE, &item) } else { item }
}
