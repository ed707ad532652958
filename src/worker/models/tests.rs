//! Servers that answer as the real ones do, and a worker that asks them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{kind::detect, *};
use crate::{
    ledger::Service,
    worker::{Config, Export, Health, Worker},
};

/// Far longer than anything here takes; only so that a failure is not a hang.
const PATIENCE: Duration = Duration::from_secs(30);

const LLAMA: &str = r#"{"models":[{"name":"qwen3","model":"qwen3","type":"model"}],"object":"list","data":[{"id":"qwen3","aliases":["qwen"],
    "tags":[],"object":"model","created":1764150000,"owned_by":"llamacpp","meta":{"vocab_type":2,"n_ctx_train":32768}}]}"#;
const LLAMA_PROPS: &str =
    r#"{"default_generation_settings":{"n_ctx":4096},"total_slots":4,"model_path":"/m/qwen3.gguf"}"#;
const LLAMA_SLOTS: &str = r#"[{"id":0,"n_ctx":4096,"is_processing":true,"id_task":7},{"id":1,"n_ctx":4096,"is_processing":false,"id_task":-1}]"#;
const LLAMA_ROUTER: &str = r#"{"object":"list","data":[
    {"id":"a:Q4_K_M","object":"model","owned_by":"llamacpp","created":1,"status":{"value":"loaded","args":["llama-server"]}},
    {"id":"b:Q8_0","object":"model","owned_by":"llamacpp","created":1,"status":{"value":"unloaded"}}]}"#;
const VLLM: &str = r#"{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","created":1,"owned_by":"vllm","root":"Qwen/Qwen3-8B",
    "parent":null,"max_model_len":40960,"permission":[{"id":"modelperm-1","object":"model_permission"}]}]}"#;
const SGLANG: &str = r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"sglang","root":"m","max_model_len":4096}]}"#;
const OLLAMA: &str =
    r#"{"object":"list","data":[{"id":"llama3.2:latest","object":"model","created":1,"owned_by":"library"}]}"#;
const OLLAMA_TAGS: &str = r#"{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","modified_at":"2025-11-26T08:00:00Z","size":2019393189,
    "digest":"a80c4f17","details":{"format":"gguf","family":"llama"}},{"name":"qwen3:8b","model":"qwen3:8b","size":5}]}"#;
const OLLAMA_PS: &str =
    r#"{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":5,"expires_at":"2025-11-26T08:05:00Z","size_vram":5}]}"#;
const LOCALAI: &str =
    r#"{"object":"list","data":[{"id":"gpt-4","object":"model"},{"id":"whisper-1","object":"model"}]}"#;
const LOCALAI_SYSTEM: &str = r#"{"backends":["llama-cpp"],"loaded_models":[{"id":"gpt-4"},{"id":"some-file.bin"}]}"#;
const OTHER: &str = r#"{"object":"list","data":[{"id":"phi-4","object":"model","owned_by":"organization_owner"}]}"#;

type Pages = BTreeMap<&'static str, (u16, String)>;

/// A server of pages that can be changed. What it was asked is kept.
struct Server {
    address: SocketAddr,
    pages: Arc<Mutex<Pages>>,
    asked: watch::Sender<Vec<String>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start<const N: usize>(pages: [(&'static str, &str); N]) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap(), pages)
    }

    fn listen<const N: usize>(listener: TcpListener, pages: [(&'static str, &str); N]) -> Self {
        let address = listener.local_addr().unwrap();
        let pages = pages.into_iter().map(|(path, body)| (path, (200, body.to_owned())));
        let pages: Arc<Mutex<Pages>> = Arc::new(Mutex::new(pages.collect()));
        let asked = watch::Sender::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&pages), asked.clone()));
        Self { address, pages, asked, task }
    }

    fn target(&self) -> Target {
        self.address.to_string().parse().unwrap()
    }

    fn set(&self, path: &'static str, status: u16, body: &str) {
        self.pages.lock().unwrap().insert(path, (status, body.to_owned()));
    }

    fn asked(&self, path: &str) -> usize {
        count(&self.asked.borrow(), path)
    }
}

impl Server {
    /// Returns once it was asked so often.
    async fn was_asked(&self, path: &str, times: usize) {
        let mut asked = self.asked.subscribe();
        let in_time = timeout(PATIENCE, asked.wait_for(|asked| count(asked, path) >= times)).await.map(drop);
        assert!(in_time.is_ok(), "{path} was not asked for {times} times: {:?}", self.asked.borrow());
    }
}

fn count(asked: &[String], path: &str) -> usize {
    asked.iter().filter(|asked| *asked == path).count()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, pages: Arc<Mutex<Pages>>, asked: watch::Sender<Vec<String>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        answer(tcp, &pages, &asked).await;
    }
}

