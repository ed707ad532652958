//! One question to a backend: `GET`, and the answer as far as it is wanted.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;

use super::{
    Target,
    backend::{Backend, ConnectError},
};

/// Bytes that the head of an answer may take; the smallest that hyper allows.
const MAX_HEAD: usize = 8 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Http(String),
}

/// What a backend said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// None if it was longer than asked for, or broke off.
    pub(super) body: Option<Bytes>,
}

/// Asks for `path` and reads `max_body` bytes of the answer's body at most. The caller bounds the time. The connection is
/// driven here, beside the request: nothing is spawned.
pub(super) async fn get(
    target: &Target,
    path: &str,
    max_body: usize,
    connect_limit: std::time::Duration,
) -> Result<Answer, AskError> {
    let failed = |why: hyper::Error| AskError::Http(why.to_string());
    let backend = Backend::connect(target, connect_limit).await?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(backend)).await.map_err(failed)?;
    let request = Request::get(path)
        .header(HOST, target.authority())
        .header(USER_AGENT, concat!("p2p-fed/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| AskError::Http(error.to_string()))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        // Read to its end, where that is near, so that the backend does not log a client that hung up.
        let body = Limited::new(answer.into_body(), max_body).collect().await;
        Ok::<_, hyper::Error>(Answer { status, body: body.ok().map(|body| body.to_bytes()) })
    };
    tokio::pin!(exchange);
    let answer = tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    };
    answer.map_err(failed)
}
