//! The wall clock, for what tokens and decrees say of it, and for people.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, UtcOffset, macros::format_description};

/// Milliseconds since 1970. A clock that stands before that says 0.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    unix_ms() / 1000
}

/// `15:04:05` where this machine is, or in UTC if that cannot be told.
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or_default();
    let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let local = UtcOffset::local_offset_at(utc).map_or(utc, |offset| utc.to_offset(offset));
    local.format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default()
}
