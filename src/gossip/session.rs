//! One synchronisation with one peer: frames on a stream, nothing decided.
//!
//! A frame is a big-endian `u32` length and that many bytes, at most [`FRAME_MAX`].

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::net::Meter;

/// Bytes in one frame: 64 KiB of records and what surrounds them.
const FRAME_MAX: usize = 64 * 1024 + 1024;

/// Bytes of the length before each frame.
const PREFIX: usize = 4;

/// A session that has not ended by then is cut: the next one continues with whatever was learnt.
const LIMIT: Duration = Duration::from_secs(30);

/// What a session tells the ledger's task.
#[derive(Debug)]
pub(super) enum Event {
    Frame(Vec<u8>),
    Closed,
}

/// Carries frames between `stream` and the ledger's task until either side ends, `cancel` fires or the limit is reached.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Send + 'static>(
    session: u64,
    stream: S,
    events: mpsc::Sender<(u64, Event)>,
    outgoing: mpsc::Receiver<Vec<u8>>,
    meter: Meter,
    cancel: CancellationToken,
) {
    let carrying = carry(session, stream, &events, outgoing, &meter);
    let carried = timeout(LIMIT, cancel.run_until_cancelled(carrying)).await;
    match carried {
        Ok(Some(Err(error))) => tracing::trace!(session, %error, "sync ended early"),
        Err(_) => tracing::debug!(session, "sync took too long"),
        Ok(Some(Ok(())) | None) => {}
    }
    // A closed queue means that the node is stopping.
    let _ = events.send((session, Event::Closed)).await;
}

async fn carry<S: AsyncRead + AsyncWrite>(
    session: u64,
    stream: S,
    events: &mpsc::Sender<(u64, Event)>,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
    meter: &Meter,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let read = async {
        loop {
            let mut length = [0; PREFIX];
            match reader.read_exact(&mut length).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
            let length = u32::from_be_bytes(length) as usize;
            if length > FRAME_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a sync frame over its bound"));
            }
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes).await?;
            meter.sync_received(PREFIX + length);
            if events.send((session, Event::Frame(bytes))).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some(bytes) = outgoing.recv().await {
            writer.write_all(&(bytes.len() as u32).to_be_bytes()).await?;
            writer.write_all(&bytes).await?;
            writer.flush().await?;
            meter.sync_sent(PREFIX + bytes.len());
        }
        // The ledger closed the session; the peer's last frames no longer matter, ours were flushed.
        writer.close().await
    };
    // The session is over when the ledger closes it or the peer hangs up.
    futures::future::select(std::pin::pin!(read), std::pin::pin!(write)).await.factor_first().0
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test]
    async fn frames_cross_and_a_close_is_told() {
        let (a, b) = tokio::io::duplex(64);
        let (events, mut told) = mpsc::channel(8);
        let (to_a, from_a) = mpsc::channel(8);
        let (to_b, from_b) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let meter = Meter::default();
        let one = tokio::spawn(run(1, a.compat(), events.clone(), from_a, meter.clone(), cancel.clone()));
        let two = tokio::spawn(run(2, b.compat(), events, from_b, Meter::default(), cancel));
        to_a.send(vec![7; 1000]).await.unwrap();
        assert!(matches!(told.recv().await, Some((2, Event::Frame(bytes))) if bytes == vec![7; 1000]));
        to_b.send(vec![]).await.unwrap();
        assert!(matches!(told.recv().await, Some((1, Event::Frame(bytes))) if bytes.is_empty()));
        drop(to_a);
        let mut closed = [told.recv().await.unwrap().0, told.recv().await.unwrap().0];
        closed.sort_unstable();
        assert_eq!(closed, [1, 2]);
        one.await.unwrap();
        two.await.unwrap();
        let traffic = meter.traffic();
        assert_eq!((traffic.sync_sent.bytes, traffic.sync_received.bytes), (1004, 4));
    }

    #[tokio::test]
    async fn an_oversized_frame_ends_the_session() {
        let (a, mut b) = tokio::io::duplex(64);
        let (events, mut told) = mpsc::channel(8);
        let (_open, outgoing) = mpsc::channel(8);
        let session = tokio::spawn(run(1, a.compat(), events, outgoing, Meter::default(), CancellationToken::new()));
        tokio::io::AsyncWriteExt::write_all(&mut b, &u32::MAX.to_be_bytes()).await.unwrap();
        assert!(matches!(told.recv().await, Some((1, Event::Closed))));
        session.await.unwrap();
    }
}
