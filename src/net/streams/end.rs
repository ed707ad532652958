//! Ends streams from outside, with the connection that they are on.
//!
//! A muxer tells them itself, with one exception: yamux forgets them when it is this end that closes the connection (rust-yamux
//! issue 216), as it does with a peer that fell silent. Whoever reads then would wait for ever.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;

/// One stream's. Reading and writing may be two tasks' work.
#[derive(Debug, Default)]
pub(super) struct End {
    is_over: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl End {
    /// What was polled to read, or an error where that can come to nothing any more.
    pub(super) fn or_read<T>(&self, polled: Poll<io::Result<T>>, cx: &Context<'_>) -> Poll<io::Result<T>> {
        self.or(polled, &self.reader, cx)
    }

    /// Likewise, of what was polled to write.
    pub(super) fn or_write<T>(&self, polled: Poll<io::Result<T>>, cx: &Context<'_>) -> Poll<io::Result<T>> {
        self.or(polled, &self.writer, cx)
    }

    fn or<T>(&self, polled: Poll<io::Result<T>>, waker: &AtomicWaker, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            waker.register(cx.waker());
            if self.is_over.load(Ordering::Acquire) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its connection was closed")));
            }
        }
        polled
    }

    fn come(&self) {
        self.is_over.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }
}

/// Those of a connection's streams. Dropped, they are over.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<Weak<End>>);

impl Ends {
    /// A further stream's.
    pub(super) fn add(&mut self) -> Arc<End> {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|end| end.strong_count() > 0);
            // As many again may come before they are looked through the next time.
            self.0.reserve(self.0.len().max(8));
        }
        let end = Arc::default();
        self.0.push(Arc::downgrade(&end));
        end
    }

    /// All are over now.
    pub(super) fn come(&mut self) {
        self.0.drain(..).filter_map(|end| end.upgrade()).for_each(|end| end.come());
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.come();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        task::{Poll, Waker},
    };

    use super::*;

    fn waiting(end: &End) -> bool {
        end.or_read(Poll::<io::Result<()>>::Pending, &Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn whoever_waits_is_told_and_what_is_ready_passes() {
        let mut ends = Ends::default();
        let (end, other) = (ends.add(), ends.add());
        let reads = tokio::spawn({
            let end = end.clone();
            async move { poll_fn(|cx| end.or_read(Poll::<io::Result<()>>::Pending, cx)).await }
        });
        let writes = tokio::spawn(async move { poll_fn(|cx| end.or_write(Poll::<io::Result<()>>::Pending, cx)).await });
        tokio::task::yield_now().await;
        assert!(waiting(&other) && !reads.is_finished() && !writes.is_finished());
        drop(ends);
        assert_eq!(reads.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(writes.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(!waiting(&other), "nor does anybody begin to wait");
        let ready = other.or_read(Poll::Ready(Ok(7)), &Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(7))), "what came before is read");
    }

    #[test]
    fn those_of_streams_that_are_gone_are_forgotten() {
        let mut ends = Ends::default();
        let kept: Vec<_> = (0..100).map(|_| ends.add()).collect();
        for _ in 0..100_000 {
            drop(ends.add());
        }
        assert!(ends.0.capacity() < 1000, "{}", ends.0.capacity());
        ends.come();
        assert!(kept.iter().all(|end| !waiting(end)));
    }
}
