//! A node of edgevpn: the program in `peer/`, in a process of its own.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{network::Network, space::Space, within};

/// From its start until it says that it is ready, and from a question to its answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Looks at the other's ledger before something is said once more: some seconds.
const LOOKS: u32 = 40;

/// Which edgevpn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What LocalAI embeds.
    V034,
    /// The newest.
    V035,
}

pub const VERSIONS: [Version; 2] = [Version::V034, Version::V035];

/// A running node. Killed when dropped.
pub struct Foreign {
    process: Child,
    asking: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    id: String,
    addresses: Vec<String>,
    asked: u64,
}

impl Foreign {
    /// Starts one that listens on loopback and finds nobody by itself.
    pub async fn start(network: &Network, version: Version, args: &[&str]) -> Self {
        Self::start_in(network, None, version, &[&["-listen", "/ip4/127.0.0.1/tcp/0"], args].concat()).await
    }

    /// Starts one with these arguments alone, in `space` if there is one.
    pub async fn start_in(network: &Network, space: Option<&Space>, version: Version, args: &[&str]) -> Self {
        let folder: PathBuf = std::env::var_os("FOREIGN_PEERS").expect("FOREIGN_PEERS; run `make interop`").into();
        let program = folder.join(match version {
            Version::V034 => "foreign-peer-0.34",
            Version::V035 => "foreign-peer-0.35",
        });
        let mut command = match space {
            Some(space) => space.command(program),
            None => Command::new(program),
        };
        command.args(args).env("EDGEVPNTOKEN", network.token());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let asking = process.stdin.take().unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(LIMIT, answers.next_line()).await.expect("a peer that starts").unwrap();
        let ready: Value = serde_json::from_str(&line.expect("a peer that says what it is")).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let addresses = ready["addresses"].as_array().unwrap().iter().map(text).collect();
        Self { process, asking, answers, id: text(&ready["peer"]), addresses, asked: 0 }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it can be dialled, with its id.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Puts a question, and returns what is told.
    pub async fn ask(&mut self, mut question: Value) -> Value {
        self.asked += 1;
        question["id"] = json!(self.asked);
        self.asking.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let line = timeout(LIMIT, self.answers.next_line()).await.expect("an answer").unwrap().unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["ok"], json!(true), "{question}: {answer}");
        answer["told"].take()
    }

    /// The value of a key in its ledger, and whether it is signed.
    pub async fn entry(&mut self, bucket: &str, key: &str) -> Option<(String, bool)> {
        let state = self.ask(json!({"do": "ledger"})).await;
        let entry = &state["storage"][bucket][key];
        Some((entry["value"].as_str()?.to_owned(), entry["signed"].as_bool()?))
    }

    /// The keys of a bucket of its ledger, and their values.
    pub async fn bucket(&mut self, bucket: &str) -> BTreeMap<String, String> {
        let state = self.ask(json!({"do": "ledger"})).await;
        let entries = state["storage"][bucket].as_object().cloned().unwrap_or_default();
        entries.into_iter().map(|(key, entry)| (key, entry["value"].as_str().unwrap().to_owned())).collect()
    }

    /// Has it say something, again and again until `other` holds it: without ownership, of two writes at one moment edgevpn keeps
    /// one, and somebody's heartbeat may be the other.
    pub async fn tells(&mut self, other: &mut Self, limit: Duration, key: &str, value: Value) {
        let (mut looks, text) = (0_u32, value.to_string());
        within(limit, &format!("{key} {text} at the other"), async || {
            if looks.is_multiple_of(LOOKS) {
                self.ask(json!({"do": "put", "bucket": "test", "key": key, "value": value})).await;
            }
            looks += 1;
            other.entry("test", key).await.filter(|(held, _)| *held == text)
        })
        .await;
    }

    /// The height of its ledger.
    pub async fn index(&mut self) -> u64 {
        self.ask(json!({"do": "ledger"})).await["index"].as_u64().unwrap()
    }

    /// Ids of its connected peers.
    pub async fn peers(&mut self) -> Vec<String> {
        let peers = self.ask(json!({"do": "peers"})).await;
        peers.as_array().unwrap().iter().map(|peer| peer["peer"].as_str().unwrap().to_owned()).collect()
    }

    /// Workers that its federated server takes for online.
    pub async fn workers(&mut self) -> Vec<String> {
        let nodes = self.ask(json!({"do": "nodes"})).await;
        let online = nodes.as_array().unwrap().iter().filter(|node| node["Online"] == json!(true));
        online.map(|node| node["ID"].as_str().unwrap().to_owned()).collect()
    }

    /// Sends it a signal, as `kill` names it.
    pub async fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}
