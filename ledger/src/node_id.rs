//! Who a node is: its Ed25519 public key.

use std::{fmt, str::FromStr};

use ed25519_dalek::VerifyingKey;

/// The multihash prefix of an Ed25519 key in a libp2p peer id: identity hash of 36 bytes, protobuf `{1: Ed25519, 2: 32
/// bytes}` (libp2p specs, "Peer Ids and Keys").
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A node's public key. Its text form is libp2p's peer id (`12D3KooW…`), so that one name serves logs, flags and
/// multiaddrs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// The node whose public key these bytes are. Whether they are a point on the curve shows when a signature is
    /// verified.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes, by which a sync names owners.
    pub(crate) fn prefix(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }

    /// `12D3KooW…QnTz`: enough to tell nodes apart in a log line.
    pub fn short(&self) -> String {
        let text = self.to_string();
        match (text.get(..8), text.get(text.len().saturating_sub(4)..)) {
            (Some(head), Some(tail)) => format!("{head}…{tail}"),
            _ => text,
        }
    }
}

impl From<VerifyingKey> for NodeId {
    fn from(key: VerifyingKey) -> Self {
        Self(key.to_bytes())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The text is not the peer id of an Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node id: expected the text form of an Ed25519 peer id, 12D3KooW…")]
pub struct ParseNodeIdError(String);

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseNodeIdError(text.chars().take(64).collect());
        let mut bytes = [0; 38];
        match bs58::decode(text).onto(&mut bytes) {
            Ok(38) if bytes[..6] == PEER_ID_PREFIX => {
                let mut key = [0; 32];
                key.copy_from_slice(&bytes[6..]);
                Ok(Self(key))
            }
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_ed25519_peers_alone() {
        let node = NodeId::from_bytes([7; 32]);
        let text = node.to_string();
        assert!(text.starts_with("12D3KooW"));
        assert_eq!(text.parse(), Ok(node));
        assert_eq!(node.short(), format!("12D3KooW…{}", &text[text.len() - 4..]));
        let odd = bs58::encode([0; 38]).into_string();
        for text in ["", "x", "12D3KooW", &text[1..], &format!("{text}1"), &odd] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}
