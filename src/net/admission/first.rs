//! What the first stream of a dialler is for, without answering it.
//!
//! In a compat network a dialler may be a node of edgevpn, which has never heard of admission: its first stream is identify's
//! or any other's, and one that was answered with *not available* would be lost for good. So the listener reads what the
//! dialler proposes, says nothing, and hands the stream on as if it had not been touched ([`Untouched`]), either to the
//! exchange of proofs or, through [`Returned`], to the swarm.
//!
//! The dialler's first two messages are those of multistream-select 1.0: a length (unsigned varint) before each, and a line
//! break at its end. All implementations send both without waiting for an answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use libp2p::core::{
    StreamMuxer,
    muxing::{StreamMuxerBox, StreamMuxerEvent, StreamMuxerExt, SubstreamBox},
};

/// The first message of either end.
const HEADER: &[u8] = b"/multistream/1.0.0\n";

/// Bytes in one message at most: names of protocols are a tenth of it, and its length is then one or two bytes.
const MAX_MESSAGE: usize = 1024;

/// A stream from which nothing was read, as far as its next reader can tell.
pub(super) struct Untouched {
    read: Vec<u8>,
    given: usize,
    stream: SubstreamBox,
}

/// Reads what the dialler proposes first: the name of a protocol.
///
/// # Errors
/// The stream broke, or what came is not multistream-select.
pub(super) async fn proposal(stream: SubstreamBox) -> io::Result<(Vec<u8>, Untouched)> {
    let mut untouched = Untouched { read: Vec::new(), given: 0, stream };
    if untouched.message().await? != HEADER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak multistream-select"));
    }
    let mut protocol = untouched.message().await?;
    if protocol.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message without its line break"));
    }
    Ok((protocol, untouched))
}

impl Untouched {
    /// The next message, kept for the next reader as well.
    async fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut length = 0;
        for shift in [0, 7] {
            let byte = self.byte().await?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.bytes(length).await;
            }
        }
        Err(too_long())
    }

    async fn byte(&mut self) -> io::Result<u8> {
        let byte = self.bytes(1).await?;
        byte.first().copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > MAX_MESSAGE {
            return Err(too_long());
        }
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await?;
        self.read.extend_from_slice(&bytes);
        Ok(bytes)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a proposal that is too long")
}

impl AsyncRead for Untouched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let rest = this.read.get(this.given..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        this.given += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Untouched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A muxer that got a stream back: its next inbound stream.
pub(super) struct Returned {
    stream: Option<Untouched>,
    muxer: StreamMuxerBox,
}

impl Returned {
    /// `muxer` as if `stream` had not been taken from it.
    pub(super) fn muxer(stream: Untouched, muxer: StreamMuxerBox) -> StreamMuxerBox {
        StreamMuxerBox::new(Self { stream: Some(stream), muxer })
    }
}

impl StreamMuxer for Returned {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        match self.stream.take() {
            Some(stream) => Poll::Ready(Ok(SubstreamBox::new(stream))),
            None => self.muxer.poll_inbound_unpin(cx),
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        self.muxer.poll_outbound_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.muxer.poll_close_unpin(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.muxer.poll_unpin(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    fn stream(bytes: &[u8]) -> SubstreamBox {
        SubstreamBox::new(Cursor::new(bytes.to_vec()))
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_again() {
        let sent = b"\x13/multistream/1.0.0\n\x0f/ipfs/id/1.0.0\nmore";
        let (protocol, mut untouched) = proposal(stream(sent)).await.unwrap();
        assert_eq!(protocol, b"/ipfs/id/1.0.0");
        let mut read = Vec::new();
        untouched.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn no_bytes_make_it_wait_for_more_than_a_message() {
        for bytes in [
            &b""[..],
            b"\x13/multistream/1.0.0",
            b"\xff\xff\xff",
            b"\x90\x08",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x13/multistream/2.0.0\n\x05/a/b\n",
            b"\x13/multistream/1.0.0\n\x04/a/b\n",
            b"\x13/multistream/1.0.0\n\x00",
        ] {
            assert!(proposal(stream(bytes)).await.is_err(), "{bytes:?}");
        }
    }
}
