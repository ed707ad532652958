//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as the system allows. The soft limit, often 1024, protects programs that use `select`; this one does not.
pub(crate) fn take_all() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(before = current, now = maximum, "open files"),
        // It works as well with those that it has, up to that many.
        Err(error) => tracing::debug!(before = current, %error, "cannot raise the limit of open files"),
    }
}
