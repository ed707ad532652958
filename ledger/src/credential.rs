//! What one node may do, and who said so.
//!
//! In a network with an **issuer**, a node shows a **credential**. It comes about in two steps, by two hands:
//!
//! ```text
//!  issuer ──signs──▶ invitation { serial, holder's public key, roles, … }     the holder's secret half goes along with it
//!  holder ──signs──▶ its node's id                                            on the machine that was invited
//!                    └── credential = signed invitation ‖ binding ──▶ shown to everybody
//! ```
//!
//! The holder's key pair is made for one invitation. So the issuer need not know a node's id before that node exists, and
//! what is handed over is a text. Everybody who knows the issuer's key can follow issuer → holder → node without asking
//! anyone; a node can't use another one's credential, because it can't prove the other one's id.
//!
//! # Wire format
//!
//! A credential is `invitation ‖ signature[64] ‖ binding[64]`, at most 512 bytes. The invitation is a sequence of fields
//! `tag u8 ‖ length u16 ‖ value`, integers big-endian, in this order, none missing, none repeated:
//!
//! | tag  | field    | value |
//! |------|----------|-------|
//! | 0x01 | version  | u8 = 1 |
//! | 0x02 | network  | 16 bytes, derived from the token |
//! | 0x03 | serial   | 16 bytes, random |
//! | 0x04 | holder   | 32 bytes, Ed25519 public key |
//! | 0x05 | roles    | u8: bit 0 serve, bit 1 expose, bit 2 relay, the others 0 |
//! | 0x06 | services | pattern over the names that may be exposed, 1 to 63 of `[a-z0-9-.*?]` |
//! | 0x07 | expires  | u64, seconds since 1970; 0 is never |
//! | 0x08 | flags    | u8: bit 0 once, the others 0 |
//!
//! Later versions may append fields, as records do. The signature is the issuer's, Ed25519 (verified strictly) over
//! `"p2p-fed/invitation/v1" ‖ 0x00 ‖ invitation`; the binding is the holder's, over
//! `"p2p-fed/binding/v1" ‖ 0x00 ‖ invitation ‖ node id[32]`.
//!
//! **Invariant.** A [`Grant`] was given by an issuer to a node: [`Credential::verify`] is the only way to get one.
//! Everything else in here is a claim.
//!
//! Not here: the clock (ask [`Grant::is_expired`]), which serials are revoked (that is in a [`Decree`](crate::Decree)),
//! and that a `once` invitation is bound to one node alone.

use std::{fmt, str::FromStr};

use ed25519_dalek::{SIGNATURE_LENGTH, Signer, SigningKey};

use crate::{
    IssuerKey, NetworkId, NodeId, NotIssuer, ServiceGlob, WireError,
    issuer::is_signed,
    wire::{Reader, Writer},
};

/// Bytes of a credential. Today's have at most 290; the rest is room for fields of later versions. A record carries one.
pub const CREDENTIAL_MAX: usize = 512;

/// Bytes of a signed invitation: a credential without the binding.
pub const INVITATION_MAX: usize = CREDENTIAL_MAX - SIGNATURE_LENGTH;

/// Keeps invitations apart from everything else an issuer signs.
const DOMAIN: &[u8] = b"p2p-fed/invitation/v1\0";
/// Keeps bindings apart from everything else a holder might sign.
const BINDING_DOMAIN: &[u8] = b"p2p-fed/binding/v1\0";
/// The only version of an invitation there is.
const VERSION: u8 = 1;

const TAG_VERSION: u8 = 0x01;
const TAG_NETWORK: u8 = 0x02;
const TAG_SERIAL: u8 = 0x03;
const TAG_HOLDER: u8 = 0x04;
const TAG_ROLES: u8 = 0x05;
const TAG_SERVICES: u8 = 0x06;
const TAG_EXPIRES: u8 = 0x07;
const TAG_FLAGS: u8 = 0x08;

const ROLE_SERVE: u8 = 1;
const ROLE_EXPOSE: u8 = 1 << 1;
const ROLE_RELAY: u8 = 1 << 2;

const FLAG_ONCE: u8 = 1;

/// What a node may do. One with no role takes part in the ledger and looks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Roles {
    /// Open tunnels to services of others.
    pub serve: bool,
    /// Offer services.
    pub expose: bool,
    /// Carry the traffic of others.
    pub relay: bool,
}

/// Which invitation. Random, so that it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 16]);

