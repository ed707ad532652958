//! Frames of a sync session.
//!
//! # Wire format
//!
//! The stream carries frames of at most 65 536 bytes, each after its length (the driver's business). Integers are
//! big-endian, owners are 32-byte public keys.
//!
//! | kind | frame   | payload | answered by |
//! |------|---------|---------|-------------|
//! | 1    | Hello   | count u32 ‖ fingerprint 16 bytes ‖ decree u64 | Hello |
//! | 2    | Ask     | salt u64 ‖ from u16 ‖ count u16: so many symbols from that one on | Symbols |
//! | 3    | Symbols | that many symbols of the sender's elements, 26 bytes each (see `sketch`) | – |
//! | 4    | Want    | 1 to 1024 lines, prefixes strictly ascending | Records |
//! | 5    | Records | any number of (length u16 ‖ rumour) | Taken, where it answers no Want |
//! | 6    | Taken   | nothing | – |
//! | 7    | Turn    | nothing, or the owner after whom to go on | Page |
//! | 8    | Page    | 0, or 1 ‖ the last owner of the page; then any number of (length u16 ‖ rumour) | – |
//!
//! A Hello tells how many owners are fresh, their fingerprint, and the number of the newest decree, 0 for none.
//!
//! A line of a Want is `prefix ‖ what u8`: the first eight bytes of an owner, and 1 for its lease alone or 2 for all that
//! is known of it. What 3, with a prefix of zeros, asks for the decree.
//!
//! An **element** of a ledger is `prefix[8] ‖ tag[4] ‖ number u64`, one for each fresh owner: the first eight bytes of the
//! owner; the first four of its record's id, exclusive-ored with those of the quarantine mark if the owner is quarantined;
//! and the number of its lease, or of its record where there is no lease. The quarantine mark is
//! SHA-256(`"p2p-fed/quarantine/v1" ‖ 0x00 ‖ owner`).
//!
//! The **fingerprint** is the sum modulo 2^128, over all fresh owners, of the first sixteen bytes of
//! SHA-256(`"p2p-fed/summand/v1" ‖ 0x00 ‖ record id ‖ number u64 ‖ quarantined u8`).
//!
//! A Page says all that its sender knows about the fresh owners after the one asked for, up to and including its last one;
//! without a last one, of all that are left.

use crate::{
    NodeId, WireError,
    rumour::RUMOUR_MAX,
    sketch::{SYMBOL, Symbol},
};

/// Bytes of a frame: what a slow link carries in a moment, and all that a session ever has waiting to be sent.
pub const FRAME_MAX: usize = 64 * 1024;
/// Lines of a want: 9 KiB, more than the records of one frame answer.
pub(crate) const LINES_MAX: usize = 1024;
/// Symbols of one frame: 26 KiB.
pub(crate) const SYMBOLS_MAX: usize = 1024;

const HELLO: u8 = 1;
const ASK: u8 = 2;
const SYMBOLS: u8 = 3;
const WANT: u8 = 4;
const RECORDS: u8 = 5;
const TAKEN: u8 = 6;
const TURN: u8 = 7;
const PAGE: u8 = 8;

const LEASE: u8 = 1;
const ALL: u8 = 2;
const DECREE: u8 = 3;

/// Bytes of an owner.
const OWNER: usize = 32;
/// Bytes of a line of a want.
const LINE: usize = 8 + 1;
/// Bytes before the rumours of a page.
const PAGE_HEAD: usize = 2 + OWNER;

/// The first bytes of an owner.
pub(crate) type Prefix = [u8; 8];

/// How much of an owner is asked for or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// The lease of a record that the other side has.
    Lease,
    /// Record, lease, evidence.
    All,
    /// The newest decree, whoever the prefix says.
    Decree,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello { count: u32, fingerprint: u128, decree: u64 },
    Ask { salt: u64, from: u16, count: u16 },
    Symbols(Vec<Symbol>),
    Want(Vec<(Prefix, What)>),
    Records(Records),
    Taken,
    Turn { after: Option<NodeId> },
    Page { until: Option<NodeId>, records: Records },
}

/// Rumours packed into one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records(Vec<u8>);

