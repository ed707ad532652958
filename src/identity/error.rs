//! Why a node can't keep its state.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a file or folder of this node can't be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system said no. Another try helps once its reason is gone.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read or change a file that only this user may.
    #[error("{0} is open to other users (mode {mode:04o}): check who used it, then run `chmod {cure} {0}`", path.display())]
    Exposed {
        /// Which file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        cure: &'static str,
    },
    /// A file or folder belongs to somebody else.
    #[error("{} belongs to user {owner}, not to this one ({user}): choose another place, or give it to this user", path.display())]
    Foreign {
        /// Which file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who this process runs as.
        user: u32,
    },
    /// There is something else in its place: a symbolic link, a device, a folder.
    #[error("{} is not {expected}: remove it, or choose another place", path.display())]
    NotPlain {
        /// What lies there.
        path: PathBuf,
        /// What should: `a plain file` or `a folder`. Never a symbolic link.
        expected: &'static str,
    },
    /// What the identity file holds is no key.
    #[error("{} holds no ed25519 identity: restore it from a backup, or remove it to get a new identity", path.display())]
    NotAnIdentity {
        /// Which file.
        path: PathBuf,
    },
    /// A file that was to be made is there already. It stays as it was.
    #[error("{} is there already: choose another place, or move it away", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// There is no file with the issuer's key.
    #[error("no issuer key at {}: it lies where `p2p-fed token --admin` made it; name it with --issuer-key", path.display())]
    NoIssuerKey {
        /// Which file.
        path: PathBuf,
    },
    /// What the issuer's key file holds is no key.
    #[error("{} holds no issuer key: restore it from a backup, or name the right file with --issuer-key", path.display())]
    NotAnIssuerKey {
        /// Which file.
        path: PathBuf,
    },
    /// What lies beside the issuer's key is not its last decree.
    #[error(
        "{} holds no decree of this issuer: restore it from a backup, or remove it if the node here knows the newest one",
        path.display()
    )]
    NotADecree {
        /// Which file.
        path: PathBuf,
    },
    /// Another process uses it.
    #[error("{} is held by another process: stop that one, or choose another {choice}", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The flag that gives this process something of its own.
        choice: &'static str,
    },
    /// So many processes on this host go by this name that no variant of it is free.
    #[error("the name {name} and its variants up to {name}-{tried} are all in use on this host: choose another --name")]
    NamesExhausted {
        /// The name wanted.
        name: String,
        /// The last number tried.
        tried: u32,
    },
    /// Neither `XDG_STATE_HOME` nor `HOME` says where state belongs.
    #[error("no place for this node's state: set HOME or XDG_STATE_HOME, or pass --state-dir")]
    NoHome,
    /// The operating system gave no randomness for a new key. Another try may succeed.
    #[error("no identity made: the operating system gave no randomness ({0})")]
    NoRandomness(String),
}

impl Error {
    /// Turns an error of the operating system into one that says what was tried on what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