/// What an issuer offers to whoever holds one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The network it is for.
    pub network: NetworkId,
    /// Which invitation it is.
    pub serial: Serial,
    /// Public half of the key pair that was made for it.
    pub holder: [u8; 32],
    /// What the node may do.
    pub roles: Roles,
    /// Which services it may expose, where it may expose any.
    pub services: ServiceGlob,
    /// From when on it is worth nothing, in seconds since 1970; 0 is never.
    pub expires_unix_s: u64,
    /// For one node alone, the first that shows it.
    pub once: bool,
}

/// An invitation and a signature. Whose it is shows [`Self::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct SignedInvitation {
    invitation: Invitation,
    bytes: Vec<u8>,
}

/// A signed invitation that its holder bound to a node. Whether all of that is true shows [`Self::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    invitation: SignedInvitation,
    binding: [u8; SIGNATURE_LENGTH],
}

/// What a node was granted by its network's issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// By which invitation.
    pub serial: Serial,
    /// What it may do.
    pub roles: Roles,
    /// Which services it may expose, if it has that role.
    pub services: ServiceGlob,
    /// From when on it is worth nothing, in seconds since 1970; 0 is never.
    pub expires_unix_s: u64,
    /// For one node alone, the first that showed it.
    pub once: bool,
}

/// A credential proves nothing here. The same one will fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// It is for another network.
    #[error("the invitation is for another network")]
    Network,
    /// Another key signed the invitation, or nobody did.
    #[error("the invitation is not signed by the network's issuer")]
    Issuer,
    /// It was bound to another node, by another key, or not at all.
    #[error("the invitation is not bound to this node by its holder")]
    Node,
}

// === impl Roles ===

impl Roles {
    /// All of them.
    pub const ALL: Self = Self { serve: true, expose: true, relay: true };

    /// None of them.
    pub const NONE: Self = Self { serve: false, expose: false, relay: false };

    fn bits(self) -> u8 {
        let bit = |has, bit| if has { bit } else { 0 };
        bit(self.serve, ROLE_SERVE) | bit(self.expose, ROLE_EXPOSE) | bit(self.relay, ROLE_RELAY)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        let roles =
            Self { serve: bits & ROLE_SERVE != 0, expose: bits & ROLE_EXPOSE != 0, relay: bits & ROLE_RELAY != 0 };
        (roles.bits() == bits).then_some(roles)
    }
}

/// `serve, expose`; `none` for none.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.serve, "serve"), (self.expose, "expose"), (self.relay, "relay")];
        let mut names = all.into_iter().filter_map(|(has, name)| has.then_some(name)).peekable();
        if names.peek().is_none() {
            return f.write_str("none");
        }
        names.enumerate().try_for_each(|(at, name)| write!(f, "{}{name}", if at == 0 { "" } else { ", " }))
    }
}

// === impl Serial ===

/// 32 hexadecimal digits.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is no serial of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an invitation's serial has 32 hexadecimal digits")]
pub struct ParseSerialError;

impl FromStr for Serial {
    type Err = ParseSerialError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_serial = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_serial).ok_or(ParseSerialError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl SignedInvitation ===

impl SignedInvitation {
    /// Signs `invitation` with the key of the network's issuer.
    pub fn sign(invitation: Invitation, issuer: &SigningKey) -> Self {
        let mut bytes = encode(&invitation);
        let signature = issuer.sign(&[DOMAIN, &bytes].concat());
        bytes.extend_from_slice(&signature.to_bytes());
        Self { invitation, bytes }
    }

    /// Reads a signed invitation and checks every bound but the signature.
    ///
    /// # Errors
    /// The bytes are not the one encoding of an invitation, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > INVITATION_MAX {
            return Err(WireError::TooLong { len: bytes.len(), max: INVITATION_MAX });
        }
        let (body, _) = bytes.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(WireError::Truncated)?;
        Ok(Self { invitation: decode(body)?, bytes: bytes.to_vec() })
    }

    /// Whether `issuer` signed it.
    ///
    /// # Errors
    /// [`NotIssuer`] if it did not.
    pub fn verify(&self, issuer: &IssuerKey) -> Result<(), NotIssuer> {
        let (body, signature) = self.bytes.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(NotIssuer)?;
        issuer.verify(DOMAIN, body, signature)
    }

    /// What it says.
    pub fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// As it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What its holder signs for `node`, without the domain.
    fn bound_to(&self, node: &NodeId) -> Vec<u8> {
        let body = self.bytes.split_last_chunk::<SIGNATURE_LENGTH>().map_or(&[][..], |(body, _)| body);
        [body, node.as_bytes()].concat()
    }
}