/// Answers one request, if one comes: a probe of the connection alone brings none.
async fn answer(mut tcp: TcpStream, pages: &Mutex<Pages>, asked: &watch::Sender<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.strip_prefix("GET ").unwrap().split(' ').next().unwrap().to_owned();
    let (status, body) = pages.lock().unwrap().get(path.as_str()).cloned().unwrap_or((404, "not found".to_owned()));
    asked.send_modify(|asked| asked.push(path));
    let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let _ = tcp.write_all(answer.as_bytes()).await;
}

fn words(models: &[Model]) -> Vec<String> {
    models.iter().map(|model| format!("{}{}", model.name, if model.loaded { "+" } else { "" })).collect()
}

async fn survey(server: &Server) -> (Kind, Vec<String>, u32) {
    let Nature::Is(kind) = detect(&server.target()).await else { panic!("no model server") };
    let catalogue = kind::survey(&server.target(), kind).await.unwrap();
    assert_eq!(catalogue.kind, Some(kind));
    (kind, words(&catalogue.models), catalogue.slots)
}

fn known(kind: Kind, models: &[&str], slots: u32) -> (Kind, Vec<String>, u32) {
    (kind, models.iter().map(|&model| model.to_owned()).collect(), slots)
}

#[tokio::test]
async fn llama_cpp_tells_its_model_its_aliases_and_its_slots() {
    let server = Server::start([("/v1/models", LLAMA), ("/props", LLAMA_PROPS), ("/api/tags", OLLAMA_TAGS)]).await;
    assert_eq!(survey(&server).await, known(Kind::LlamaCpp, &["qwen+", "qwen3+"], 4));
    assert_eq!(server.asked("/api/tags"), 0, "it is not asked what it is twice");
    let router = Server::start([("/v1/models", LLAMA_ROUTER)]).await;
    assert_eq!(survey(&router).await, known(Kind::LlamaCpp, &["a:Q4_K_M+", "b:Q8_0"], 0));
}

#[tokio::test]
async fn servers_that_load_one_model_at_their_start_have_it_in_memory() {
    let server = Server::start([("/v1/models", VLLM)]).await;
    assert_eq!(survey(&server).await, known(Kind::Vllm, &["Qwen/Qwen3-8B+"], 0));
    let server = Server::start([("/v1/models", SGLANG)]).await;
    assert_eq!(survey(&server).await, known(Kind::Sglang, &["m+"], 0));
}

