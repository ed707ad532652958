//! The memory that bodies of requests may take while they are kept to be sent again.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all requests of one front keep at most. When they are taken, further bodies are streamed and sent once:
/// sixty-four conversations of a mebibyte each, and some thousands of usual size.
const IN_ALL: usize = 64 * 1024 * 1024;

/// What is left of [`IN_ALL`].
#[derive(Debug)]
pub(super) struct Replay(AtomicUsize);

impl Default for Replay {
    fn default() -> Self {
        Self(AtomicUsize::new(IN_ALL))
    }
}

impl Replay {
    /// Takes room for `bytes`, to be given back; false if there is not as much.
    pub(super) fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.0.load(Ordering::Relaxed) == IN_ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_and_no_more() {
        let replay = Replay::default();
        assert!(replay.take(IN_ALL - 1) && replay.take(1) && !replay.take(1));
        replay.give_back(IN_ALL);
        assert!(replay.is_whole());
    }
}
