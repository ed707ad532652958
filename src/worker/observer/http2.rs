//! Streams of HTTP/2 (RFC 9113), by the headers of its frames.

use std::collections::BTreeSet;

use super::Lost;
use crate::{tunnel::Load, worker::tally::Account};

/// What a client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes before each frame's payload (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Streams that are open at once at most; servers allow some hundred.
const STREAMS_MAX: usize = 4096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// Follows one tunnel.
#[derive(Debug)]
pub(super) struct Http2 {
    /// Bytes of the preface that were seen.
    greeted: usize,
    requests: Frames,
    responses: Frames,
    /// Streams whose responses have not ended.
    open: BTreeSet<u32>,
    /// The highest stream so far.
    last: u32,
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER],
    got: usize,
    /// Bytes of the payload still to come.
    left: usize,
}

/// A frame that is over.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Http2 {
    pub(super) fn new() -> Self {
        let (requests, responses) = (Frames::default(), Frames::default());
        Self { greeted: 0, requests, responses, open: BTreeSet::new(), last: 0 }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.last == 0
    }

    /// Bytes to the backend.
    pub(super) fn down(&mut self, mut bytes: &[u8], account: &mut Account) -> Result<(), Lost> {
        let awaited = PREFACE.get(self.greeted..).unwrap_or_default();
        let (greeting, rest) = bytes.split_at(awaited.len().min(bytes.len()));
        if !awaited.starts_with(greeting) {
            return Err(Lost);
        }
        self.greeted += greeting.len();
        bytes = rest;
        while let Some(Frame { kind, stream, .. }) = self.requests.next(&mut bytes) {
            match kind {
                // Headers of a stream that is known are trailers. Clients open odd ones, each above the last.
                HEADERS if stream > self.last && stream % 2 == 1 => {
                    // The first one was counted when the tunnel was accepted.
                    if !self.is_unused() {
                        account.begin();
                    }
                    self.last = stream;
                    self.open.insert(stream);
                    if self.open.len() > STREAMS_MAX {
                        return Err(Lost);
                    }
                }
                RST_STREAM => drop(self.close(stream, account)),
                _ => {}
            }
        }
        account.works(self.working());
        Ok(())
    }

    /// Bytes from the backend. A report if a response ended.
    pub(super) fn up(&mut self, mut bytes: &[u8], account: &mut Account) -> Result<Option<Load>, Lost> {
        account.brought(bytes.len());
        let mut told = None;
        while let Some(Frame { kind, flags, stream }) = self.responses.next(&mut bytes) {
            if kind == RST_STREAM || matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                told = self.close(stream, account).or(told);
            }
        }
        Ok(told)
    }

    fn close(&mut self, stream: u32, account: &mut Account) -> Option<Load> {
        self.open.remove(&stream).then(|| {
            account.works(self.working());
            account.end()
        })
    }

    fn working(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }
}

impl Frames {
    /// Takes bytes off until a frame is over, or all are taken.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while !bytes.is_empty() {
            if self.got < HEADER {
                let (part, rest) = bytes.split_at(bytes.len().min(HEADER - self.got));
                if let Some(room) = self.header.get_mut(self.got..self.got + part.len()) {
                    room.copy_from_slice(part);
                }
                self.got += part.len();
                *bytes = rest;
                let [a, b, c, ..] = self.header;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            } else {
                let (part, rest) = bytes.split_at(bytes.len().min(self.left));
                self.left -= part.len();
                *bytes = rest;
            }
            if self.got == HEADER && self.left == 0 {
                self.got = 0;
                let [.., kind, flags, a, b, c, d] = self.header;
                // The highest bit is reserved.
                return Some(Frame { kind, flags, stream: u32::from_be_bytes([a & 0x7f, b, c, d]) });
            }
        }
        None
    }
}
