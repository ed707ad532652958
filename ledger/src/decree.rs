//! What a network's issuer decided: who is locked out, which invitations are worth nothing, and the newest generation.
//!
//! A network with an **issuer** has one decree. Each one replaces the one before it whole, as a record does: it lists all
//! that is in force, and what it does not list is not. So it needs no history, and one document read at any time says
//! everything.
//!
//! **Numbers.** The decree with the higher number is in force. Of two with one number, made by an issuer who worked at two
//! places at once, the one with the greater id is, at all nodes alike. Nothing of the other is kept. The next one has a
//! higher number than any that its issuer has seen.
//!
//! **Rotation.** The secret of a new generation travels in the decree, sealed to each member's identity key by the
//! issuer. It is opaque here: who seals and opens it is not this package's business, and everybody carries it for
//! everybody else. A member finds its own by the first eight bytes of its id.
//!
//! # Wire format
//!
//! A signed decree is `body ‖ signature[64]`, at most 61 440 bytes. The body is a sequence of fields `tag u8 ‖ length u16 ‖
//! value`, integers big-endian, in this order, none missing but the last, none repeated:
//!
//! | tag  | field    | value |
//! |------|----------|-------|
//! | 0x01 | version  | u8 = 1 |
//! | 0x02 | network  | 16 bytes, derived from the token |
//! | 0x03 | number   | u64 |
//! | 0x04 | issued   | u64, milliseconds since 1970 by the issuer's wall clock; for people |
//! | 0x05 | banned   | any number of node ids of 32 bytes, strictly ascending |
//! | 0x06 | revoked  | any number of serials of 16 bytes, strictly ascending |
//! | 0x07 | rotation | fields as below; may be missing |
//!
//! and a rotation is
//!
//! | tag  | field      | value |
//! |------|------------|-------|
//! | 0x01 | generation | u32 |
//! | 0x02 | grace      | u32, seconds |
//! | 0x03 | ephemeral  | 32 bytes, X25519 public key |
//! | 0x04 | sealed     | any number of (first 8 bytes of the member's id ‖ 48 bytes), those first bytes strictly ascending |
//!
//! Later versions may append fields, as records do. The signature is the issuer's, Ed25519 (verified strictly) over
//! `"p2p-fed/decree/v1" ‖ 0x00 ‖ body`. The **decree id** is the SHA-256 of the same bytes.
//!
//! **Invariant.** A [`SignedDecree`] was signed by the issuer that it was verified against; there is no other way to get
//! one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::{SIGNATURE_LENGTH, Signer, SigningKey};
use sha2::{Digest, Sha256};

use crate::{
    IssuerKey, NetworkId, NodeId, NotIssuer, Serial, WireError,
    wire::{Reader, Writer},
};

/// Bytes of a signed decree. It has to travel as one gossip message and in one sync frame, which end at 64 KiB. Room for
/// the sealed secrets of a thousand members and a hundred and fifty bans.
pub const DECREE_MAX: usize = 60 * 1024;

/// Keeps these signatures apart from everything else an issuer signs.
const DOMAIN: &[u8] = b"p2p-fed/decree/v1\0";
/// The only version of the body there is.
const VERSION: u8 = 1;

const TAG_VERSION: u8 = 0x01;
const TAG_NETWORK: u8 = 0x02;
const TAG_NUMBER: u8 = 0x03;
const TAG_ISSUED: u8 = 0x04;
const TAG_BANNED: u8 = 0x05;
const TAG_REVOKED: u8 = 0x06;
const TAG_ROTATION: u8 = 0x07;

const TAG_GENERATION: u8 = 0x01;
const TAG_GRACE: u8 = 0x02;
const TAG_EPHEMERAL: u8 = 0x03;
const TAG_SEALED: u8 = 0x04;

/// Bytes of a banned node.
const BAN: usize = 32;
/// Bytes of a revoked serial.
const REVOCATION: usize = 16;
/// Bytes of a member's id that are enough to find its secret: to make an id that shares them with another one costs 2^64
/// tries, and gains nothing.
const MEMBER: usize = 8;
/// Bytes of a sealed secret: 32 of the secret, 16 of its tag.
const SEALED: usize = 48;