#[tokio::test]
async fn ollama_tells_what_it_has_and_what_is_in_memory_also_an_old_one_and_an_empty_one() {
    let server = Server::start([("/v1/models", OLLAMA), ("/api/tags", OLLAMA_TAGS), ("/api/ps", OLLAMA_PS)]).await;
    let all = known(Kind::Ollama, &["llama3.2:latest", "qwen3:8b+"], 0);
    assert_eq!(survey(&server).await, all);
    let old = Server::start([("/api/tags", OLLAMA_TAGS), ("/api/ps", OLLAMA_PS)]).await;
    assert_eq!(survey(&old).await, all);
    let empty =
        Server::start([("/v1/models", r#"{"object":"list","data":null}"#), ("/api/tags", r#"{"models":[]}"#)]).await;
    assert_eq!(survey(&empty).await, known(Kind::Ollama, &[], 0));
}

#[tokio::test]
async fn localai_and_any_other_server_are_told_apart() {
    let server = Server::start([("/v1/models", LOCALAI), ("/system", LOCALAI_SYSTEM)]).await;
    assert_eq!(survey(&server).await, known(Kind::LocalAi, &["gpt-4+", "whisper-1"], 0));
    let server = Server::start([("/v1/models", OTHER)]).await;
    assert_eq!(survey(&server).await, known(Kind::OpenAi, &["phi-4"], 0));
}

#[tokio::test]
async fn what_is_no_model_server_is_known_from_what_is_not_ready() {
    let server = Server::start([("/", "hello")]).await;
    assert_eq!(detect(&server.target()).await, Nature::Other);
    for body in ["", "<html>", "[]", "{}", r#"{"data":[{"id":"a"}]}"#, r#"{"object":"list","data":[{}]}"#] {
        server.set("/v1/models", 200, body);
        assert_eq!(detect(&server.target()).await, Nature::Other, "{body}");
    }
    server.set("/v1/models", 401, "whose key is this?");
    assert_eq!(detect(&server.target()).await, Nature::Other);
    server.set("/v1/models", 503, r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#);
    assert_eq!(detect(&server.target()).await, Nature::NotReady);
    let target = server.target();
    server.task.abort();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(detect(&target).await, Nature::NotReady);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let server = Server::start([("/v1/models", VLLM)]).await;
    let Nature::Is(kind) = detect(&server.target()).await else { panic!("no model server") };
    let long = format!("{}{}", VLLM, " ".repeat(MAX_BODY));
    server.set("/v1/models", 200, &long);
    assert_eq!(kind::survey(&server.target(), kind).await, None);
    assert_eq!(detect(&server.target()).await, Nature::Other);
}

#[tokio::test]
async fn llama_cpp_without_metrics_is_asked_for_its_slots() {
    let server = Server::start([("/slots", LLAMA_SLOTS)]).await;
    server.set("/metrics", 501, "This server does not support metrics endpoint.");
    let source = Source::of(&server.target(), Kind::LlamaCpp).await;
    assert_eq!(source, Some(Source::Slots));
    let figures = source.unwrap().figures(&server.target()).await;
    assert_eq!(figures, Some(Figures { running: 1, queued: 0, cache: None }));
    server.set("/metrics", 200, "llamacpp:requests_processing 1\nllamacpp:requests_deferred 5\n");
    assert_eq!(Source::of(&server.target(), Kind::LlamaCpp).await, Some(Source::Metrics));
    server.set("/metrics", 404, "");
    assert_eq!(Source::of(&server.target(), Kind::Vllm).await, None);
    assert_eq!(Source::of(&server.target(), Kind::Ollama).await, None);
}

fn worker(export: Export) -> Worker {
    Worker::spawn(Config { exports: vec![export], ..Config::default() }, CancellationToken::new()).unwrap()
}

async fn offers(worker: &Worker, wanted: impl Fn(&Service) -> bool) {
    let mut offers = worker.offers();
    let is_so = |offers: &Arc<Vec<Service>>| offers.iter().any(&wanted);
    let in_time = timeout(PATIENCE, offers.wait_for(is_so)).await.map(drop);
    assert!(in_time.is_ok(), "{:?}", worker.offers().borrow());
}

fn serves<'a>(models: &'a [&str]) -> impl Fn(&Service) -> bool + 'a {
    move |service| words(&service.models) == models
}

#[tokio::test]
async fn a_worker_announces_the_models_and_slots_and_reports_the_queue_of_its_backend() {
    let metrics = "llamacpp:requests_processing 3\nllamacpp:requests_deferred 2\n";
    let server = Server::start([("/v1/models", LLAMA), ("/props", LLAMA_PROPS), ("/metrics", metrics)]).await;
    let worker = worker(Export::new("llm", server.target()));
    offers(&worker, |service| service.slots == 4 && serves(&["qwen+", "qwen3+"])(service)).await;
    let status = worker.status().remove(0);
    assert_eq!((status.model_server, status.slots), (Some(Kind::LlamaCpp), 4));
    assert_eq!(words(&status.models), ["qwen+", "qwen3+"]);
    // Nobody came through this worker: all that it works on is for others.
    let offering = Arc::clone(worker.shared.state().offerings.get("llm").unwrap());
    let reported = async {
        loop {
            let load = offering.tally.load(crate::ledger::NodeId::from_bytes([1; 32]));
            if (load.in_flight, load.yours, load.queued) == (3, 0, 2) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, reported).await.expect("the queue to be reported");
    worker.shutdown().await;
}

#[tokio::test]
async fn slots_that_the_user_said_win() {
    let server = Server::start([("/v1/models", LLAMA), ("/props", LLAMA_PROPS)]).await;
    let worker = worker(Export { slots: 2, ..Export::new("llm", server.target()) });
    offers(&worker, |service| service.slots == 2 && !service.models.is_empty()).await;
    worker.shutdown().await;
}

/// Lets so much time pass, with nothing else happening meanwhile.
async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_model_that_was_pulled_and_one_that_was_loaded_are_announced() {
    let server =
        Server::start([("/v1/models", OLLAMA), ("/api/tags", r#"{"models":[]}"#), ("/api/ps", r#"{"models":[]}"#)])
            .await;
    let worker = worker(Export { health: Health::Off, ..Export::new("llm", server.target()) });
    offers(&worker, serves(&[])).await;
    server.set("/api/tags", 200, OLLAMA_TAGS);
    skip(SURVEY.1 * 2).await;
    offers(&worker, serves(&["llama3.2:latest", "qwen3:8b"])).await;
    server.set("/api/ps", 200, OLLAMA_PS);
    skip(SURVEY.1 * 2).await;
    offers(&worker, serves(&["llama3.2:latest", "qwen3:8b+"])).await;
    worker.shutdown().await;
}

#[tokio::test]
async fn a_backend_that_comes_back_as_another_server_is_asked_anew() {
    let server = Server::start([("/v1/models", VLLM)]).await;
    let address = server.address;
    let worker = worker(Export::new("llm", server.target()));
    offers(&worker, serves(&["Qwen/Qwen3-8B+"])).await;
    server.task.abort();
    drop(server);
    let mut offers_now = worker.offers();
    timeout(PATIENCE, offers_now.wait_for(|offers| offers.is_empty())).await.expect("it to be withdrawn").unwrap();
    let listener = timeout(PATIENCE, async {
        loop {
            if let Ok(listener) = TcpListener::bind(address).await {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    });
    let _other = Server::listen(listener.await.unwrap(), [("/v1/models", OTHER)]);
    offers(&worker, serves(&["phi-4"])).await;
    worker.shutdown().await;
}

#[tokio::test]
async fn a_server_that_is_too_busy_to_answer_keeps_its_models() {
    let server = Server::start([("/v1/models", VLLM)]).await;
    let worker = worker(Export { health: Health::Off, ..Export::new("llm", server.target()) });
    offers(&worker, serves(&["Qwen/Qwen3-8B+"])).await;
    server.set("/v1/models", 503, "later");
    let before = server.asked("/v1/models");
    skip(SURVEY.1 * 2).await;
    server.was_asked("/v1/models", before + 2).await;
    assert!(serves(&["Qwen/Qwen3-8B+"])(&worker.offers().borrow()[0]));
    worker.shutdown().await;
}

#[tokio::test]
async fn nobody_asks_a_backend_that_is_not_to_be_inspected_or_speaks_no_http() {
    let server = Server::start([("/v1/models", VLLM), ("/health", "well")]).await;
    let health: Health = "/health".parse().unwrap();
    let tcp: Target = format!("tcp://{}", server.address).parse().unwrap();
    for export in [
        Export { inspect: false, health: health.clone(), ..Export::new("llm", server.target()) },
        Export { health, ..Export::new("llm", tcp) },
    ] {
        let worker = worker(export);
        offers(&worker, serves(&[])).await;
        // Each probe and each question is one connection, in turn: had there been a question, it would be seen by now.
        let probes = server.asked("/health");
        skip(Duration::from_secs(60)).await;
        server.was_asked("/health", probes + 2).await;
        assert_eq!(server.asked("/v1/models"), 0);
        assert_eq!(worker.status()[0].model_server, None);
        worker.shutdown().await;
    }
}
