//! What comes out of a tunnel that carries datagrams.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use p2p_fed::tunnel::{Datagrams, MAX_DATAGRAM, Packets};
use tokio::io::AsyncWrite;

/// Takes every datagram, and has none.
#[derive(Default)]
struct Sink(Vec<Vec<u8>>);

impl Packets for &mut Sink {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        Poll::Pending
    }

    fn poll_send(&mut self, _: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        assert!(datagram.len() <= MAX_DATAGRAM, "no longer than UDP carries");
        self.0.push(datagram.to_vec());
        Poll::Ready(Ok(()))
    }
}

/// What is sent is what the bytes say, up to the first length that none may have; however they are cut.
pub(crate) fn check(bytes: &[u8]) {
    let (mut expected, mut rest) = (Vec::new(), bytes);
    let mut is_broken = false;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        is_broken = length > MAX_DATAGRAM;
        let Some((datagram, behind)) = behind.split_at_checked(length).filter(|_| !is_broken) else { break };
        expected.push(datagram.to_vec());
        rest = behind;
    }
    for cut in [1, 3, bytes.len().max(1)] {
        let mut sink = Sink::default();
        let mut datagrams = Datagrams::new(&mut sink);
        let mut cx = Context::from_waker(Waker::noop());
        let mut failed = false;
        for part in bytes.chunks(cut) {
            let mut left = part;
            while !left.is_empty() && !failed {
                match Pin::new(&mut datagrams).poll_write(&mut cx, left) {
                    Poll::Ready(Ok(taken)) => left = &left[taken..],
                    Poll::Ready(Err(_)) => failed = true,
                    Poll::Pending => panic!("nothing is waited for"),
                }
            }
        }
        assert!(!failed || is_broken, "only a length that none may have is refused");
        assert_eq!(sink.0, expected);
    }
}