/// All that a network's issuer has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decree {
    /// The network it is for.
    pub network: NetworkId,
    /// Its number; a higher one replaces a lower one.
    pub number: u64,
    /// When it was written by the issuer's wall clock, in milliseconds since 1970. For people.
    pub issued_ms: u64,
    /// Nodes that are locked out.
    pub banned: BTreeSet<NodeId>,
    /// Invitations that are worth nothing any more.
    pub revoked: BTreeSet<Serial>,
    /// The newest generation, where there was a second one.
    pub rotation: Option<Rotation>,
}

/// A new generation of the network's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Which one.
    pub generation: u32,
    /// How long the one before it still admits, from when a node first hears of this. Whole seconds.
    pub grace: Duration,
    /// The public half of the key pair that was made to seal this once.
    pub ephemeral: [u8; 32],
    /// The generation's secret, sealed to each member.
    pub sealed: Sealed,
}

/// One secret, sealed to many members.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sealed(BTreeMap<[u8; MEMBER], [u8; SEALED]>);

/// Which decree: the SHA-256 of what its issuer signed. Orders decrees that carry the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecreeId(pub [u8; 32]);

/// A decree has no room for all that it should say. Nothing was signed; the same decree will fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecreeError {
    /// Too many members to seal a secret to.
    #[error("the decree has no room to seal the secret to {members} members: with its bans, {fit} fit")]
    Members {
        /// Members given.
        members: usize,
        /// Members that would fit.
        fit: usize,
    },
    /// Too many bans and revocations, even with a secret that is sealed to nobody.
    #[error(
        "the decree has no room for {banned} bans: with what else it says ({revoked} revoked invitations), {fit} fit"
    )]
    Bans {
        /// Bans given.
        banned: usize,
        /// Revoked invitations given.
        revoked: usize,
        /// Bans that would fit.
        fit: usize,
    },
}

/// A well-formed decree whose signature was not looked at yet: cheap enough to find out that it is old news.
#[derive(Clone)]
pub struct UnverifiedDecree {
    decree: Decree,
    id: DecreeId,
    bytes: Vec<u8>,
}

/// A decree and its issuer's signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedDecree {
    decree: Arc<Decree>,
    id: DecreeId,
    bytes: Arc<[u8]>,
}

// === impl Decree ===

impl Decree {
    /// One with this number that decides nothing.
    pub fn empty(network: NetworkId, number: u64, issued_ms: u64) -> Self {
        Self { network, number, issued_ms, banned: BTreeSet::new(), revoked: BTreeSet::new(), rotation: None }
    }
}

// === impl Sealed ===

impl Sealed {
    /// Puts in what was sealed to `member`.
    pub fn insert(&mut self, member: &NodeId, sealed: [u8; SEALED]) {
        self.0.insert(prefix(member), sealed);
    }

    /// What was sealed to `member`.
    pub fn get(&self, member: &NodeId) -> Option<&[u8; SEALED]> {
        self.0.get(&prefix(member))
    }

    /// How many members it is sealed to.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is sealed to nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(to {} members)", self.0.len())
    }
}

fn prefix(member: &NodeId) -> [u8; MEMBER] {
    let [a, b, c, d, e, f, g, h, ..] = *member.as_bytes();
    [a, b, c, d, e, f, g, h]
}

// === impl DecreeId ===

impl DecreeId {
    fn of(body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(DOMAIN).chain_update(body).finalize().into())
    }
}

impl fmt::Debug for DecreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl UnverifiedDecree ===

impl UnverifiedDecree {
    /// Reads a signed decree and checks every bound but the signature.
    ///
    /// # Errors
    /// The bytes are not the one encoding of a decree, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > DECREE_MAX {
            return Err(WireError::TooLong { len: bytes.len(), max: DECREE_MAX });
        }
        let (body, _) = bytes.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(WireError::Truncated)?;
        Ok(Self { decree: decode(body)?, id: DecreeId::of(body), bytes: bytes.to_vec() })
    }

    /// What it claims.
    pub fn decree(&self) -> &Decree {
        &self.decree
    }

    /// The id it would have.
    pub fn id(&self) -> DecreeId {
        self.id
    }

    /// The place it would have among decrees: the greater one is in force.
    pub fn rank(&self) -> (u64, DecreeId) {
        (self.decree.number, self.id)
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`NotIssuer`] if `issuer` did not sign it.
    pub fn verify(self, issuer: &IssuerKey) -> Result<SignedDecree, NotIssuer> {
        let (body, signature) = self.bytes.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(NotIssuer)?;
        issuer.verify(DOMAIN, body, signature)?;
        Ok(SignedDecree { decree: Arc::new(self.decree), id: self.id, bytes: self.bytes.into() })
    }
}

