//! A model server as fronts and clients see one: slots, a speed, models, and the ways in which the usual servers tell of them.
//!
//! It makes no sense of what it is asked, but keeps to what matters for balancing: a request that finds no free slot waits
//! inside of the server, as in the real ones; the first token takes its time and each one after it does; a client that goes
//! frees its slot. It speaks as llama.cpp, vLLM and Ollama do, each with the routes that it has and no others.
//!
//! What it keeps for whoever checks: how often each request was begun, by its header `x-job`, and how many were cut off.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// No prompt of a test is longer.
const PROMPT_LIMIT: usize = 1 << 20;

/// What it says when nobody tells how much.
const TOKENS: u64 = 16;

/// Which server it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the contest needs one kind, the end-to-end tests each")]
pub(crate) enum Kind {
    /// `/v1`, `/props`, `/slots`, `/metrics`.
    LlamaCpp,
    /// `/v1`, `/metrics`.
    Vllm,
    /// `/api` and `/v1`.
    Ollama,
}

/// How it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    /// What it has; the first is loaded.
    pub(crate) models: Vec<String>,
    /// Requests that it works on at once.
    pub(crate) slots: usize,
    /// Until the first token.
    pub(crate) first_token: Duration,
    /// From one token to the next.
    pub(crate) per_token: Duration,
}

pub(crate) struct ModelServer {
    pub(crate) address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

/// What its requests share.
struct Desk {
    setup: Setup,
    slots: Arc<Semaphore>,
    book: Mutex<Book>,
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// How often each job was begun.
    pub(crate) begun: BTreeMap<String, u32>,
    pub(crate) served: u64,
    /// The client went before the end.
    pub(crate) cut_off: u64,
    pub(crate) tokens: u64,
    /// Those that wait for a slot now.
    pub(crate) waiting: u64,
}

impl ModelServer {
    /// # Errors
    /// When there is no port.
    pub(crate) async fn start(setup: Setup) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let slots = Arc::new(Semaphore::new(setup.slots));
        let desk = Arc::new(Desk { setup, slots, book: Mutex::default() });
        let task = tokio::spawn(serve(listener, Arc::clone(&desk)));
        Ok(Self { address, desk, task })
    }

    pub(crate) fn book(&self) -> Book {
        self.desk.note(|book| book.clone())
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    fn note<T>(&self, write: impl FnOnce(&mut Book) -> T) -> T {
        write(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn working(&self) -> usize {
        self.setup.slots - self.slots.available_permits()
    }
}

/// A request that has a slot. Dropped before its last token, it was cut off.
struct Work {
    desk: Arc<Desk>,
    _slot: OwnedSemaphorePermit,
    /// Tokens that are still to be said.
    left: u64,
    is_over: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.desk.note(|book| if self.is_over { book.served += 1 } else { book.cut_off += 1 });
    }
}

/// One that waits for its slot.
struct Waiting(Arc<Desk>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.note(|book| book.waiting -= 1);
    }
}

impl Work {
    async fn begin(desk: &Arc<Desk>, job: Option<String>, tokens: u64) -> Option<Self> {
        desk.note(|book| book.waiting += 1);
        let waiting = Waiting(Arc::clone(desk));
        let slot = Arc::clone(&desk.slots).acquire_owned().await.ok()?;
        drop(waiting);
        if let Some(job) = job {
            desk.note(|book| *book.begun.entry(job).or_default() += 1);
        }
        Some(Self { desk: Arc::clone(desk), _slot: slot, left: tokens, is_over: false })
    }

