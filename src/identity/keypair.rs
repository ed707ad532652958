//! A node's key pair.

use std::{fmt, path::Path};

use ed25519_dalek::SigningKey;
use libp2p::{
    PeerId,
    identity::{Keypair, ed25519},
};
use rand::{TryRng, rngs::SysRng};
use zeroize::{Zeroize, Zeroizing};

use super::{Error, safe_file};
use crate::ledger::NodeId;

/// A node's Ed25519 key pair, in the forms that libp2p and the ledger want. `Debug` shows the public half.
///
/// On disk it has libp2p's own form (a protobuf of key type and 64 bytes), the one that edgevpn and other libp2p programs
/// use, so that a key can move between them.
#[derive(Clone)]
pub struct Identity(ed25519::Keypair);

impl Identity {
    /// A new identity from the operating system's generator.
    ///
    /// # Errors
    ///
    /// [`Error::NoRandomness`] if that generator fails.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(|error| Error::NoRandomness(error.to_string()))?;
        Ok(Self::from_seed(&mut seed))
    }

    /// The identity that grows from a private key of RFC 8032. The seed is wiped.
    pub fn from_seed(seed: &mut [u8; 32]) -> Self {
        let Ok(secret) = ed25519::SecretKey::try_from_bytes(&mut seed[..]) else {
            unreachable!("any 32 bytes are a private key (RFC 8032 §5.1.5)");
        };
        Self(secret.into())
    }

    /// The identity in this file, or a new one that is put there, 0600.
    ///
    /// The caller holds a lock that keeps other processes from doing the same.
    ///
    /// # Errors
    ///
    /// When the file can't be used or is not safe to use; it is left as it was.
    pub(super) fn load_or_create(path: &Path) -> Result<Self, Error> {
        if let Some(content) = safe_file::read(path)? {
            return Self::from_file(&content).ok_or_else(|| Error::NotAnIdentity { path: path.to_owned() });
        }
        let identity = Self::generate()?;
        let content = identity.to_file().ok_or_else(|| Error::NotAnIdentity { path: path.to_owned() })?;
        safe_file::replace(path, &content)?;
        Ok(identity)
    }

    fn from_file(content: &[u8]) -> Option<Self> {
        Keypair::from_protobuf_encoding(content).ok()?.try_into_ed25519().ok().map(Self)
    }

    fn to_file(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.keypair().to_protobuf_encoding().ok().map(Zeroizing::new)
    }

    /// The node's id: its public key.
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.public().to_bytes())
    }

    /// The same as libp2p renders it.
    pub fn peer_id(&self) -> PeerId {
        self.keypair().public().to_peer_id()
    }

    /// The key pair for libp2p.
    pub fn keypair(&self) -> Keypair {
        self.0.clone().into()
    }

    /// The key with which the node's records are signed.
    pub fn signing_key(&self) -> SigningKey {
        let pair = Zeroizing::new(self.0.to_bytes());
        let mut seed = [0; 32];
        seed.copy_from_slice(&pair[..32]);
        let key = SigningKey::from_bytes(&seed);
        seed.zeroize();
        key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.node_id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use ed25519_dalek::{Signer, Verifier, VerifyingKey};

    use super::*;

    #[test]
    fn one_key_in_all_its_forms() {
        let identity = Identity::generate().unwrap();
        assert_eq!(identity.node_id().to_string(), identity.peer_id().to_string());
        let signature = identity.signing_key().sign(b"record");
        let public = VerifyingKey::from_bytes(identity.node_id().as_bytes()).unwrap();
        public.verify(b"record", &signature).unwrap();
        assert!(identity.keypair().public().verify(b"record", &signature.to_bytes()));
        assert_ne!(identity.node_id(), Identity::generate().unwrap().node_id());
    }

    /// RFC 8032 §7.1, test 1.
    #[test]
    fn grows_from_a_seed() {
        let mut seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = Identity::from_seed(&mut seed);
        assert_eq!(identity.node_id().as_bytes()[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(seed, [0; 32]);
    }

    #[test]
    fn is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().node_id(), made.node_id());
    }

    #[test]
    fn what_is_no_key_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let whole = Identity::generate().unwrap().to_file().unwrap();
        for content in [b"".as_slice(), b"rubbish", &whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
            safe_file::replace(&path, content).unwrap();
            assert!(matches!(Identity::load_or_create(&path), Err(Error::NotAnIdentity { .. })), "{content:?}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn debug_shows_the_public_half_alone() {
        let identity = Identity::from_seed(&mut [7; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.node_id().short()));
    }
}
