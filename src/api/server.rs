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

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Decided, Declined, PATIENCE_MS_MAX, Ping, Proposal, Services, Source, Unexplained, Unpinged, Wanted};
use crate::ledger::DECREE_MAX;

/// Connections at once. A person and a few scripts have some; the next ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;

/// How long a client may take to send the head of its request. It sits on the same machine.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may take in all. It carries one request, so that a client that stopped reading cannot keep a place.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a request's head; hyper allows no less than 8 KiB.
const MAX_HEAD: usize = 8 * 1024;

/// Bytes of a request's body: the longest decree in base64, with some JSON around it.
const MAX_BODY: usize = DECREE_MAX.div_ceil(3) * 4 + 1024;

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
    let service =
        service_fn(|request: Request<Incoming>| async { Ok::<_, Infallible>(respond(request, &*source).await) });
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
#[derive(Serialize, Deserialize)]
pub(super) struct Complaint {
    pub(super) error: String,
}

async fn respond(request: Request<Incoming>, source: &dyn Source) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let (path, is_get) = (head.uri.path(), matches!(head.method, Method::GET | Method::HEAD));
    if let Some(which) = path.strip_prefix("/v1/explain").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return match is_get {
            true => explain(which, head.uri.query(), source),
            false => only("GET, HEAD", "only GET is answered here"),
        };
    }
    match path {
        "/v1/ping" if head.method == Method::POST => ping(body, source).await,
        "/v1/ping" => only("POST", "only POST is answered here"),
        "/v1/decree" if head.method == Method::POST => decide(body, source).await,
        "/v1/decree" if !is_get => only("GET, HEAD, POST", "only GET and POST are answered here"),
        "/v1/status" | "/v1/peers" | "/v1/services" | "/v1/ledger" | "/v1/doctor" | "/healthz" | "/readyz"
            if !is_get =>
        {
            only("GET, HEAD", "only GET is answered here")
        }
        "/v1/status" => json(StatusCode::OK, &source.status()),
        "/v1/peers" => json(StatusCode::OK, &source.peers()),
        "/v1/services" => json(StatusCode::OK, &Services { services: source.status().services }),
        "/v1/doctor" => json(StatusCode::OK, &source.checkup().await),
        "/v1/ledger" => json(StatusCode::OK, &source.ledger()),
        "/v1/decree" => json(StatusCode::OK, &source.issued()),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if source.status().ready => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => complain(StatusCode::NOT_FOUND, "no such route"),
    }
}

/// Tells of the requests that `which` and `query` name.
fn explain(which: &str, query: Option<&str>, source: &dyn Source) -> Response<Full<Bytes>> {
    match Wanted::parse(which, query).and_then(|wanted| source.explain(&wanted)) {
        Ok(explained) => json(StatusCode::OK, &explained),
        Err(reason) => {
            let status = match reason {
                Unexplained::Malformed => StatusCode::BAD_REQUEST,
                Unexplained::Several(_) => StatusCode::CONFLICT,
                _ => StatusCode::NOT_FOUND,
            };
            complain(status, &reason.to_string())
        }
    }
}

/// Has the node ask others for a round trip.
async fn ping(body: Incoming, source: &dyn Source) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return complain(StatusCode::PAYLOAD_TOO_LARGE, "the body is cut off, or larger than any name");
    };
    let asked = serde_json::from_slice(&body.to_bytes()).ok();
    let asked = asked.filter(|Ping { patience_ms, .. }| (1..=PATIENCE_MS_MAX).contains(patience_ms));
    let answer = match asked {
        Some(asked) => source.ping(asked).await,
        None => Err(Unpinged::Malformed),
    };
    let reason = match answer {
        Ok(round) => return json(StatusCode::OK, &round),
        Err(reason) => reason,
    };
    let status = match reason {
        Unpinged::Malformed => StatusCode::BAD_REQUEST,
        Unpinged::Unknown(_) | Unpinged::NoService(_) => StatusCode::NOT_FOUND,
        Unpinged::Several { .. } | Unpinged::Itself(_) => StatusCode::CONFLICT,
        Unpinged::NoWorker(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    complain(status, &reason.to_string())
}

/// Hands a decree to the node. What it says of it is the answer.
async fn decide(body: Incoming, source: &dyn Source) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return complain(StatusCode::PAYLOAD_TOO_LARGE, "the body is cut off, or larger than any decree");
    };
    let signed =
        serde_json::from_slice(&body.to_bytes()).ok().and_then(|Proposal { signed }| STANDARD.decode(signed).ok());
    let Some(signed) = signed else {
        return complain(StatusCode::BAD_REQUEST, "the body is not {\"signed\": BASE64}");
    };
    let declined = match source.decide(signed).await {
        Ok(number) => return json(StatusCode::OK, &Decided { number }),
        Err(declined) => declined,
    };
    let status = match declined {
        Declined::Malformed(_) => StatusCode::BAD_REQUEST,
        Declined::Elsewhere | Declined::Forged => StatusCode::FORBIDDEN,
        Declined::Open | Declined::Outdated { .. } => StatusCode::CONFLICT,
        Declined::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    complain(status, &declined.to_string())
}

fn only(methods: &'static str, error: &str) -> Response<Full<Bytes>> {
    let mut response = complain(StatusCode::METHOD_NOT_ALLOWED, error);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn complain(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    json(status, &Complaint { error: error.to_owned() })
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
