//! What is behind workers, and who asks at fronts.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::network::address;

/// Longer than anything takes that works.
const LIMIT: Duration = Duration::from_secs(20);

/// An HTTP/1.1 server that answers every request with `name`; it runs as long as the test.
pub async fn web(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address()).await.unwrap();
    let local = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(client, name));
        }
    });
    local
}

async fn answer(mut client: TcpStream, name: &'static str) -> io::Result<()> {
    let mut asked = Vec::new();
    loop {
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            if client.read_buf(&mut asked).await? == 0 {
                return Ok(());
            }
        }
        let is_last = String::from_utf8_lossy(&asked).contains("connection: close");
        asked.clear();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        client.write_all(head.as_bytes()).await?;
        if is_last {
            return client.shutdown().await;
        }
    }
}

/// A server that sends back what it gets, and closes when its client does.
pub async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(address()).await.unwrap();
    let local = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reading, mut writing) = client.split();
                tokio::io::copy(&mut reading, &mut writing).await?;
                writing.shutdown().await
            });
        }
    });
    local
}

/// The status and body of a request on a connection of its own; none where it broke.
pub async fn get(from: SocketAddr) -> Option<(u16, String)> {
    let exchange = async {
        let mut server = TcpStream::connect(from).await.ok()?;
        server.write_all(b"GET / HTTP/1.1\r\nhost: interop\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        // LocalAI's front answers before it has read the request, and closes, which resets the connection.
        while server.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {}
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    timeout(LIMIT, exchange).await.ok()?
}

/// Whether the bytes come back as they were sent, `count` of them, when the sending end is closed first.
pub async fn echoes(from: SocketAddr, count: usize) -> bool {
    let sent: Vec<u8> = (0..count).map(|n| (n * 31 % 251) as u8).collect();
    let exchange = async {
        let mut server = TcpStream::connect(from).await.ok()?;
        let (mut reading, mut writing) = server.split();
        let mut received = Vec::new();
        let sending = async {
            writing.write_all(&sent).await?;
            writing.shutdown().await
        };
        let (sending, receiving) = tokio::join!(sending, reading.read_to_end(&mut received));
        sending.ok()?;
        receiving.ok()?;
        Some(received == sent)
    };
    timeout(LIMIT, exchange).await.ok().flatten().unwrap_or_default()
}
