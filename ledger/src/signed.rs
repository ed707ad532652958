//! A record with its owner's signature, as bytes.
//!
//! # Wire format
//!
//! A signed record is `body ‖ signature[64]`, at most 16 384 bytes. The body is a sequence of fields `tag u8 ‖ length
//! u16 ‖ value`, integers big-endian, in this order, none missing, none repeated unless it says so:
//!
//! | tag  | field      | value |
//! |------|------------|-------|
//! | 0x01 | version    | u8 = 1 |
//! | 0x02 | network    | 16 bytes, derived from the token |
//! | 0x03 | generation | u32, of the token |
//! | 0x04 | owner      | 32 bytes, Ed25519 public key |
//! | 0x05 | seq        | u64 |
//! | 0x06 | issued     | u64, milliseconds since 1970 by the owner's wall clock |
//! | 0x07 | ttl        | u32, seconds, 60 to 3600 |
//! | 0x08 | flags      | u8: bit 0 draining, bit 1 leaving, the others 0 |
//! | 0x09 | name       | 1 to 63 of `[a-z0-9-.]` |
//! | 0x0a | address    | 1 to 128 printable ASCII; 0 to 8 times, in the owner's order of preference |
//! | 0x0b | service    | fields as below; 0 to 64 times, names strictly ascending |
//! | 0x0c | credential | the owner's (see `credential`), at most 512 bytes; may be missing |
//!
//! and a service is
//!
//! | tag  | field    | value |
//! |------|----------|-------|
//! | 0x01 | name     | 1 to 63 of `[a-z0-9-.]` |
//! | 0x02 | protocol | u8: 1 tcp, 2 http, 3 h2, 4 udp |
//! | 0x03 | weight   | u8, 1 to 255 |
//! | 0x04 | slots    | u16 |
//! | 0x05 | label    | `key=value`, printable ASCII; any number of at most 256 bytes together without the `=`; keys strictly ascending |
//! | 0x06 | tier     | u8, 1 to 255; missing for 0 |
//! | 0x07 | model    | u8: bit 0 loaded, the others 0; then its name, 1 to 128 printable ASCII without spaces; 0 to 128 times, 6144 bytes of names together, names strictly ascending |
//!
//! Later versions may append fields; tags from 0x80 on may be skipped by a reader that does not know them, others may
//! not. Skipped fields stay part of the bytes: a record is stored, hashed and passed on as it came.
//!
//! The signature is Ed25519 (RFC 8032, verified strictly: no small-order keys, no second encoding) over
//! `"p2p-fed/record/v1" ‖ 0x00 ‖ body`. The **record id** is the SHA-256 of the same bytes. The signature is not part
//! of it: signing one body twice makes no second record.
//!
//! **Invariant.** A [`SignedRecord`] was signed by its owner; there is no other way to get one.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::{
    Credential, Model, NetworkId, NodeId, Protocol, Record, Service, Statement, StatementError, WireError,
    record::{TTL_MAX, TTL_MIN},
    wire::{Reader, Writer},
};

/// Bytes of a signed record. A typical one has 300; this leaves room for 64 services with labels, and bounds what one
/// key can make every node store.
pub const RECORD_MAX: usize = 16 * 1024;

/// Keeps these signatures apart from everything else a node's key signs.
const DOMAIN: &[u8] = b"p2p-fed/record/v1\0";
/// The only version of the body there is.
const VERSION: u8 = 1;
/// Bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;

const TAG_VERSION: u8 = 0x01;
const TAG_NETWORK: u8 = 0x02;
const TAG_GENERATION: u8 = 0x03;
const TAG_OWNER: u8 = 0x04;
const TAG_SEQ: u8 = 0x05;
const TAG_ISSUED: u8 = 0x06;
const TAG_TTL: u8 = 0x07;
const TAG_FLAGS: u8 = 0x08;
const TAG_NAME: u8 = 0x09;
const TAG_ADDRESS: u8 = 0x0a;
const TAG_SERVICE: u8 = 0x0b;
const TAG_CREDENTIAL: u8 = 0x0c;

