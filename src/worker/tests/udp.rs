//! Backends that take datagrams.

use tokio::net::UdpSocket;

use super::*;

async fn open_to(worker: &Worker) -> TunnelStream {
    let header = Header { class: Class::Udp, ..header("dns") };
    worker.dial_local(SELF, header).await.unwrap().stream
}

async fn send(tunnel: &mut TunnelStream, datagram: &[u8]) {
    tunnel.write_u16(datagram.len() as u16).await.unwrap();
    tunnel.write_all(datagram).await.unwrap();
    tunnel.flush().await.unwrap();
}

#[tokio::test]
async fn datagrams_reach_a_backend_that_is_named_and_come_back() {
    let backend = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = backend.local_addr().unwrap().port();
    let worker = worker([Export::new("dns", format!("udp://localhost:{port}").parse().unwrap())]);
    let mut tunnel = open_to(&worker).await;
    for datagram in ["", "one", "two"] {
        send(&mut tunnel, datagram.as_bytes()).await;
        let mut room = [0; 8];
        let (length, from) = timeout(PATIENCE, backend.recv_from(&mut room)).await.expect("it hangs").unwrap();
        assert_eq!(&room[..length], datagram.as_bytes());
        backend.send_to(&room[..length], from).await.unwrap();
        assert_eq!(usize::from(tunnel.read_u16().await.unwrap()), length);
        tunnel.read_exact(&mut room[..length]).await.unwrap();
        assert_eq!(&room[..length], datagram.as_bytes());
    }
    assert_eq!(worker.status()[0].dropped, 0);
}

#[tokio::test]
async fn where_nobody_listens_the_session_is_reset_and_what_was_lost_counted() {
    // Taken at another address of this machine, so that nobody else gets the port.
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let worker = worker([Export::new("dns", format!("udp://127.0.0.77:{port}").parse().unwrap())]);
    let mut tunnel = open_to(&worker).await;
    send(&mut tunnel, b"one").await;
    send(&mut tunnel, b"two").await;
    let error = timeout(PATIENCE, tunnel.read_u16()).await.expect("it hangs").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    worker.wait_idle().await;
    assert_eq!(worker.status()[0].dropped, 2);
}