// === impl SignedDecree ===

impl SignedDecree {
    /// Signs `decree` with the key of the network's issuer. A part of a second in the grace is dropped.
    ///
    /// # Errors
    /// It would be longer than [`DECREE_MAX`]; the error says how much would fit.
    pub fn sign(mut decree: Decree, issuer: &SigningKey) -> Result<Self, DecreeError> {
        if let Some(rotation) = &mut decree.rotation {
            rotation.grace = Duration::from_secs(seconds(rotation.grace).into());
        }
        let mut bytes = encode(&decree).ok_or_else(|| too_large(&decree))?;
        let id = DecreeId::of(&bytes);
        let signature = issuer.sign(&[DOMAIN, &bytes].concat());
        bytes.extend_from_slice(&signature.to_bytes());
        Ok(Self { decree: Arc::new(decree), id, bytes: bytes.into() })
    }

    /// What the issuer decided.
    pub fn decree(&self) -> &Arc<Decree> {
        &self.decree
    }

    /// Its id.
    pub fn id(&self) -> DecreeId {
        self.id
    }

    /// As it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its place among decrees: the greater one is in force.
    pub fn rank(&self) -> (u64, DecreeId) {
        (self.decree.number, self.id)
    }
}

impl fmt::Debug for UnverifiedDecree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedDecree").field("id", &self.id).field("decree", &self.decree).finish_non_exhaustive()
    }
}

impl fmt::Debug for SignedDecree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedDecree").field("id", &self.id).field("decree", &self.decree).finish_non_exhaustive()
    }
}

fn seconds(grace: Duration) -> u32 {
    u32::try_from(grace.as_secs()).unwrap_or(u32::MAX)
}

/// Bytes of the signed decree that `decree` would be.
fn size(decree: &Decree) -> usize {
    const HEAD: usize = 3;
    let rotation = |rotation: &Rotation| HEAD + 4 * HEAD + 4 + 4 + 32 + rotation.sealed.len() * (MEMBER + SEALED);
    6 * HEAD
        + 1
        + 16
        + 8
        + 8
        + decree.banned.len() * BAN
        + decree.revoked.len() * REVOCATION
        + decree.rotation.as_ref().map_or(0, rotation)
        + SIGNATURE_LENGTH
}

/// How much less it would have to say.
fn too_large(decree: &Decree) -> DecreeError {
    let members = decree.rotation.as_ref().map_or(0, |rotation| rotation.sealed.len());
    let others = size(decree).saturating_sub(members * (MEMBER + SEALED));
    if let Some(room) = DECREE_MAX.checked_sub(others) {
        return DecreeError::Members { members, fit: room / (MEMBER + SEALED) };
    }
    let (banned, revoked) = (decree.banned.len(), decree.revoked.len());
    DecreeError::Bans { banned, revoked, fit: DECREE_MAX.saturating_sub(others.saturating_sub(banned * BAN)) / BAN }
}

/// The body; nothing, where it would be too long.
fn encode(decree: &Decree) -> Option<Vec<u8>> {
    if size(decree) > DECREE_MAX {
        return None;
    }
    let Decree { network, number, issued_ms, banned, revoked, rotation } = decree;
    let mut writer = Writer::default();
    writer.field(TAG_VERSION, &[VERSION]);
    writer.field(TAG_NETWORK, &network.0);
    writer.field(TAG_NUMBER, &number.to_be_bytes());
    writer.field(TAG_ISSUED, &issued_ms.to_be_bytes());
    writer.field(TAG_BANNED, &banned.iter().flat_map(NodeId::as_bytes).copied().collect::<Vec<_>>());
    writer.field(TAG_REVOKED, &revoked.iter().flat_map(|serial| serial.0).collect::<Vec<_>>());
    if let Some(rotation) = rotation {
        writer.field(TAG_ROTATION, &encode_rotation(rotation));
    }
    Some(writer.0)
}

