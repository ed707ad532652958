//! Nodes whose keys are known, and what they sign.

use std::{sync::LazyLock, time::Duration};

use ed25519_dalek::{Signer, SigningKey};
use p2p_fed::ledger::{
    Config, Credential, Decree, Invitation, IssuerKey, Moment, NetworkId, NodeId, Record, Roles, Rotation, Serial,
    ServiceGlob, SignedDecree, SignedInvitation, SignedRecord, Statement,
};

/// How many there are.
const KEYS: usize = 8;
/// Which of them is the issuer, in a network that has one.
const ISSUER: u8 = 7;
pub(crate) const NETWORK: NetworkId = NetworkId([0x11; 16]);
const START_MS: u64 = 1_800_000_000_000;

/// What comes before a record and a lease when they are signed, and where its owner stands in a record; from their wire
/// formats.
const RECORD: &[u8] = b"p2p-fed/record/v1\0";
const LEASE: &[u8] = b"p2p-fed/lease/v1\0";
const OWNER: std::ops::Range<usize> = 33..65;

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

/// A ledger of few owners, in a network with an issuer or without.
pub(crate) fn config(owners_max: usize, with_issuer: bool) -> Config {
    let issuer = with_issuer.then(|| issuer().verifying_key().into());
    Config { owners_max, issuer, ..Config::new(NETWORK, 0) }
}

pub(crate) fn issuer() -> &'static SigningKey {
    key(ISSUER)
}

pub(crate) fn issuer_key() -> IssuerKey {
    issuer().verifying_key().into()
}

fn serial(number: u8) -> Serial {
    Serial([number % KEYS as u8; 16])
}

/// What the issuer granted to the node with that number.
pub(crate) fn credential(number: u8) -> Credential {
    let invitation = Invitation {
        network: NETWORK,
        serial: serial(number),
        holder: key(number).verifying_key().to_bytes(),
        roles: Roles::ALL,
        services: ServiceGlob::any(),
        expires_unix_s: 0,
        once: false,
    };
    Credential::bind(SignedInvitation::sign(invitation, issuer()), key(number), node(number))
}

/// A decree that bans or revokes each node whose bit is set, and begins a generation if there is one.
pub(crate) fn decree(number: u64, banned: u8, revoked: u8, generation: u8) -> SignedDecree {
    let bits = |bits: u8| (0..KEYS as u8).filter(move |number| bits >> number & 1 == 1);
    let rotation = Rotation {
        generation: generation.into(),
        grace: Duration::from_secs(u64::from(generation) * 10),
        ephemeral: [generation; 32],
        sealed: Default::default(),
    };
    let decree = Decree {
        banned: bits(banned).map(node).collect(),
        revoked: bits(revoked).map(serial).collect(),
        rotation: Some(rotation).filter(|rotation| rotation.generation > 0),
        ..Decree::empty(NETWORK, number, START_MS)
    };
    SignedDecree::sign(decree, issuer()).expect("a small decree")
}

/// A record of the node with that number, with its credential or without.
pub(crate) fn record(number: u8, seq: u64, name: &str, now: Moment, credential: Option<Credential>) -> SignedRecord {
    let statement = Statement { name: name.into(), ..Statement::default() };
    let record = Record {
        network: NETWORK,
        generation: 0,
        owner: node(number),
        seq,
        issued_ms: now.unix_ms,
        ttl: Duration::from_secs(60),
        statement,
        credential,
    };
    SignedRecord::sign(record, key(number)).expect("a valid record")
}

/// Any bytes signed as if they were a record of the node with that number.
pub(crate) fn sign(number: u8, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    if let Some(owner) = body.get_mut(OWNER) {
        owner.copy_from_slice(node(number).as_bytes());
    }
    let signature = key(number).sign(&[RECORD, &body].concat()).to_bytes();
    [&body[..], &signature].concat()
}

/// A lease of that record by the node with that number.
pub(crate) fn lease(number: u8, record: &SignedRecord, seq: u64) -> Vec<u8> {
    let id = &record.id().0[..16];
    let body = [&node(number).as_bytes()[..], id, &seq.to_be_bytes(), &60_u32.to_be_bytes()].concat();
    let signature = key(number).sign(&[LEASE, &body].concat()).to_bytes();
    [&body[..], &signature].concat()
}

/// A rumour: its kind and what it tells.
pub(crate) fn tell(kind: u8, told: &[u8]) -> Vec<u8> {
    [&[kind], told].concat()
}

pub(crate) const IS_RECORD: u8 = 1;
pub(crate) const IS_LEASE: u8 = 3;
pub(crate) const IS_DECREE: u8 = 4;
pub(crate) const IS_LEASED: u8 = 5;

/// Two records as evidence.
pub(crate) fn accuse(one: &[u8], other: &[u8]) -> Vec<u8> {
    [&[2], &(one.len() as u16).to_be_bytes()[..], one, other].concat()
}
