//! Requests to model servers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::lab::{Lab, Worker, body, field, http_backend, named, read_until, status, text, within};

const CHAT: &str = "/v1/chat/completions";

async fn post(lab: &Lab, path: &str, body: &str) -> String {
    let length = body.len();
    lab.raw(format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await
}

fn json_of(response: &str) -> Value {
    serde_json::from_str(body(response)).unwrap_or_else(|error| panic!("{error}: {response}"))
}

/// A model server that answers with its name and the length of what it got.
async fn measures(name: &'static str) -> Worker {
    http_backend(move |request| async move {
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        text(format!("{name} {length}"))
    })
    .await
}

#[tokio::test]
async fn a_request_goes_where_its_model_is() {
    let lab = Lab::new([named("a").await, named("b").await]);
    lab.announce(1, &[("llama3:latest", true), ("shared", false)], 0);
    lab.announce(2, &[("org/qwen", true), ("shared", true)], 0);
    for (path, model, expected) in [
        (CHAT, "org/qwen", "b"),
        ("/chat/completions", "llama3:latest", "a"),
        ("/v1/messages", "org/qwen", "b"),
        ("/api/chat", "llama3", "a"),
        ("/api/show", "llama3", "a"),
        (CHAT, "shared", "b"),
    ] {
        for _ in 0..6 {
            let request = json!({ "messages": [], "model": model }).to_string();
            assert_eq!(body(&post(&lab, path, &request).await), expected, "{path} {model}");
        }
    }
    let entry = lab.front.journal(1).pop().unwrap();
    assert_eq!(entry.model.as_deref(), Some("shared"));
}

/// As OpenAI's Python client sends a recording: the fields, then the file.
#[tokio::test]
async fn a_recording_goes_where_the_model_is_that_its_form_names() {
    let lab = Lab::new([named("a").await, named("b").await]);
    lab.announce(1, &[("llama3", true)], 0);
    lab.announce(2, &[("whisper-1", true)], 0);
    let form = "--3c1b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --3c1b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n\
        --3c1b--\r\n";
    let request = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=3c1b\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{form}",
        form.len()
    );
    for _ in 0..6 {
        assert_eq!(body(&lab.raw(&request).await), "b");
    }
}

#[tokio::test]
async fn a_recording_goes_where_its_model_is() {
    let lab = Lab::new([measures("a").await, measures("b").await]);
    lab.announce(1, &[("llama3", true)], 0);
    lab.announce(2, &[("whisper-1", true)], 0);
    // As Python's client sends it, and with the file before the field.
    let model = "Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n";
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
    let file = format!("{file}{}\r\n", "\0\r\n--".repeat(4000));
    for parts in [[model, file.as_str()], [file.as_str(), model]] {
        let form = format!("--0a1b\r\n{}--0a1b\r\n{}--0a1b--\r\n", parts[0], parts[1]);
        let head = format!(
            "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: multipart/form-data; boundary=0a1b\r\n\r\n",
            form.len()
        );
        for _ in 0..4 {
            let answer = lab.raw(format!("{head}{form}")).await;
            assert_eq!(body(&answer), format!("b {}", form.len()), "the whole form, to the one that has it");
        }
    }
}

#[tokio::test]
async fn a_model_that_nobody_has_is_refused_in_the_words_of_the_api() {
    let lab = Lab::new([named("a").await]);
    lab.announce(1, &[("here", true)], 0);
    let request = json!({ "model": "gone" }).to_string();
    let openai = post(&lab, CHAT, &request).await;
    assert_eq!((status(&openai), field(&openai, "content-type")), (404, Some("application/json")));
    assert_eq!(json_of(&openai)["error"]["code"], "model_not_found");
    assert!(json_of(&openai)["error"]["message"].as_str().unwrap().starts_with("model 'gone' not found"));
    let anthropic = post(&lab, "/v1/messages", &request).await;
    assert_eq!((status(&anthropic), &json_of(&anthropic)["error"]["type"]), (404, &json!("not_found_error")));
    let ollama = post(&lab, "/api/generate", &request).await;
    assert_eq!(status(&ollama), 404);
    assert!(json_of(&ollama)["error"].as_str().unwrap().starts_with("model 'gone' not found"));
    assert_eq!(lab.all_dials(), 0);

    // Who says nothing of what it has may have it.
    let lab = Lab::new([named("a").await, named("unknown").await]);
    lab.announce(1, &[("here", true)], 0);
    assert_eq!(body(&post(&lab, CHAT, &request).await), "unknown");
    assert_eq!(status(&post(&lab, "/v1/files", &request).await), 200, "no call that is known");
}

