//! OpenAI's and Ollama's own clients at two fronts, with three model servers behind them.
//!
//! Those that OpenAI's client meets are real: llama.cpp's server, with a model that it makes on the spot
//! (`tests/peers/llama_server.py`). Those of Ollama are our own, which keep to its API (`model_server`).

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::{
    client, machine,
    model_server::{Kind, ModelServer, Setup},
    process::{Exit, Process},
    python,
    three::Three,
    until,
};

/// Slots of each (`llama_server.py`).
const SLOTS: u32 = 2;

/// llama.cpp.
struct Llama {
    address: SocketAddr,
    _process: Process,
}

impl Llama {
    async fn start(model: &str) -> Self {
        let process = Process::spawn("llama_server.py", python::script("llama_server.py").arg(model));
        let line = process.says("port ").await;
        let address = format!("127.0.0.1:{}", line.strip_prefix("port ").unwrap()).parse().unwrap();
        Self { address, _process: process }
    }

    /// Three of them.
    async fn start_all(models: [&str; 3]) -> [Self; 3] {
        let [first, second, third] = models.map(Self::start);
        tokio::join!(first, second, third).into()
    }

    /// Tokens that it said until now, by its own account.
    async fn tokens(&self) -> u64 {
        let metrics = client::get(self.address, "/metrics").await.unwrap().text();
        let value = metrics.lines().find_map(|line| line.strip_prefix("llamacpp:tokens_predicted_total ")).unwrap();
        value.parse().unwrap()
    }

    async fn is_busy(&self) -> bool {
        let slots = client::get(self.address, "/slots").await.unwrap();
        let slots: Vec<Value> = serde_json::from_slice(&slots.body).unwrap();
        slots.iter().any(|slot| slot["is_processing"] == json!(true))
    }
}

/// What OpenAI's client says of each order.
async fn openai(front: SocketAddr, orders: &[Value]) -> Vec<Value> {
    let mut client = python::script("openai_models.py");
    client.arg(format!("http://{front}")).args(orders.iter().map(Value::to_string));
    told(Process::spawn("openai_models.py", &mut client).exit().await)
}

fn told(exit: Exit) -> Vec<Value> {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn openais_client_uses_three_llama_cpp_servers_through_two_fronts() {
    let _machine = machine::shared().await;
    let servers = Llama::start_all(["tiny"; 3]).await;
    let three = Three::start(servers.each_ref().map(|server| server.address)).await;
    for front in three.addresses {
        let many = |stream| json!({"do": "many", "model": "tiny", "tokens": 200, "stream": stream, "count": 6});
        let answers = openai(front, &[many(false), many(true)]).await;
        let (whole, streamed) = (answers[0].as_array().unwrap(), answers[1].as_array().unwrap());
        for answer in whole {
            assert_eq!(answer, &json!({"model": "tiny", "tokens": 200, "end": "length"}));
        }
        for answer in streamed {
            assert_eq!(
                (&answer["model"], &answer["tokens"], &answer["end"]),
                (&json!("tiny"), &json!(200), &json!("length"))
            );
            // Some tokens are halves of a character, and come with the next.
            assert!(answer["pieces"].as_u64().unwrap() > 100, "{answer}");
        }
    }
    for server in &servers {
        let tokens = server.tokens().await;
        assert!(tokens >= 200, "one server said {tokens} tokens");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_frees_the_slot_of_llama_cpp() {
    const ASKED: u64 = 15_000;
    let _machine = machine::shared().await;
    let servers = Llama::start_all(["tiny"; 3]).await;
    let three = Three::start(servers.each_ref().map(|server| server.address)).await;
    let leave = json!({"do": "leave", "model": "tiny", "tokens": ASKED, "stream": true});
    assert_eq!(openai(three.addresses[1], &[leave]).await, [json!({"left": true})]);
    for server in &servers {
        until("all slots to be free", async || (!server.is_busy().await).then_some(())).await;
        assert!(server.tokens().await < ASKED, "it was said to the end");
    }
}

#[tokio::test]
async fn a_request_goes_to_a_worker_that_has_its_model() {
    let _machine = machine::shared().await;
    let servers = Llama::start_all(["alpha", "beta", "gamma"]).await;
    let three = Three::start(servers.each_ref().map(|server| server.address)).await;
    for front in three.addresses {
        until("the front to know all models", async || {
            let models = client::get(front, "/v1/models").await.unwrap().text();
            ["alpha", "beta", "gamma"].iter().all(|model| models.contains(model)).then_some(())
        })
        .await;
        let chat = |model, stream| json!({"do": "many", "model": model, "stream": stream, "count": 4});
        let orders = [
            json!({"do": "models"}),
            chat("alpha", true),
            chat("beta", false),
            chat("gamma", true),
            json!({"do": "chat", "model": "delta"}),
        ];
        let answers = openai(front, &orders).await;
        assert_eq!(answers[0], json!(["alpha", "beta", "gamma"]));
        for (model, answers) in ["alpha", "beta", "gamma"].iter().zip(&answers[1..]) {
            for answer in answers.as_array().unwrap() {
                assert_eq!((&answer["model"], &answer["tokens"]), (&json!(model), &json!(8)), "{answer}");
            }
        }
        assert_eq!(
            (&answers[4]["error"], &answers[4]["status"]),
            (&json!("NotFoundError"), &json!(404)),
            "{}",
            answers[4]
        );
    }
    for worker in &three.workers {
        let export = worker.status().await.exports.remove(0);
        assert_eq!((export.model_server.as_deref(), export.slots), (Some("llama.cpp"), SLOTS), "{export:?}");
    }
    // llama.cpp answers to any model. That each was asked for its own alone is in what it counted: four streams or calls of
    // eight tokens from each of two fronts.
    for server in &servers {
        assert_eq!(server.tokens().await, 2 * 4 * 8);
    }
}

#[tokio::test]
async fn ollamas_client_finds_the_models_of_all_workers() {
    let _machine = machine::shared().await;
    let ollama = |models: &[&str]| {
        ModelServer::start(Setup {
            kind: Kind::Ollama,
            models: models.iter().map(|&model| model.to_owned()).collect(),
            slots: 2,
            first_token: Duration::from_millis(5),
            per_token: Duration::from_millis(1),
        })
    };
    let servers = [
        ollama(&["alpha"]).await.unwrap(),
        ollama(&["beta"]).await.unwrap(),
        ollama(&["beta", "gamma"]).await.unwrap(),
    ];
    let three = Three::start(servers.each_ref().map(|server| server.address)).await;
    for (front, model) in three.addresses.into_iter().zip(["alpha", "gamma"]) {
        until("the front to know all models", async || {
            let models = client::get(front, "/api/tags").await.unwrap().text();
            ["alpha", "beta", "gamma"].iter().all(|model| models.contains(model)).then_some(())
        })
        .await;
        let mut client = python::script("ollama_models.py");
        let exit = Process::spawn("ollama_models.py", client.arg(format!("http://{front}")).arg(model)).exit().await;
        let expected = "models alpha beta gamma\nchat 5 5 stop\nstream 5 True 5\ngenerate 5\nunknown 404\n";
        assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), expected), "{}", exit.stderr);
    }
    let served = servers.each_ref().map(|server| server.book().served);
    assert_eq!(served, [3, 0, 3], "alpha is on the first alone, gamma on the third");
}
