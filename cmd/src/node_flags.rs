//! Flags of every command that runs a node.

use std::{path::PathBuf, time::Duration};

use clap::{Args, builder::BoolishValueParser};
use p2p_fed::{
    config::{Address, LogSettings, Meeting, RelaySettings, Serving, Settings, Span, WebSocketSettings},
    edgevpn::LocalAi,
    identity::NodeName,
    net::{Dht, Transport},
};

use crate::{exit::Failure, foreign_env, output::OutputFlags, token_source::TokenFlags};

/// Flags of every command that runs a node. Lists may be given with commas or by repeating the flag.
#[derive(Debug, Args)]
pub(crate) struct NodeFlags {
    #[command(flatten)]
    pub(crate) token: TokenFlags,

    /// Configuration file (YAML); flags and environment variables take precedence
    #[arg(short, long, value_name = "FILE", env = "P2P_FED_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Name of the node [default: the host's, made unique on it]
    #[arg(long, env = "P2P_FED_NAME")]
    name: Option<NodeName>,

    /// Folder for identities and state [default: the XDG state folder]
    #[arg(long, value_name = "DIR", env = "P2P_FED_STATE_DIR")]
    state_dir: Option<PathBuf>,

    /// File with the identity; made if it is not there [default: in the state folder]
    #[arg(long, value_name = "PATH", env = "P2P_FED_IDENTITY")]
    identity: Option<PathBuf>,

    /// How long a node that is told to stop waits for what is in flight [default: 30s]
    #[arg(long, value_name = "TIME", env = "P2P_FED_DRAIN_TIMEOUT")]
    drain_timeout: Option<Span>,

    /// Be ready only with a worker to send to, or, where nothing is served, with a peer; exit 3 after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    /// Where to listen for other nodes [default: TCP and QUIC, free ports, all addresses]
    #[arg(
        long,
        value_name = "MULTIADDR",
        value_delimiter = ',',
        env = "P2P_FED_LISTEN_ADDR",
        help_heading = "Network"
    )]
    listen_addr: Vec<Address>,

    /// What to tell others instead, where a port was forwarded
    #[arg(
        long,
        value_name = "MULTIADDR",
        value_delimiter = ',',
        env = "P2P_FED_ANNOUNCE_ADDR",
        help_heading = "Network"
    )]
    announce_addr: Vec<Address>,

    /// What is listened on and dialled by: tcp, quic, ws [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "P2P_FED_TRANSPORTS", help_heading = "Network")]
    transports: Vec<Transport>,

    /// PEM file with the certificate to listen on /tls/ws with
    #[arg(long, value_name = "PATH", env = "P2P_FED_WS_CERT", requires = "ws_key", help_heading = "Network")]
    ws_cert: Option<PathBuf>,

    /// PEM file with its key
    #[arg(long, value_name = "PATH", env = "P2P_FED_WS_KEY", requires = "ws_cert", help_heading = "Network")]
    ws_key: Option<PathBuf>,

    /// PEM file of authorities to trust when dialling /tls/ws, beside the web's usual ones
    #[arg(long, value_name = "PATH", env = "P2P_FED_WS_CA", help_heading = "Network")]
    ws_ca: Option<PathBuf>,

    /// A node to join by
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',', env = "P2P_FED_PEER", help_heading = "Network")]
    peer: Vec<Address>,

    /// A relay to be reachable by, with /p2p/ID at its end [default: members that are relays]
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',', env = "P2P_FED_RELAY", help_heading = "Network")]
    relay: Vec<Address>,

    /// When this node is a relay for other members: auto (with an address of the internet), always or never [default: auto]
    #[arg(long, value_name = "WHEN", env = "P2P_FED_RELAYING", help_heading = "Network")]
    relaying: Option<Serving>,

    /// Do not ask the router for a port
    #[arg(long, env = "P2P_FED_NO_PORT_MAPPING", value_parser = BoolishValueParser::new(), help_heading = "Network")]
    no_port_mapping: bool,

    /// Do not look for members on the local network
    #[arg(long, env = "P2P_FED_NO_MDNS", value_parser = BoolishValueParser::new(), help_heading = "Network")]
    no_mdns: bool,

    /// Which DHT to look for members in: public, private or off [default: public]
    #[arg(long, value_name = "WHICH", env = "P2P_FED_DHT", help_heading = "Network")]
    dht: Option<Meeting>,

    /// The same as --dht off
    #[arg(long, env = "P2P_FED_NO_DHT", value_parser = BoolishValueParser::new(), help_heading = "Network")]
    no_dht: bool,

    /// Loopback and private addresses alone, and no DHT
    #[arg(long, env = "P2P_FED_LAN", value_parser = BoolishValueParser::new(), help_heading = "Network")]
    lan: bool,

    /// Which of the LocalAI networks that share the token; LocalAI's LOCALAI_P2P_NETWORK_ID, which is read as well
    #[arg(long, value_name = "ID", env = "P2P_FED_LOCALAI_NETWORK_ID", help_heading = "Network")]
    localai_network_id: Option<LocalAi>,
}

impl NodeFlags {
    /// What was said, and where that is silent, other programs' variables; then the configuration file, where one is named.
    pub(crate) fn over_file(&self, said: Settings) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(Settings::read).transpose()?;
        Ok(said.over(foreign_env::node()?).over(file.unwrap_or_default()))
    }

    /// What flags and environment say.
    pub(crate) fn settings(&self, log: &LogSettings) -> Settings {
        Settings {
            token_file: self.token.token_file.clone(),
            name: self.name.clone(),
            state_dir: self.state_dir.clone(),
            identity: self.identity.clone(),
            transports: said(&self.transports),
            websocket: WebSocketSettings {
                cert: self.ws_cert.clone(),
                key: self.ws_key.clone(),
                ca: self.ws_ca.clone(),
            },
            listen_addrs: said(&self.listen_addr),
            announce_addrs: said(&self.announce_addr),
            peers: said(&self.peer),
            relays: said(&self.relay),
            relaying: self.relaying,
            relay: RelaySettings::default(),
            port_mapping: self.no_port_mapping.then_some(false),
            mdns: self.no_mdns.then_some(false),
            dht: if self.no_dht { Some(Meeting(Dht::Off)) } else { self.dht },
            lan: self.lan.then_some(true),
            log: log.clone(),
            drain_timeout: self.drain_timeout,
            exports: None,
            fronts: None,
            localai_network_id: self.localai_network_id.clone(),
        }
    }
}

/// An empty list of flags says nothing.
pub(crate) fn said<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Seconds, or a span with units.
fn seconds(text: &str) -> Result<Duration, String> {
    let with_unit = if text.bytes().all(|byte| byte.is_ascii_digit()) { &format!("{text}s") } else { text };
    with_unit.parse::<Span>().map(|span| span.0).map_err(|error| error.to_string())
}