#[tokio::test]
async fn the_models_of_all_workers_are_listed() {
    let lab = Lab::new([named("a").await, named("b").await, named("c").await]);
    lab.announce(1, &[("x", false), ("y", false)], 0);
    lab.announce(2, &[("y", true), ("*", false)], 0);
    let names = |response: &str, list: &str, key: &str| -> Vec<String> {
        let json = json_of(response);
        json[list].as_array().unwrap().iter().map(|model| model[key].as_str().unwrap().to_owned()).collect()
    };
    let dials = lab.all_dials();
    assert_eq!(names(&lab.get("/v1/models").await, "data", "id"), ["x", "y"]);
    assert_eq!(names(&lab.get("/api/tags").await, "models", "name"), ["x", "y"]);
    assert_eq!(names(&lab.get("/api/ps").await, "models", "model"), ["y"]);
    assert_eq!(json_of(&lab.get("/v1/models/x").await)["id"], "x");
    assert_eq!(lab.all_dials(), dials, "no worker was asked");
    assert_eq!(lab.front.journal(1)[0].outcome, "answered by the front");

    lab.announce(3, &[("z", false)], 0);
    lab.announce(2, &[("y", true)], 0);
    let gone = lab.get("/v1/models/gone").await;
    assert_eq!((status(&gone), &json_of(&gone)["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn as_long_as_no_worker_names_its_models_a_list_is_asked_for() {
    let lab = Lab::new([named("backend").await]);
    assert_eq!(body(&lab.get("/v1/models").await), "backend");
    let lab = Lab::with([named("backend").await], |config| config.inspect = false);
    lab.announce(1, &[("x", true)], 0);
    assert_eq!(body(&lab.get("/api/tags").await), "backend");
    assert_eq!(body(&post(&lab, CHAT, r#"{"model":"gone"}"#).await), "backend");
}

#[tokio::test]
async fn the_model_may_stand_last_in_a_long_body() {
    let lab = Lab::new([measures("a").await, measures("b").await]);
    lab.announce(1, &[("one", true)], 0);
    lab.announce(2, &[("two", true)], 0);
    for size in [10, 200 * 1024, 250 * 1024] {
        let content = "x\\\"".repeat(size / 4);
        let request =
            format!(r#"{{"messages":[{{"role":"user","content":"{content}"}}],"stream":false,"model":"two"}}"#);
        assert_eq!(body(&post(&lab, CHAT, &request).await), format!("b {}", request.len()), "{size}");
    }
    // Beyond what is looked at, it goes to anybody, whole.
    let request = format!(r#"{{"prompt":"{}","model":"two"}}"#, "x".repeat(3_000_000));
    let response = post(&lab, CHAT, &request).await;
    assert!(body(&response).ends_with(&format!(" {}", request.len())), "{}", body(&response));
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let lab = Lab::new([measures("a").await]);
    lab.announce(1, &[("one", true)], 0);
    let mut client = lab.connect().await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 100 Continue"));
    client.write_all(br#"{"model":"one"}"#).await.unwrap();
    read_until(&mut client, "a 15").await;
}

#[tokio::test]
async fn what_was_looked_at_is_sent_again_whole() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let dying = Worker::does(move |mut tunnel| {
        let count = Arc::clone(&count);
        async move {
            read_until(&mut tunnel, "\"model\":\"one\"}").await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for (limit, replays) in [(1024 * 1024, true), (0, false)] {
        requests.store(0, Ordering::Relaxed);
        let lab = Lab::with([dying.clone(), measures("good").await], |config| config.replay_limit = limit);
        let request = format!(r#"{{"prompt":"{}","model":"one"}}"#, "x".repeat(200_000));
        lab.second_choice(2);
        let response = post(&lab, CHAT, &request).await;
        assert_eq!(status(&response), if replays { 200 } else { 502 });
        assert!(!replays || body(&response) == format!("good {}", request.len()));
        assert_eq!(requests.load(Ordering::Relaxed), 1);
        within(async {
            while !lab.front.holds_nothing() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_conversation_stays_with_the_worker_that_knows_it() {
    let lab = Lab::new([named("a").await, named("b").await, named("c").await]);
    for id in 1..=3 {
        lab.announce(id, &[("m", true)], 4);
    }
    let message = |role: &str, text: String| json!({ "role": role, "content": text });
    let mut homes = Vec::new();
    for conversation in 0..6 {
        let mut messages = vec![message("user", format!("conversation {conversation}"))];
        let mut workers = Vec::new();
        for turn in 0..5 {
            let request = json!({ "model": "m", "messages": messages }).to_string();
            workers.push(body(&post(&lab, CHAT, &request).await).to_owned());
            messages.push(message("assistant", format!("answer {turn}")));
            messages.push(message("user", format!("question {turn}")));
        }
        workers.dedup();
        assert_eq!(workers.len(), 1, "conversation {conversation} moved: {workers:?}");
        homes.append(&mut workers);
    }
    homes.sort();
    homes.dedup();
    assert_eq!(homes, ["a", "b", "c"], "conversations that have nothing in common are spread");
}

#[tokio::test]
async fn tokens_are_counted_as_they_pass() {
    let answers =
        |answer: &'static str| async move { Lab::new([http_backend(move |_| async move { text(answer) }).await]) };
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":17,"completion_tokens":205}}"#;
    let lab = answers(usage).await;
    assert_eq!(body(&post(&lab, CHAT, "{}").await), usage);
    assert_eq!(lab.front.journal(1)[0].tokens, Some((17, 205)));
    post(&lab, "/other", "{}").await;
    assert_eq!(lab.front.journal(1)[0].tokens, None, "no call that is known");
    let counters = lab.front.counters();
    assert_eq!((counters.tokens_read_total, counters.tokens_made_total), (17, 205));

    let lab = answers("data: {\"delta\":{\"content\":\"a\"}}\n\ndata: {\"delta\":{}}\n\ndata: [DONE]\n\n").await;
    post(&lab, CHAT, "{}").await;
    assert_eq!(lab.front.journal(1)[0].tokens, None, "a guess is none of the server's words");
    assert_eq!(lab.front.counters().tokens_estimated_total, 2);
}
