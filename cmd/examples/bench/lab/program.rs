//! Programs of others: where they are installed.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Context;

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
    // In full: sshd wants to be called so.
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    let found = found.with_context(|| {
        format!("{name} is not installed: `make bench-peers` installs it, `--paths direct,relay,p2p-fed` does without")
    })?;
    Ok(found.canonicalize()?)
}

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
