//! A lease: its owner says that a record still holds, without repeating it.
//!
//! # Wire format
//!
//! 124 bytes, integers big-endian:
//!
//! | bytes | field     | value |
//! |-------|-----------|-------|
//! | 32    | owner     | Ed25519 public key |
//! | 16    | record    | the first sixteen bytes of the record's id |
//! | 8     | number    | u64, greater than the record's and than those of all leases before |
//! | 4     | ttl       | u32, seconds, 60 to 3600 |
//! | 64    | signature | Ed25519 over `"p2p-fed/lease/v1" ‖ 0x00 ‖` the fields before |
//!
//! Network and generation are those of the record, whose id covers them. A lease has no date: a record is signed anew
//! several times a day, so the date of a record that is alive is never old.
//!
//! **Invariant.** A [`SignedLease`] was signed by its owner; there is no other way to get one.

use std::time::Duration;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::{
    NodeId, WireError,
    record::{TTL_MAX, TTL_MIN},
    signed::{Forged, RecordId},
};

/// Bytes of a lease.
pub(crate) const LEASE: usize = BODY + SIGNATURE;

const BODY: usize = 32 + TAG + 8 + 4;
const TAG: usize = 16;
const SIGNATURE: usize = 64;
/// Keeps these signatures apart from everything else a node's key signs.
const DOMAIN: &[u8] = b"p2p-fed/lease/v1\0";

/// What a lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) owner: NodeId,
    /// Which record it renews.
    pub(crate) record: [u8; TAG],
    pub(crate) seq: u64,
    /// How long the record counts as fresh after the lease arrived.
    pub(crate) ttl: Duration,
}

/// A well-formed lease whose signature was not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnverifiedLease {
    lease: Lease,
    bytes: [u8; LEASE],
}

/// A lease and its owner's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedLease(UnverifiedLease);

impl Lease {
    /// Whether it renews the record with this id.
    pub(crate) fn is_of(&self, id: RecordId) -> bool {
        id.0.starts_with(&self.record)
    }
}

impl UnverifiedLease {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let len = bytes.len();
        let bytes: [u8; LEASE] = bytes.try_into().map_err(|_| match len < LEASE {
            true => WireError::Truncated,
            false => WireError::Trailing,
        })?;
        let invalid = || WireError::Truncated;
        let (owner, rest) = bytes.split_first_chunk::<32>().ok_or_else(invalid)?;
        let (record, rest) = rest.split_first_chunk::<TAG>().ok_or_else(invalid)?;
        let (seq, rest) = rest.split_first_chunk::<8>().ok_or_else(invalid)?;
        let (ttl, _) = rest.split_first_chunk::<4>().ok_or_else(invalid)?;
        let ttl = Duration::from_secs(u32::from_be_bytes(*ttl).into());
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(WireError::Value { tag: 3 });
        }
        let (owner, seq) = (NodeId::from_bytes(*owner), u64::from_be_bytes(*seq));
        Ok(Self { lease: Lease { owner, record: *record, seq, ttl }, bytes })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Checks the signature.
    pub(crate) fn verify(self) -> Result<SignedLease, Forged> {
        let (body, signature) = self.bytes.split_last_chunk::<SIGNATURE>().ok_or(Forged)?;
        let key = VerifyingKey::from_bytes(self.lease.owner.as_bytes()).map_err(|_| Forged)?;
        key.verify_strict(&[DOMAIN, body].concat(), &Signature::from_bytes(signature)).map_err(|_| Forged)?;
        Ok(SignedLease(self))
    }
}

impl SignedLease {
    /// A lease by the owner of `key` for its record with this id. The time to live is put within its bounds.
    pub(crate) fn sign(record: RecordId, seq: u64, ttl: Duration, key: &SigningKey) -> Self {
        let owner = NodeId::from(key.verifying_key());
        let ttl = Duration::from_secs(ttl.clamp(TTL_MIN, TTL_MAX).as_secs());
        let mut tag = [0; TAG];
        tag.iter_mut().zip(record.0).for_each(|(to, from)| *to = from);
        let seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let body = [&owner.as_bytes()[..], &tag, &seq.to_be_bytes(), &seconds.to_be_bytes()].concat();
        let signature = key.sign(&[DOMAIN, &body].concat()).to_bytes();
        let mut bytes = [0; LEASE];
        bytes.iter_mut().zip(body.iter().chain(&signature)).for_each(|(to, from)| *to = *from);
        Self(UnverifiedLease { lease: Lease { owner, record: tag, seq, ttl }, bytes })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.0.lease
    }

    /// As it travels.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn signed() -> SignedLease {
        SignedLease::sign(RecordId([9; 32]), 5, Duration::from_secs(420), &key())
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let signed = signed();
        assert_eq!(signed.bytes().len(), 124);
        let read = UnverifiedLease::decode(signed.bytes()).unwrap().verify().unwrap();
        assert_eq!(read, signed);
        let lease = read.lease();
        assert_eq!((lease.owner, lease.seq, lease.ttl.as_secs()), (key().verifying_key().into(), 5, 420));
        assert!(lease.is_of(RecordId([9; 32])));
        assert!(!lease.is_of(RecordId([8; 32])));
    }

    #[test]
    fn one_changed_bit_is_never_accepted() {
        for at in 0..LEASE {
            let mut bytes = signed().bytes().to_vec();
            bytes[at] ^= 1;
            let accepted = UnverifiedLease::decode(&bytes).is_ok_and(|lease| lease.verify().is_ok());
            assert!(!accepted, "bit 0 of byte {at}");
        }
    }

    #[test]
    fn it_has_one_length_and_a_bounded_time() {
        let bytes = signed().bytes().to_vec();
        assert_eq!(UnverifiedLease::decode(&bytes[..LEASE - 1]), Err(WireError::Truncated));
        assert_eq!(UnverifiedLease::decode(&[&bytes[..], &[0]].concat()), Err(WireError::Trailing));
        for (seconds, fits) in [(59_u32, false), (60, true), (3600, true), (3601, false)] {
            let mut changed = bytes.clone();
            changed[56..60].copy_from_slice(&seconds.to_be_bytes());
            assert_eq!(UnverifiedLease::decode(&changed).is_ok(), fits, "{seconds} s");
        }
        let long = SignedLease::sign(RecordId([9; 32]), 5, Duration::from_secs(9999), &key());
        assert_eq!(long.lease().ttl, TTL_MAX);
    }
}
