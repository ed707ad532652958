//! Records of a direct connection: sealed at one end, opened at the other.

use p2p_fed::direct::record::{Content, HEADER, Key, MAX_PLAIN, TRAILER};
use rustls::{ConnectionTrafficSecrets, crypto::cipher::AeadKey, crypto::cipher::Iv};

use super::Round;

/// Records in a round.
pub(super) const TIMES: u32 = 50;

/// `length` bytes of plaintext in each.
pub(super) fn round(length: usize) -> Round {
    assert!(length <= MAX_PLAIN);
    let key = || {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::from([9; 12]));
        Key::new((0, ConnectionTrafficSecrets::Aes256Gcm { key, iv })).expect("a key")
    };
    let (mut sealer, mut opener) = (key(), key());
    let mut record = vec![0x5a; HEADER + length + TRAILER];
    Box::new(move || {
        for _ in 0..TIMES {
            sealer.seal(Content::Data, &mut record).expect("room for it");
            assert_eq!(opener.open(&mut record), Ok((Content::Data, length)));
        }
        Box::new(record)
    })
}
