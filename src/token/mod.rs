//! Placeholder until the branch `token` lands.

/// Proves membership.
#[derive(Debug, Clone)]
pub struct AdmissionKey([u8; 32]);
impl AdmissionKey {
    /// From bytes.
    pub fn from_bytes(b: [u8; 32]) -> Self { Self(b) }
    /// Bytes.
    pub fn as_bytes(&self) -> &[u8; 32] { &self.0 }
}
