//! An identity that was told where to lie.

use std::path::{Path, PathBuf};

use super::{Error, Identity, lock::Lock};

/// An identity file outside of the state folder (`--identity`), held against other processes by a lock file beside it.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    _lock: Lock,
}

impl KeyFile {
    /// Takes the file, which need not exist yet, until the value is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when another process has it; otherwise when its folder does not let the lock file be.
    pub fn claim(path: &Path) -> Result<Self, Error> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let beside = PathBuf::from(beside);
        match Lock::try_acquire(&beside)? {
            Some(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            None => Err(Error::InUse { path: beside, choice: "--identity" }),
        }
    }

    /// The identity in the file, or a new one that is put there, 0600.
    ///
    /// # Errors
    ///
    /// When the file can't be used, is not safe to use, or holds no identity; it is left as it was.
    pub fn identity(&self) -> Result<Identity, Error> {
        Identity::load_or_create(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.key");
        let first = KeyFile::claim(&path).unwrap();
        let node = first.identity().unwrap().node_id();
        let error = KeyFile::claim(&path).unwrap_err();
        assert!(matches!(error, Error::InUse { .. }));
        assert!(error.to_string().contains("my.key.lock is held by another process"), "{error}");
        drop(first);
        assert_eq!(KeyFile::claim(&path).unwrap().identity().unwrap().node_id(), node);
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.key");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(KeyFile::claim(&path).unwrap().identity(), Err(Error::NotPlain { .. })));
    }
}
