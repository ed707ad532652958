//! One node from its configuration to its exit code.
//!
//! ```text
//! settings ─▶ log ─▶ token ─▶ start ─▶ wait? ─▶ ready ─┬─ SIGHUP ─▶ reload
//!                                                      ├─ failed ─▶ stop, exit 1
//!                                                      └─ SIGTERM, SIGINT ─▶ drain ─▶ stop, exit 0
//! ```
//!
//! A signal before *ready*, or a second one while it drains, stops at once with exit code 130.

use std::time::Duration;

use p2p_fed::{
    config::{LogSettings, Settings},
    node::{End, Node},
    telemetry,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    cli::LogFlags,
    clock, descriptors,
    exit::Failure,
    node_flags::NodeFlags,
    output::Output,
    signals::{Signal, Signals},
    token_source,
};

/// How long a stop may take that waits for nothing: a farewell of a fraction of a second, and the end of tasks.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A command that runs a node.
pub(crate) trait Role {
    /// The flags that all have.
    fn node(&self) -> &NodeFlags;

    /// What flags, environment and file say together, read anew each time. `log` is what flags say of logging.
    ///
    /// # Errors
    /// The file is broken, or there is nothing to do.
    fn settings(&self, log: &LogSettings) -> Result<Settings, Failure>;
}

/// Starts a node and stays until it ends.
pub(crate) async fn run(role: &impl Role, log: &LogFlags) -> Result<(), Failure> {
    let log = log.settings();
    let settings = role.settings(&log)?;
    let logging = telemetry::init(&settings.log.resolve())?;
    descriptors::take_all();
    let config = settings.clone().resolve()?;
    let flags = role.node();
    // Flags are among the settings already, but a token that is a flag or a variable goes before the configuration's file.
    let configured = settings.token_file.as_deref().filter(|_| flags.token.token_file.is_none());
    let token = token_source::find(&flags.token, configured)?;
    token.check_expiry(clock::unix_s()).map_err(Failure::usage)?;
    for weakness in token.weaknesses() {
        tracing::warn!(weakness, "token is weak");
    }
    if token.is_strict() && !config.edgevpn.localai.as_str().is_empty() {
        let reason = "only p2p-fed nodes take part in a strict network";
        tracing::warn!(id = %config.edgevpn.localai, reason, "LocalAI network id means nothing here");
    }

    let mut signals =
        Signals::listen().map_err(|error| Failure::run(format_args!("cannot listen to signals: {error}")))?;
    let exposed: Vec<_> =
        config.exports.iter().map(|export| (export.service.clone(), export.target.to_string())).collect();
    let serves = !config.fronts.is_empty();
    let node = tokio::select! {
        started = Node::start(config, token) => started?,
        () = signals.stop() => return Err(Failure::Interrupted("interrupted before the node was up")),
    };
    tell(&node, &exposed);
    if let Err(failure) = become_ready(&node, serves, flags.wait, &mut signals).await {
        stop(node).await;
        return Err(failure);
    }
    announce(&node, flags.output.output);

    let mut reload = Reload { role, log, logging, settings };
    loop {
        tokio::select! {
            error = node.failed() => {
                stop(node).await;
                return Err(error.into());
            }
            signal = signals.next() => match signal {
                Signal::Reload => reload.perform(&node),
                Signal::Stop => break,
            },
        }
    }
    let ended = drain(&node, reload.settings.drain_timeout(), &mut signals).await;
    stop(node).await;
    ended
}

/// Where it joined, and what it does there.
fn tell(node: &Node, exposed: &[(String, String)]) {
    tracing::info!(network = node.network(), node = node.id().short(), name = node.name(), "joined");
    for (service, target) in exposed {
        tracing::info!(service, target, "exposing");
    }
    for front in node.status().fronts {
        let scheme = if ["tcp", "udp"].contains(&front.mode.as_str()) { front.mode.as_str() } else { "http" };
        let on = format!("{scheme}://{}", front.listen);
        tracing::info!(service = front.service, on, policy = front.policy, "listening");
    }
}

