//! The shared secret that names a network and admits to it.
//!
//! A token is edgevpn's: standard Base64 of a YAML text, so that one line of text works in p2p-fed, edgevpn and LocalAI
//! alike. Ours carries one more section, `p2pfed`, which the others ignore. It stands first, because then every
//! token that was cut off lacks something that edgevpn's part must have, and none turns into one without the section.
//!
//! # Words
//!
//! * **Secrets** of the token: `otp.dht.key`, `otp.crypto.key`, `room`, `rendezvous`. From these everything is derived.
//!   `mdns` is masked like them, but no key comes from it: the local network hears it in clear.
//! * **Epoch**: a window of unix time, as long as an interval of the token, in which a derived value is used
//!   ([`Epochs`]). Who receives accepts the values of three epochs ([`Windows`]); who sends uses the current one.
//! * **Strict**: only nodes that pass admission take part. A token without our section is not strict.
//! * **Generation**: counts how often the key of admission was replaced; 1 where the token does not say. Tokens of a later
//!   one carry a secret of its own ([`GenerationSecret`]).
//! * **Issuer**: whose word on roles counts in the network. A token that names none is that of an *open* network, where
//!   every holder may do everything.
//! * **Invitation**: what the issuer lets one machine do. The token that carries one also carries the secret with which a
//!   node makes it its own ([`Invite`]).
//!
//! # What comes from a token
//!
//! Two families that never mix:
//!
//! * edgevpn's rotating values ([`Token::rendezvous`], [`Token::edgevpn_topic`], [`Token::sealing_key`]): MD5 over a
//!   one-time text. They are as strong as edgevpn made them and serve to meet, and to speak with, edgevpn nodes.
//! * Native keys ([`Token::network_id`], [`Token::short_id`], [`Token::admission_key`], [`Token::gossip_topics`]):
//!   HKDF-SHA256 (RFC 5869), a label for each. What goes in is every secret of the token, each with its length before
//!   it, and the generation. So two tokens that differ in any secret share nothing, and two that differ only in how they
//!   are written are the same network. Where a generation has a secret, that goes into the admission key alone, and all
//!   else is that of the first generation: members of two generations find each other and tell each other apart.
//!
//! # Invariants
//!
//! * A [`Token`] that exists is usable: each key present, lengths 1 to 44, intervals and sizes above zero. What would
//!   make edgevpn panic or fall silent is refused when it is parsed, in one line that quotes nothing of the secret.
//! * Secrets are wiped when dropped, print as `***`, have no `Display` and are compared in constant time. The YAML
//!   parser's own scratch memory is outside that promise.
//!
//! * An invitation in a token is for its network, signed by its issuer, and its secret is the right one. Whether it has
//!   expired is asked with the clock in hand ([`Token::check_expiry`]).
//!
//! Not here: reading files and environment variables, deciding whom to admit, and the clock, which is an argument.

mod description;
mod epoch;
mod error;
mod generation;
mod invite;
mod keys;
mod mint;
mod otp;
mod parse;
pub mod seal;
mod secret;
mod text;

use std::num::NonZeroU64;

use subtle::{Choice, ConstantTimeEq};

pub use description::{Description, InvitationDescription, OneTimeDescription, SecretDescription};
pub use epoch::{Epochs, Windows};
pub use error::Error;
pub use generation::GenerationSecret;
pub use invite::{HolderSecret, Invite, Terms};
pub use keys::AdmissionKey;
pub use mint::Mint;
pub use otp::SealingKey;
use secret::Secret;

use crate::ledger::IssuerKey;

/// The generation of a token that does not name one.
const FIRST_GENERATION: u32 = 1;

/// A network's token. See the [module](self) for what it holds and what comes from it.
#[derive(Clone, Debug)]
pub struct Token {
    dht: OneTime,
    crypto: OneTime,
    room: Secret,
    rendezvous: Secret,
    mdns: Secret,
    max_message_size: usize,
    native: Option<Native>,
}

/// How one rotating value of edgevpn's is made.
#[derive(Clone, Debug)]
struct OneTime {
    /// Seconds that one value lasts.
    interval: NonZeroU64,
    key: Secret,
    /// Characters of the one-time text, 1 to [`otp::TEXT_LENGTH`].
    length: usize,
}

/// Our own section. A network with an issuer is strict; a secret belongs to a later generation than the first, and an
/// invitation to an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Native {
    generation: u32,
    strict: bool,
    issuer: Option<IssuerKey>,
    secret: Option<GenerationSecret>,
    invite: Option<Invite>,
}

impl Native {
    /// What the section says where it says the least.
    const fn plain(generation: u32, strict: bool) -> Self {
        Self { generation, strict, issuer: None, secret: None, invite: None }
    }
}

impl Token {
    /// The service name under which nodes of this network look for each other by multicast DNS. It does not rotate, and
    /// whoever is on the local network can read it.
    pub fn mdns_name(&self) -> &str {
        self.mdns.expose()
    }

    /// The largest gossip message that nodes of this network take, in bytes.
    pub fn max_message_size(&self) -> usize {
        self.max_message_size
    }

    /// Whether only nodes that pass admission take part.
    pub fn is_strict(&self) -> bool {
        self.native.as_ref().is_some_and(|native| native.strict)
    }

    /// Whether nodes of edgevpn and LocalAI take part as well.
    pub fn is_compat(&self) -> bool {
        !self.is_strict() && self.issuer().is_none()
    }

    /// How often the key of admission was replaced, counted from 1.
    pub fn generation(&self) -> u32 {
        self.native.as_ref().map_or(FIRST_GENERATION, |native| native.generation)
    }

    /// Whose word on roles counts. Nobody's in an open network.
    pub fn issuer(&self) -> Option<IssuerKey> {
        self.native.as_ref()?.issuer
    }

    /// What the issuer lets the machine with this token do.
    pub fn invite(&self) -> Option<&Invite> {
        self.native.as_ref()?.invite.as_ref()
    }
}

/// Equal when every value is, however the tokens were written. Secrets are compared in constant time.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        let secrets: Choice = self.dht.key.ct_eq(&other.dht.key)
            & self.crypto.key.ct_eq(&other.crypto.key)
            & self.room.ct_eq(&other.room)
            & self.rendezvous.ct_eq(&other.rendezvous)
            & self.mdns.ct_eq(&other.mdns);
        let rest = |token: &Self| {
            let periods = [&token.dht, &token.crypto].map(|one| (one.interval, one.length));
            (periods, token.max_message_size)
        };
        bool::from(secrets) & (rest(self) == rest(other)) & (self.native == other.native)
    }
}

impl Eq for Token {}