impl Records {
    /// Adds all of `rumours` if they fit, or none. A single owner's always fit an empty frame.
    pub(crate) fn add(&mut self, rumours: impl Iterator<Item = Vec<u8>>) -> bool {
        let mut packed = Vec::new();
        for rumour in rumours {
            let Ok(len) = u16::try_from(rumour.len()) else { return false };
            packed.extend_from_slice(&len.to_be_bytes());
            packed.extend_from_slice(&rumour);
        }
        let fits = PAGE_HEAD + self.0.len() + packed.len() <= FRAME_MAX;
        if fits {
            self.0.append(&mut packed);
        }
        fits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rumours, as bytes.
    pub(crate) fn rumours(&self) -> Result<Vec<&[u8]>, WireError> {
        let mut rest = &self.0[..];
        let mut rumours = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk() {
            let (rumour, tail) =
                tail.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(WireError::Truncated)?;
            if rumour.len() > RUMOUR_MAX {
                return Err(WireError::TooLong { len: rumour.len(), max: RUMOUR_MAX });
            }
            rumours.push(rumour);
            rest = tail;
        }
        if rest.is_empty() { Ok(rumours) } else { Err(WireError::Truncated) }
    }
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { count, fingerprint, decree } => {
                [&[HELLO][..], &count.to_be_bytes(), &fingerprint.to_be_bytes(), &decree.to_be_bytes()].concat()
            }
            Self::Ask { salt, from, count } => {
                [&[ASK][..], &salt.to_be_bytes(), &from.to_be_bytes(), &count.to_be_bytes()].concat()
            }
            Self::Symbols(symbols) => {
                let mut bytes = vec![SYMBOLS];
                symbols.iter().for_each(|symbol| symbol.encode(&mut bytes));
                bytes
            }
            Self::Want(lines) => {
                let mut bytes = vec![WANT];
                for (prefix, what) in lines {
                    bytes.extend_from_slice(prefix);
                    bytes.push(match what {
                        What::Lease => LEASE,
                        What::All => ALL,
                        What::Decree => DECREE,
                    });
                }
                bytes
            }
            Self::Records(records) => [&[RECORDS][..], &records.0].concat(),
            Self::Taken => vec![TAKEN],
            Self::Turn { after } => [&[TURN][..], after.as_ref().map_or(&[][..], |owner| owner.as_bytes())].concat(),
            Self::Page { until: None, records } => [&[PAGE, 0][..], &records.0].concat(),
            Self::Page { until: Some(owner), records } => [&[PAGE, 1][..], owner.as_bytes(), &records.0].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > FRAME_MAX {
            return Err(WireError::TooLong { len: bytes.len(), max: FRAME_MAX });
        }
        let (&kind, payload) = bytes.split_first().ok_or(WireError::Truncated)?;
        let invalid = WireError::Value { tag: kind };
        match kind {
            HELLO => {
                let (count, rest) = payload.split_first_chunk().ok_or(WireError::Truncated)?;
                let (fingerprint, decree) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
                Ok(Self::Hello {
                    count: u32::from_be_bytes(*count),
                    fingerprint: u128::from_be_bytes(*fingerprint),
                    decree: u64::from_be_bytes(decree.try_into().map_err(|_| invalid)?),
                })
            }
            ASK => {
                let (salt, rest) = payload.split_first_chunk().ok_or(WireError::Truncated)?;
                let (from, count) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
                let count = u16::from_be_bytes(count.try_into().map_err(|_| invalid.clone())?);
                let valid = (1..=SYMBOLS_MAX).contains(&usize::from(count));
                let ask = Self::Ask { salt: u64::from_be_bytes(*salt), from: u16::from_be_bytes(*from), count };
                if valid { Ok(ask) } else { Err(invalid) }
            }
            SYMBOLS => {
                let (mut symbols, mut rest) = (Vec::with_capacity(payload.len() / SYMBOL), payload);
                while let Some((symbol, tail)) = Symbol::decode(rest) {
                    symbols.push(symbol);
                    rest = tail;
                }
                let valid = rest.is_empty() && (1..=SYMBOLS_MAX).contains(&symbols.len());
                if valid { Ok(Self::Symbols(symbols)) } else { Err(invalid) }
            }
            WANT => {
                let (chunks, []) = payload.as_chunks::<LINE>() else { return Err(WireError::Truncated) };
                let lines: Vec<_> = chunks.iter().map(decode_line).collect::<Option<_>>().ok_or(invalid.clone())?;
                let valid = (1..=LINES_MAX).contains(&lines.len()) && lines.is_sorted_by(|a, b| a.0 < b.0);
                if valid { Ok(Self::Want(lines)) } else { Err(invalid) }
            }
            RECORDS => Ok(Self::Records(Records(payload.to_vec()))),
            TAKEN if payload.is_empty() => Ok(Self::Taken),
            TAKEN => Err(WireError::Trailing),
            TURN if payload.is_empty() => Ok(Self::Turn { after: None }),
            TURN => {
                let after = payload.try_into().map_err(|_| invalid)?;
                Ok(Self::Turn { after: Some(NodeId::from_bytes(after)) })
            }
            PAGE => match payload {
                [0, records @ ..] => Ok(Self::Page { until: None, records: Records(records.to_vec()) }),
                [1, rest @ ..] => {
                    let (until, records) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
                    Ok(Self::Page { until: Some(NodeId::from_bytes(*until)), records: Records(records.to_vec()) })
                }
                _ => Err(invalid),
            },
            _ => Err(WireError::Unsupported { tag: kind }),
        }
    }
}

