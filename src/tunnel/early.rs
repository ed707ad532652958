//! The client's first bytes, which may leave ahead of the verdict.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::frame::{HEADER, MAX_FRAME};

/// Bytes that may leave ahead of the verdict at most: with the header they fit into one TLS record.
pub const MAX_EARLY: usize = 8 * 1024;

/// What the client has said so far, and whether it was sent along with the header of one attempt.
///
/// Sent along, it saves a round trip. But if the tunnel then breaks before the verdict, nobody knows whether a backend has
/// seen it, and no other worker may be tried. So it is for the carrier to decide: only one that heard from the worker a
/// moment ago does it.
#[derive(Debug, Default)]
pub struct Early {
    bytes: Bytes,
    is_sent: AtomicBool,
}

impl Early {
    /// For one attempt; at most [`MAX_EARLY`] bytes, or they are not sent.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, is_sent: AtomicBool::new(false) }
    }

    /// Whether the bytes have left, or may have. It stays true when the attempt failed.
    pub fn is_sent(&self) -> bool {
        self.is_sent.load(Ordering::Acquire)
    }

    /// The bytes as a frame, on their way from here on; nothing if there are none.
    pub(super) fn send(&self) -> Vec<u8> {
        const { assert!(MAX_EARLY <= MAX_FRAME) };
        if self.bytes.is_empty() || self.bytes.len() > MAX_EARLY {
            return Vec::new();
        }
        self.is_sent.store(true, Ordering::Release);
        let mut frame = Vec::with_capacity(HEADER + self.bytes.len());
        frame.extend_from_slice(&(self.bytes.len() as u32).to_be_bytes());
        frame.extend_from_slice(&self.bytes);
        frame
    }
}
