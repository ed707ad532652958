//! A client of the demo's front: one connection per request, like `curl`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::backend::{ANSWERED_BY, STREAM};

/// A request takes milliseconds, one that meets a dying worker some hundreds; what takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// Bytes of an event that is not complete yet; one word and its frame are a fraction.
const MAX_EVENT: usize = 4096;

/// An answer and who gave it.
#[derive(Debug)]
pub(super) struct Answer {
    /// The worker, as it calls itself.
    pub(super) worker: String,
    /// From before the connection to after the last byte.
    pub(super) took: Duration,
}

/// Asks `front` for `/` and reads the whole answer.
///
/// # Errors
/// Anything but a complete answer of status 200 that names its worker.
pub(super) async fn get(front: SocketAddr) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let worker = exchange(front, "/", async |response| {
        response.into_body().collect().await.context("the answer broke off")?;
        Ok(())
    })
    .await?;
    Ok(Answer { worker, took: started.elapsed() })
}

/// Asks `front` for the streamed answer; `hear` gets each event when it arrives, with the time since the request. Returns
/// who gave it.
///
/// # Errors
/// Anything but a complete answer of status 200 that names its worker.
pub(super) async fn listen(front: SocketAddr, mut hear: impl FnMut(Duration, &str)) -> anyhow::Result<String> {
    let started = Instant::now();
    exchange(front, STREAM, async |response| {
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the answer broke off")?;
            pending.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            // One chunk may hold several events, or half of one.
            while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                let event = String::from_utf8_lossy(&event);
                hear(started.elapsed(), event.trim_end().trim_start_matches("data: "));
            }
            if pending.len() > MAX_EVENT {
                bail!("the answer is no stream of events");
            }
        }
        Ok(())
    })
    .await
}

/// One request on a connection of its own; returns who answered, after `read` has had the answer.
async fn exchange(
    front: SocketAddr,
    path: &str,
    read: impl AsyncFnOnce(Response<Incoming>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let asked = async {
        let connection = TcpStream::connect(front).await.context("cannot connect")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
        let request = Request::get(path).header(HOST, front.to_string()).body(Empty::<Bytes>::new())?;
        let conversation = async move {
            let response = sender.send_request(request).await.context("no answer")?;
            let worker = who(&response)?;
            read(response).await?;
            anyhow::Ok(worker)
        };
        // The connection ends with the conversation, which owns the sender; its errors are the conversation's.
        let (worker, _) = tokio::join!(conversation, connection);
        worker
    };
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(worker) => worker,
        Err(_) => bail!("no answer within {} s", LIMIT.as_secs()),
    }
}

fn who(response: &Response<Incoming>) -> anyhow::Result<String> {
    if response.status() != hyper::StatusCode::OK {
        bail!("answered {}", response.status());
    }
    let worker = response.headers().get(ANSWERED_BY).and_then(|worker| worker.to_str().ok());
    Ok(worker.context("the answer names no worker")?.to_owned())
}
