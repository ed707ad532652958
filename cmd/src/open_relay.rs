//! `p2p-fed relay --no-token`: from its configuration to its exit code.

use p2p_fed::{
    config::{LogSettings, RelaySettings, Settings},
    identity::{KeyFile, NodeName, RuntimeDir, StateDir},
    net::OpenRelay,
    node, telemetry,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    descriptors,
    exit::Failure,
    output::Output,
    signals::{Signal, Signals},
};

/// In place of a network's short id, among the folders of state.
const NETWORK: &str = "open-relay";

/// Starts a relay for anybody and stays until it is told to stop.
pub(crate) async fn run(settings: Settings, log: &LogSettings, output: Output) -> Result<(), Failure> {
    let settings = Settings { relay: settings.relay.over(RelaySettings::for_strangers()), ..settings };
    telemetry::init(&log.clone().over(settings.log.clone()).resolve())?;
    descriptors::take_all();
    let config = settings.resolve()?;
    let mut signals =
        Signals::listen().map_err(|error| Failure::run(format_args!("cannot listen to signals: {error}")))?;

    let base = config.state_dir.map_or_else(StateDir::usual_base, Ok).map_err(node::Error::from)?;
    let runtime = RuntimeDir::open().map_err(node::Error::from)?;
    let vary = config.name.is_none();
    let name = config.name.unwrap_or_else(NodeName::of_host);
    let state = StateDir::claim(&base, &runtime, NETWORK, &name, vary).map_err(node::Error::from)?;
    let key_file = config.identity.as_deref().map(KeyFile::claim).transpose().map_err(node::Error::from)?;
    let identity = match &key_file {
        Some(file) => file.identity(),
        None => state.identity(),
    };
    let identity = identity.map_err(node::Error::from)?;
    let relay = tokio::select! {
        bound = OpenRelay::bind(config.net, &identity) => bound.map_err(node::Error::from)?,
        () = signals.stop() => return Err(Failure::Interrupted("interrupted before the relay was up")),
    };
    tracing::info!(name = %state.name(), "a relay for anybody: nobody needs a token");
    announce(state.name(), &relay, output);

    let cancel = CancellationToken::new();
    let running = tokio::spawn(relay.run(cancel.clone()));
    while signals.next().await == Signal::Reload {
        tracing::info!("nothing of an open relay changes without a restart");
    }
    cancel.cancel();
    running.await.map_err(|error| Failure::run(format_args!("the relay broke: {error}")))
}

/// What a script that started the relay reads.
#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    name: &'a str,
    node: String,
    addresses: Vec<String>,
}

fn announce(name: &NodeName, relay: &OpenRelay, output: Output) {
    let id = relay.peer_id();
    let addresses: Vec<_> = relay.addresses().iter().map(|address| format!("{address}/p2p/{id}")).collect();
    let ready = Ready { ready: true, name: name.as_str(), node: id.to_string(), addresses };
    let said = output.show_next(&ready, || format!("ready name={name} addresses={}", ready.addresses.join(",")));
    if said.is_err() {
        tracing::debug!("nobody read that the relay is ready");
    }
}