    /// The next token, when its time has come.
    async fn token(&mut self, is_first: bool) -> Option<&'static str> {
        if self.left == 0 {
            self.is_over = true;
            return None;
        }
        let setup = &self.desk.setup;
        sleep(if is_first { setup.first_token } else { setup.per_token }).await;
        self.left -= 1;
        self.desk.note(|book| book.tokens += 1);
        Some("word ")
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Small writes, each at once, as model servers do.
        let _ = stream.set_nodelay(true);
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&desk)));
            // A connection that ends in an error is somebody's own doing.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, desk: Arc<Desk>) -> Result<Response<Body>, Infallible> {
    let kind = desk.setup.kind;
    let is_ollama = kind == Kind::Ollama;
    let path = request.uri().path().to_owned();
    Ok(match (request.method(), path.as_str()) {
        (&Method::GET, "/health") if !is_ollama => said(StatusCode::OK, &json!({"status": "ok"})),
        (&Method::GET, "/v1/models") => said(StatusCode::OK, &openai_models(&desk.setup)),
        (&Method::GET, "/props") if kind == Kind::LlamaCpp => {
            said(StatusCode::OK, &json!({"total_slots": desk.setup.slots, "model_alias": desk.setup.models.first()}))
        }
        (&Method::GET, "/slots") if kind == Kind::LlamaCpp => {
            let working = desk.working();
            let slot = |id| json!({"id": id, "is_processing": id < working});
            said(StatusCode::OK, &(0..desk.setup.slots).map(slot).collect())
        }
        (&Method::GET, "/metrics") if !is_ollama => metrics(&desk),
        (&Method::GET, "/api/version") if is_ollama => said(StatusCode::OK, &json!({"version": "0.17.4"})),
        (&Method::GET, "/api/tags") if is_ollama => said(StatusCode::OK, &ollama_models(&desk.setup.models)),
        (&Method::GET, "/api/ps") if is_ollama => {
            said(StatusCode::OK, &ollama_models(desk.setup.models.get(..1).unwrap_or_default()))
        }
        (&Method::POST, "/v1/chat/completions") => complete(request, desk, Shape::OpenAi).await,
        (&Method::POST, "/api/chat") if is_ollama => complete(request, desk, Shape::OllamaChat).await,
        (&Method::POST, "/api/generate") if is_ollama => complete(request, desk, Shape::OllamaText).await,
        _ => said(
            StatusCode::NOT_FOUND,
            &json!({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}),
        ),
    })
}

fn openai_models(setup: &Setup) -> Value {
    let owner = if setup.kind == Kind::LlamaCpp { "llamacpp" } else { "vllm" };
    let model = |id: &String| json!({"id": id, "object": "model", "created": 1, "owned_by": owner});
    json!({"object": "list", "data": setup.models.iter().map(model).collect::<Vec<_>>()})
}

fn ollama_models(models: &[String]) -> Value {
    let model = |name: &String| json!({"name": name, "model": name, "modified_at": "2026-01-01T00:00:00Z", "size": 1, "digest": "0", "details": {"format": "gguf"}});
    json!({"models": models.iter().map(model).collect::<Vec<_>>()})
}

fn metrics(desk: &Desk) -> Response<Body> {
    let (working, waiting) = (desk.working(), desk.note(|book| book.waiting));
    let text = match desk.setup.kind {
        Kind::Vllm => {
            let model = desk.setup.models.first().map_or("", String::as_str);
            format!(
                "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name=\"{model}\"}} {working}.0\n\
                 # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{model_name=\"{model}\"}} {waiting}.0\n"
            )
        }
        Kind::LlamaCpp | Kind::Ollama => format!(
            "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing {working}\n\
             # TYPE llamacpp:requests_deferred gauge\nllamacpp:requests_deferred {waiting}\n"
        ),
    };
    whole(StatusCode::OK, "text/plain; version=0.0.4", text.into())
}

/// How a completion is asked for and told.
#[derive(Clone, Copy)]
enum Shape {
    OpenAi,
    OllamaChat,
    OllamaText,
}

