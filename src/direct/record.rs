//! TLS 1.3 records (RFC 8446 §5.2), sealed and opened in place.
//!
//! rustls makes the handshake and hands over the keys; from then on the bytes are ours, which saves the copies that a
//! library with buffers of its own has to make. What is here is the record layer alone: header, nonce, tag.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Bytes before the ciphertext: type, version, length.
pub const HEADER: usize = 5;

/// Bytes behind the plaintext: the type of the content, and the tag. Every suite of TLS 1.3 that is used here has 16.
pub const TRAILER: usize = 1 + TAG;

/// Plaintext in one record at most.
pub const MAX_PLAIN: usize = 1 << 14;

/// A whole record at most; the standard allows 256 bytes beyond the plaintext.
pub(super) const MAX_RECORD: usize = HEADER + MAX_PLAIN + 256;

const TAG: usize = 16;

/// The outer type and version of every protected record.
const OUTER: [u8; 3] = [23, 3, 3];

/// Records that one key seals at most. AES-GCM must not go beyond 2^24.5 full ones (RFC 8446 §5.5).
pub(super) const KEY_LIMIT: u64 = 1 << 23;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Something ends.
    Alert,
    /// Tickets and new keys.
    Handshake,
    /// Bytes of tunnels.
    Data,
}

impl Content {
    fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Alert, Self::Handshake, Self::Data].into_iter().find(|content| content.code() == code)
    }
}

/// The peer broke the protocol, or somebody changed its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a TLS record that cannot be opened")]
pub struct Broken;

/// The key of one direction, and the number of its next record.
pub struct Key {
    aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
    pub(super) next: u64,
}

impl Key {
    /// Of the secrets that a handshake left, beginning with record `next`.
    ///
    /// # Errors
    /// The suite is none of those that are used here.
    pub fn new((next, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Broken> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Broken),
        };
        let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Broken)?;
        let iv = iv.as_ref().try_into().map_err(|_| Broken)?;
        Ok(Self { aead: LessSafeKey::new(unbound), iv, next })
    }

    /// It has sealed as many records as it may.
    pub(super) fn is_worn(&self) -> bool {
        self.next >= KEY_LIMIT
    }

    /// Makes a record of `record`, which holds the plaintext from [`HEADER`] on and ends [`TRAILER`] bytes behind it.
    ///
    /// # Errors
    /// There is no room for header and trailer, or more than fits into a record.
    pub fn seal(&mut self, content: Content, record: &mut [u8]) -> Result<(), Broken> {
        let (header, sealed) = record.split_first_chunk_mut::<HEADER>().ok_or(Broken)?;
        let length = u16::try_from(sealed.len()).map_err(|_| Broken)?;
        *header = header_of(length);
        let at = sealed.len().checked_sub(TAG).ok_or(Broken)?;
        let (plain, tag) = sealed.split_at_mut_checked(at).ok_or(Broken)?;
        *plain.last_mut().ok_or(Broken)? = content.code();
        let nonce = self.nonce();
        let made = self.aead.seal_in_place_separate_tag(nonce, Aad::from(&*header), plain).map_err(|_| Broken)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    /// Opens a whole record in place. The plaintext begins at [`HEADER`]; returned are its content and its length.
    ///
    /// # Errors
    /// It was not sealed with this key and number, or was changed since, or holds nothing that this version knows.
    pub fn open(&mut self, record: &mut [u8]) -> Result<(Content, usize), Broken> {
        let (header, sealed) = record.split_first_chunk_mut::<HEADER>().ok_or(Broken)?;
        let nonce = self.nonce();
        let plain = self.aead.open_in_place(nonce, Aad::from(&*header), sealed).map_err(|_| Broken)?;
        // Zeros behind the type of the content are padding.
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or(Broken)?;
        let content = plain.get(end).and_then(|code| Content::of(*code)).ok_or(Broken)?;
        Ok((content, end))
    }

    /// RFC 8446 §5.3. Used once: the number grows with each.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        let (_, counter) = nonce.split_at_mut(NONCE_LEN - 8);
        counter.iter_mut().zip(self.next.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The length of the first record in `bytes` with its header, once that is there.
pub(super) fn length_of(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let Some((&[_, _, _, high, low], _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = HEADER + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_RECORD { Err(Broken) } else { Ok(Some(length)) }
}

fn header_of(length: u16) -> [u8; HEADER] {
    let ([a, b, c], [high, low]) = (OUTER, length.to_be_bytes());
    [a, b, c, high, low]
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("next", &self.next).finish_non_exhaustive()
    }
}
