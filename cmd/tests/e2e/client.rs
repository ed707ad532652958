//! HTTP/1.1 clients in the test itself. Each request has a connection of its own.

use std::{net::SocketAddr, path::Path};

use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue, SERVER},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::soon;

/// A response that has arrived in whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }
}

/// Who answers at `address`: what each backend of these tests says at `/who`.
///
/// # Errors
/// When it is not told with status 200.
pub async fn who(address: SocketAddr) -> Result<String, String> {
    let answer = get(address, "/who").await?;
    if answer.status == StatusCode::OK {
        Ok(answer.text())
    } else {
        Err(format!("{}: {}", answer.status, answer.text()))
    }
}

/// Who answers a request that each backend holds until the test lets go of it.
///
/// # Errors
/// When it is not answered with status 200.
pub async fn held(address: SocketAddr) -> Result<String, String> {
    let answer = get(address, "/held").await?;
    let server = answer.headers.get(SERVER).and_then(|server| server.to_str().ok()).unwrap_or_default();
    match (answer.status, server.split('/').next()) {
        (StatusCode::OK, Some("SimpleHTTP")) => Ok("python".to_owned()),
        (StatusCode::OK, Some(name)) => Ok(name.to_owned()),
        _ => Err(format!("{}: {}", answer.status, answer.text())),
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    let response = send(address, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.map_err(|error| format!("body: {error:?}"))?.to_bytes();
    Ok(Answer { status, headers, body })
}

/// Yields the response as soon as its head is there.
pub async fn send<B>(address: SocketAddr, mut request: Request<B>) -> Result<Response<Incoming>, String>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let host = HeaderValue::from_str(&address.to_string()).unwrap();
    request.headers_mut().entry(HOST).or_insert(host);
    exchange(stream, request).await
}

async fn exchange<S, B>(stream: S, request: Request<B>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let failed = |error: hyper::Error| format!("{error:?}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(failed)
}

/// Asks a node's control socket.
pub async fn ask<T: DeserializeOwned>(socket: &Path, route: &str) -> T {
    let answered = soon("the control socket to answer", async {
        let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let request = Request::get(route).header(HOST, "localhost").body(Empty::<Bytes>::new()).unwrap();
        let body = exchange(stream, request).await?.into_body().collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
    });
    answered.await.unwrap_or_else(|error| panic!("{} {route}: {error}", socket.display()))
}