fn decode_line(bytes: &[u8; LINE]) -> Option<(Prefix, What)> {
    let (prefix, what) = bytes.split_first_chunk()?;
    match what {
        [LEASE] => Some((*prefix, What::Lease)),
        [ALL] => Some((*prefix, What::All)),
        [DECREE] if *prefix == Prefix::default() => Some((*prefix, What::Decree)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::{ELEMENT, Sketch};

    fn line(n: u16) -> (Prefix, What) {
        let mut prefix = Prefix::default();
        prefix[..2].copy_from_slice(&n.to_be_bytes());
        (prefix, if n.is_multiple_of(2) { What::All } else { What::Lease })
    }

    fn symbols(n: usize) -> Vec<Symbol> {
        Sketch::new([[7; ELEMENT]], 3).next(n)
    }

    #[test]
    fn every_kind_comes_back_and_fits() {
        let mut records = Records::default();
        assert!(records.add([vec![1; 300], vec![2; 9]].into_iter()));
        let owner = NodeId::from_bytes([9; 32]);
        let frames = [
            Frame::Hello { count: 7, fingerprint: u128::MAX - 1, decree: 3 },
            Frame::Ask { salt: u64::MAX - 1, from: 32, count: 1024 },
            Frame::Symbols(symbols(1)),
            Frame::Symbols(symbols(1024)),
            Frame::Want((0..1024).map(line).collect()),
            Frame::Want(vec![(Prefix::default(), What::Decree)]),
            Frame::Records(Records::default()),
            Frame::Records(records.clone()),
            Frame::Taken,
            Frame::Turn { after: None },
            Frame::Turn { after: Some(owner) },
            Frame::Page { until: None, records: Records::default() },
            Frame::Page { until: Some(owner), records: records.clone() },
        ];
        for frame in frames {
            let bytes = frame.encode();
            assert!(bytes.len() <= FRAME_MAX);
            assert_eq!(Frame::decode(&bytes), Ok(frame));
        }
        assert_eq!(records.rumours(), Ok(vec![&[1; 300][..], &[2; 9]]));
    }

    #[test]
    fn frames_out_of_form_are_refused() {
        let bad = [
            vec![],
            vec![0],
            vec![9],
            vec![TAKEN, 0],
            vec![0; FRAME_MAX + 1],
            [&[HELLO][..], &[0; 27]].concat(),
            [&[HELLO][..], &[0; 29]].concat(),
            [&[ASK][..], &[1; 11]].concat(),
            Frame::Ask { salt: 1, from: 0, count: 0 }.encode(),
            Frame::Ask { salt: 1, from: 0, count: 1025 }.encode(),
            vec![SYMBOLS],
            Frame::Symbols(symbols(1025)).encode(),
            Frame::Symbols(symbols(2)).encode()[..40].to_vec(),
            Frame::Want(vec![]).encode(),
            Frame::Want(vec![line(2), line(1)]).encode(),
            Frame::Want(vec![line(1), line(1)]).encode(),
            Frame::Want((0..1025).map(line).collect()).encode(),
            Frame::Want(vec![([1; 8], What::Decree)]).encode(),
            [&[WANT][..], &[0; 8], &[4]].concat(),
            [&[TURN][..], &[0; 31]].concat(),
            [&[PAGE, 1][..], &[0; 31]].concat(),
            vec![PAGE],
            vec![PAGE, 2],
        ];
        for (at, bytes) in bad.iter().enumerate() {
            assert!(Frame::decode(bytes).is_err(), "case {at}");
        }
        for payload in [&[0][..], &[0, 5, 1], &[0xff, 0xff]] {
            assert!(Records(payload.to_vec()).rumours().is_err(), "{payload:?}");
        }
        let of_length = |len: usize| Records([&(len as u16).to_be_bytes()[..], &vec![1; len]].concat());
        assert_eq!(of_length(RUMOUR_MAX).rumours().unwrap().len(), 1);
        for len in [RUMOUR_MAX + 1, RUMOUR_MAX + 2] {
            assert_eq!(of_length(len).rumours(), Err(WireError::TooLong { len, max: RUMOUR_MAX }));
        }
    }

    #[test]
    fn a_frame_takes_what_fits_whole() {
        let mut records = Records::default();
        let mut taken = 0;
        while records.add([vec![0; 30_000]].into_iter()) {
            taken += 1;
        }
        assert_eq!(taken, 2);
        assert!(Frame::Records(records.clone()).encode().len() <= FRAME_MAX);
        assert!(!records.add([vec![0; 5], vec![0; RUMOUR_MAX]].into_iter()));
        assert_eq!(records.rumours().unwrap().len(), 2, "a group that does not fit leaves nothing behind");
    }
}
