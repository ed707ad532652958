//! Frames of a sync session.
//!
//! # Wire format
//!
//! The stream carries frames of at most 65 536 bytes, each after its length (the driver's business). Integers are
//! big-endian, owners are 32-byte public keys.
//!
//! | kind | frame   | payload | answered by |
//! |------|---------|---------|-------------|
//! | 1    | Hello   | count u32 ‖ fingerprint 16 bytes | Hello |
//! | 2    | Ask     | nothing, or the owner after whom to go on | Digest |
//! | 3    | Digest  | last u8 (0 or 1) ‖ lines, owners strictly ascending | – |
//! | 4    | Want    | 1 to 1024 owners, strictly ascending | Records |
//! | 5    | Records | any number of (length u16 ‖ rumour) | Taken, where it answers no Want |
//! | 6    | Taken   | nothing | – |
//!
//! A line of a digest is `owner ‖ seq u64 ‖ first 8 bytes of the record id ‖ quarantined u8 (0 or 1)`. A digest that
//! is not the last of its ledger has exactly 1024 lines.
//!
//! The fingerprint is the sum modulo 2^128 of the first sixteen bytes of the ids of all fresh records, and, for each
//! quarantined owner among them, of the first sixteen bytes of SHA-256(`"p2p-fed/quarantine/v1" ‖ 0x00 ‖ owner`).

use crate::{NodeId, WireError, replica::Line, rumour::RUMOUR_MAX};

/// Bytes of a frame: what a slow link carries in a moment, and all that a session ever has waiting to be sent.
pub const FRAME_MAX: usize = 64 * 1024;
/// Lines of a digest and owners of a want: 1024 lines are 49 KiB.
pub(crate) const PAGE: usize = 1024;

const HELLO: u8 = 1;
const ASK: u8 = 2;
const DIGEST: u8 = 3;
const WANT: u8 = 4;
const RECORDS: u8 = 5;
const TAKEN: u8 = 6;

/// Bytes of an owner.
const OWNER: usize = 32;
/// Bytes of a line of a digest.
const LINE: usize = OWNER + 8 + 8 + 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello { count: u32, fingerprint: u128 },
    Ask { after: Option<NodeId> },
    Digest { last: bool, lines: Vec<Line> },
    Want(Vec<NodeId>),
    Records(Records),
    Taken,
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
        let fits = 1 + self.0.len() + packed.len() <= FRAME_MAX;
        if fits {
            self.0.append(&mut packed);
        }
        fits
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
            Self::Hello { count, fingerprint } => {
                [&[HELLO][..], &count.to_be_bytes(), &fingerprint.to_be_bytes()].concat()
            }
            Self::Ask { after } => [&[ASK][..], after.as_ref().map_or(&[][..], |owner| owner.as_bytes())].concat(),
            Self::Digest { last, lines } => {
                let mut bytes = vec![DIGEST, u8::from(*last)];
                for line in lines {
                    bytes.extend_from_slice(line.owner.as_bytes());
                    bytes.extend_from_slice(&line.seq.to_be_bytes());
                    bytes.extend_from_slice(&line.prefix);
                    bytes.push(u8::from(line.quarantined));
                }
                bytes
            }
            Self::Want(owners) => {
                let mut bytes = vec![WANT];
                owners.iter().for_each(|owner| bytes.extend_from_slice(owner.as_bytes()));
                bytes
            }
            Self::Records(records) => [&[RECORDS][..], &records.0].concat(),
            Self::Taken => vec![TAKEN],
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
                let (count, fingerprint) = payload.split_first_chunk().ok_or(WireError::Truncated)?;
                let fingerprint = fingerprint.try_into().map_err(|_| invalid)?;
                Ok(Self::Hello { count: u32::from_be_bytes(*count), fingerprint: u128::from_be_bytes(fingerprint) })
            }
            ASK if payload.is_empty() => Ok(Self::Ask { after: None }),
            ASK => {
                let after = payload.try_into().map_err(|_| invalid)?;
                Ok(Self::Ask { after: Some(NodeId::from_bytes(after)) })
            }
            DIGEST => {
                let (last, lines) = payload.split_first().ok_or(WireError::Truncated)?;
                let last = boolean(*last).ok_or(invalid.clone())?;
                let (chunks, []) = lines.as_chunks::<LINE>() else { return Err(WireError::Truncated) };
                let lines: Vec<_> = chunks.iter().map(decode_line).collect::<Option<_>>().ok_or(invalid.clone())?;
                let right_length = if last { lines.len() <= PAGE } else { lines.len() == PAGE };
                let valid = right_length && lines.is_sorted_by(|a, b| a.owner < b.owner);
                if valid { Ok(Self::Digest { last, lines }) } else { Err(invalid) }
            }
            WANT => {
                let (chunks, []) = payload.as_chunks::<OWNER>() else { return Err(WireError::Truncated) };
                let owners: Vec<_> = chunks.iter().map(|owner| NodeId::from_bytes(*owner)).collect();
                let valid = (1..=PAGE).contains(&owners.len()) && owners.is_sorted_by(|a, b| a < b);
                if valid { Ok(Self::Want(owners)) } else { Err(invalid) }
            }
            RECORDS => Ok(Self::Records(Records(payload.to_vec()))),
            TAKEN if payload.is_empty() => Ok(Self::Taken),
            TAKEN => Err(WireError::Trailing),
            _ => Err(WireError::Unsupported { tag: kind }),
        }
    }
}