impl fmt::Debug for SignedInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedInvitation").field(&self.invitation).finish()
    }
}

// === impl Credential ===

impl Credential {
    /// Makes the invitation that of `node`. `holder` is the secret that came along with it; with any other key, nobody will
    /// take what comes out.
    pub fn bind(invitation: SignedInvitation, holder: &SigningKey, node: NodeId) -> Self {
        let binding = holder.sign(&[BINDING_DOMAIN, &invitation.bound_to(&node)].concat());
        Self { invitation, binding: binding.to_bytes() }
    }

    /// Reads a credential and checks every bound but the signatures.
    ///
    /// # Errors
    /// The bytes are not the one encoding of a credential, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (invitation, binding) = bytes.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(WireError::Truncated)?;
        Ok(Self { invitation: SignedInvitation::decode(invitation)?, binding: *binding })
    }

    /// As it travels: at most [`CREDENTIAL_MAX`] bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [self.invitation.bytes(), &self.binding].concat()
    }

    /// What it claims to have been granted: the serial is good for looking it up before signatures are checked.
    pub fn invitation(&self) -> &Invitation {
        self.invitation.invitation()
    }

    /// What `issuer` granted to `node` in `network` by it. Two signatures are checked; the clock is not asked.
    ///
    /// # Errors
    /// Which link of the chain is broken.
    pub fn verify(&self, issuer: &IssuerKey, network: NetworkId, node: &NodeId) -> Result<Grant, CredentialError> {
        let Invitation { network: theirs, serial, holder, roles, services, expires_unix_s, once } = self.invitation();
        if *theirs != network {
            return Err(CredentialError::Network);
        }
        self.invitation.verify(issuer).map_err(|NotIssuer| CredentialError::Issuer)?;
        if !is_signed(holder, BINDING_DOMAIN, &self.invitation.bound_to(node), &self.binding) {
            return Err(CredentialError::Node);
        }
        Ok(Grant {
            serial: *serial,
            roles: *roles,
            services: services.clone(),
            expires_unix_s: *expires_unix_s,
            once: *once,
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(self.invitation()).finish()
    }
}

// === impl Grant ===

impl Grant {
    /// Whether it may offer the service of this name.
    pub fn may_expose(&self, service: &str) -> bool {
        self.roles.expose && self.services.matches(service)
    }

    /// Whether it may open tunnels to services of others.
    pub fn may_serve(&self) -> bool {
        self.roles.serve
    }

    /// Whether it may carry the traffic of others.
    pub fn may_relay(&self) -> bool {
        self.roles.relay
    }

    /// Whether it is worth nothing any more, by the asker's wall clock.
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_unix_s != 0 && unix_ms / 1000 >= self.expires_unix_s
    }
}

impl Invitation {
    /// What it lets a node do: `serve`, `expose; services llm-*`.
    pub fn in_words(&self) -> String {
        if self.roles.expose { format!("{}; services {}", self.roles, self.services) } else { self.roles.to_string() }
    }

    /// Whether it is worth nothing any more, by the asker's wall clock.
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_unix_s != 0 && unix_ms / 1000 >= self.expires_unix_s
    }
}

fn encode(invitation: &Invitation) -> Vec<u8> {
    let Invitation { network, serial, holder, roles, services, expires_unix_s, once } = invitation;
    let mut writer = Writer::default();
    writer.field(TAG_VERSION, &[VERSION]);
    writer.field(TAG_NETWORK, &network.0);
    writer.field(TAG_SERIAL, &serial.0);
    writer.field(TAG_HOLDER, holder);
    writer.field(TAG_ROLES, &[roles.bits()]);
    writer.field(TAG_SERVICES, services.as_str().as_bytes());
    writer.field(TAG_EXPIRES, &expires_unix_s.to_be_bytes());
    writer.field(TAG_FLAGS, &[if *once { FLAG_ONCE } else { 0 }]);
    writer.0
}