/// Waits for company, if that was asked for. Nobody's absence is a failure otherwise.
async fn become_ready(node: &Node, serves: bool, wait: Option<Duration>, signals: &mut Signals) -> Result<(), Failure> {
    let Some(limit) = wait else { return Ok(()) };
    let company = async { if serves { node.worker_available().await } else { node.peer_connected().await } };
    tokio::select! {
        came = timeout(limit, company) => came.map_err(|_elapsed| {
            let missing = if serves { "no worker for every service" } else { "no peer" };
            Failure::TimedOut(format!(
                "{missing} came within {} s: are the others running with the same token, and can they be reached?",
                limit.as_secs_f64()
            ))
        }),
        error = node.failed() => Err(error.into()),
        () = signals.stop() => Err(Failure::Interrupted("interrupted while waiting")),
    }
}

/// What a script that started the node reads.
#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    name: &'a str,
    node: String,
    network: &'a str,
    addresses: Vec<String>,
    fronts: Vec<Listening>,
    control_socket: &'a std::path::Path,
}

#[derive(Serialize)]
struct Listening {
    service: String,
    listen: String,
}

/// Says on stdout that the node is bound and answers.
fn announce(node: &Node, output: Output) {
    let addresses: Vec<_> = node.addresses().iter().map(ToString::to_string).collect();
    let fronts = node.fronts().into_iter().map(|(service, on)| Listening { service, listen: on.to_string() });
    let ready = Ready {
        ready: true,
        name: node.name(),
        node: node.id().to_string(),
        network: node.network(),
        addresses,
        fronts: fronts.collect(),
        control_socket: node.control_socket(),
    };
    let text = || format!("ready name={} addresses={}", ready.name, ready.addresses.join(","));
    let said = output.show_next(&ready, text);
    if said.is_err() {
        // Nobody reads it: no reason to end for a node that others depend on.
        tracing::debug!("nobody read that the node is ready");
    }
}

/// What `SIGHUP` reads again.
struct Reload<'a, R> {
    role: &'a R,
    log: LogSettings,
    logging: telemetry::Handle,
    settings: Settings,
}

impl<R: Role> Reload<'_, R> {
    fn perform(&mut self, node: &Node) {
        match self.read(node) {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(Failure::Usage(error) | Failure::Run(error)) => {
                tracing::error!(error, "configuration is broken, the old one stays");
            }
            // Reading gives no other failure.
            Err(other) => tracing::error!(error = ?other, "configuration was not read, the old one stays"),
        }
    }

    /// All or nothing: what can fail comes before what changes something, and exports are replaced as a whole.
    fn read(&mut self, node: &Node) -> Result<(), Failure> {
        let settings = self.role.settings(&self.log)?;
        let config = settings.clone().resolve()?;
        let filter = settings.log.resolve().filter;
        let before = self.settings.log.resolve().filter;
        self.logging.set_filter(&filter)?;
        if let Err(error) = node.replace_exports(config.exports) {
            // It was in use a moment ago.
            self.logging.set_filter(&before)?;
            return Err(error.into());
        }
        if fixed(&settings) != fixed(&self.settings) {
            tracing::warn!("some changes need a restart: all but exports, log level and drain timeout");
        }
        self.settings = settings;
        Ok(())
    }
}

/// What a running node cannot change.
fn fixed(settings: &Settings) -> Settings {
    let log = LogSettings { level: None, ..settings.log.clone() };
    Settings { exports: None, drain_timeout: None, log, ..settings.clone() }
}

/// Lets what is in flight come to its end, and says which end it had.
async fn drain(node: &Node, limit: Duration, signals: &mut Signals) -> Result<(), Failure> {
    tracing::info!(limit = ?limit, "draining");
    tokio::select! {
        end = node.drain(limit) => {
            match end {
                End::Drained => tracing::info!("drained"),
                End::CutOff { connections } => tracing::warn!(connections, "cut off"),
            }
            Ok(())
        }
        () = signals.stop() => Err(Failure::Interrupted("interrupted while draining")),
    }
}

/// Leaves the network. A node that cannot even do that is left to the system.
async fn stop(node: Node) {
    if timeout(STOP_LIMIT, node.stop()).await.is_err() {
        tracing::warn!("node did not stop in time");
    }
}
