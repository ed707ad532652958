//! The commands' end of the control socket.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use super::{
    Checkup, Decided, Explained, Issued, Ledger, Peers, Ping, Proposal, Round, Services, Status, Wanted,
    server::Complaint,
};

/// How long a node may take to answer. It sits on the same machine; one that takes longer hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a node may take to accept, while looking for those that run.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Bytes of an answer at most: far more than the ledger of a large network.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Nodes of one user on one host at most that are looked for. Beyond, `--node` names one.
const MAX_NODES: usize = 256;

/// Asks one node. Each question is a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No control socket answers.
    #[error("no node is running here: start one with `p2p-fed serve` or `p2p-fed expose`")]
    NoneRunning,
    /// Nothing says which of several.
    #[error("several nodes are running here: choose one with --node NAME: {0}")]
    Several(Names),
    /// The one asked for is not there, but others are.
    #[error("no node {name} is running here: choose one with --node NAME: {running}")]
    Unknown {
        /// The one asked for.
        name: String,
        /// Those that run.
        running: Names,
    },
    /// The socket is not there, or nobody answers at it.
    #[error("no node answers at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It was reached and did not answer in time. Another try may succeed.
    #[error("the node at {} did not answer within {} s", path.display(), ANSWER_LIMIT.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// It did not take the issuer's decree.
    #[error("the node at {} declined the decree: {reason}", path.display())]
    Declined {
        /// The socket.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// It has nothing to tell of such a request.
    #[error("{reason}")]
    Unexplained {
        /// What it said.
        reason: String,
        /// There are several such requests.
        several: bool,
    },
    /// It asked nobody for a round trip.
    #[error("{reason}")]
    Unpinged {
        /// What it said.
        reason: String,
        /// Somebody else would have to be named.
        is_usage: bool,
    },
    /// It answered something else than what was asked.
    #[error("the node at {} gave no usable answer: {reason}", path.display())]
    Unusable {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl Error {
    /// Whoever asked has to ask differently.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Several(_) | Self::Unknown { .. } => true,
            Self::Unexplained { several, .. } => *several,
            Self::Unpinged { is_usage, .. } => *is_usage,
            _ => false,
        }
    }
}