const TAG_SERVICE_NAME: u8 = 0x01;
const TAG_PROTOCOL: u8 = 0x02;
const TAG_WEIGHT: u8 = 0x03;
const TAG_SLOTS: u8 = 0x04;
const TAG_LABEL: u8 = 0x05;
const TAG_TIER: u8 = 0x06;
const TAG_MODEL: u8 = 0x07;

const MODEL_LOADED: u8 = 1;

const FLAG_DRAINING: u8 = 1;
const FLAG_LEAVING: u8 = 1 << 1;

/// Which record: the SHA-256 of what its owner signed. Orders records that carry the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 32]);

impl RecordId {
    fn of(body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(DOMAIN).chain_update(body).finalize().into())
    }

    /// The first eight bytes, enough to tell an owner's records of one number apart in a digest.
    pub(crate) fn prefix(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The signature is not the owner's. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is not signed by its owner")]
pub struct Forged;

/// A well-formed record whose signature was not looked at yet: cheap enough to find out that it is old news.
#[derive(Clone)]
pub struct Unverified {
    record: Record,
    id: RecordId,
    bytes: Vec<u8>,
}

/// A record and its owner's signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRecord {
    record: Arc<Record>,
    id: RecordId,
    bytes: Arc<[u8]>,
}

// === impl Unverified ===

impl Unverified {
    /// Reads a signed record and checks every bound but the signature.
    ///
    /// # Errors
    /// The bytes are not the one encoding of a record, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > RECORD_MAX {
            return Err(WireError::TooLong { len: bytes.len(), max: RECORD_MAX });
        }
        let (body, _) = bytes.split_last_chunk::<SIGNATURE>().ok_or(WireError::Truncated)?;
        let record = decode_body(body)?;
        Ok(Self { record, id: RecordId::of(body), bytes: bytes.to_vec() })
    }

    /// What it claims.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The id it would have.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Forged`] if the owner did not sign it.
    pub fn verify(self) -> Result<SignedRecord, Forged> {
        let (body, signature) = self.bytes.split_last_chunk::<SIGNATURE>().ok_or(Forged)?;
        let key = VerifyingKey::from_bytes(self.record.owner.as_bytes()).map_err(|_| Forged)?;
        let message = [DOMAIN, body].concat();
        key.verify_strict(&message, &Signature::from_bytes(signature)).map_err(|_| Forged)?;
        Ok(SignedRecord { record: Arc::new(self.record), id: self.id, bytes: self.bytes.into() })
    }
}

// === impl SignedRecord ===

impl SignedRecord {
    /// Signs `record` with its owner's key; `record.owner` becomes that key's, and its services are put in the order of
    /// their names.
    ///
    /// # Errors
    /// The statement breaks a bound, or the record would be longer than [`RECORD_MAX`].
    pub fn sign(mut record: Record, key: &SigningKey) -> Result<Self, StatementError> {
        record.owner = key.verifying_key().into();
        record.ttl = Duration::from_secs(record.ttl.clamp(TTL_MIN, TTL_MAX).as_secs());
        record.statement = record.statement.sorted();
        record.statement.check()?;
        let mut bytes = encode_body(&record);
        let id = RecordId::of(&bytes);
        let signature = key.sign(&[DOMAIN, &bytes].concat());
        bytes.extend_from_slice(&signature.to_bytes());
        if bytes.len() > RECORD_MAX {
            return Err(StatementError::Size(bytes.len()));
        }
        Ok(Self { record: Arc::new(record), id, bytes: bytes.into() })
    }

    /// What the owner said.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Its id.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// As it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("id", &self.id).field("record", &self.record).finish_non_exhaustive()
    }
}

impl fmt::Debug for SignedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRecord").field("id", &self.id).field("record", &self.record).finish_non_exhaustive()
    }
}

