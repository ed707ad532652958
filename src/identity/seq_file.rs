//! The number of this node's last record, kept so that it never goes back.
//!
//! One line: the number in decimal, a blank, and the first eight hex digits of the SHA-256 of that decimal. A file that
//! does not check is as good as none: the ledger then numbers from the clock.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{Error, safe_file};

#[derive(Debug)]
pub(super) struct SeqFile {
    path: PathBuf,
    /// The highest number on disk as far as this process knows. Locked while the file is written, so that writers queue up;
    /// nobody holds it across an `.await`, because there is none.
    highest: Mutex<Option<u64>>,
}

impl SeqFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, highest: Mutex::new(None) }
    }

    pub(super) fn load(&self) -> Option<u64> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        match safe_file::read(&self.path) {
            Ok(None) => return None,
            Ok(Some(content)) => match decode(&content) {
                Some(seq) => *highest = Some(seq.max(highest.unwrap_or(0))),
                None => tracing::warn!(%path, "sequence file is damaged, numbering from the clock"),
            },
            Err(error) => tracing::warn!(%path, %error, "sequence file is unusable, numbering from the clock"),
        }
        *highest
    }

    pub(super) fn persist(&self, seq: u64) -> Result<(), Error> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if highest.is_none_or(|highest| highest < seq) {
            safe_file::replace(&self.path, encode(seq).as_bytes())?;
            *highest = Some(seq);
        }
        Ok(())
    }
}

fn encode(seq: u64) -> String {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(seq.to_string()).into();
    format!("{seq} {:08x}\n", u32::from_be_bytes([a, b, c, d]))
}

fn decode(content: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content).ok()?;
    let seq = text.split(' ').next()?.parse().ok()?;
    (encode(seq) == text).then_some(seq)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn in_folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seq");
        (folder, path)
    }

    #[test]
    fn survives_a_restart() {
        let (_folder, path) = in_folder();
        let file = SeqFile::new(path.clone());
        assert_eq!(file.load(), None);
        file.persist(1_767_225_600_000).unwrap();
        file.persist(1_767_225_600_001).unwrap();
        assert_eq!(SeqFile::new(path.clone()).load(), Some(1_767_225_600_001));
        // `printf 1767225600001 | sha256sum`
        assert_eq!(fs::read_to_string(path).unwrap(), "1767225600001 682370e0\n");
    }

    #[test]
    fn never_goes_back() {
        let (_folder, path) = in_folder();
        let file = SeqFile::new(path.clone());
        file.persist(10).unwrap();
        file.persist(9).unwrap();
        assert_eq!(SeqFile::new(path.clone()).load(), Some(10));
        let next = SeqFile::new(path.clone());
        next.load();
        next.persist(5).unwrap();
        assert_eq!(SeqFile::new(path).load(), Some(10));
    }

    #[test]
    fn damage_is_as_good_as_nothing() {
        let (_folder, path) = in_folder();
        for content in ["", "\n", "10", "10 00000000\n", "x y\n", "99999999999999999999 00000000\n", "\u{0}"] {
            safe_file::replace(&path, content.as_bytes()).unwrap();
            let file = SeqFile::new(path.clone());
            assert_eq!(file.load(), None, "{content:?}");
            file.persist(3).unwrap();
            assert_eq!(SeqFile::new(path.clone()).load(), Some(3));
        }
    }

    #[test]
    fn what_can_not_be_written_is_not_taken_for_written() {
        let (folder, path) = in_folder();
        let file = SeqFile::new(path);
        let hidden = folder.path().with_extension("away");
        fs::rename(folder.path(), &hidden).unwrap();
        assert!(file.persist(4).is_err());
        fs::rename(&hidden, folder.path()).unwrap();
        assert_eq!(file.load(), None);
        file.persist(4).unwrap();
        assert_eq!(file.load(), Some(4));
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote_and_nothing_like_it(seq: u64, at in 0usize..8, bit in 0u8..8) {
            let whole = encode(seq);
            prop_assert_eq!(decode(whole.as_bytes()), Some(seq));
            let mut bytes = whole.into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(decode(&bytes), Some(seq));
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
