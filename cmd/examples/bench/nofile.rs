//! How many files and sockets this program, and what it starts, may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes room for `wanted`, or for as many as the system allows; returns how many that are.
pub(super) fn raise(wanted: u64) -> u64 {
    let before = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(before.current) {
        return before.current.unwrap_or(u64::MAX);
    }
    let within = Rlimit { current: before.maximum, maximum: before.maximum };
    // Root may have more than the limit says.
    let beyond = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    let _ = match enough(before.maximum) {
        true => setrlimit(Resource::Nofile, within),
        false => setrlimit(Resource::Nofile, beyond).or_else(|_| setrlimit(Resource::Nofile, within)),
    };
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