fn decode(body: &[u8]) -> Result<Invitation, WireError> {
    let mut reader = Reader::new(body);
    if reader.array(TAG_VERSION)? != [VERSION] {
        return Err(WireError::Unsupported { tag: TAG_VERSION });
    }
    let network = NetworkId(reader.array(TAG_NETWORK)?);
    let serial = Serial(reader.array(TAG_SERIAL)?);
    let holder = reader.array(TAG_HOLDER)?;
    let [roles] = reader.array(TAG_ROLES)?;
    let roles = Roles::from_bits(roles).ok_or(WireError::Unsupported { tag: TAG_ROLES })?;
    let services = str::from_utf8(reader.field(TAG_SERVICES)?).ok().and_then(|text| text.parse().ok());
    let services = services.ok_or(WireError::Value { tag: TAG_SERVICES })?;
    let expires_unix_s = u64::from_be_bytes(reader.array(TAG_EXPIRES)?);
    let once = match reader.array(TAG_FLAGS)? {
        [0] => false,
        [FLAG_ONCE] => true,
        _ => return Err(WireError::Unsupported { tag: TAG_FLAGS }),
    };
    reader.end(TAG_FLAGS)?;
    Ok(Invitation { network, serial, holder, roles, services, expires_unix_s, once })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([1; 16]);

    fn issuer() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    fn holder() -> SigningKey {
        SigningKey::from_bytes(&[8; 32])
    }

    fn node(n: u8) -> NodeId {
        SigningKey::from_bytes(&[n; 32]).verifying_key().into()
    }

    fn invitation() -> Invitation {
        Invitation {
            network: NETWORK,
            serial: Serial([3; 16]),
            holder: holder().verifying_key().to_bytes(),
            roles: Roles { expose: true, ..Roles::NONE },
            services: "llm-*".parse().unwrap(),
            expires_unix_s: 2_000_000_000,
            once: true,
        }
    }

    fn credential() -> Credential {
        Credential::bind(SignedInvitation::sign(invitation(), &issuer()), &holder(), node(5))
    }

    fn verify(credential: &Credential) -> Result<Grant, CredentialError> {
        credential.verify(&issuer().verifying_key().into(), NETWORK, &node(5))
    }

    #[test]
    fn the_chain_leads_from_the_issuer_to_the_node() {
        let read = Credential::decode(&credential().bytes()).unwrap();
        assert_eq!(read, credential());
        let grant = verify(&read).unwrap();
        assert_eq!((grant.serial, grant.roles, grant.once), (Serial([3; 16]), invitation().roles, true));
        assert_eq!((&grant.services, grant.expires_unix_s), (&invitation().services, 2_000_000_000));
        assert!(grant.may_expose("llm-7b") && !grant.may_expose("ssh") && !grant.may_serve() && !grant.may_relay());
    }

    #[test]
    fn each_broken_link_is_told() {
        let all = |invitation: Invitation, issued: &SigningKey, bound: &SigningKey, to| {
            verify(&Credential::bind(SignedInvitation::sign(invitation, issued), bound, node(to)))
        };
        assert!(all(invitation(), &issuer(), &holder(), 5).is_ok());
        let elsewhere = Invitation { network: NetworkId([2; 16]), ..invitation() };
        assert_eq!(all(elsewhere, &issuer(), &holder(), 5), Err(CredentialError::Network));
        assert_eq!(all(invitation(), &holder(), &holder(), 5), Err(CredentialError::Issuer));
        assert_eq!(all(invitation(), &issuer(), &issuer(), 5), Err(CredentialError::Node), "bound by another key");
        assert_eq!(all(invitation(), &issuer(), &holder(), 6), Err(CredentialError::Node), "bound to another node");
    }

    #[test]
    fn one_changed_bit_is_never_accepted() {
        let bytes = credential().bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(!Credential::decode(&changed).is_ok_and(|read| verify(&read).is_ok()), "bit 0 of byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(!Credential::decode(&bytes[..cut]).is_ok_and(|read| verify(&read).is_ok()), "cut at {cut}");
        }
    }

    #[test]
    fn a_binding_is_that_of_one_invitation() {
        let other = SignedInvitation::sign(Invitation { roles: Roles::ALL, ..invitation() }, &issuer());
        let spliced = [other.bytes(), &credential().binding].concat();
        assert_eq!(verify(&Credential::decode(&spliced).unwrap()), Err(CredentialError::Node));
    }

    #[test]
    fn weak_keys_grant_nothing() {
        // The identity point: with lenient verification, R = identity and s = 0 sign any message.
        let weak: [u8; 32] = [&[1_u8][..], &[0; 31]].concat().try_into().unwrap();
        let signature: [u8; 64] = [&[1_u8][..], &[0; 63]].concat().try_into().unwrap();
        let invited = SignedInvitation::sign(Invitation { holder: weak, ..invitation() }, &issuer());
        let bound = Credential { invitation: invited.clone(), binding: signature };
        assert_eq!(verify(&bound), Err(CredentialError::Node));
        let body = invited.bytes().split_last_chunk::<SIGNATURE_LENGTH>().unwrap().0;
        let forged = SignedInvitation::decode(&[body, &signature].concat()).unwrap();
        assert_eq!(forged.verify(&IssuerKey::from_bytes(weak)), Err(NotIssuer));
    }

    #[test]
    fn expiry_is_judged_by_the_clock_that_is_given() {
        let grant = |expires_unix_s| Grant { expires_unix_s, ..verify(&credential()).unwrap() };
        assert!(!grant(2_000_000_000).is_expired(1_999_999_999_999));
        assert!(grant(2_000_000_000).is_expired(2_000_000_000_000));
        assert!(!grant(0).is_expired(u64::MAX), "0 is never");
        let expires = |expires_unix_s| Invitation { expires_unix_s, ..invitation() };
        assert!(!expires(2_000_000_000).is_expired(1_999_999_999_999));
        assert!(expires(2_000_000_000).is_expired(2_000_000_000_000));
        assert!(!expires(0).is_expired(u64::MAX), "0 is never");
    }

    #[test]
    fn roles_say_what_they_allow() {
        let grant = |roles| Grant { roles, services: ServiceGlob::any(), ..verify(&credential()).unwrap() };
        let of = |grant: Grant| (grant.may_serve(), grant.may_expose("a"), grant.may_relay());
        assert_eq!(of(grant(Roles::NONE)), (false, false, false));
        assert_eq!(of(grant(Roles { serve: true, ..Roles::NONE })), (true, false, false));
        assert_eq!(of(grant(Roles { relay: true, ..Roles::NONE })), (false, false, true));
        assert_eq!(of(grant(Roles::ALL)), (true, true, true));
        assert_eq!(Roles::ALL.to_string(), "serve, expose, relay");
        assert_eq!(Roles::NONE.to_string(), "none");
    }

    #[test]
    fn a_serial_is_read_as_it_is_written() {
        let serial = Serial([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(serial.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(serial.to_string().parse(), Ok(serial));
        for text in ["", "00", &"g".repeat(32), &format!("+{}", "0".repeat(31)), &"0".repeat(33)] {
            assert_eq!(text.parse::<Serial>(), Err(ParseSerialError), "{text}");
        }
    }

    #[test]
    fn newer_fields_are_kept_if_optional_and_told_apart_if_not() {
        let resigned = |body: &[u8]| [body, &issuer().sign(&[DOMAIN, body].concat()).to_bytes()].concat();
        let body = encode(&invitation());
        let with = |tag: u8| [&body[..], &[tag, 0, 1, b'v']].concat();
        let newer = SignedInvitation::decode(&resigned(&with(0x80))).unwrap();
        assert_eq!(newer.verify(&issuer().verifying_key().into()), Ok(()));
        let credential = Credential::bind(newer, &holder(), node(5));
        assert!(verify(&Credential::decode(&credential.bytes()).unwrap()).is_ok(), "it is bound with all its fields");
        let unknown = SignedInvitation::decode(&resigned(&with(0x09)));
        assert_eq!(unknown.unwrap_err(), WireError::Unsupported { tag: 0x09 });

        let changed = |at: usize, value: u8| {
            let mut body = body.clone();
            body[at] = value;
            SignedInvitation::decode(&resigned(&body)).map(|_| ())
        };
        let roles = 4 + 19 + 19 + 35 + 3;
        assert_eq!(changed(3, 2), Err(WireError::Unsupported { tag: TAG_VERSION }));
        assert_eq!(changed(roles, 8), Err(WireError::Unsupported { tag: TAG_ROLES }));
        assert_eq!(changed(roles, 7), Ok(()));
        assert_eq!(changed(roles + 4, b'A'), Err(WireError::Value { tag: TAG_SERVICES }));
        assert_eq!(changed(body.len() - 1, 2), Err(WireError::Unsupported { tag: TAG_FLAGS }));
    }

    #[test]
    fn the_largest_fits_with_room_for_later_versions() {
        let large = Invitation { services: "a".repeat(63).parse().unwrap(), ..invitation() };
        let credential = Credential::bind(SignedInvitation::sign(large, &issuer()), &holder(), node(5));
        assert_eq!(credential.bytes().len(), 290);
        let over = vec![0; CREDENTIAL_MAX + 1];
        let expected = WireError::TooLong { len: INVITATION_MAX + 1, max: INVITATION_MAX };
        assert_eq!(Credential::decode(&over).unwrap_err(), expected);
    }
}
