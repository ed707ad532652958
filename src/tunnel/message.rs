//! The outer form of header and verdict, the same in every version: a version byte, a big-endian `u16` length, and a body
//! of that many bytes. All integers in a body are big-endian.
//!
//! Bytes that follow the last known field of a body are skipped, so that a field can be added at the end without a new
//! version. A worker that does not know a header's version answers with a refusal of version 1, which every version
//! reads; so old and new nodes can share a network.
//!
//! **Invariant.** Reading takes exactly the bytes of the message: what follows on the carrier is left for the frames.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version written, and the only one read.
pub const VERSION: u8 = 1;

/// Why a header or a verdict could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The carrier failed or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer speaks a version that this node does not.
    #[error("tunnel version {0} is not understood, only {VERSION} is")]
    Version(u8),
    /// The bytes, or the value to write, break the rule named.
    #[error("malformed tunnel message: {0}")]
    Malformed(&'static str),
}

/// Writes a message and what follows it, in one piece, and flushes.
pub(super) async fn write_message<W: AsyncWrite + Unpin>(
    to: &mut W,
    body: &[u8],
    behind: &[u8],
) -> Result<(), MessageError> {
    let length = u16::try_from(body.len()).map_err(|_| MessageError::Malformed("too long"))?;
    let mut message = vec![VERSION];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    message.extend_from_slice(behind);
    to.write_all(&message).await?;
    Ok(to.flush().await?)
}

/// The body of one message. That of an unknown version is read as well, so that it does not lie in the carrier's way when
/// the refusal is sent and the carrier closed.
pub(super) async fn read_message<const MAX: usize, R: AsyncRead + Unpin>(
    from: &mut R,
) -> Result<Vec<u8>, MessageError> {
    let mut outer = [0; 3];
    from.read_exact(&mut outer).await?;
    let [version, high, low] = outer;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX {
        return Err(MessageError::Malformed("too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    if version == VERSION { Ok(body) } else { Err(MessageError::Version(version)) }
}

/// What is left of a body.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let (field, rest) = self.0.split_at_checked(length).ok_or(MessageError::Malformed("too short"))?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(MessageError::Malformed("too short"))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn byte(&mut self) -> Result<u8, MessageError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn port(&mut self) -> Result<u16, MessageError> {
        self.array().map(u16::from_be_bytes)
    }
}
