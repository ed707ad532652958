//! A record is signed by its owner, and read and verified by everyone else.

use p2p_fed::ledger::{SignedRecord, Unverified};

use super::{
    Round,
    fleet::{key, record, signed},
};

pub(super) const TIMES: u32 = 20;

pub(super) fn sign() -> Round {
    let records: Vec<_> = (0..TIMES).map(|number| (record(number, 1), key(number))).collect();
    Box::new(move || {
        let sign = |(record, key)| SignedRecord::sign(record, &key).expect("a valid record");
        Box::new(records.into_iter().map(sign).collect::<Vec<_>>())
    })
}

pub(super) fn verify() -> Round {
    let records: Vec<_> = (0..TIMES).map(|number| signed(number, 1)).collect();
    Box::new(move || {
        let verify = |record: &SignedRecord| {
            let unverified = Unverified::decode(record.bytes()).expect("a record");
            unverified.verify().expect("signed by its owner")
        };
        let verified: Vec<_> = records.iter().map(verify).collect();
        Box::new((records, verified))
    })
}
