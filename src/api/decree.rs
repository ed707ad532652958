//! What the issuer of a network decides through a node: plain data, as in `status`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::ledger::{IssuerKey, NetworkId, SignedDecree, UnverifiedDecree, WireError};

/// `GET /v1/decree`: all that the next decree is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    /// The network's short id.
    pub network: String,
    /// The network's id, in 32 hexadecimal digits.
    pub network_id: String,
    /// The issuer's public key, in 64 hexadecimal digits. None in an open network.
    pub issuer: Option<String>,
    /// The id of the node that answers.
    pub node: String,
    /// The newest decree known here.
    pub decree: Option<InForce>,
    /// Every node with a record, the one that answers among them.
    pub members: Vec<Member>,
}

/// The decree in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// Its number.
    pub number: u64,
    /// When it was written by the issuer's clock, in milliseconds since 1970.
    pub issued_ms: u64,
    /// Ids of the nodes that are locked out.
    pub banned: Vec<String>,
    /// Serials of the invitations that are worth nothing any more.
    pub revoked: Vec<String>,
    /// The newest generation, where there was a second one.
    pub generation: Option<u32>,
    /// The whole of it, signed, in base64.
    pub signed: String,
}

/// A node that the next decree may be about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// The serial of the invitation that it came with, where it is known.
    pub invitation: Option<String>,
}

/// `POST /v1/decree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The decree, signed by the issuer, in base64.
    pub signed: String,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The number of the decree that is now in force.
    pub number: u64,
}

impl Issued {
    /// The network's id.
    pub fn network_id(&self) -> Option<NetworkId> {
        from_hex(&self.network_id).map(NetworkId)
    }

    /// The issuer's public key, where there is one.
    pub fn issuer(&self) -> Option<IssuerKey> {
        from_hex(self.issuer.as_deref()?).map(IssuerKey::from_bytes)
    }
}

impl InForce {
    /// What `decree` says.
    pub fn of(decree: &SignedDecree) -> Self {
        let said = decree.decree();
        Self {
            number: said.number,
            issued_ms: said.issued_ms,
            banned: said.banned.iter().map(ToString::to_string).collect(),
            revoked: said.revoked.iter().map(ToString::to_string).collect(),
            generation: said.rotation.as_ref().map(|rotation| rotation.generation),
            signed: STANDARD.encode(decree.bytes()),
        }
    }

    /// The decree itself, if `issuer` signed it.
    pub fn verify(&self, issuer: &IssuerKey) -> Option<SignedDecree> {
        UnverifiedDecree::decode(&STANDARD.decode(&self.signed).ok()?).ok()?.verify(issuer).ok()
    }
}

/// Bytes as `status` and the like show them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok());
    let bytes = bytes.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())?;
    bytes.try_into().ok()
}

/// Why a node did not take a decree. Nothing was changed, and nothing was spread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Declined {
    /// It is not one.
    #[error("it is no decree: {0}")]
    Malformed(#[from] WireError),
    /// Nobody has a say in this network.
    #[error("its network has no issuer")]
    Open,
    /// It is another network's.
    #[error("it is for another network")]
    Elsewhere,
    /// Somebody else signed it.
    #[error("it is not signed by the network's issuer")]
    Forged,
    /// A later one is known here.
    #[error("a later one is in force, number {number}: try again, so that the next one is made from that")]
    Outdated {
        /// Its number.
        number: u64,
    },
    /// The node is stopping.
    #[error("it is stopping")]
    Unavailable,
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::ledger::{Decree, NodeId};

    #[test]
    fn what_is_shown_is_read_again() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let node = NodeId::from(SigningKey::from_bytes(&[5; 32]).verifying_key());
        let decree = Decree { banned: [node].into(), ..Decree::empty(NetworkId([0xa7; 16]), 3, 4) };
        let signed = SignedDecree::sign(decree, &key).unwrap();
        let issuer = IssuerKey::from(key.verifying_key());
        let shown = InForce::of(&signed);
        assert_eq!((shown.number, &shown.banned, shown.generation), (3, &vec![node.to_string()], None));
        assert_eq!(shown.verify(&issuer), Some(signed));
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().into();
        assert_eq!(shown.verify(&other), None);
        assert_eq!(InForce { signed: "?".into(), ..shown }.verify(&issuer), None);
    }

    #[test]
    fn ids_are_hexadecimal() {
        let issued = |network_id: &str, issuer: Option<&str>| Issued {
            network: String::new(),
            network_id: network_id.to_owned(),
            issuer: issuer.map(str::to_owned),
            node: String::new(),
            decree: None,
            members: vec![],
        };
        let whole = issued(&hex(&[0xa7; 16]), Some(&hex(&[0x0f; 32])));
        assert_eq!(whole.network_id(), Some(NetworkId([0xa7; 16])));
        assert_eq!(whole.issuer(), Some(IssuerKey::from_bytes([0x0f; 32])));
        for text in ["", "a7", &"a".repeat(31), &"g7".repeat(16), &"+7".repeat(16), &"a7".repeat(17), "ä"] {
            assert_eq!(issued(text, None).network_id(), None, "{text}");
        }
        assert_eq!(issued("", None).issuer(), None);
    }
}
