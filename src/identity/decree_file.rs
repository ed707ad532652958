//! What a network's issuer decided last, beside its key.
//!
//! The next decree takes the place of the last one whole, so it must not forget anything that the last one said. A node
//! that has just started may not know that yet; this file does.

use std::path::{Path, PathBuf};

use super::{Error, lock::Lock, safe_file};
use crate::ledger::{DECREE_MAX, IssuerKey, SignedDecree, UnverifiedDecree};

/// The file, held against other processes until the value is dropped: two that decide at once would decide one number
/// twice.
#[derive(Debug)]
pub struct DecreeFile {
    path: PathBuf,
    _lock: Lock,
}

impl DecreeFile {
    /// Takes the file that belongs to this key file.
    pub(super) fn claim(key_file: &Path) -> Result<Self, Error> {
        let (path, lock_file) = (beside(key_file, ".decree"), beside(key_file, ".lock"));
        match Lock::try_acquire(&lock_file)? {
            Some(lock) => Ok(Self { path, _lock: lock }),
            None => Err(Error::InUse { path: lock_file, choice: "--issuer-key" }),
        }
    }

    /// The last decree, if there was one.
    ///
    /// # Errors
    /// [`Error::NotADecree`] for what this issuer did not sign; otherwise when the file is not safe to use.
    pub fn load(&self, issuer: &IssuerKey) -> Result<Option<SignedDecree>, Error> {
        // One byte more than fits shows that there is too much.
        let Some(content) = safe_file::read_at_most(&self.path, DECREE_MAX + 1)? else { return Ok(None) };
        let decree = UnverifiedDecree::decode(&content).ok().and_then(|decree| decree.verify(issuer).ok());
        decree.map(Some).ok_or_else(|| Error::NotADecree { path: self.path.clone() })
    }

    /// Keeps the decree in place of the one before it. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When it can't be written; the one before is still there.
    pub fn replace(&self, decree: &SignedDecree) -> Result<(), Error> {
        safe_file::replace(&self.path, decree.bytes())
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::ledger::{Decree, NetworkId, NodeId};

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    #[test]
    fn the_last_decree_is_kept_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("k7qd-93ma.key");
        let issuer = key(9).verifying_key().into();
        let file = DecreeFile::claim(&key_file).unwrap();
        assert_eq!(file.load(&issuer).unwrap(), None);
        // Larger than a key, as decrees are.
        let banned = (0..1000_u16).map(|n| NodeId::from_bytes([n.to_be_bytes(); 16].concat().try_into().unwrap()));
        let decree = Decree { banned: banned.collect(), ..Decree::empty(NetworkId([1; 16]), 3, 0) };
        let signed = SignedDecree::sign(decree, &key(9)).unwrap();
        file.replace(&signed).unwrap();
        assert!(matches!(DecreeFile::claim(&key_file), Err(Error::InUse { choice: "--issuer-key", .. })));
        drop(file);
        let file = DecreeFile::claim(&key_file).unwrap();
        assert_eq!(file.load(&issuer).unwrap(), Some(signed));
        let error = file.load(&key(8).verifying_key().into()).unwrap_err();
        assert!(matches!(error, Error::NotADecree { .. }), "{error}");
        assert!(error.to_string().contains("k7qd-93ma.key.decree holds no decree"), "{error}");
    }
}
