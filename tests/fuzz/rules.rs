//! What an issuer signs: credentials and decrees.

use p2p_fed::ledger::{Credential, SignedDecree, SignedInvitation, UnverifiedDecree};

use crate::peers::{NETWORK, issuer, issuer_key, node};

const SIGNATURE: usize = 64;

pub(crate) fn credential(bytes: &[u8]) {
    let Ok(read) = Credential::decode(bytes) else { return };
    assert_eq!(read.bytes(), bytes, "what is passed on is what came");
    let again = SignedInvitation::sign(read.invitation().clone(), issuer());
    let reread = SignedInvitation::decode(again.bytes()).expect("what is written can be read");
    assert_eq!(reread.invitation(), read.invitation());
    one_encoding(&bytes[..bytes.len() - 2 * SIGNATURE], again.bytes());
    // Nobody's key signed it but by chance; with the issuer's own, the binding is still missing.
    drop(read.verify(&issuer_key(), NETWORK, &node(0)));
}

pub(crate) fn decree(bytes: &[u8]) {
    let Ok(read) = UnverifiedDecree::decode(bytes) else { return };
    let again = SignedDecree::sign(read.decree().clone(), issuer()).expect("what is read can be written");
    assert_eq!(**again.decree(), *read.decree());
    one_encoding(&bytes[..bytes.len() - SIGNATURE], again.bytes());
    let reread = UnverifiedDecree::decode(again.bytes()).expect("what is written can be read");
    reread.verify(&issuer_key()).expect("what the issuer signs is the issuer's");
    if let Ok(signed) = read.verify(&issuer_key()) {
        assert_eq!(signed.bytes(), bytes, "what is passed on is what came");
    }
}

/// Fields that later versions add are read over and lost; without them there is one form.
fn one_encoding(was: &[u8], signed: &[u8]) {
    let body = &signed[..signed.len() - SIGNATURE];
    assert!(body.len() <= was.len(), "what is read says no more than what was written");
    assert!(body.len() < was.len() || body == was, "one encoding");
}
