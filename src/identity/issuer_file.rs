//! The private key of a network's issuer.
//!
//! One line, `p2p-fed issuer 1`, a blank, and the key's seed in 64 hexadecimal digits.

use std::{
    fmt,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::SigningKey;
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

use super::{DecreeFile, Error, safe_file, safe_folder};
use crate::ledger::IssuerKey;

/// What the line begins with: who finds the file shall know what it is.
const HEAD: &str = "p2p-fed issuer 1 ";

/// The key of a network's issuer, in the file where it is kept. `Debug` shows the public half.
pub struct IssuerFile {
    path: PathBuf,
    key: SigningKey,
}

impl IssuerFile {
    /// A new key from the operating system's generator, in no file yet.
    ///
    /// # Errors
    /// [`Error::NoRandomness`] if that generator fails.
    pub fn draw() -> Result<SigningKey, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut *seed).map_err(|error| Error::NoRandomness(error.to_string()))?;
        Ok(SigningKey::from_bytes(&seed))
    }

    /// Puts the key into a new file, 0600. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is something already, which stays as it was; otherwise when its folder does not let it
    /// be.
    pub fn create(path: &Path, key: SigningKey) -> Result<Self, Error> {
        safe_file::create(path, encode(&key).as_bytes())?;
        Ok(Self { path: path.to_owned(), key })
    }

    /// Makes the folder of a file at its usual place, 0700, and those above it.
    ///
    /// # Errors
    /// When it can't be made, or is not safe to use.
    pub fn make_folder(path: &Path) -> Result<(), Error> {
        let folder = safe_file::folder_of(path);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))?;
        safe_folder::create(folder)
    }

    /// The key in this file.
    ///
    /// # Errors
    /// [`Error::NoIssuerKey`] and [`Error::NotAnIssuerKey`]; otherwise when the file is not safe to use.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let content = safe_file::read(path)?.ok_or_else(|| Error::NoIssuerKey { path: path.to_owned() })?;
        let key = decode(&content).ok_or_else(|| Error::NotAnIssuerKey { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), key })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Its public half.
    pub fn public(&self) -> IssuerKey {
        self.key.verifying_key().into()
    }

    /// Takes the file with the issuer's last decree, which lies beside the key and need not exist yet.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it; otherwise when the folder does not let the lock file be.
    pub fn decrees(&self) -> Result<DecreeFile, Error> {
        DecreeFile::claim(&self.path)
    }
}

impl fmt::Debug for IssuerFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerFile").field("path", &self.path).field("public", &self.public()).finish_non_exhaustive()
    }
}

fn encode(key: &SigningKey) -> Zeroizing<String> {
    // Large enough at once: a text that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(HEAD.len() + 65));
    line.push_str(HEAD);
    for byte in key.as_bytes() {
        for half in [byte >> 4, byte & 0xf] {
            line.extend(char::from_digit(half.into(), 16));
        }
    }
    line.push('\n');
    line
}

fn decode(content: &[u8]) -> Option<SigningKey> {
    let digits = str::from_utf8(content).ok()?.trim_end().strip_prefix(HEAD)?.as_bytes();
    let mut seed = Zeroizing::new([0; 32]);
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != seed.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in seed.iter_mut().zip(pairs) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(*high)? << 4 | value(*low)?).ok()?;
    }
    Some(SigningKey::from_bytes(&seed))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/k7qd-93ma.key");
        IssuerFile::make_folder(&path).unwrap();
        let made = IssuerFile::create(&path, IssuerFile::draw().unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(IssuerFile::open(&path).unwrap().public(), made.public());
        let error = IssuerFile::create(&path, IssuerFile::draw().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
        assert_eq!(IssuerFile::open(&path).unwrap().public(), made.public(), "it stays");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("key"), folder.path().join("victim"));
        symlink(&victim, &path).unwrap();
        assert!(matches!(IssuerFile::create(&path, IssuerFile::draw().unwrap()), Err(Error::Exists { .. })));
        assert!(!victim.exists());
        assert!(matches!(IssuerFile::open(&path), Err(Error::NotPlain { .. })));
    }

    #[test]
    fn what_is_no_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(IssuerFile::open(&path), Err(Error::NoIssuerKey { .. })));
        let whole = encode(&SigningKey::from_bytes(&[0xa7; 32]));
        assert_eq!(*whole, format!("p2p-fed issuer 1 {}\n", "a7".repeat(32)));
        let cut = &whole[..whole.len() - 2];
        for content in ["", "rubbish", cut, &whole.replace("a7", "g7"), &whole.replacen("1 ", "2 ", 1)] {
            safe_file::replace(&path, content.as_bytes()).unwrap();
            assert!(matches!(IssuerFile::open(&path), Err(Error::NotAnIssuerKey { .. })), "{content:?}");
        }
        safe_file::replace(&path, whole.as_bytes()).unwrap();
        assert_eq!(IssuerFile::open(&path).unwrap().key().as_bytes(), &[0xa7; 32]);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(IssuerFile::open(&path), Err(Error::Exposed { .. })));
    }

    #[test]
    fn debug_shows_the_public_half_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = IssuerFile::create(&folder.path().join("key"), SigningKey::from_bytes(&[0xa7; 32])).unwrap();
        let shown = format!("{file:?}");
        assert!(shown.contains(&file.public().fingerprint()) && !shown.contains("a7a7") && !shown.contains("167"));
    }
}
