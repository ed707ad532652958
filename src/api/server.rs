//! The node's end of the control socket.

use std::{
    convert::Infallible,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Services, Source};

/// Connections at once. A person and a few scripts have some; the next ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;

/// How long a client may take to send the head of its request. It sits on the same machine.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may take in all. It carries one request, so that a client that stopped reading cannot keep a place.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a request's head; hyper allows no less than 8 KiB.
const MAX_HEAD: usize = 8 * 1024;

/// Pause after a failed accept (out of file descriptors), so that it does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the control socket {}: {source}", path.display())]
pub struct BindError {
    /// Where it was to be.
    pub path: PathBuf,
    /// The system's reason. A path of more than 107 bytes is one.
    #[source]
    pub source: io::Error,
}

/// A bound control socket. Dropping it removes the socket.
pub struct Server {
    listener: UnixListener,
    source: Arc<dyn Source>,
    file: SocketFile,
}

impl Server {
    /// Takes the socket at `path`, 0600. A file that is there already is replaced: the caller holds the node's name, so it
    /// is the leftover of a process that died. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the folder does not let it be. Nothing is left behind.
    pub fn bind(path: &Path, source: Arc<dyn Source>) -> Result<Self, BindError> {
        let failed = |source| BindError { path: path.to_owned(), source };
        // Under another name until its permissions are right: so it never has wrong ones where clients look.
        let draft = SocketFile(draft_of(path));
        draft.remove();
        let listener = UnixListener::bind(&draft.0).map_err(failed)?;
        fs::set_permissions(&draft.0, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&draft.0, path).map_err(failed)?;
        Ok(Self { listener, source, file: SocketFile(path.to_owned()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file.0
    }

    /// Answers until `cancel`; then closes what is open and removes the socket.
    pub async fn run(self, cancel: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(_ended) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(answer(stream, self.source.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "control socket cannot accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("path", &self.file.0).finish_non_exhaustive()
    }
}

/// A name in the file system that goes when this goes.
struct SocketFile(PathBuf);

impl SocketFile {
    /// One that is not there, or that cannot be removed, is told by the bind that follows, or does no harm.
    fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push("~");
    PathBuf::from(draft)
}

/// One connection: one request. Whatever goes wrong is the client's own loss.
async fn answer(stream: UnixStream, source: Arc<dyn Source>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &*source);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "control connection failed"),
        Err(_elapsed) => tracing::debug!("control connection cut off"),
    }
}

/// What a client is told that something cannot be had.
#[derive(Serialize)]
struct Complaint<'a> {
    error: &'a str,
}

fn respond(method: &Method, path: &str, source: &dyn Source) -> Response<Full<Bytes>> {
    let is_known = matches!(path, "/v1/status" | "/v1/peers" | "/v1/services" | "/v1/ledger" | "/healthz" | "/readyz");
    if is_known && !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &Complaint { error: "only GET is answered here" });
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/v1/status" => json(StatusCode::OK, &source.status()),
        "/v1/peers" => json(StatusCode::OK, &source.peers()),
        "/v1/services" => json(StatusCode::OK, &Services { services: source.status().services }),
        "/v1/ledger" => json(StatusCode::OK, &source.ledger()),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if source.status().ready => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => json(StatusCode::NOT_FOUND, &Complaint { error: "no such route" }),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            response(status, "application/json", body.into())
        }
        Err(error) => {
            tracing::error!(%error, "answer could not be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written\n")
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", Bytes::from_static(body.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