fn decode_line(bytes: &[u8; LINE]) -> Option<Line> {
    let (owner, rest) = bytes.split_first_chunk::<OWNER>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (prefix, rest) = rest.split_first_chunk::<8>()?;
    let quarantined = boolean(*rest.first()?)?;
    Some(Line { owner: NodeId::from_bytes(*owner), seq: u64::from_be_bytes(*seq), prefix: *prefix, quarantined })
}

fn boolean(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(n: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn lines(n: u16) -> Vec<Line> {
        (0..n).map(|n| Line { owner: owner(n), seq: 5, prefix: [3; 8], quarantined: n % 2 == 0 }).collect()
    }

    #[test]
    fn every_kind_comes_back_and_fits() {
        let mut records = Records::default();
        assert!(records.add([vec![1; 300], vec![2; 9]].into_iter()));
        let frames = [
            Frame::Hello { count: 7, fingerprint: u128::MAX - 1 },
            Frame::Ask { after: None },
            Frame::Ask { after: Some(owner(9)) },
            Frame::Digest { last: true, lines: vec![] },
            Frame::Digest { last: false, lines: lines(1024) },
            Frame::Want((0..1024).map(owner).collect()),
            Frame::Records(Records::default()),
            Frame::Records(records.clone()),
            Frame::Taken,
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
        let digest = |last, lines| Frame::Digest { last, lines }.encode();
        let mut twice = lines(2);
        twice[1].owner = twice[0].owner;
        let bad = [
            vec![],
            vec![0],
            vec![7],
            vec![TAKEN, 0],
            vec![0; FRAME_MAX + 1],
            [&[HELLO][..], &[0; 19]].concat(),
            [&[HELLO][..], &[0; 21]].concat(),
            [&[ASK][..], &[0; 31]].concat(),
            digest(false, lines(1023)),
            digest(true, lines(1025)),
            digest(true, twice),
            digest(true, lines(2))[..30].to_vec(),
            vec![DIGEST, 2],
            Frame::Want(vec![]).encode(),
            Frame::Want(vec![owner(2), owner(1)]).encode(),
            Frame::Want((0..1025).map(owner).collect()).encode(),
        ];
        for (at, bytes) in bad.iter().enumerate() {
            assert!(Frame::decode(bytes).is_err(), "case {at}");
        }
        for payload in [&[0][..], &[0, 5, 1], &[0xff, 0xff]] {
            assert!(Records(payload.to_vec()).rumours().is_err(), "{payload:?}");
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
