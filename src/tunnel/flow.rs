//! One direction of a splice.
//!
//! What is read is written before more is read, so the slower side sets the pace and at most one chunk waits.
//!
//! Memory: the chunk that a poll reads into belongs to the thread, not to the tunnel, and is lent for the time of the poll.
//! A flow holds bytes of its own only while its writer does not take them. Ten thousand quiet tunnels hold none.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{MAX_FRAME, frame::HEADER};

/// Bytes read at a time. With its header a full read is one frame and fills four TLS records, with nothing left over.
pub(super) const CHUNK: usize = MAX_FRAME - HEADER;

/// Chunks that one direction moves before the other, and other tasks, get their turn: 1 MiB.
const TURN: usize = 16;

/// Lends the thread's chunk. Should a reader or writer itself splice inside its poll, it gets a chunk of its own.
pub(super) fn with_chunk<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SHELF: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    }
    let mut chunk = SHELF.take().unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
    let result = work(&mut chunk);
    SHELF.set(Some(chunk));
    result
}

/// One direction.
#[derive(Default)]
pub(super) struct Flow {
    stage: Stage,
    /// Bytes that the writer took.
    pub(super) carried: u64,
    /// Bytes read that the writer did not take yet, from `held_from` on: at most a chunk.
    held: Vec<u8>,
    held_from: usize,
    /// The writer took bytes since the last flush.
    unflushed: bool,
    /// Why the writer takes no more. The direction counts as ended.
    pub(super) unwritable: Option<io::Error>,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Stage {
    #[default]
    Copying,
    /// The reader ended; the writer's end is on its way.
    Closing,
    Ended,
}

enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Flow {
    /// Changes whenever something moved.
    pub(super) fn place(&self) -> (u64, Stage) {
        (self.carried, self.stage)
    }

    /// The writer does not take what was read.
    pub(super) fn is_stalled(&self) -> bool {
        !self.held.is_empty()
    }

    /// Moves what can be moved, and shows each chunk to `see` before it is written; an empty one is the end. Ready when the
    /// direction ended; an error is the reader's.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        chunk: &mut [u8],
        see: impl FnMut(&mut W, &[u8]),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let result = ready!(self.poll_copy(cx, from, to, chunk, see));
        self.held = Vec::new();
        self.stage = Stage::Ended;
        Poll::Ready(match result {
            Ok(()) => Ok(()),
            Err(Fault::Read(error)) => Err(error),
            Err(Fault::Write(error)) => {
                self.unwritable = Some(error);
                Ok(())
            }
        })
    }

    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        chunk: &mut [u8],
        mut see: impl FnMut(&mut W, &[u8]),
    ) -> Poll<Result<(), Fault>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            match self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Closing => {
                    let closed = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    return Poll::Ready(closed.map_err(Fault::Write));
                }
                Stage::Copying => ready!(self.poll_held(cx, to)).map_err(Fault::Write)?,
            }
            let mut read = ReadBuf::new(chunk);
            match Pin::new(&mut *from).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => {
                    see(to, read.filled());
                    match read.filled() {
                        [] => self.stage = Stage::Closing,
                        bytes => ready!(self.poll_chunk(cx, to, bytes)).map_err(Fault::Write)?,
                    }
                }
                Poll::Ready(Err(error)) => {
                    // What came before the fault should get out, but is not worth waiting for.
                    let _ = Pin::new(&mut *to).poll_flush(cx);
                    return Poll::Ready(Err(Fault::Read(error)));
                }
                Poll::Pending => {
                    self.held = Vec::new();
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Fault::Write)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes a fresh chunk; what the writer does not take is held.
    fn poll_chunk<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        mut rest: &[u8],
    ) -> Poll<io::Result<()>> {
        while !rest.is_empty() {
            match poll_write(cx, to, rest) {
                Poll::Ready(result) => {
                    let written = result?;
                    rest = rest.get(written..).unwrap_or_default();
                    self.took(written);
                }
                Poll::Pending => {
                    self.held.extend_from_slice(rest);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is held from before. The buffer keeps its memory until the reader has nothing more.
    fn poll_held<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>> {
        while self.held_from < self.held.len() {
            let rest = self.held.get(self.held_from..).unwrap_or_default();
            let written = ready!(poll_write(cx, to, rest))?;
            self.held_from += written;
            self.took(written);
        }
        self.held.clear();
        self.held_from = 0;
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, written: usize) {
        self.carried += written as u64;
        self.unflushed = true;
    }
}

fn poll_write<W: AsyncWrite + Unpin>(cx: &mut Context<'_>, to: &mut W, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        result => Poll::Ready(result),
    }
}
