//! The wall clock, for what a token says of it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. A clock that stands before that says 0.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
