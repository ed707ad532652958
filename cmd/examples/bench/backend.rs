//! What is measured against: a process that sends, counts, echoes, and answers HTTP.
//!
//! On the TCP port the first byte of a connection says what it is for:
//!
//! | byte | then |
//! |---|---|
//! | `d`, milliseconds (u32) | the backend sends for so long, then eight bytes that say how many bytes that were, and closes |
//! | `u` | the backend reads to the end, answers with eight bytes that say how many bytes that were, and closes |
//! | `e` | the backend sends back what it gets |
//!
//! Numbers are big-endian.

use std::{
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, unix::pipe},
    task::JoinSet,
};

pub(super) const DOWN: u8 = b'd';
pub(super) const UP: u8 = b'u';
pub(super) const ECHO: u8 = b'e';

/// Bytes per read and write of whoever sends or counts; the paths have their own.
pub(super) const BLOCK: usize = 256 * 1024;

/// Bytes that are echoed at once: messages are small, and thousands of connections wait for one.
const SMALL: usize = 1024;

/// Bytes of an HTTP answer's body.
pub(super) const BODY: usize = 128;

/// Serves on so many TCP ports and one HTTP port until whoever started it goes away.
pub(super) async fn run(tcp_ports: usize) -> anyhow::Result<()> {
    let mut addresses = Vec::new();
    let mut listeners = JoinSet::new();
    for _ in 0..tcp_ports {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(tcp.local_addr()?);
        listeners.spawn(accept(tcp, blast));
    }
    let http = TcpListener::bind("127.0.0.1:0").await?;
    addresses.push(http.local_addr()?);
    listeners.spawn(accept(http, answer));
    announce(&addresses)?;
    tokio::select! {
        Some(ended) = listeners.join_next() => ended??,
        () = orphaned() => {}
    }
    Ok(())
}

/// Tells whoever started this process where it listens.
pub(super) fn announce(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, addresses)?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// Returns when the pipe from whoever started this process is closed.
pub(super) async fn orphaned() {
    // Started by hand there is no pipe; Ctrl-C ends it then.
    let Ok(mut pipe) = io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd) else {
        return std::future::pending().await;
    };
    let mut nothing = [0; 64];
    while pipe.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

/// Serves each connection by a task of its own. Only ever met by the one client, which bounds their number.
pub(super) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Whatever went wrong on a connection is seen, and counted, by the client.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (connection, _) = accepted?;
                connection.set_nodelay(true)?;
                connections.spawn(serve(connection));
            }
        }
    }
}

async fn answer(connection: TcpStream) -> io::Result<()> {
    let answer = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; BODY]))))
    });
    http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await.map_err(io::Error::other)
}

async fn blast(mut connection: TcpStream) -> io::Result<()> {
    match connection.read_u8().await? {
        DOWN => {
            let period = Duration::from_millis(connection.read_u32().await?.into());
            let sent = send(&mut connection, period).await?;
            connection.write_u64(sent).await?;
        }
        UP => {
            let mut block = vec![0; BLOCK];
            let mut counted = 0;
            loop {
                match connection.read(&mut block).await? {
                    0 => break,
                    read => counted += read as u64,
                }
            }
            connection.write_u64(counted).await?;
        }
        ECHO => {
            let mut block = vec![0; SMALL];
            loop {
                match connection.read(&mut block).await? {
                    0 => break,
                    read => connection.write_all(block.get(..read).unwrap_or_default()).await?,
                }
            }
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    connection.shutdown().await
}

/// Sends as much as goes for `period`; returns how many bytes that were.
pub(super) async fn send(connection: &mut TcpStream, period: Duration) -> io::Result<u64> {
    let block = vec![0x5a; BLOCK];
    let (started, mut sent) = (Instant::now(), 0);
    while started.elapsed() < period {
        sent += connection.write(&block).await? as u64;
    }
    Ok(sent)
}
