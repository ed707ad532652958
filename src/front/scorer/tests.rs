//! Fronts with a scorer: a real HTTP server, good and bad.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

use super::{External, Scorer};
use crate::{
    balance::{Ask, Choice},
    front::{
        Mode,
        tests::lab::{Lab, body, named, node, read_to_end, status, tcp_backend, within},
    },
};

/// What a scorer does with a question: the bytes that it answers with, or nothing ever.
type Act = Arc<dyn Fn(Value) -> Option<Vec<u8>> + Send + Sync>;

/// A scorer on a socket of its own.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
    connected: Arc<AtomicUsize>,
    act: Arc<Mutex<Act>>,
}

impl Server {
    async fn start(act: impl Fn(Value) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/score", listener.local_addr().unwrap());
        let act: Arc<Mutex<Act>> = Arc::new(Mutex::new(Arc::new(act)));
        let (asked, connected) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Self { url, asked, connected, act };
        let (asked, connected, act) = (server.asked.clone(), server.connected.clone(), server.act.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connected.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(socket, asked.clone(), act.clone()));
            }
        });
        server
    }

    /// Answers with these scores of workers 1, 2, …
    async fn scoring(scores: &'static [f64]) -> Self {
        Self::start(move |_| Some(ok(&scores_of(scores)))).await
    }

    fn change(&self, act: impl Fn(Value) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.act.lock().unwrap() = Arc::new(act);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn converse(
    mut socket: impl AsyncReadExt + AsyncWriteExt + Unpin,
    asked: Arc<AtomicUsize>,
    act: Arc<Mutex<Act>>,
) {
    while let Some(question) = question(&mut socket).await {
        asked.fetch_add(1, Ordering::Relaxed);
        let act = act.lock().unwrap().clone();
        match act(question) {
            Some(answer) => {
                // The front may have had enough of it.
                let _ = socket.write_all(&answer).await;
                if answer.windows(17).any(|part| part == b"connection: close") {
                    return;
                }
            }
            None => std::future::pending().await,
        }
    }
}

/// One request's body, which is JSON; `None` once the client is gone.
async fn question(socket: &mut (impl AsyncReadExt + Unpin)) -> Option<Value> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("POST /") && head.contains("content-type: application/json"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some(serde_json::from_slice(&body).unwrap())
}

fn ok(body: &Value) -> Vec<u8> {
    answer("200 OK", &body.to_string())
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn scores_of(scores: &[f64]) -> Value {
    let scores = scores.iter().zip(1..).map(|(score, id)| (node(id).to_string(), json!(score)));
    json!({"scores": scores.collect::<serde_json::Map<_, _>>()})
}

/// Fronts of tests have time: a loaded machine is no slow scorer.
const PATIENT: Duration = Duration::from_secs(20);

async fn lab(workers: usize, url: &str, deadline: Duration) -> Lab {
    let names = ["one", "two", "three"].into_iter().take(workers);
    let mut backends = Vec::new();
    for name in names {
        backends.push(named(name).await);
    }
    Lab::with(backends, |config| config.scorer = Some(External { url: url.parse().unwrap(), deadline }))
}

/// Why the newest request's last worker was chosen.
async fn choice(lab: &Lab, requests: usize) -> Arc<Choice> {
    within(async {
        loop {
            let entries = lab.front.journal(requests);
            match entries.last() {
                Some(entry) if entries.len() == requests => break entry.attempts.last().unwrap().choice.clone(),
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_least_score_gets_every_request_and_explain_says_whose_choice_it_was() {
    let scorer = Server::scoring(&[3.0, 1.5, 2.0]).await;
    let lab = lab(3, &scorer.url, PATIENT).await;
    for _ in 0..6 {
        assert_eq!(body(&lab.get("/").await), "two");
    }
    assert_eq!((scorer.asked(), scorer.connected.load(Ordering::Relaxed)), (6, 1), "over one connection");
    let choice = choice(&lab, 6).await;
    assert_eq!(choice.because, "the scorer's first");
    let scores: Vec<_> = choice.candidates.iter().map(|candidate| (candidate.node, candidate.score)).collect();
    assert_eq!(scores, [(node(2), Some(1.5)), (node(3), Some(2.0)), (node(1), Some(3.0))]);
    assert_eq!(lab.front.scorer_trouble(), None);
}

#[tokio::test]
async fn it_is_told_who_could_have_the_request() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let scorer = Server::start(move |question| {
        tell.send(question).unwrap();
        Some(ok(&scores_of(&[1.0, 2.0])))
    });
    let scorer = scorer.await;
    let lab = lab(2, &scorer.url, PATIENT).await;
    lab.get("/").await;
    let question = told.recv().await.unwrap();
    assert_eq!((&question["service"], &question["model"]), (&json!("web"), &Value::Null));
    let mut names: Vec<_> = question["candidates"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["w1", "w2"]);
    let first = &question["candidates"][0];
    assert_eq!((&first["standing"], &first["in_flight"], &first["slots"]), (&json!("available"), &json!(0), &json!(0)));
    assert!(first["node"].is_string() && first["rate"].is_number() && first["latency_ms"].is_null(), "{first}");
    let scorer = Scorer::new(External { url: scorer.url.parse().unwrap(), deadline: PATIENT });
    let ask = Ask { model: Some("llama".into()), ..Ask::default() };
    assert_eq!(scorer.scores("web", &ask, &[]).await, Some(vec![]), "who is no candidate has no score");
    assert_eq!(told.recv().await.unwrap()["model"], "llama");
}

#[tokio::test]
async fn connections_are_scored_too_and_so_are_sockets_in_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scorer.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let act: Act = Arc::new(|_| Some(ok(&scores_of(&[2.0, 1.0]))));
    let asked = Arc::<AtomicUsize>::default();
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(converse(socket, counted.clone(), Arc::new(Mutex::new(act.clone()))));
        }
    });
    let greets =
        |text: &'static [u8]| tcp_backend(move |mut socket| async move { socket.write_all(text).await.unwrap() });
    let backends = [greets(b"one").await, greets(b"two").await];
    let url = format!("unix:{}", path.display()).parse().unwrap();
    let lab = Lab::with(backends, |config| {
        config.mode = Mode::Tcp;
        config.scorer = Some(External { url, deadline: PATIENT });
    });
    for _ in 0..3 {
        let mut client = lab.connect().await;
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "two");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn who_was_tried_is_not_offered_again_and_the_next_best_is_picked() {
    let scorer = Server::scoring(&[1.0, 2.0]).await;
    let lab = lab(2, &scorer.url, PATIENT).await;
    lab.kill(1);
    let response = lab.get("/").await;
    assert_eq!((body(&response), lab.dials(1)), ("two", 1));
}

#[tokio::test]
async fn whatever_a_scorer_answers_requests_are_served() {
    let huge = format!("{{\"scores\":{{}},\"more\":\"{}\"}}", "x".repeat(super::exchange::ANSWER_MAX));
    let bad = [
        (answer("500 Oops", "{}"), "it answered with 500"),
        (answer("200 OK", "hello"), "its answer is not {\"scores\""),
        (answer("200 OK", "{\"scores\":[1]}"), "its answer is not {\"scores\""),
        (answer("200 OK", "{\"scores\":{\"a\":null}}"), "its answer is not {\"scores\""),
        (answer("200 OK", "{\"scores\":{\"a\":1e999}}"), "its answer is not {\"scores\""),
        (answer("200 OK", ""), "its answer is not {\"scores\""),
        (answer("200 OK", &huge), "its answer has more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{".to_vec(), "its answer is cut off"),
        (b"SSH-2.0-OpenSSH\r\nconnection: close\r\n".to_vec(), "the connection broke"),
        (b"connection: close".to_vec(), "the connection broke"),
    ];
    for (answer, reason) in bad {
        let scorer = Server::start(move |_| Some(answer.clone())).await;
        let lab = lab(2, &scorer.url, PATIENT).await;
        // As many as it takes until it is left alone.
        for _ in 0..6 {
            assert_eq!(status(&lab.get("/").await), 200, "{reason}");
        }
        assert_eq!(scorer.asked(), 5, "{reason}");
        let trouble = lab.front.scorer_trouble().unwrap_or_default();
        assert!(trouble.starts_with(reason), "{trouble:?} for {reason:?}");
        assert_eq!(choice(&lab, 6).await.because, "fewest in flight");
    }
}

#[tokio::test]
async fn scores_of_nobody_who_can_take_work_leave_the_choice_to_least_used() {
    for scores in [json!({"scores": {}}), json!({"scores": {"somebody": 1}}), scores_of(&[])] {
        let scorer = Server::start(move |_| Some(ok(&scores))).await;
        let lab = lab(1, &scorer.url, PATIENT).await;
        for _ in 0..8 {
            assert_eq!(body(&lab.get("/").await), "one");
        }
        assert_eq!((scorer.asked(), lab.front.scorer_trouble()), (8, None), "that is an answer, not a failure");
        assert_eq!(choice(&lab, 8).await.because, "fewest in flight");
    }
}

#[tokio::test]
async fn a_scorer_that_is_late_or_gone_costs_a_request_its_deadline_and_is_left_alone_soon() {
    let silent = Server::start(|_| None).await;
    let lab_of_silent = lab(1, &silent.url, Duration::from_millis(10)).await;
    for _ in 0..6 {
        assert_eq!(body(&lab_of_silent.get("/").await), "one");
    }
    assert_eq!(lab_of_silent.front.scorer_trouble().as_deref(), Some("it did not answer within 10ms"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let lab = lab(1, &url, PATIENT).await;
    for _ in 0..6 {
        assert_eq!(body(&lab.get("/").await), "one");
    }
    assert!(lab.front.scorer_trouble().unwrap().starts_with("cannot connect: "));
}

#[tokio::test]
async fn one_that_is_well_again_is_asked_again() {
    let scorer = Server::start(|_| Some(answer("503 Starting", ""))).await;
    let lab = lab(2, &scorer.url, PATIENT).await;
    for _ in 0..5 {
        lab.get("/").await;
    }
    assert!(lab.front.scorer_trouble().is_some());
    scorer.change(|_| Some(ok(&scores_of(&[2.0, 1.0]))));
    // The first pause is a second.
    within(async {
        while lab.front.scorer_trouble().is_some() {
            lab.get("/").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for _ in 0..4 {
        assert_eq!(body(&lab.get("/").await), "two");
    }
}

#[tokio::test]
async fn a_connection_that_the_scorer_closed_is_replaced() {
    let closing = |scores: &'static [f64]| {
        let body = scores_of(scores).to_string();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
    };
    let scorer = Server::start(move |_| Some(closing(&[2.0, 1.0]))).await;
    let lab = lab(2, &scorer.url, PATIENT).await;
    for _ in 0..8 {
        assert_eq!(body(&lab.get("/").await), "two");
    }
    assert_eq!((scorer.asked(), lab.front.scorer_trouble()), (8, None));
}

#[tokio::test]
async fn at_most_so_many_questions_are_under_way() {
    let scorer = Server::start(|_| None).await;
    let lab = lab(1, &scorer.url, PATIENT).await;
    let mut clients = Vec::new();
    for _ in 0..2 * super::exchange::CONNECTIONS_MAX {
        let mut client = lab.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    within(async {
        while lab.front.counters().in_flight < clients.len() || scorer.asked() < super::exchange::CONNECTIONS_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(scorer.connected.load(Ordering::Relaxed), super::exchange::CONNECTIONS_MAX);
}
