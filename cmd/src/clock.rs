//! The wall clock, for what tokens and decrees say of it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970. A clock that stands before that says 0.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    unix_ms() / 1000
}
