//! The datagram socket behind a worker, one for each session.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{io::ReadBuf, net::UdpSocket};

use super::offering::Counters;
use crate::tunnel::{MAX_DATAGRAM, Packets};

/// A socket that is connected to a backend: what others send to it is dropped by the kernel, and a port where nobody
/// listens shows as a refusal behind what was sent.
///
/// A name may have several addresses, and nobody may listen at some. Until one of them has answered, a refusal makes it go
/// on to the next address, with the datagram that was refused.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    /// Addresses to go on to, the next one last. None once the backend has answered.
    others: Vec<SocketAddr>,
    /// What was sent last, while there are others.
    refusable: Option<Bytes>,
    /// Where datagrams that are lost here are counted.
    counters: Option<Arc<Counters>>,
}

impl Socket {
    /// A fresh local port, for the backend at one of `addresses` alone: the first that there is a way to.
    ///
    /// # Errors
    /// There is no way to any of them; what the last one said.
    pub(super) fn connect(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<Self> {
        let mut others: Vec<_> = addresses.into_iter().collect();
        others.reverse();
        let socket = connect_next(&mut others, None)?;
        Ok(Self { socket, others, refusable: None, counters: None })
    }

    /// From now on what is lost is counted there.
    pub(super) fn count_in(&mut self, counters: Arc<Counters>) {
        self.counters = Some(counters);
    }

    fn count_lost(&self) {
        if let Some(counters) = &self.counters {
            counters.count_dropped();
        }
    }

    /// What was sent before met nobody, says `error`: goes on to another address, if there is one.
    fn go_on(&mut self, error: io::Error, cx: &Context<'_>) -> io::Result<()> {
        let nobody =
            [io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkUnreachable];
        let is_refused = nobody.contains(&error.kind());
        let next = match is_refused && !self.others.is_empty() {
            true => connect_next(&mut self.others, self.refusable.as_deref()),
            false => Err(error),
        };
        if next.is_err() && is_refused {
            self.count_lost();
        }
        self.socket = next?;
        // Whoever waits at the old socket is to look at the new one.
        cx.waker().wake_by_ref();
        Ok(())
    }
}

/// A socket connected to the first of `addresses`, taken from their end, that it can be connected to and that `first` can
/// be sent to.
fn connect_next(addresses: &mut Vec<SocketAddr>, first: Option<&[u8]>) -> io::Result<UdpSocket> {
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    while let Some(address) = addresses.pop() {
        match connect_one(address, first) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn connect_one(address: SocketAddr, first: Option<&[u8]>) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // None of it waits.
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    if let Some(first) = first {
        socket.send(first)?;
        if let Some(refused) = socket.take_error()? {
            return Err(refused);
        }
    }
    UdpSocket::from_std(socket)
}

thread_local! {
    /// Room for one datagram, lent to whoever receives on this thread: sessions that rest hold none. One byte more than is
    /// carried, to tell what is too long.
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_DATAGRAM + 1]);
}

impl Packets for Socket {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        ROOM.with_borrow_mut(|room| {
            loop {
                let mut room = ReadBuf::new(room);
                match ready!(self.socket.poll_recv(cx, &mut room)) {
                    Ok(()) if room.filled().len() > MAX_DATAGRAM => self.count_lost(),
                    Ok(()) => {
                        (self.others, self.refusable) = (Vec::new(), None);
                        return Poll::Ready(Ok(Some(Bytes::copy_from_slice(room.filled()))));
                    }
                    Err(error) => self.go_on(error, cx)?,
                }
            }
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        loop {
            match ready!(self.socket.poll_send(cx, datagram)) {
                Ok(_) => {
                    if !self.others.is_empty() {
                        self.refusable = Some(Bytes::copy_from_slice(datagram));
                        if let Some(refused) = self.socket.take_error()? {
                            self.go_on(refused, cx)?;
                        }
                    }
                    return Poll::Ready(Ok(()));
                }
                // Larger than the path to the backend takes: lost, as it would be without us.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                    self.count_lost();
                    return Poll::Ready(Ok(()));
                }
                Err(error) => {
                    if let Err(error) = self.go_on(error, cx) {
                        // This one was not sent either.
                        self.count_lost();
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// A backend, and an address with the same port where nobody listens.
    async fn backend() -> (UdpSocket, SocketAddr, SocketAddr) {
        let backend = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let live = backend.local_addr().unwrap();
        (backend, (Ipv4Addr::new(127, 0, 0, 77), live.port()).into(), live)
    }

    async fn send(socket: &mut Socket, datagram: &[u8]) -> io::Result<()> {
        poll_fn(|cx| socket.poll_send(cx, datagram)).await
    }

    async fn receive(socket: &mut Socket) -> io::Result<Bytes> {
        poll_fn(|cx| socket.poll_recv(cx)).await.map(Option::unwrap)
    }

    async fn hears(backend: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut room = [0; 64];
        let heard = timeout(Duration::from_secs(20), backend.recv_from(&mut room)).await;
        let (length, from) = heard.expect("it hangs").unwrap();
        (room[..length].to_vec(), from)
    }

    #[tokio::test]
    async fn a_datagram_that_was_refused_reaches_the_address_where_somebody_listens() {
        let (backend, dead, live) = backend().await;
        let mut socket = Socket::connect([dead, live]).unwrap();
        send(&mut socket, b"first").await.unwrap();
        let answered = async {
            let (heard, from) = hears(&backend).await;
            assert_eq!(heard, b"first");
            backend.send_to(b"answer", from).await.unwrap();
        };
        let (answer, ()) = tokio::join!(receive(&mut socket), answered);
        assert_eq!(answer.unwrap(), "answer");
        assert!(socket.others.is_empty() && socket.refusable.is_none(), "nothing is kept");
    }

    #[tokio::test]
    async fn datagrams_keep_their_order_however_many_addresses_refuse_them() {
        let (backend, dead, live) = backend().await;
        let mut socket = Socket::connect([dead, dead, live]).unwrap();
        for datagram in [b"1", b"2", b"3"] {
            send(&mut socket, datagram).await.unwrap();
        }
        for datagram in [b"1", b"2", b"3"] {
            assert_eq!(hears(&backend).await.0, datagram);
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_at_all_the_session_ends_and_the_loss_is_counted() {
        let (_backend, dead, _) = backend().await;
        let mut socket = Socket::connect([dead, dead]).unwrap();
        let counters = Arc::new(Counters::default());
        socket.count_in(Arc::clone(&counters));
        let error = send(&mut socket, b"x").await.unwrap_err();
        assert_eq!((error.kind(), counters.dropped()), (io::ErrorKind::ConnectionRefused, 1));
        assert_eq!(Socket::connect([]).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn what_the_path_does_not_take_is_lost_and_counted() {
        let (_backend, _, live) = backend().await;
        let mut socket = Socket::connect([live]).unwrap();
        let counters = Arc::new(Counters::default());
        socket.count_in(Arc::clone(&counters));
        send(&mut socket, &vec![0; MAX_DATAGRAM + 1]).await.unwrap();
        assert_eq!(counters.dropped(), 1);
    }
}