fn encode_rotation(rotation: &Rotation) -> Vec<u8> {
    let Rotation { generation, grace, ephemeral, sealed } = rotation;
    let mut writer = Writer::default();
    writer.field(TAG_GENERATION, &generation.to_be_bytes());
    writer.field(TAG_GRACE, &seconds(*grace).to_be_bytes());
    writer.field(TAG_EPHEMERAL, ephemeral);
    let sealed = sealed.0.iter().flat_map(|(member, sealed)| member.iter().chain(sealed));
    writer.field(TAG_SEALED, &sealed.copied().collect::<Vec<_>>());
    writer.0
}

fn decode(body: &[u8]) -> Result<Decree, WireError> {
    let mut reader = Reader::new(body);
    if reader.array(TAG_VERSION)? != [VERSION] {
        return Err(WireError::Unsupported { tag: TAG_VERSION });
    }
    let network = NetworkId(reader.array(TAG_NETWORK)?);
    let number = u64::from_be_bytes(reader.array(TAG_NUMBER)?);
    let issued_ms = u64::from_be_bytes(reader.array(TAG_ISSUED)?);
    let banned = ascending(TAG_BANNED, reader.field(TAG_BANNED)?)?;
    let revoked = ascending(TAG_REVOKED, reader.field(TAG_REVOKED)?)?;
    let rotation = reader.optional(TAG_ROTATION)?.map(decode_rotation).transpose()?;
    reader.end(TAG_ROTATION)?;
    Ok(Decree {
        network,
        number,
        issued_ms,
        banned: banned.into_iter().map(NodeId::from_bytes).collect(),
        revoked: revoked.into_iter().map(Serial).collect(),
        rotation,
    })
}

fn decode_rotation(value: &[u8]) -> Result<Rotation, WireError> {
    let mut reader = Reader::new(value);
    let generation = u32::from_be_bytes(reader.array(TAG_GENERATION)?);
    let grace = Duration::from_secs(u32::from_be_bytes(reader.array(TAG_GRACE)?).into());
    let ephemeral = reader.array(TAG_EPHEMERAL)?;
    let entries: Vec<[u8; MEMBER + SEALED]> = chunks(TAG_SEALED, reader.field(TAG_SEALED)?)?;
    reader.end(TAG_SEALED)?;
    let mut sealed = Sealed::default();
    for [a, b, c, d, e, f, g, h, secret @ ..] in entries {
        let member = [a, b, c, d, e, f, g, h];
        if sealed.0.last_key_value().is_some_and(|(last, _)| *last >= member) {
            return Err(WireError::Value { tag: TAG_SEALED });
        }
        sealed.0.insert(member, secret);
    }
    Ok(Rotation { generation, grace, ephemeral, sealed })
}

/// Values of `N` bytes, one after the other.
fn chunks<const N: usize>(tag: u8, value: &[u8]) -> Result<Vec<[u8; N]>, WireError> {
    let (chunks, rest) = value.as_chunks::<N>();
    if rest.is_empty() { Ok(chunks.to_vec()) } else { Err(WireError::Value { tag }) }
}