fn encode_body(record: &Record) -> Vec<u8> {
    let Record { network, generation, owner, seq, issued_ms, ttl, statement, credential } = record;
    let mut writer = Writer::default();
    writer.field(TAG_VERSION, &[VERSION]);
    writer.field(TAG_NETWORK, &network.0);
    writer.field(TAG_GENERATION, &generation.to_be_bytes());
    writer.field(TAG_OWNER, owner.as_bytes());
    writer.field(TAG_SEQ, &seq.to_be_bytes());
    writer.field(TAG_ISSUED, &issued_ms.to_be_bytes());
    writer.field(TAG_TTL, &u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    let draining = if statement.draining { FLAG_DRAINING } else { 0 };
    let leaving = if statement.leaving { FLAG_LEAVING } else { 0 };
    writer.field(TAG_FLAGS, &[draining | leaving]);
    writer.field(TAG_NAME, statement.name.as_bytes());
    statement.addresses.iter().for_each(|address| writer.field(TAG_ADDRESS, address.as_bytes()));
    statement.services.iter().for_each(|service| writer.field(TAG_SERVICE, &encode_service(service)));
    credential.iter().for_each(|credential| writer.field(TAG_CREDENTIAL, &credential.bytes()));
    writer.0
}

fn encode_service(service: &Service) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.field(TAG_SERVICE_NAME, service.name.as_bytes());
    let protocol = match service.protocol {
        Protocol::Tcp => 1,
        Protocol::Http => 2,
        Protocol::Http2 => 3,
        Protocol::Udp => 4,
    };
    writer.field(TAG_PROTOCOL, &[protocol]);
    writer.field(TAG_WEIGHT, &[service.weight]);
    writer.field(TAG_SLOTS, &service.slots.to_be_bytes());
    service.labels.iter().for_each(|(key, value)| writer.field(TAG_LABEL, format!("{key}={value}").as_bytes()));
    if service.tier != 0 {
        writer.field(TAG_TIER, &[service.tier]);
    }
    for Model { name, loaded } in &service.models {
        let flags = if *loaded { MODEL_LOADED } else { 0 };
        writer.field(TAG_MODEL, &[&[flags], name.as_bytes()].concat());
    }
    writer.0
}

fn decode_body(body: &[u8]) -> Result<Record, WireError> {
    let mut reader = Reader::new(body);
    if reader.array(TAG_VERSION)? != [VERSION] {
        return Err(WireError::Unsupported { tag: TAG_VERSION });
    }
    let network = NetworkId(reader.array(TAG_NETWORK)?);
    let generation = u32::from_be_bytes(reader.array(TAG_GENERATION)?);
    let owner = NodeId::from_bytes(reader.array(TAG_OWNER)?);
    let seq = u64::from_be_bytes(reader.array(TAG_SEQ)?);
    let issued_ms = u64::from_be_bytes(reader.array(TAG_ISSUED)?);
    let ttl = Duration::from_secs(u32::from_be_bytes(reader.array(TAG_TTL)?).into());
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(WireError::Value { tag: TAG_TTL });
    }
    let [flags] = reader.array(TAG_FLAGS)?;
    if flags & !(FLAG_DRAINING | FLAG_LEAVING) != 0 {
        return Err(WireError::Unsupported { tag: TAG_FLAGS });
    }
    let mut statement = Statement {
        name: text(TAG_NAME, reader.field(TAG_NAME)?)?,
        draining: flags & FLAG_DRAINING != 0,
        leaving: flags & FLAG_LEAVING != 0,
        ..Statement::default()
    };
    while let Some(address) = reader.optional(TAG_ADDRESS)? {
        statement.addresses.push(text(TAG_ADDRESS, address)?);
    }
    while let Some(value) = reader.optional(TAG_SERVICE)? {
        let service = decode_service(value)?;
        if statement.services.last().is_some_and(|last| last.name >= service.name) {
            return Err(WireError::Value { tag: TAG_SERVICE });
        }
        statement.services.push(service);
    }
    let credential = reader.optional(TAG_CREDENTIAL)?.map(Credential::decode).transpose()?;
    reader.end(TAG_CREDENTIAL)?;
    statement.check()?;
    Ok(Record { network, generation, owner, seq, issued_ms, ttl, statement, credential })
}

