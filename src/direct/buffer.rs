//! Buffers that belong to the thread and are lent to a connection while bytes wait in it.
//!
//! Ten thousand quiet connections hold none; a busy one finds its buffer warm.

use std::cell::RefCell;

use super::record::{HEADER, MAX_PLAIN, TRAILER};

/// Full records in one buffer: what one frame of a tunnel fills.
const RECORDS: usize = 4;

/// Bytes in a buffer: [`RECORDS`] and two small ones, such as a change of keys.
pub(super) const SIZE: usize = RECORDS * (HEADER + MAX_PLAIN + TRAILER) + 2 * (HEADER + TRAILER + 64);

/// Plaintext that is sealed at once at most.
pub(super) const MAX_PLAIN_AT_ONCE: usize = RECORDS * MAX_PLAIN;

/// Buffers that a thread keeps; those of connections that are busy at the same time, give or take.
const KEPT: usize = 16;

thread_local! {
    static SHELF: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer and the part of it that is in use. It goes back to the thread's shelf when dropped.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Buffer {
    /// An empty one, of [`SIZE`] bytes.
    pub(super) fn take() -> Self {
        let kept = SHELF.with_borrow_mut(Vec::pop);
        Self { bytes: kept.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()), start: 0, end: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What is in use.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// What is free behind it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// All bytes, in use or not.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// Moves what is in use to the beginning.
    pub(super) fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // The thread may be ending, and its shelf gone.
        let _ = SHELF.try_with(|shelf| {
            let mut shelf = shelf.borrow_mut();
            if shelf.len() < KEPT {
                shelf.push(bytes);
            }
        });
    }
}
