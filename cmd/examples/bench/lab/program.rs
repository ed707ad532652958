//! Programs of others: where they are installed.

use std::{
    env,
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

/// Where servers are that a user's `PATH` may leave out.
const SERVERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Finds a program among the tools of this repository, in `PATH`, or among the servers.
///
/// # Errors
/// It is not there. No path is left out in silence.
pub(super) fn find(name: &str, tools: &Path) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders =
        [tools.to_owned()].into_iter().chain(env::split_paths(&path)).chain(SERVERS.into_iter().map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    // In full: sshd wants to be called so.
    Ok(found.ok_or_else(|| Missing(name.to_owned()))?.canonicalize()?)
}

/// A program is not installed. Another try makes no sense.
#[derive(Debug)]
pub(super) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        write!(
            f,
            "{name} is not installed: `make bench-peers` installs it, `--paths direct,relay,p2p-fed` does without"
        )
    }
}

impl Error for Missing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_remedy() {
        let error = find("no-such-program", Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("make bench-peers") && error.contains("no-such-program"), "{error}");
        assert!(find("sh", Path::new("/nonexistent")).unwrap().is_absolute());
    }
}