fn decode_service(value: &[u8]) -> Result<Service, WireError> {
    let mut reader = Reader::new(value);
    let name = text(TAG_SERVICE_NAME, reader.field(TAG_SERVICE_NAME)?)?;
    let protocol = match reader.array(TAG_PROTOCOL)? {
        [1] => Protocol::Tcp,
        [2] => Protocol::Http,
        [3] => Protocol::Http2,
        [4] => Protocol::Udp,
        _ => return Err(WireError::Unsupported { tag: TAG_PROTOCOL }),
    };
    let [weight] = reader.array(TAG_WEIGHT)?;
    let slots = u16::from_be_bytes(reader.array(TAG_SLOTS)?);
    let mut labels = BTreeMap::new();
    while let Some(label) = reader.optional(TAG_LABEL)? {
        let label = text(TAG_LABEL, label)?;
        let (key, value) = label.split_once('=').ok_or(WireError::Value { tag: TAG_LABEL })?;
        if labels.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= key) {
            return Err(WireError::Value { tag: TAG_LABEL });
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    let tier = match reader.optional(TAG_TIER)? {
        None => 0,
        Some(&[tier]) if tier != 0 => tier,
        Some(_) => return Err(WireError::Value { tag: TAG_TIER }),
    };
    let mut models: Vec<Model> = Vec::new();
    while let Some(value) = reader.optional(TAG_MODEL)? {
        let model = decode_model(value)?;
        if models.last().is_some_and(|last| last.name >= model.name) {
            return Err(WireError::Value { tag: TAG_MODEL });
        }
        models.push(model);
    }
    reader.end(TAG_MODEL)?;
    Ok(Service { name, protocol, weight, slots, labels, tier, models })
}

fn decode_model(value: &[u8]) -> Result<Model, WireError> {
    let (flags, name) = value.split_first().ok_or(WireError::Value { tag: TAG_MODEL })?;
    if flags & !MODEL_LOADED != 0 {
        return Err(WireError::Unsupported { tag: TAG_MODEL });
    }
    Ok(Model { name: text(TAG_MODEL, name)?, loaded: *flags == MODEL_LOADED })
}

fn text(tag: u8, value: &[u8]) -> Result<String, WireError> {
    str::from_utf8(value).map(str::to_owned).map_err(|_| WireError::Value { tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn record() -> Record {
        let service = |name: &str| Service {
            name: name.into(),
            protocol: Protocol::Http,
            weight: 100,
            slots: 8,
            labels: [("a".into(), "1".into()), ("b".into(), "x=y".into())].into(),
            tier: 2,
            models: vec![Model { name: "a/b:7b".into(), loaded: true }, Model { name: "c".into(), loaded: false }],
        };
        Record {
            network: NetworkId([1; 16]),
            generation: 2,
            owner: NodeId::from_bytes([0; 32]),
            seq: 3,
            issued_ms: 4,
            ttl: Duration::from_secs(240),
            statement: Statement {
                name: "node-1".into(),
                addresses: vec!["/ip4/192.0.2.1/tcp/4001".into()],
                services: vec![service("web"), service("llm")],
                draining: true,
                leaving: false,
            },
            credential: None,
        }
    }

    /// The body with its fields as `(tag, value)`, to be tampered with.
    fn fields(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &bytes[..bytes.len() - SIGNATURE];
        let mut fields = vec![];
        while let [tag, high, low, tail @ ..] = rest {
            let (value, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            fields.push((*tag, value.to_vec()));
            rest = tail;
        }
        fields
    }

    fn resigned(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::default();
        fields.iter().for_each(|(tag, value)| writer.field(*tag, value));
        let signature = key().sign(&[DOMAIN, &writer.0].concat());
        [writer.0, signature.to_bytes().to_vec()].concat()
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let signed = SignedRecord::sign(record(), &key()).unwrap();
        let read = Unverified::decode(signed.bytes()).unwrap().verify().unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.record().owner, key().verifying_key().into());
        assert_eq!(read.record().statement, record().statement.sorted());
    }

    #[test]
    fn one_changed_bit_is_never_accepted() {
        let signed = SignedRecord::sign(record(), &key()).unwrap();
        for at in 0..signed.bytes().len() {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= 1;
            let accepted = Unverified::decode(&bytes).is_ok_and(|record| record.verify().is_ok());
            assert!(!accepted, "bit 0 of byte {at}");
        }
    }

    #[test]
    fn nothing_may_be_missing_repeated_or_swapped() {
        let signed = SignedRecord::sign(record(), &key()).unwrap();
        let good = fields(signed.bytes());
        assert_eq!(resigned(&good), signed.bytes(), "the tampering itself is neutral");
        for at in 0..good.len() {
            let mut missing = good.clone();
            missing.remove(at);
            let repeatable = [TAG_ADDRESS, TAG_SERVICE].contains(&good[at].0);
            assert_eq!(Unverified::decode(&resigned(&missing)).is_ok(), repeatable, "without field {at}");
            let mut repeated = good.clone();
            repeated.insert(at, good[at].clone());
            let may_repeat = good[at].0 == TAG_ADDRESS;
            assert_eq!(Unverified::decode(&resigned(&repeated)).is_ok(), may_repeat, "field {at} twice");
            if at > 0 {
                let mut swapped = good.clone();
                swapped.swap(at - 1, at);
                assert!(Unverified::decode(&resigned(&swapped)).is_err(), "fields {} and {at} swapped", at - 1);
            }
        }
    }

    #[test]
    fn newer_fields_are_kept_if_optional_and_told_apart_if_not() {
        let signed = SignedRecord::sign(record(), &key()).unwrap();
        let mut newer = fields(signed.bytes());
        newer.push((0x80, b"later".to_vec()));
        let bytes = resigned(&newer);
        let read = Unverified::decode(&bytes).unwrap().verify().unwrap();
        assert_eq!(read.bytes(), bytes, "it is passed on as it came");
        assert_ne!(read.id(), signed.id());

        newer.last_mut().unwrap().0 = 0x0d;
        assert_eq!(Unverified::decode(&resigned(&newer)).unwrap_err(), WireError::Unsupported { tag: 0x0d });
        let mut version = fields(signed.bytes());
        version[0].1 = vec![2];
        assert_eq!(Unverified::decode(&resigned(&version)).unwrap_err(), WireError::Unsupported { tag: 1 });
        let mut flags = fields(signed.bytes());
        flags[7].1 = vec![4];
        assert_eq!(Unverified::decode(&resigned(&flags)).unwrap_err(), WireError::Unsupported { tag: TAG_FLAGS });
    }

    #[test]
    fn times_to_live_have_bounds() {
        let signed = SignedRecord::sign(record(), &key()).unwrap();
        for (seconds, fits) in [(59_u32, false), (60, true), (3600, true), (3601, false)] {
            let mut changed = fields(signed.bytes());
            changed[6].1 = seconds.to_be_bytes().to_vec();
            assert_eq!(Unverified::decode(&resigned(&changed)).is_ok(), fits, "{seconds} s");
        }
        let long = Record { ttl: Duration::from_secs(9999), ..record() };
        assert_eq!(SignedRecord::sign(long, &key()).unwrap().record().ttl, TTL_MAX);
    }

    #[test]
    fn a_record_has_a_size_limit() {
        let mut large = record();
        let labels: BTreeMap<_, _> = [("k".into(), "v".repeat(255))].into();
        large.statement.services = (0..SERVICES)
            .map(|i| Service {
                name: format!("{i:063}"),
                protocol: Protocol::Tcp,
                weight: 1,
                slots: 0,
                labels: labels.clone(),
                ..Service::new("", Protocol::Tcp)
            })
            .collect();
        assert!(matches!(SignedRecord::sign(large.clone(), &key()), Err(StatementError::Size(_))));
        large.statement.services.truncate(40);
        assert!(SignedRecord::sign(large, &key()).is_ok());
        let over = vec![0; RECORD_MAX + 1];
        assert_eq!(Unverified::decode(&over).unwrap_err(), WireError::TooLong { len: RECORD_MAX + 1, max: RECORD_MAX });
    }
    const SERVICES: usize = 64;

    #[test]
    fn a_weak_key_signs_nothing() {
        // The identity point: with lenient verification, R = identity and s = 0 sign any message.
        let signed = SignedRecord::sign(record(), &key()).unwrap();
        let mut weak = fields(signed.bytes());
        weak[3].1 = [&[1_u8][..], &[0; 31]].concat();
        let mut bytes = resigned(&weak);
        let at = bytes.len() - SIGNATURE;
        bytes.truncate(at);
        bytes.extend_from_slice(&[&[1_u8][..], &[0; 63]].concat());
        assert_eq!(Unverified::decode(&bytes).unwrap().verify().unwrap_err(), Forged);
    }
}
