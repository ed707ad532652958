//! p2p-fed, and what it is used with, on a host of the lab.

use std::{path::PathBuf, process::Stdio, time::Duration};

use p2p_fed::api::{Client, Peer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::lab::Host;

/// From the start of a node to its `ready` line.
const START: Duration = Duration::from_secs(20);

/// From asking a node until it has said all; a ping may go on for half a minute.
const ANSWER: Duration = Duration::from_secs(60);

/// A network's token, and where its nodes keep their state.
pub struct Network {
    folder: TempDir,
}

/// A running node. Killed when dropped.
pub struct Node {
    name: String,
    pub host: Host,
    process: Child,
    folder: PathBuf,
    /// Of one that is a member of nothing: its folder goes with it.
    own: Option<TempDir>,
    addresses: Vec<String>,
}

fn binary() -> PathBuf {
    std::env::var_os("P2P_FED_BIN").expect("P2P_FED_BIN names the binary; run `make netns`").into()
}

impl Network {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let minted = Command::new(binary()).arg("token").output().await.unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, minted.stdout).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self { folder }
    }

    /// Starts a node and waits until it is ready.
    pub async fn start(&self, host: &Host, name: &str, args: &[&str]) -> Node {
        let folder = self.folder.path().join(name);
        let token = self.folder.path().join("token");
        Node::start(host, name, folder, &[args, &["--token-file", token.to_str().unwrap()]].concat()).await
    }
}

impl Node {
    /// One that is a member of nothing.
    pub async fn without_token(host: &Host, args: &[&str]) -> Self {
        let own = tempfile::tempdir().unwrap();
        let mut node = Self::start(host, "open", own.path().to_owned(), args).await;
        node.own = Some(own);
        node
    }

    async fn start(host: &Host, name: &str, folder: PathBuf, args: &[&str]) -> Self {
        std::fs::create_dir_all(folder.join("run")).unwrap();
        std::fs::set_permissions(folder.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = on(host, binary());
        command.args(args).arg("--state-dir").arg(folder.join("state")).args(["--name", name]);
        command.env("XDG_RUNTIME_DIR", folder.join("run")).env("P2P_FED_LOG", "info,p2p_fed::net=debug");
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(START, lines.next_line()).await.expect("a node that starts").unwrap().unwrap_or_default();
        let addresses = line.split(' ').find_map(|word| word.strip_prefix("addresses="));
        let Some(addresses) = addresses else {
            panic!("{name}: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        };
        let addresses = addresses.split(',').map(str::to_owned).collect();
        Self { name: name.to_owned(), host: host.clone(), process, folder, own: None, addresses }
    }

    /// Its address over this transport, `tcp` or `udp`.
    pub fn address(&self, transport: &str) -> &str {
        self.addresses.iter().find(|address| address.contains(transport)).unwrap()
    }

    /// How it is connected to the node of that name, if it is.
    pub async fn peer(&self, name: &str) -> Option<Peer> {
        let status = self.status().await?;
        status.peers.into_iter().find(|peer| peer.name.as_deref() == Some(name))
    }

    pub async fn status(&self) -> Option<p2p_fed::api::Status> {
        self.client().status().await.ok()
    }

    /// What it has found out about the network.
    pub async fn checkup(&self) -> Option<p2p_fed::api::Checkup> {
        self.client().checkup().await.ok()
    }

    fn client(&self) -> Client {
        Client::at(self.folder.join("run").join("p2p-fed").join(format!("{}.sock", self.name)))
    }

    /// Where others reach it by a relay.
    pub async fn by_relays(&self) -> Vec<String> {
        let addresses = self.status().await.map(|status| status.node.addresses).unwrap_or_default();
        addresses.into_iter().filter(|address| address.contains("p2p-circuit")).collect()
    }

    /// What a command that asks it says: its exit code and stdout.
    pub async fn ask(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = on(&self.host, binary());
        command.args(args).args(["--node", &self.name]).env("XDG_RUNTIME_DIR", self.folder.join("run"));
        let said = timeout(ANSWER, command.output()).await.expect("an answer").unwrap();
        (said.status.code(), String::from_utf8(said.stdout).unwrap())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Stops it in good order.
    pub async fn stop(mut self) {
        let pid = self.process.id().expect("it runs").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        timeout(START, self.process.wait()).await.expect("a node that stops").unwrap();
    }

    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            println!("=== {}\n{log}", self.name);
        }
    }
}

/// A program on a host, to be killed by the kernel if the test dies before it can do so itself.
pub fn on(host: &Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &host.space, "setpriv", "--pdeathsig", "KILL"]).arg(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A server that answers `/N` with N bytes, `/quick` with 800 KiB, and all else with the same in 20 s. Anybody can ask it.
pub async fn backend(host: &Host) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/server.py");
    let mut server = on(host, "python3").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    timeout(START, lines.next_line()).await.expect("a server that starts").unwrap();
    server
}

/// The body of `path`, asked of the front on its own host; none without a whole answer of status 200.
pub async fn get(host: &Host, path: &str, limit: Duration) -> Option<Vec<u8>> {
    ask(host, &format!("http://127.0.0.1:8080{path}"), limit).await
}

/// The body of a URL, asked for on that host; none without a whole answer of status 200.
pub async fn ask(host: &Host, url: &str, limit: Duration) -> Option<Vec<u8>> {
    let seconds = limit.as_secs().to_string();
    let output = on(host, "curl").args(["--silent", "--fail", "--max-time", &seconds, url]).output().await.unwrap();
    output.status.success().then_some(output.stdout)
}

/// What [`backend`] answers.
pub fn body() -> Vec<u8> {
    (0..200u8).flat_map(|number| std::iter::repeat_n(number, 4096)).collect()
}

/// What it answers where so many bytes are asked for. Any that are lost, doubled or in another place are noticed.
pub fn words(length: u32) -> Vec<u8> {
    (0..length / 4).flat_map(|place| place.wrapping_mul(2_654_435_761).wrapping_add(1).to_le_bytes()).collect()
}