/// Names of nodes, for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl Client {
    /// The node with this control socket. Whether it is there shows with the first question.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The node meant: by its name, by its socket (which has a `/` in it), or the only one that runs.
    ///
    /// Sockets at which nobody listens belong to nodes that died; they are passed over.
    ///
    /// # Errors
    /// [`Error::NoneRunning`], [`Error::Several`], or [`Error::Unknown`].
    pub async fn find(runtime: &Path, node: Option<&str>) -> Result<Self, Error> {
        if let Some(path) = node.filter(|node| node.contains('/')) {
            return Ok(Self::at(path));
        }
        let mut running = running(runtime).await;
        match node {
            Some(name) => match running.iter().position(|(running, _)| running == name) {
                Some(found) => Ok(running.swap_remove(found).1),
                None if running.is_empty() => Err(Error::NoneRunning),
                None => Err(Error::Unknown { name: name.to_owned(), running: names(running) }),
            },
            None if running.len() > 1 => Err(Error::Several(names(running))),
            None => running.pop().map(|(_, client)| client).ok_or(Error::NoneRunning),
        }
    }

    /// The control socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of the node's state.
    ///
    /// # Errors
    /// When it does not answer, or not so.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("/v1/status").await
    }

    /// Who is connected to it.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn peers(&self) -> Result<Peers, Error> {
        self.get("/v1/peers").await
    }

    /// What its network offers.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn services(&self) -> Result<Services, Error> {
        self.get("/v1/services").await
    }

    /// The records it holds.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn ledger(&self) -> Result<Ledger, Error> {
        self.get("/v1/ledger").await
    }

    /// What it knows of its place in the network.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn checkup(&self) -> Result<Checkup, Error> {
        self.get("/v1/doctor").await
    }

    /// Why recent requests went where they went.
    ///
    /// # Errors
    /// [`Error::Unexplained`], and as [`Self::status`].
    pub async fn explain(&self, wanted: &Wanted) -> Result<Explained, Error> {
        let (status, answer) = self.ask(Method::GET, &wanted.route(), Bytes::new()).await?;
        if status == StatusCode::OK {
            return self.read(&answer);
        }
        match serde_json::from_slice(&answer) {
            Ok(Complaint { error }) => {
                Err(Error::Unexplained { reason: error, several: status == StatusCode::CONFLICT })
            }
            Err(_) => Err(self.unusable(format_args!("the question was answered with {status}"))),
        }
    }

    /// One round trip to a peer, or to each worker of a service.
    ///
    /// # Errors
    /// [`Error::Unpinged`], and as [`Self::status`].
    pub async fn ping(&self, ping: &Ping) -> Result<Round, Error> {
        let body = serde_json::to_vec(ping).map_err(|error| self.unusable(error))?;
        let (status, answer) = self.ask(Method::POST, "/v1/ping", body.into()).await?;
        if status == StatusCode::OK {
            return self.read(&answer);
        }
        match serde_json::from_slice(&answer) {
            Ok(Complaint { error }) => {
                let is_usage = matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT);
                Err(Error::Unpinged { reason: error, is_usage })
            }
            Err(_) => Err(self.unusable(format_args!("the question was answered with {status}"))),
        }
    }

    /// What the network's issuer decided, and whom the next decree may be about.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn issued(&self) -> Result<Issued, Error> {
        self.get("/v1/decree").await
    }

    /// Hands over a decree, as it travels. The number that is in force then.
    ///
    /// # Errors
    /// [`Error::Declined`], and as [`Self::status`].
    pub async fn decide(&self, signed: &[u8]) -> Result<u64, Error> {
        let proposal = Proposal { signed: STANDARD.encode(signed) };
        let body = serde_json::to_vec(&proposal).map_err(|error| self.unusable(error))?;
        let (status, answer) = self.ask(Method::POST, "/v1/decree", body.into()).await?;
        if status == StatusCode::OK {
            return self.read(&answer).map(|Decided { number }| number);
        }
        match serde_json::from_slice(&answer) {
            Ok(Complaint { error }) => Err(Error::Declined { path: self.path.clone(), reason: error }),
            Err(_) => Err(self.unusable(format_args!("the decree was answered with {status}"))),
        }
    }

    async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, Error> {
        match self.ask(Method::GET, route, Bytes::new()).await? {
            (StatusCode::OK, body) => self.read(&body),
            (status, _) => Err(self.unusable(format_args!("{route} was answered with {status}"))),
        }
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| self.unusable(format_args!("{error} (another version?)")))
    }

    async fn ask(&self, method: Method, route: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let answer = timeout(ANSWER_LIMIT, self.exchange(method, route, body)).await;
        answer.unwrap_or_else(|_elapsed| Err(Error::Silent { path: self.path.clone() }))
    }

    /// The connection is driven here, beside the request: nothing is spawned.
    async fn exchange(&self, method: Method, route: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let stream = self.connect().await?;
        let broken = |error: hyper::Error| self.unusable(error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(route)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unusable(error))?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|error| self.unusable(error))?.to_bytes()))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            answer = &mut exchange => answer,
            // It ends with the last byte of the answer; what is left to do is to read what has arrived.
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(self.unusable(error)),
            },
        }
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        let connected = timeout(CONNECT_LIMIT, UnixStream::connect(&self.path)).await;
        let connected = connected.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|source| Error::Unreachable { path: self.path.clone(), source })
    }

    fn unusable(&self, reason: impl fmt::Display) -> Error {
        Error::Unusable { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// The nodes that accept connections, sorted by name. A folder that is not there holds none.
async fn running(runtime: &Path) -> Vec<(String, Client)> {
    let mut found: Vec<_> = fs::read_dir(runtime)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".sock")?.to_owned();
            Some((name, Client::at(path)))
        })
        .take(MAX_NODES)
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut running = Vec::new();
    for (name, client) in found {
        match client.connect().await {
            Err(Error::Unreachable { source, .. }) if is_gone(&source) => {}
            // One that hangs is running, too: whoever asks it shall be told so.
            _ => running.push((name, client)),
        }
    }
    running
}

/// Nobody listens at a socket that refuses, and no process comes back to it.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

fn names(nodes: Vec<(String, Client)>) -> Names {
    Names(nodes.into_iter().map(|(name, _)| name).collect())
}
