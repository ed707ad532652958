//! The datagram socket behind a worker, one for each session.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{io::ReadBuf, net::UdpSocket};

use crate::tunnel::{MAX_DATAGRAM, Packets};

/// A socket that is connected to a backend: what others send to it is dropped by the kernel, and a port where nobody
/// listens shows as a refused connection when the next datagram is sent.
#[derive(Debug)]
pub(super) struct Socket(UdpSocket);

impl Socket {
    /// A fresh local port, for `backend` alone.
    pub(super) async fn connect(backend: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match backend {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(backend).await?;
        Ok(Self(socket))
    }
}

thread_local! {
    /// Room for one datagram, lent to whoever receives on this thread: sessions that rest hold none.
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_DATAGRAM]);
}

impl Packets for Socket {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        ROOM.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(room);
            ready!(self.0.poll_recv(cx, &mut room))?;
            Poll::Ready(Ok(Some(Bytes::copy_from_slice(room.filled()))))
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        match ready!(self.0.poll_send(cx, datagram)) {
            // Larger than the path to the backend takes: lost, as it would be without us.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                Poll::Ready(Ok(()))
            }
            sent => Poll::Ready(sent.map(drop)),
        }
    }
}
