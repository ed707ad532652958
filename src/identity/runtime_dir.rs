//! Where things lie that end with the process.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    Error, NodeName,
    lock::Lock,
    safe_folder::{self, user},
};

/// This user's runtime folder on this host, 0700: control sockets, and the locks that keep names apart.
#[derive(Clone, Debug)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// The usual one: `$XDG_RUNTIME_DIR/p2p-fed`, or `/tmp/p2p-fed-UID` where there is no such variable or it names a folder of
    /// somebody else (as after `sudo`). Made if it is not there.
    ///
    /// # Errors
    ///
    /// When it can't be made, is a link, belongs to somebody else or is open to others.
    pub fn open() -> Result<Self, Error> {
        Self::at(&usual(std::env::var_os("XDG_RUNTIME_DIR")))
    }

    /// A folder of the caller's choice; its parent must exist.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn at(path: &Path) -> Result<Self, Error> {
        safe_folder::create(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the node of this name has its control socket.
    pub fn socket(&self, name: &NodeName) -> PathBuf {
        self.path.join(format!("{name}.sock"))
    }

    pub(super) fn lock_file(&self, name: &NodeName) -> PathBuf {
        self.path.join(format!("{name}.lock"))
    }

    /// Takes the name on this host, or says `None` if a process has it.
    pub(super) fn lock(&self, name: &NodeName) -> Result<Option<Lock>, Error> {
        Lock::try_acquire(&self.lock_file(name))
    }
}

fn usual(xdg: Option<OsString>) -> PathBuf {
    let is_ours = |path: &PathBuf| path.is_absolute() && fs::metadata(path).is_ok_and(|there| there.uid() == user());
    match xdg.map(PathBuf::from).filter(is_ours) {
        Some(path) => path.join("p2p-fed"),
        None => PathBuf::from(format!("/tmp/p2p-fed-{}", user())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_where_xdg_says() {
        let xdg = tempfile::tempdir().unwrap();
        assert_eq!(usual(Some(xdg.path().into())), xdg.path().join("p2p-fed"));
        let fallback = PathBuf::from(format!("/tmp/p2p-fed-{}", user()));
        for odd in [None, Some("".into()), Some("relative".into()), Some(xdg.path().join("none").into())] {
            assert_eq!(usual(odd), fallback);
        }
    }

    #[test]
    fn is_this_users_alone_and_no_link() {
        let outer = tempfile::tempdir().unwrap();
        let real = outer.path().join("real");
        let runtime = RuntimeDir::at(&real).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o700);
        assert_eq!(runtime.socket(&"gpu1".parse().unwrap()), real.join("gpu1.sock"));
        std::os::unix::fs::symlink(&real, outer.path().join("link")).unwrap();
        assert!(RuntimeDir::at(&outer.path().join("link")).is_err());
    }

    /// Only root can give a folder away; elsewhere this checks nothing.
    #[test]
    fn somebody_elses_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("theirs");
        RuntimeDir::at(&path).unwrap();
        if std::os::unix::fs::chown(&path, Some(user() + 1), None).is_ok() {
            let error = RuntimeDir::at(&path).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error}");
            assert_ne!(usual(Some(path.clone().into())), path.join("p2p-fed"));
        }
    }
}
