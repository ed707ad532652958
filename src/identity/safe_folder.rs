//! Folders that belong to this user alone.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use super::Error;

/// Permission bits of others.
pub(super) const OTHERS: u32 = 0o077;

/// Who this process runs as.
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes the folder, 0700, if it is not there, and refuses one that is a link, belongs to somebody else or is open to others.
/// Its parent must exist.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create", path)(error)),
        Ok(()) | Err(_) => {}
    }
    let folder = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    let (owner, user) = (folder.uid(), user());
    if !folder.is_dir() {
        return Err(Error::NotPlain { path: path.to_owned(), expected: "a folder" });
    }
    if owner != user {
        return Err(Error::Foreign { path: path.to_owned(), owner, user });
    }
    match folder.mode() & 0o7777 {
        mode if mode & OTHERS != 0 => Err(Error::Exposed { path: path.to_owned(), mode, cure: "700" }),
        _ => Ok(()),
    }
}

/// Makes what a rename in the folder changed survive a power cut.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn is_made_for_this_user_alone() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("inner");
        create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        create(&path).unwrap();
    }

    #[test]
    fn what_is_unsafe_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let real = outer.path().join("real");
        create(&real).unwrap();

        let link = outer.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(create(&link), Err(Error::NotPlain { expected: "a folder", .. })));

        let file = outer.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(create(&file), Err(Error::NotPlain { .. })));

        for mode in [0o750, 0o701, 0o770] {
            fs::set_permissions(&real, Permissions::from_mode(mode)).unwrap();
            let error = create(&real).unwrap_err();
            assert!(matches!(error, Error::Exposed { mode: seen, .. } if seen == mode), "{error}");
            assert!(error.to_string().ends_with(&format!("`chmod 700 {}`", real.display())), "{error}");
        }
        assert!(matches!(create(&outer.path().join("none/such")), Err(Error::Io { action: "create", .. })));
    }
}
