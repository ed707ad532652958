//! A node of p2p-fed: the binary, in a process of its own.

use std::{path::PathBuf, process::Stdio, time::Duration};

use p2p_fed::api::{Client, Peer, Status, Worker};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    SOON,
    network::{Network, binary},
    space::Space,
    within,
};

/// From the start of a node to its `ready` line.
const START: Duration = Duration::from_secs(20);

/// A running node. Killed when dropped.
pub struct Node {
    name: String,
    process: Child,
    folder: PathBuf,
    addresses: Vec<String>,
}

impl Node {
    /// Starts one that listens on loopback and finds nobody by itself.
    pub async fn start(network: &Network, name: &str, args: &[&str]) -> Self {
        let alone = ["--no-mdns", "--dht", "private", "--listen-addr", "/ip4/127.0.0.1/tcp/0"];
        Self::start_in(network, None, name, &[args, &alone].concat()).await
    }

    /// Starts one with these arguments alone, in `space` if there is one.
    pub async fn start_in(network: &Network, space: Option<&Space>, name: &str, args: &[&str]) -> Self {
        let folder = network.folder().join(name);
        std::fs::create_dir_all(folder.join("run")).unwrap();
        std::fs::set_permissions(folder.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = match space {
            Some(space) => space.command(binary()),
            None => Command::new(binary()),
        };
        command.args(args).arg("--token-file").arg(network.token_file());
        command.arg("--state-dir").arg(folder.join("state")).args(["--name", name]);
        command
            .env("XDG_RUNTIME_DIR", folder.join("run"))
            .env("P2P_FED_LOG", "info,p2p_fed::edgevpn=debug,p2p_fed::net=debug");
        let mut process = command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(START, lines.next_line()).await.expect("a node that starts").unwrap().unwrap_or_default();
        let Some(addresses) = line.split(' ').find_map(|word| word.strip_prefix("addresses=")) else {
            panic!("{name}: {line} {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        };
        let addresses = addresses.split(',').map(str::to_owned).collect();
        Self { name: name.to_owned(), process, folder, addresses }
    }

    /// Where it can be dialled, with its id.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.address().rsplit('/').next().unwrap()
    }

    pub async fn status(&self) -> Status {
        let socket = self.folder.join("run/p2p-fed").join(format!("{}.sock", self.name));
        Client::at(socket).status().await.unwrap()
    }

    /// The connected peer of that id, if there is one.
    pub async fn peer(&self, id: &str) -> Option<Peer> {
        self.status().await.peers.into_iter().find(|peer| peer.id == id)
    }

    /// The worker of `service` on the node of that id, once it is ready.
    pub async fn worker(&self, service: &str, id: &str) -> Worker {
        within(SOON, &format!("worker of {service}"), async || {
            let services = self.status().await.services;
            let service = services.into_iter().find(|offered| offered.name == service)?;
            service.workers.into_iter().find(|worker| worker.node == id && worker.state == "ready")
        })
        .await
    }

    /// Says what it logged until now.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Stops it in good order.
    pub async fn stop(mut self) {
        let id = self.process.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        timeout(START, self.process.wait()).await.expect("a node that stops").unwrap();
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}
