//! A signed record, as it stands in a rumour.

use p2p_fed::ledger::{SignedRecord, Unverified};

use crate::peers::key;

/// Bytes of the signature, and where the owner stands.
const SIGNATURE: usize = 64;
const OWNER: std::ops::Range<usize> = 33..65;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(read) = Unverified::decode(bytes) else { return };
    let (record, id) = (read.record().clone(), read.id());
    record.statement.check().expect("what is read keeps its bounds");

    // Signed by another, so owner and signature differ. Fields that later versions add are read over and lost.
    let again = SignedRecord::sign(record.clone(), key(0)).expect("what is read can be written");
    let mut body = again.bytes()[..again.bytes().len() - SIGNATURE].to_vec();
    body[OWNER].copy_from_slice(record.owner.as_bytes());
    let was = &bytes[..bytes.len() - SIGNATURE];
    assert!(body.len() <= was.len(), "what is read says no more than what was written");
    assert!(body.len() < was.len() || body == was, "a record has one encoding");
    let reread = Unverified::decode(&[&body[..], &[0; SIGNATURE]].concat()).expect("what is written can be read");
    assert_eq!(*reread.record(), record);

    if let Ok(signed) = read.verify() {
        assert_eq!((signed.bytes(), signed.id()), (bytes, id), "what is passed on is what came");
    }
}
