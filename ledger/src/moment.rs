//! What the time is, as its owner says.

use std::time::Duration;

/// One reading of both clocks of this machine.
///
/// The two are never mixed: deadlines and freshness use [`mono`](Self::mono), which no one can set; the sanity bounds
/// on a record's date and the first sequence number use [`unix_ms`](Self::unix_ms), which may jump either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since an origin of this process's own choosing; never goes back.
    pub mono: Duration,
    /// The wall clock: milliseconds since 1970.
    pub unix_ms: u64,
}
