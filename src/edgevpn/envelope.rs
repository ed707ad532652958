//! How a block travels: gzip, AES-256-GCM under the key of the window, hex, and JSON around it.
//!
//! ```text
//! {"Message":"<hex of nonce ‖ ciphertext ‖ tag>","SenderID":"","Annotations":null}
//! ```
//!
//! Nodes of this program say that they are in the comment of gzip's header, which all others pass over. It is sealed with the
//! rest.
//!
//! The key is 32 characters of hex, used as they are, so it has 128 bits at most; that is edgevpn's choice.

use std::io::{Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use flate2::{Compression, GzBuilder, read::MultiGzDecoder};
use serde::Deserialize;

use crate::token::{SealingKey, Windows};

/// Bytes of a message at most, whatever the token says: edgevpn's own limit is 20 MiB, and a network of 10 000 nodes would come
/// to half of this.
pub(super) const MAX_MESSAGE: usize = 4 << 20;

/// Bytes of a block at most: edgevpn sets no bound, and a few KB of gzip can become as much as there is memory.
pub(super) const MAX_BLOCK: usize = 16 << 20;

/// What nodes of this program call themselves.
const KIN: &[u8] = b"p2p-fed";

/// What was in a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) plain: Vec<u8>,
    /// A node of this program has made it.
    pub(super) is_kin: bool,
}

/// A nonce.
pub(super) type Seed = [u8; NONCE_LEN];

/// Why a message can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("it is not the JSON of an envelope: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is not hex")]
    Hex,
    #[error("no key of this time opens it")]
    Sealed,
    #[error("what is in it is not gzip: {0}")]
    Gzip(#[from] std::io::Error),
    #[error("what is in it is more than {0} bytes")]
    TooLong(usize),
}

/// The part that matters; Go takes any case for it.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Message", alias = "message", alias = "MESSAGE")]
    message: String,
}

/// `plain` as the data of a message.
pub(super) fn seal(key: &SealingKey, nonce: Seed, plain: &[u8]) -> Vec<u8> {
    let mut zipped = GzBuilder::new().comment(KIN).write(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let zipped = zipped.write_all(plain).and_then(|()| zipped.finish()).unwrap_or_default();
    seal_bytes(key, nonce, zipped)
}

pub(super) fn seal_bytes(key: &SealingKey, nonce: Seed, mut bytes: Vec<u8>) -> Vec<u8> {
    // It fails on texts of more than 64 GB alone; what is empty opens nowhere.
    let sealed = cipher(key)
        .and_then(|cipher| {
            cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes).ok()
        })
        .map(|()| bytes)
        .unwrap_or_default();
    format!(r#"{{"Message":"{}{}","SenderID":"","Annotations":null}}"#, hex(&nonce), hex(&sealed)).into_bytes()
}

/// What is in the data of a message, sealed within a window of now; `most` bytes of it at most.
pub(super) fn open(keys: &Windows<SealingKey>, data: &[u8], most: usize) -> Result<Opened, EnvelopeError> {
    let sealed = unhex(&message(data)?).ok_or(EnvelopeError::Hex)?;
    // The current one is nearly always it.
    let keys = [&keys.current, &keys.previous, &keys.next];
    let zipped = keys.into_iter().find_map(|key| open_bytes(key, &sealed)).ok_or(EnvelopeError::Sealed)?;
    let mut plain = Vec::new();
    // It grows with what comes out, never ahead of it.
    let mut reader = MultiGzDecoder::new(zipped.as_slice());
    reader.by_ref().take(most as u64 + 1).read_to_end(&mut plain)?;
    let is_kin = reader.header().is_some_and(|header| header.comment() == Some(KIN));
    match plain.len() > most {
        true => Err(EnvelopeError::TooLong(most)),
        false => Ok(Opened { plain, is_kin }),
    }
}

pub(super) fn open_bytes(key: &SealingKey, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut bytes = sealed.to_vec();
    let plain = cipher(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut bytes).ok()?;
    let length = plain.len();
    bytes.truncate(length);
    Some(bytes)
}

/// The hex in the data of a message.
pub(super) fn message(data: &[u8]) -> Result<String, serde_json::Error> {
    Ok(serde_json::from_slice::<Envelope>(data)?.message)
}

fn cipher(key: &SealingKey) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).ok()?))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>()?;
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::Token;

    /// The token whose vectors are in the protocol's page, at the first second of 2026.
    fn keys() -> Windows<SealingKey> {
        token().sealing_key(1_767_225_600)
    }

    fn token() -> Token {
        let field = |letter: char| letter.to_string().repeat(43);
        let yaml = format!(
            "otp:\n  dht:\n    interval: 360\n    key: {}\n    length: 43\n  crypto:\n    interval: 9000\n    key: {}\n    length: 43\nroom: {}\nrendezvous: {}\nmdns: {}\nmax_message_size: 20971520\n",
            field('D'),
            field('C'),
            field('R'),
            field('Z'),
            field('M')
        );
        use base64::Engine;
        Token::parse(&base64::engine::general_purpose::STANDARD.encode(yaml)).unwrap()
    }

    #[test]
    fn seals_as_edgevpn_does() {
        let sealed = seal_bytes(&keys().current, [0; 12], b"hello".to_vec());
        let expected = r#"{"Message":"000000000000000000000000f9adc7079fc62222b2afae64de3a83f2b80900124d","SenderID":"","Annotations":null}"#;
        assert_eq!(String::from_utf8(sealed).unwrap(), expected);
    }

    #[test]
    fn opens_what_was_sealed_a_window_before_or_after_and_nothing_else() {
        let (token, now) = (token(), 1_767_225_600);
        for (then, opens) in [(now, true), (now + 9000, true), (now - 9000, true), (now + 18_000, false)] {
            let sealed = seal(&token.sealing_key(then).current, [7; 12], b"a block");
            assert_eq!(
                open(&keys(), &sealed, 100).ok().map(|opened| opened.plain),
                opens.then(|| b"a block".to_vec()),
                "{then}"
            );
        }
    }

    #[test]
    fn keys_are_taken_in_any_case_and_others_are_ignored() {
        let sealed = String::from_utf8(seal(&keys().current, [7; 12], b"x")).unwrap();
        let odd = sealed.replace("Message", "message").replace("null", r#"{"sigs":"x"},"More":[1]"#);
        assert_eq!(open(&keys(), odd.as_bytes(), 10).unwrap(), Opened { plain: b"x".to_vec(), is_kin: true });
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let sealed = seal(&keys().current, [7; 12], &vec![0; 1 << 20]);
        assert!(sealed.len() < 4096);
        assert!(matches!(open(&keys(), &sealed, 1000), Err(EnvelopeError::TooLong(1000))));
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens(plain in proptest::collection::vec(any::<u8>(), 0..400), nonce: [u8; 12]) {
            let sealed = seal(&keys().current, nonce, &plain);
            prop_assert_eq!(open(&keys(), &sealed, 400).unwrap().plain, plain);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|\\{\"Message\":\"[0-9a-g]{0,90}\"\\}") {
            let _ = open(&keys(), text.as_bytes(), 100);
        }
    }
}
