//! Fields on the wire: tag, length, value.
//!
//! A field is `tag u8 ‖ length u16 ‖ value`, integers big-endian. Fields stand in ascending order of their tags; a tag
//! that may repeat keeps its own order. So one value has one encoding, and that is what gets hashed and signed.
//!
//! Tags below 0x80 are critical: a reader that does not know one must not use the message. Tags from 0x80 on may be
//! skipped, each at most once. Both kinds come after the fields that version 1 defines, so an older reader meets them
//! last.

use crate::StatementError;

/// Bit of a tag that says: who does not know it may skip it.
const OPTIONAL: u8 = 0x80;

/// Bytes before a field's value.
const HEAD: usize = 3;

/// The bytes are not a valid message of this protocol version. Nothing was stored; the same bytes will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// More bytes than this kind of message may have.
    #[error("{len} bytes where at most {max} fit")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A field is missing, repeated or out of order.
    #[error("field {found:#04x} stands where {expected:#04x} belongs")]
    Order {
        /// The tag that belongs there.
        expected: u8,
        /// The tag that stands there.
        found: u8,
    },
    /// A field's value has the wrong length or is out of its range.
    #[error("the value of field {tag:#04x} is not valid")]
    Value {
        /// The field.
        tag: u8,
    },
    /// Bytes are left where the message should end.
    #[error("bytes are left after the end of the message")]
    Trailing,
    /// The statement breaks one of its bounds.
    #[error("the statement is not valid: {0}")]
    Statement(#[from] StatementError),
    /// A newer version of the protocol wrote this: a version, critical field or value that this one does not know. Not
    /// the sender's fault.
    #[error("field {tag:#04x} is of a newer protocol version")]
    Unsupported {
        /// The field.
        tag: u8,
    },
}

/// Appends fields.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// Appends one field. Callers keep values within 65 535 bytes: every value is bounded far below.
    pub(crate) fn field(&mut self, tag: u8, value: &[u8]) {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.0.push(tag);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend(value.iter().take(usize::from(len)));
    }
}

/// Takes fields off in order.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the next field, which must be `tag`.
    pub(crate) fn field(&mut self, tag: u8) -> Result<&'a [u8], WireError> {
        match self.0.first() {
            None => Err(WireError::Truncated),
            Some(&found) if found != tag => Err(WireError::Order { expected: tag, found }),
            Some(_) => self.take().map(|(_, value)| value),
        }
    }

    /// The value of the next field if it is `tag`.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, WireError> {
        if self.0.first() == Some(&tag) { self.field(tag).map(Some) } else { Ok(None) }
    }

    /// The value of the next field, which must be `tag` and `N` bytes long.
    pub(crate) fn array<const N: usize>(&mut self, tag: u8) -> Result<[u8; N], WireError> {
        self.field(tag)?.try_into().map_err(|_| WireError::Value { tag })
    }

    /// The end: only fields that may be skipped are left. `last` is the highest tag this version knows.
    pub(crate) fn end(mut self, last: u8) -> Result<(), WireError> {
        let mut expected = OPTIONAL;
        while let Some(&found) = self.0.first() {
            if found < OPTIONAL {
                // A tag this version knows can't come again; one that it does not know is critical.
                let known = found <= last || expected > OPTIONAL;
                return Err(if known {
                    WireError::Order { expected, found }
                } else {
                    WireError::Unsupported { tag: found }
                });
            }
            if found < expected {
                return Err(WireError::Order { expected, found });
            }
            self.take()?;
            match found.checked_add(1) {
                Some(next) => expected = next,
                None if self.0.is_empty() => {}
                None => return Err(WireError::Trailing),
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(u8, &'a [u8]), WireError> {
        let (&[tag, high, low], rest) = self.0.split_first_chunk::<HEAD>().ok_or(WireError::Truncated)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(tags: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        tags.iter().for_each(|tag| writer.field(*tag, b"v"));
        writer.0
    }

    #[test]
    fn fields_come_back_in_order() {
        let bytes = fields(&[1, 2, 2, 0x80, 0xff]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.array::<1>(1), Ok(*b"v"));
        assert_eq!(reader.optional(2), Ok(Some(&b"v"[..])));
        assert_eq!(reader.optional(2), Ok(Some(&b"v"[..])));
        assert_eq!(reader.optional(2), Ok(None));
        assert_eq!(reader.end(2), Ok(()));
    }

    #[test]
    fn what_is_left_must_be_skippable_ascending_and_single() {
        let end = |tags: &[u8]| Reader::new(&fields(tags)).end(2);
        assert_eq!(end(&[]), Ok(()));
        assert_eq!(end(&[2]), Err(WireError::Order { expected: 0x80, found: 2 }));
        assert_eq!(end(&[3]), Err(WireError::Unsupported { tag: 3 }));
        assert_eq!(end(&[0x90, 3]), Err(WireError::Order { expected: 0x91, found: 3 }));
        assert_eq!(end(&[0x80, 0x80]), Err(WireError::Order { expected: 0x81, found: 0x80 }));
        assert_eq!(end(&[0x82, 0x81]), Err(WireError::Order { expected: 0x83, found: 0x81 }));
        assert_eq!(end(&[0xff, 0xff]), Err(WireError::Trailing));
    }

    #[test]
    fn a_cut_anywhere_is_told() {
        let bytes = fields(&[0x80]);
        for cut in 1..bytes.len() {
            assert_eq!(Reader::new(&bytes[..cut]).end(2), Err(WireError::Truncated), "cut at {cut}");
        }
        assert_eq!(Reader::new(&[]).field(1), Err(WireError::Truncated));
        assert_eq!(Reader::new(&bytes).array::<2>(0x80), Err(WireError::Value { tag: 0x80 }));
    }
}
