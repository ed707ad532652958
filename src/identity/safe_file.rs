//! Files that belong to this user alone, and are there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{
    Error,
    safe_folder::{self, OTHERS, user},
};

/// Bytes of the longest file read here: keys and numbers have far less, and a mistaken path may lead to anything.
const MAX_SIZE: usize = 4096;

/// Opens a file for reading, or says `None` if there is none. Refuses a link, a device, somebody else's file and one open to
/// others.
pub(super) fn open(path: &Path) -> Result<Option<File>, Error> {
    let file = match options().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refusal(path, error)),
    };
    check(path, &file)?;
    Ok(Some(file))
}

/// Reads a file that may hold a secret, or says `None` if there is none. Refuses what [`open`] does.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    read_at_most(path, MAX_SIZE)
}

/// The same, for a file that may have more or fewer bytes. What is beyond them is not read.
pub(super) fn read_at_most(path: &Path, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut content = Zeroizing::new(Vec::with_capacity(limit));
    file.take(limit as u64).read_to_end(&mut content).map_err(Error::io("read", path))?;
    Ok(Some(content))
}

/// Opens a file for locking, 0600 if it has to be made.
pub(super) fn open_or_create(path: &Path) -> Result<File, Error> {
    let file = options().write(true).create(true).open(path).map_err(|error| refusal(path, error))?;
    check(path, &file)?;
    Ok(file)
}

/// Puts the content into a new file, 0600. When this returns, it survives a power cut; when it fails, it leaves nothing
/// behind, and what was there before still is.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), Error> {
    let made = options().write(true).create_new(true).open(path);
    let mut file = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::io("create", path)(error),
    })?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).map_err(Error::io("write", path));
    if written.is_err() {
        // It was made above, and holds a part of what it should at most.
        let _ = fs::remove_file(path);
    }
    written?;
    safe_folder::sync(folder_of(path))
}

/// Puts the content in place, 0600, replacing what was there. When this returns, it survives a power cut; when it fails, what
/// was there before still is.
///
/// The caller holds the lock of the folder: two writers at once would take each other's draft away.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    replace_with(path, |file| file.write_all(content))
}

/// The same, for content that is written piece by piece.
pub(super) fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    let draft = draft_of(path);
    // Left over from a process that died while writing.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &draft)(error)),
        Ok(()) | Err(_) => {}
    }
    let written = options()
        .write(true)
        .create_new(true)
        .open(&draft)
        .and_then(|mut file| write(&mut file).and_then(|()| file.sync_all()))
        .map_err(Error::io("write", &draft))
        .and_then(|()| fs::rename(&draft, path).map_err(Error::io("replace", path)));
    if written.is_err() {
        // A draft that stays is removed by the next write; nobody reads it.
        let _ = fs::remove_file(&draft);
    }
    written?;
    safe_folder::sync(folder_of(path))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// 0600 where made, links not followed, and no waiting for the other end of a pipe.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

fn refusal(path: &Path, error: io::Error) -> Error {
    let is_odd = fs::symlink_metadata(path).is_ok_and(|there| !there.is_file());
    if is_odd {
        Error::NotPlain { path: path.to_owned(), expected: "a plain file" }
    } else {
        Error::io("open", path)(error)
    }
}

/// Looks at the open file, not at its name: nobody can exchange it in between.
fn check(path: &Path, file: &File) -> Result<(), Error> {
    let there = file.metadata().map_err(Error::io("look at", path))?;
    let (owner, user) = (there.uid(), user());
    if !there.is_file() {
        return Err(Error::NotPlain { path: path.to_owned(), expected: "a plain file" });
    }
    if owner != user {
        return Err(Error::Foreign { path: path.to_owned(), owner, user });
    }
    match there.mode() & 0o7777 {
        mode if mode & OTHERS != 0 => Err(Error::Exposed { path: path.to_owned(), mode, cure: "600" }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::{
            fs::{PermissionsExt, symlink},
            net::UnixListener,
        },
    };

    use super::*;

    #[test]
    fn what_is_put_is_read_and_is_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(read(&path).unwrap().is_none());
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(**read(&path).unwrap().unwrap(), *b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn what_others_could_touch_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"secret").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644, 0o777] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
            assert!(error.ends_with(&format!("`chmod 600 {}`", path.display())), "{error}");
            assert!(matches!(open_or_create(&path), Err(Error::Exposed { .. })));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path).unwrap().is_some());
    }

    #[test]
    fn only_plain_files_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        replace(&at("real"), b"x").unwrap();
        symlink(at("real"), at("link")).unwrap();
        symlink(at("missing"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for name in ["link", "dangling", "folder", "socket"] {
            let error = read(&at(name)).unwrap_err();
            assert!(matches!(error, Error::NotPlain { expected: "a plain file", .. }), "{name}: {error}");
        }
        assert!(matches!(open_or_create(&at("dangling")), Err(Error::NotPlain { .. })));
        assert!(!at("missing").exists());
    }

    #[test]
    fn a_planted_draft_changes_nothing_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("file"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, draft_of(&path)).unwrap();
        replace(&path, b"mine").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(**read(&path).unwrap().unwrap(), *b"mine");
    }

    #[test]
    fn when_writing_fails_the_old_content_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        // A folder in place of the draft can't be removed as a file.
        fs::create_dir(draft_of(&path)).unwrap();
        assert!(matches!(replace(&path, b"new"), Err(Error::Io { action: "remove", .. })));
        assert_eq!(**read(&path).unwrap().unwrap(), *b"old");
    }

    #[test]
    fn a_disk_that_fills_up_leaves_the_old_content_and_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        for written in [0, 1, 10_000] {
            let full = |file: &mut File| {
                file.write_all(&vec![b'x'; written])?;
                Err(io::ErrorKind::StorageFull.into())
            };
            assert!(matches!(replace_with(&path, full), Err(Error::Io { action: "write", .. })));
            assert_eq!(**read(&path).unwrap().unwrap(), *b"old");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
        }
    }

    #[test]
    fn what_a_crash_left_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        fs::write(draft_of(&path), "half of the n").unwrap();
        assert_eq!(**read(&path).unwrap().unwrap(), *b"old");
        replace(&path, b"new").unwrap();
        assert_eq!(**read(&path).unwrap().unwrap(), *b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn a_huge_file_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, &[0; 3 * MAX_SIZE]).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len(), MAX_SIZE);
    }

    #[test]
    fn a_bare_name_lies_in_the_working_folder() {
        assert_eq!(folder_of(Path::new("identity")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/identity")), Path::new("a"));
    }
}