async fn complete(request: Request<Incoming>, desk: Arc<Desk>, shape: Shape) -> Response<Body> {
    let job = request.headers().get("x-job").and_then(|job| job.to_str().ok()).map(str::to_owned);
    let Ok(prompt) = Limited::new(request.into_body(), PROMPT_LIMIT).collect().await else {
        return said(
            StatusCode::BAD_REQUEST,
            &json!({"error": {"message": "no body", "type": "invalid_request_error"}}),
        );
    };
    let Ok(ask) = serde_json::from_slice::<Value>(&prompt.to_bytes()) else {
        return said(
            StatusCode::BAD_REQUEST,
            &json!({"error": {"message": "no JSON", "type": "invalid_request_error"}}),
        );
    };
    let model = ask["model"].as_str().unwrap_or_default().to_owned();
    if !desk.setup.models.contains(&model) {
        return match shape {
            Shape::OpenAi => {
                let message = format!("The model `{model}` does not exist.");
                let error = json!({"message": message, "type": "NotFoundError", "param": "model", "code": 404});
                said(StatusCode::NOT_FOUND, &json!({ "error": error }))
            }
            _ => said(StatusCode::NOT_FOUND, &json!({"error": format!("model '{model}' not found")})),
        };
    }
    let asked = match shape {
        Shape::OpenAi => &ask["max_tokens"],
        _ => &ask["options"]["num_predict"],
    };
    let tokens = asked.as_u64().unwrap_or(TOKENS);
    // Ollama streams unless it is told not to.
    let is_stream = ask["stream"].as_bool().unwrap_or(!matches!(shape, Shape::OpenAi));
    let with_usage = ask["stream_options"]["include_usage"].as_bool().unwrap_or_default();
    let Some(work) = Work::begin(&desk, job, tokens).await else {
        return said(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": {"message": "stopping"}}));
    };
    let told = Told { shape, model, tokens, with_usage };
    if is_stream { streamed(work, told).await } else { at_once(work, &told).await }
}

/// What all pieces of an answer have in common.
struct Told {
    shape: Shape,
    model: String,
    tokens: u64,
    with_usage: bool,
}

impl Told {
    fn usage(&self) -> Value {
        json!({"prompt_tokens": 8, "completion_tokens": self.tokens, "total_tokens": self.tokens + 8})
    }

    /// One token, as it is streamed.
    fn piece(&self, text: &str) -> String {
        match self.shape {
            Shape::OpenAi => self
                .event(&json!([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": null}])),
            Shape::OllamaChat | Shape::OllamaText => self.line(text, false),
        }
    }

    /// What comes after the last token.
    fn last(&self) -> String {
        match self.shape {
            Shape::OpenAi => {
                let mut end = self.event(&json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
                if self.with_usage {
                    let usage = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": [], "usage": self.usage()});
                    end.push_str(&format!("data: {usage}\n\n"));
                }
                end.push_str("data: [DONE]\n\n");
                end
            }
            Shape::OllamaChat | Shape::OllamaText => self.line("", true),
        }
    }

    fn event(&self, choices: &Value) -> String {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": choices});
        format!("data: {chunk}\n\n")
    }

    fn line(&self, text: &str, is_done: bool) -> String {
        let mut line = json!({"model": self.model, "created_at": "2026-01-01T00:00:00Z", "done": is_done});
        match self.shape {
            Shape::OllamaText => line["response"] = text.into(),
            _ => line["message"] = json!({"role": "assistant", "content": text}),
        }
        if is_done {
            line["done_reason"] = "stop".into();
            line["prompt_eval_count"] = 8.into();
            line["eval_count"] = self.tokens.into();
        }
        format!("{line}\n")
    }
}

async fn at_once(mut work: Work, told: &Told) -> Response<Body> {
    let mut text = String::new();
    while let Some(token) = work.token(text.is_empty()).await {
        text.push_str(token);
    }
    let whole = match told.shape {
        Shape::OpenAi => {
            let choice =
                json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": told.model, "choices": [choice], "usage": told.usage()})
        }
        // The same line that ends a stream, with everything in it.
        _ => serde_json::from_str(&told.line(&text, true)).unwrap_or_default(),
    };
    said(StatusCode::OK, &whole)
}

async fn streamed(mut work: Work, told: Told) -> Response<Body> {
    let kind = match told.shape {
        Shape::OpenAi => "text/event-stream",
        Shape::OllamaChat | Shape::OllamaText => "application/x-ndjson",
    };
    // The head comes with the first token, as from the real ones.
    let first = work.token(true).await.map(|token| told.piece(token));
    let rest = stream::unfold(Some((work, told)), async |state| {
        let (mut work, told) = state?;
        match work.token(false).await {
            Some(token) => Some((told.piece(token), Some((work, told)))),
            None => Some((told.last(), None)),
        }
    });
    let pieces = stream::iter(first).chain(rest).map(|piece| Ok(Frame::data(Bytes::from(piece))));
    let mut response = Response::new(StreamBody::new(pieces.boxed()).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn said(status: StatusCode, json: &Value) -> Response<Body> {
    whole(status, "application/json", json.to_string().into())
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
