//! A backend in the test itself, on hyper: it does on the network what the test tells it to.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue, SERVER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{large_bodies, until};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Lines of a script that a slow reader may lag behind.
const SCRIPT_LAG: usize = 64;

/// Answers with its name at `/who`; what the other routes do is told where they are matched.
pub struct Backend {
    pub address: SocketAddr,
    stage: Stage,
    task: JoinHandle<()>,
}

/// What the handlers share.
#[derive(Clone)]
struct Stage {
    name: &'static str,
    /// What goes to all open scripts at once; an empty text ends them.
    script: broadcast::Sender<Bytes>,
    released: watch::Sender<bool>,
    /// Answers 503 to all.
    is_sick: Arc<AtomicBool>,
}

impl Backend {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Stage {
            name,
            script: broadcast::channel(SCRIPT_LAG).0,
            released: watch::channel(false).0,
            is_sick: Arc::default(),
        };
        let task = tokio::spawn(serve(listener, stage.clone()));
        Self { address, stage, task }
    }

    pub fn name(&self) -> &'static str {
        self.stage.name
    }

    /// Lets go of what is held, and of what comes later.
    pub fn release(&self) {
        self.stage.released.send_replace(true);
    }

    /// From now on all that it answers is 503, at once.
    pub fn sicken(&self) {
        self.stage.is_sick.store(true, Relaxed);
    }

    /// Sends `text` on every open script.
    pub fn emit(&self, text: impl Into<Bytes>) {
        // Without an audience it is said to nobody.
        let _ = self.stage.script.send(text.into());
    }

    /// Ends every open script.
    pub fn end(&self) {
        self.emit("");
    }

    /// How many scripts are open.
    pub fn audience(&self) -> usize {
        self.stage.script.receiver_count()
    }

    pub async fn has_audience(&self, count: usize) {
        until(&format!("{count} streams"), async || (self.audience() == count).then_some(())).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, stage: Stage) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stage = stage.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, stage.clone()));
            // A connection that ends in an error is the test's own doing.
            let _ = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, stage: Stage) -> Result<Response<Body>, hyper::Error> {
    Ok(match (request.method(), request.uri().path()) {
        _ if stage.is_sick.load(Relaxed) => {
            let mut response = text("not well");
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
        (_, "/who") => text(&format!("{}\n", stage.name)),
        // Nothing before the test lets go of it.
        (&Method::GET, "/held") => {
            // The test holds the other end for as long as it holds this backend.
            let _ = stage.released.subscribe().wait_for(|is_released| *is_released).await;
            let mut response = text(stage.name);
            response.headers_mut().insert(SERVER, HeaderValue::from_static(stage.name));
            response
        }
        // What the test emits, as it does so. A chat completion is such a script.
        (&Method::GET, "/script") => scripted(&stage),
        (&Method::POST, "/v1/chat/completions") => {
            let response = scripted(&stage);
            request.into_body().collect().await?;
            response
        }
        // What of the request's head arrived here.
        (_, "/echo") => text(&told(&request)),
        // As many bytes as asked for.
        (&Method::GET, path) if let Some(length) = path.strip_prefix("/bytes/") => {
            let chunks = large_bodies::chunks(length.parse().unwrap()).map(|chunk| Ok(Frame::data(chunk)));
            Response::new(StreamBody::new(stream::iter(chunks)).boxed_unsync())
        }
        // The SHA-256 of what was sent.
        (&Method::POST, "/sha256") => {
            let mut digest = Sha256::new();
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    digest.update(&data);
                }
            }
            text(&large_bodies::hex(&digest.finalize()))
        }
        _ => {
            let mut response = text("no such route");
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

fn told(request: &Request<Incoming>) -> String {
    let mut told = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        told.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    told
}

fn text(text: &str) -> Response<Body> {
    Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync())
}

fn scripted(stage: &Stage) -> Response<Body> {
    let lines = stream::unfold(stage.script.subscribe(), async |mut script| {
        let line = script.recv().await.ok().filter(|line| !line.is_empty())?;
        Some((Ok(Frame::data(line)), script))
    });
    let mut response = Response::new(StreamBody::new(lines.boxed()).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}