/// The same, each greater than the one before it.
fn ascending<const N: usize>(tag: u8, value: &[u8]) -> Result<Vec<[u8; N]>, WireError> {
    let chunks = chunks(tag, value)?;
    if chunks.is_sorted_by(|one, next| one < next) { Ok(chunks) } else { Err(WireError::Value { tag }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    fn issuer() -> IssuerKey {
        key().verifying_key().into()
    }

    fn node(n: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn serial(n: u16) -> Serial {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Serial(bytes)
    }

    fn with(members: u16, banned: u16, revoked: u16) -> Decree {
        let mut sealed = Sealed::default();
        (0..members).for_each(|n| sealed.insert(&node(n), [7; SEALED]));
        Decree {
            banned: (0..banned).map(node).collect(),
            revoked: (0..revoked).map(serial).collect(),
            rotation: Some(Rotation { generation: 2, grace: Duration::from_secs(60), ephemeral: [5; 32], sealed }),
            ..Decree::empty(NetworkId([1; 16]), 3, 4)
        }
    }

    /// The body's fields as `(tag, value)`, to be tampered with.
    fn fields(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &bytes[..bytes.len() - SIGNATURE_LENGTH];
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
        for decree in [with(3, 2, 2), with(0, 0, 0), Decree::empty(NetworkId([1; 16]), u64::MAX, 0)] {
            let signed = SignedDecree::sign(decree.clone(), &key()).unwrap();
            assert_eq!(signed.bytes().len(), size(&decree));
            let read = UnverifiedDecree::decode(signed.bytes()).unwrap();
            assert_eq!(read.rank(), signed.rank());
            let read = read.verify(&issuer()).unwrap();
            assert_eq!((&**read.decree(), &read), (&decree, &signed));
        }
    }

    #[test]
    fn one_changed_bit_or_another_issuer_is_never_accepted() {
        let signed = SignedDecree::sign(with(2, 2, 1), &key()).unwrap();
        for at in 0..signed.bytes().len() {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= 1;
            let accepted = UnverifiedDecree::decode(&bytes).is_ok_and(|decree| decree.verify(&issuer()).is_ok());
            assert!(!accepted, "bit 0 of byte {at}");
        }
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().into();
        assert_eq!(UnverifiedDecree::decode(signed.bytes()).unwrap().verify(&other).unwrap_err(), NotIssuer);
    }

    #[test]
    fn a_weak_issuer_signs_nothing() {
        // The identity point: with lenient verification, R = identity and s = 0 sign any message.
        let weak = [&[1_u8][..], &[0; 31]].concat().try_into().unwrap();
        let signed = SignedDecree::sign(with(1, 1, 1), &key()).unwrap();
        let at = signed.bytes().len() - SIGNATURE_LENGTH;
        let bytes = [&signed.bytes()[..at], &[1], &[0; 63]].concat();
        let read = UnverifiedDecree::decode(&bytes).unwrap();
        assert_eq!(read.verify(&IssuerKey::from_bytes(weak)).unwrap_err(), NotIssuer);
    }

    #[test]
    fn nothing_may_be_missing_repeated_or_swapped() {
        let signed = SignedDecree::sign(with(2, 2, 2), &key()).unwrap();
        let good = fields(signed.bytes());
        assert_eq!(resigned(&good), signed.bytes(), "the tampering itself is neutral");
        for at in 0..good.len() {
            let mut missing = good.clone();
            missing.remove(at);
            let may_be_missing = good[at].0 == TAG_ROTATION;
            assert_eq!(UnverifiedDecree::decode(&resigned(&missing)).is_ok(), may_be_missing, "without field {at}");
            let mut repeated = good.clone();
            repeated.insert(at, good[at].clone());
            assert!(UnverifiedDecree::decode(&resigned(&repeated)).is_err(), "field {at} twice");
            if at > 0 {
                let mut swapped = good.clone();
                swapped.swap(at - 1, at);
                assert!(UnverifiedDecree::decode(&resigned(&swapped)).is_err(), "fields {} and {at} swapped", at - 1);
            }
        }
    }

    #[test]
    fn lists_ascend_and_are_whole() {
        let good = fields(SignedDecree::sign(with(2, 2, 2), &key()).unwrap().bytes());
        for (at, tag, len) in [(4, TAG_BANNED, BAN), (5, TAG_REVOKED, REVOCATION)] {
            let (one, other) = good[at].1.split_at(len);
            for (first, second) in [(other, one), (one, one)] {
                let mut changed = good.clone();
                changed[at].1 = [first, second].concat();
                assert_eq!(UnverifiedDecree::decode(&resigned(&changed)).unwrap_err(), WireError::Value { tag });
            }
            let mut cut = good.clone();
            cut[at].1.pop();
            assert_eq!(UnverifiedDecree::decode(&resigned(&cut)).unwrap_err(), WireError::Value { tag });
        }
        let mut rotation = Writer::default();
        let entry = [7; MEMBER + SEALED];
        for (tag, value) in [(TAG_GENERATION, &[0; 4][..]), (TAG_GRACE, &[0; 4]), (TAG_EPHEMERAL, &[0; 32])] {
            rotation.field(tag, value);
        }
        rotation.field(TAG_SEALED, &[entry, entry].concat());
        let mut twice = good.clone();
        twice[6].1 = rotation.0;
        assert_eq!(
            UnverifiedDecree::decode(&resigned(&twice)).unwrap_err(),
            WireError::Value { tag: TAG_SEALED },
            "one member twice"
        );
    }

    #[test]
    fn newer_fields_are_kept_if_optional_and_told_apart_if_not() {
        let signed = SignedDecree::sign(with(1, 1, 1), &key()).unwrap();
        let mut newer = fields(signed.bytes());
        newer.push((0x80, b"later".to_vec()));
        let bytes = resigned(&newer);
        let read = UnverifiedDecree::decode(&bytes).unwrap().verify(&issuer()).unwrap();
        assert_eq!(read.bytes(), bytes, "it is passed on as it came");
        assert_ne!(read.id(), signed.id());
        newer.last_mut().unwrap().0 = 0x08;
        assert_eq!(UnverifiedDecree::decode(&resigned(&newer)).unwrap_err(), WireError::Unsupported { tag: 0x08 });
        let mut version = fields(signed.bytes());
        version[0].1 = vec![2];
        assert_eq!(UnverifiedDecree::decode(&resigned(&version)).unwrap_err(), WireError::Unsupported { tag: 1 });
    }

    #[test]
    fn the_higher_number_ranks_higher_and_then_the_greater_id() {
        let sign = |number, issued_ms| {
            SignedDecree::sign(Decree::empty(NetworkId([1; 16]), number, issued_ms), &key()).unwrap()
        };
        assert!(sign(2, 0).rank() > sign(1, 9).rank());
        let (one, other) = (sign(1, 0), sign(1, 1));
        assert_ne!(one.rank(), other.rank());
        assert_eq!(one.rank() > other.rank(), one.id() > other.id());
    }

    #[test]
    fn a_thousand_members_and_their_bans_fit() {
        let signed = SignedDecree::sign(with(1000, 100, 100), &key()).unwrap();
        assert!(signed.bytes().len() <= DECREE_MAX);
        let sealed = &signed.decree().rotation.as_ref().unwrap().sealed;
        assert_eq!((sealed.get(&node(999)), sealed.get(&node(1000))), (Some(&[7; SEALED]), None));
        assert_eq!((sealed.len(), sealed.is_empty(), Sealed::default().is_empty()), (1000, false, true));
    }

    #[test]
    fn who_asks_for_too_much_is_told_how_much_fits() {
        let refused = |decree| SignedDecree::sign(decree, &key()).unwrap_err();
        let DecreeError::Members { members: 1200, fit } = refused(with(1200, 20, 5)) else { panic!("not the members") };
        assert!(SignedDecree::sign(with(u16::try_from(fit).unwrap(), 20, 5), &key()).is_ok());
        assert_eq!(
            refused(with(u16::try_from(fit).unwrap() + 1, 20, 5)),
            DecreeError::Members { members: fit + 1, fit }
        );
        let DecreeError::Bans { banned: 2000, revoked: 5, fit } = refused(with(1, 2000, 5)) else {
            panic!("not the bans")
        };
        assert!(SignedDecree::sign(with(0, u16::try_from(fit).unwrap(), 5), &key()).is_ok());
        let one_more = with(0, u16::try_from(fit).unwrap() + 1, 5);
        assert!(matches!(refused(one_more), DecreeError::Bans { fit: less, .. } if less <= fit), "{fit} fit");
        assert!(fit > 1500);
        let over = vec![0; DECREE_MAX + 1];
        assert_eq!(
            UnverifiedDecree::decode(&over).unwrap_err(),
            WireError::TooLong { len: DECREE_MAX + 1, max: DECREE_MAX }
        );
    }

    #[test]
    fn a_grace_has_whole_seconds() {
        let mut decree = with(0, 0, 0);
        decree.rotation.as_mut().unwrap().grace = Duration::from_millis(1999);
        let signed = SignedDecree::sign(decree, &key()).unwrap();
        let read = UnverifiedDecree::decode(signed.bytes()).unwrap();
        assert_eq!(read.decree(), &**signed.decree());
        assert_eq!(read.decree().rotation.as_ref().unwrap().grace, Duration::from_secs(1));
    }
}
