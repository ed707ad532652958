//! What nodes tell each other about owners: a record, a lease that renews one, or evidence against an owner.
//!
//! # Wire format
//!
//! The payload of one gossip message, and one item of a `Records` or `Page` frame of a sync:
//!
//! | first byte | rumour   | rest | by gossip |
//! |------------|----------|------|-----------|
//! | 1          | record   | signed record | yes |
//! | 2          | evidence | length u16 of the first ‖ signed record ‖ signed record: two different records of one owner with one number, the one with the smaller record id first | yes |
//! | 3          | lease    | signed lease, of a record that the reader has | no |
//! | 4          | decree   | signed decree of the network's issuer | yes |
//! | 5          | leased   | signed lease ‖ signed record, of which the lease is | no |
//!
//! The **message id** for gossip is the first sixteen bytes of the SHA-256 of the payload, so that the same rumour
//! sent by many nodes counts as one message.

use sha2::{Digest, Sha256};

use crate::{
    DECREE_MAX, NodeId, SignedDecree, UnverifiedDecree, WireError,
    lease::{LEASE, SignedLease, UnverifiedLease},
    signed::{RECORD_MAX, SignedRecord, Unverified},
};

/// Bytes of a rumour: a decree and its kind, which is more than two records.
pub const RUMOUR_MAX: usize = DECREE_MAX + 1;
const _: () = assert!(2 * RECORD_MAX + 3 <= RUMOUR_MAX, "evidence fits as well");

const KIND_RECORD: u8 = 1;
const KIND_EVIDENCE: u8 = 2;
const KIND_LEASE: u8 = 3;
const KIND_DECREE: u8 = 4;
const KIND_LEASED: u8 = 5;

/// A rumour as it arrived; no signature was looked at.
#[derive(Clone, Debug)]
pub(crate) enum Rumour {
    /// A record, and the lease that renewed it if it was.
    Record(Box<(Unverified, Option<UnverifiedLease>)>),
    /// A lease by itself.
    Lease(Box<UnverifiedLease>),
    /// Two records of one owner with one number.
    Evidence(Box<(Unverified, Unverified)>),
    /// What the network's issuer decided.
    Decree(Box<UnverifiedDecree>),
}

/// Two different records that one owner signed with one number, the smaller id first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence(SignedRecord, SignedRecord);

/// The message id of a gossip payload.
pub fn message_id(bytes: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    id
}

/// A record as a rumour.
pub(crate) fn tell(record: &SignedRecord) -> Vec<u8> {
    [&[KIND_RECORD], record.bytes()].concat()
}

/// A record and its lease as one rumour.
pub(crate) fn tell_leased(record: &SignedRecord, lease: &SignedLease) -> Vec<u8> {
    [&[KIND_LEASED], lease.bytes(), record.bytes()].concat()
}

/// A decree as a rumour.
pub(crate) fn tell_decree(decree: &SignedDecree) -> Vec<u8> {
    [&[KIND_DECREE], decree.bytes()].concat()
}

/// A lease as a rumour.
pub(crate) fn tell_lease(lease: &SignedLease) -> Vec<u8> {
    [&[KIND_LEASE], lease.bytes()].concat()
}

impl Rumour {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match bytes {
            [KIND_RECORD, record @ ..] => Ok(Self::Record(Box::new((Unverified::decode(record)?, None)))),
            [KIND_LEASE, lease @ ..] => Ok(Self::Lease(Box::new(UnverifiedLease::decode(lease)?))),
            [KIND_DECREE, decree @ ..] => Ok(Self::Decree(Box::new(UnverifiedDecree::decode(decree)?))),
            [KIND_LEASED, rest @ ..] => {
                let (lease, record) = rest.split_at_checked(LEASE).ok_or(WireError::Truncated)?;
                let (record, lease) = (Unverified::decode(record)?, UnverifiedLease::decode(lease)?);
                let (said, renewed) = (record.record(), lease.lease());
                let fits = renewed.owner == said.owner && renewed.is_of(record.id()) && renewed.seq > said.seq;
                if fits {
                    Ok(Self::Record(Box::new((record, Some(lease)))))
                } else {
                    Err(WireError::Value { tag: KIND_LEASED })
                }
            }
            [KIND_EVIDENCE, high, low, rest @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                let (first, second) = rest.split_at_checked(len).ok_or(WireError::Truncated)?;
                let (first, second) = (Unverified::decode(first)?, Unverified::decode(second)?);
                let (a, b) = (first.record(), second.record());
                let conflict = a.owner == b.owner && a.seq == b.seq && a.network == b.network;
                if conflict && first.id() < second.id() {
                    Ok(Self::Evidence(Box::new((first, second))))
                } else {
                    Err(WireError::Value { tag: KIND_EVIDENCE })
                }
            }
            [] | [KIND_EVIDENCE, ..] => Err(WireError::Truncated),
            [kind, ..] => Err(WireError::Unsupported { tag: *kind }),
        }
    }

    /// Whom it is about; a decree is about all.
    pub(crate) fn owner(&self) -> Option<NodeId> {
        match self {
            Self::Record(pair) => Some(pair.0.record().owner),
            Self::Lease(lease) => Some(lease.lease().owner),
            Self::Evidence(pair) => Some(pair.0.record().owner),
            Self::Decree(_) => None,
        }
    }

    /// Whether gossip may carry it. Leases tell nothing new, so they are left to the sync.
    pub(crate) fn is_gossip(&self) -> bool {
        match self {
            Self::Record(pair) => pair.1.is_none(),
            Self::Lease(_) => false,
            Self::Evidence(_) | Self::Decree(_) => true,
        }
    }
}

