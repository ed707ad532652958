//! Nodes whose keys are known, and what they sign.

use std::{sync::LazyLock, time::Duration};

use ed25519_dalek::{Signer, SigningKey};
use p2p_fed::ledger::{Moment, NetworkId, NodeId, Record, SignedRecord, Statement};

/// How many there are.
const KEYS: usize = 8;
pub(crate) const NETWORK: NetworkId = NetworkId([0x11; 16]);
const START_MS: u64 = 1_800_000_000_000;

/// What comes before a record when it is signed, and where its owner stands in it; from its wire format.
const DOMAIN: &[u8] = b"p2p-fed/record/v1\0";
const OWNER: std::ops::Range<usize> = 33..65;
/// What comes before a record and before evidence in a rumour.
const KIND_RECORD: u8 = 1;
const KIND_EVIDENCE: u8 = 2;

static ALL: LazyLock<Vec<(SigningKey, NodeId)>> = LazyLock::new(|| {
    let keys = (1..=KEYS as u8).map(|n| SigningKey::from_bytes(&[n; 32]));
    keys.map(|key| (key.clone(), key.verifying_key().into())).collect()
});

pub(crate) fn key(number: u8) -> &'static SigningKey {
    &ALL[usize::from(number) % KEYS].0
}

pub(crate) fn node(number: u8) -> NodeId {
    ALL[usize::from(number) % KEYS].1
}

pub(crate) fn at(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), unix_ms: START_MS + seconds * 1000 }
}

/// A record of the node with that number.
pub(crate) fn record(number: u8, seq: u64, name: &str, now: Moment) -> SignedRecord {
    let statement = Statement { name: name.into(), ..Statement::default() };
    let record = Record {
        network: NETWORK,
        generation: 0,
        owner: node(number),
        seq,
        issued_ms: now.unix_ms,
        ttl: Duration::from_secs(60),
        credential: None,
        statement,
    };
    SignedRecord::sign(record, key(number)).expect("a valid record")
}

/// Any bytes signed as if they were a record of the node with that number.
pub(crate) fn sign(number: u8, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    if let Some(owner) = body.get_mut(OWNER) {
        owner.copy_from_slice(node(number).as_bytes());
    }
    let signature = key(number).sign(&[DOMAIN, &body].concat()).to_bytes();
    [&body[..], &signature].concat()
}

/// A record as a rumour.
pub(crate) fn tell(record: &[u8]) -> Vec<u8> {
    [&[KIND_RECORD], record].concat()
}

/// Two records as evidence.
pub(crate) fn accuse(one: &[u8], other: &[u8]) -> Vec<u8> {
    [&[KIND_EVIDENCE], &(one.len() as u16).to_be_bytes()[..], one, other].concat()
}
