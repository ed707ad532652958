//! Who may say what a network's nodes may do: its issuer's Ed25519 public key.

use std::fmt;

use ed25519_dalek::{SIGNATURE_LENGTH, Signature, VerifyingKey};

/// The public key of a network's issuer. It stands in the network's token; the private half is with whoever minted it.
///
/// Whether the bytes are a point on the curve shows when a signature is verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey([u8; 32]);

/// The signature is not that of the network's issuer. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not signed by the network's issuer")]
pub struct NotIssuer;

impl IssuerKey {
    /// The issuer whose public key these bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Sixteen hexadecimal digits by which people tell issuers apart: the key's first eight bytes.
    pub fn fingerprint(&self) -> String {
        self.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether it signed `body` for what `domain` is for.
    pub(crate) fn verify(
        &self,
        domain: &[u8],
        body: &[u8],
        signature: &[u8; SIGNATURE_LENGTH],
    ) -> Result<(), NotIssuer> {
        if is_signed(&self.0, domain, body, signature) { Ok(()) } else { Err(NotIssuer) }
    }
}

impl From<VerifyingKey> for IssuerKey {
    fn from(key: VerifyingKey) -> Self {
        Self(key.to_bytes())
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// Whether the owner of `key` signed `domain ‖ body` (RFC 8032, verified strictly: no small-order keys, no second
/// encoding).
pub(crate) fn is_signed(key: &[u8; 32], domain: &[u8], body: &[u8], signature: &[u8; SIGNATURE_LENGTH]) -> bool {
    let message = [domain, body].concat();
    VerifyingKey::from_bytes(key).and_then(|key| key.verify_strict(&message, &Signature::from_bytes(signature))).is_ok()
}