impl Evidence {
    /// The evidence in two records, if it is any.
    pub(crate) fn of(one: SignedRecord, other: SignedRecord) -> Option<Self> {
        let conflict = one.record().owner == other.record().owner && one.record().seq == other.record().seq;
        match one.id().cmp(&other.id()) {
            _ if !conflict => None,
            std::cmp::Ordering::Less => Some(Self(one, other)),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Self(other, one)),
        }
    }

    /// Evidence as a rumour.
    pub(crate) fn tell(&self) -> Vec<u8> {
        let (first, second) = (self.0.bytes(), self.1.bytes());
        let len = u16::try_from(first.len()).unwrap_or(u16::MAX);
        [&[KIND_EVIDENCE], &len.to_be_bytes()[..], first, second].concat()
    }

    /// Bytes that keeping it costs.
    pub(crate) fn len(&self) -> usize {
        self.0.bytes().len() + self.1.bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::{NetworkId, Record, Statement};

    fn signed(key: u8, seq: u64, name: &str) -> SignedRecord {
        let key = SigningKey::from_bytes(&[key; 32]);
        let record = Record {
            network: NetworkId([0; 16]),
            generation: 0,
            owner: key.verifying_key().into(),
            seq,
            issued_ms: 0,
            ttl: Duration::from_secs(60),
            statement: Statement { name: name.into(), ..Statement::default() },
            credential: None,
        };
        SignedRecord::sign(record, &key).unwrap()
    }

    #[test]
    fn evidence_has_one_form_whichever_record_came_first() {
        let (a, b) = (signed(1, 5, "a"), signed(1, 5, "b"));
        let evidence = Evidence::of(a.clone(), b.clone()).unwrap();
        assert_eq!(Evidence::of(b.clone(), a.clone()).unwrap().tell(), evidence.tell());
        assert!(matches!(Rumour::decode(&evidence.tell()), Ok(Rumour::Evidence(..))));

        let backwards = Evidence(evidence.1.clone(), evidence.0.clone());
        assert_eq!(Rumour::decode(&backwards.tell()).unwrap_err(), WireError::Value { tag: KIND_EVIDENCE });
    }

    #[test]
    fn what_does_not_conflict_is_no_evidence() {
        let record = signed(1, 5, "a");
        for other in [record.clone(), signed(1, 6, "b"), signed(2, 5, "b")] {
            assert_eq!(Evidence::of(record.clone(), other.clone()), None);
            for pair in [Evidence(record.clone(), other.clone()), Evidence(other, record.clone())] {
                assert!(Rumour::decode(&pair.tell()).is_err());
            }
        }
    }

    #[test]
    fn a_lease_goes_with_its_own_record_alone() {
        let record = signed(1, 5, "a");
        let key = SigningKey::from_bytes(&[1; 32]);
        let lease = |id, seq| SignedLease::sign(id, seq, Duration::from_secs(60), &key);
        let told = |record: &SignedRecord, lease: &SignedLease| Rumour::decode(&tell_leased(record, lease));
        let good = told(&record, &lease(record.id(), 6)).unwrap();
        assert!(!good.is_gossip());
        assert_eq!(good.owner(), Some(record.record().owner));
        assert!(told(&record, &lease(record.id(), 5)).is_err(), "a lease counts on");
        assert!(told(&record, &lease(signed(1, 5, "b").id(), 6)).is_err(), "of another record");
        let other = SigningKey::from_bytes(&[2; 32]);
        assert!(told(&record, &SignedLease::sign(record.id(), 6, Duration::from_secs(60), &other)).is_err());
        assert!(!Rumour::decode(&tell_lease(&lease(record.id(), 6))).unwrap().is_gossip());
        assert!(Rumour::decode(&tell(&record)).unwrap().is_gossip());
    }

    #[test]
    fn rumours_of_other_kinds_are_from_later_versions() {
        assert_eq!(Rumour::decode(&[6, 0]).unwrap_err(), WireError::Unsupported { tag: 6 });
        assert_eq!(Rumour::decode(&[3, 0]).unwrap_err(), WireError::Truncated);
        assert_eq!(Rumour::decode(&[5, 0]).unwrap_err(), WireError::Truncated);
        assert_eq!(Rumour::decode(&[]).unwrap_err(), WireError::Truncated);
        assert_eq!(Rumour::decode(&[2, 0]).unwrap_err(), WireError::Truncated);
        assert_eq!(Rumour::decode(&[2, 0, 9, 1]).unwrap_err(), WireError::Truncated);
    }
}
