//! Everything that can be said.

use std::{fs::File, io::Read, path::Path, path::PathBuf, time::Duration};

use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::Deserialize;

use super::{
    Address, Error, ExportSettings, FrontSettings, LogSettings, Meeting, ParseError, RelaySettings, Serving, Span,
    WebSocketSettings, text,
    transports::{secured, transports, used},
};
use crate::{
    edgevpn::{self, LocalAi},
    identity::NodeName,
    net::{self, Dht, Transport},
    node,
    worker::Export,
};

/// Bytes of a configuration file at most; the longest that anybody writes by hand is a hundredth of it.
pub(super) const MAX_FILE: usize = 1024 * 1024;

/// Listeners of one node at most: as many as services that one record may offer.
pub(super) const MAX_FRONTS: usize = 64;

/// Addresses in one list at most. Each bootstrap peer is dialled for as long as the node runs.
pub(super) const MAX_ADDRESSES: usize = 256;

/// How long a node that is told to stop waits for what is in flight, when nothing else is said.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that can be said, in a file or with flags; each part may be left unsaid.
///
/// The fields are the keys of the file. Relative paths start at the working folder, as on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct Settings {
    /// The file with the token, one line. Default `~/.config/p2p-fed/token`. Only its owner should be able to read it.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The node's name: 1 to 63 of `a-z`, `0-9`, `-` and `.`. Default: the host's, made unique on it. A node that is given a
    /// name does not start while another one here has it.
    #[serde(default, deserialize_with = "text::option")]
    pub name: Option<NodeName>,
    /// Where identities and state lie, a folder for each network and node. Default `~/.local/state/p2p-fed`.
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
    /// The file with the node's identity; made if it is not there. Default: in the state folder. Two processes cannot share
    /// one.
    #[serde(default)]
    pub identity: Option<PathBuf>,
    /// What is listened on and dialled by: `tcp`, `quic`, `ws`. Default: all.
    #[serde(default, deserialize_with = "text::list")]
    pub transports: Option<Vec<Transport>>,
    /// How WebSocket is secured.
    #[serde(default)]
    pub websocket: WebSocketSettings,
    /// Multiaddrs to listen on for other nodes. Default: TCP and QUIC, a free port on all addresses. Choose a fixed port
    /// where a firewall or others' `peers` must know it.
    #[serde(default, deserialize_with = "text::list")]
    pub listen_addrs: Option<Vec<Address>>,
    /// Multiaddrs to tell others instead of those bound. Default: those bound. Needed where a port was forwarded.
    #[serde(default, deserialize_with = "text::list")]
    pub announce_addrs: Option<Vec<Address>>,
    /// Multiaddrs of nodes to join by, members or servers of a DHT, with or without `/p2p/ID`. Default none.
    #[serde(default, deserialize_with = "text::list")]
    pub peers: Option<Vec<Address>>,
    /// Multiaddrs of relays to be reachable by, each with `/p2p/ID` at its end. Default none: members that are relays are
    /// found by themselves.
    #[serde(default, deserialize_with = "text::list")]
    pub relays: Option<Vec<Address>>,
    /// When this node is a relay for other members: `auto` (with an address of the internet, or `announce_addrs`), `always`, `never`.
    /// Default `auto`.
    #[serde(default, deserialize_with = "text::option")]
    pub relaying: Option<Serving>,
    /// What it gives as one.
    #[serde(default)]
    pub relay: RelaySettings,
    /// Ask the router for a port by UPnP, NAT-PMP or PCP, where this node has a private address. Default true. `lan` and
    /// `announce_addrs` switch it off.
    #[serde(default)]
    pub port_mapping: Option<bool>,
    /// Look for members on the local network by multicast DNS. Default true.
    #[serde(default)]
    pub mdns: Option<bool>,
    /// Look for members in a DHT: `public` (the one of IPFS), `private` (one that the members serve, reached through
    /// `peers`), or `off`. Default `public`. `lan` switches it off.
    #[serde(default, deserialize_with = "text::option")]
    pub dht: Option<Meeting>,
    /// Loopback and private addresses alone, and no DHT. Default false.
    #[serde(default)]
    pub lan: Option<bool>,
    /// Logging.
    #[serde(default)]
    pub log: LogSettings,
    /// How long a node that is told to stop waits for what is in flight; 0 for not at all. Default `30s`.
    #[serde(default, deserialize_with = "text::option")]
    pub drain_timeout: Option<Span>,
    /// The services that the node offers. Default none; at most 64.
    #[serde(default)]
    pub exports: Option<Vec<ExportSettings>>,
    /// The listeners that balance. Default none; at most 64.
    #[serde(default)]
    pub fronts: Option<Vec<FrontSettings>>,
    /// Which of the LocalAI networks that share the token, by the id that LocalAI knows it by. Default none; means nothing in a
    /// strict network.
    #[serde(default, deserialize_with = "text::option")]
    pub localai_network_id: Option<LocalAi>,
}

impl Settings {
    /// Reads a configuration in YAML. An empty one says nothing.
    ///
    /// # Errors
    /// The first thing that is wrong: no YAML, an unknown key (with those that are known), a value of the wrong kind.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(serde_yaml::from_str::<Option<Self>>(text)?.unwrap_or_default())
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it can't be read, or [`Self::parse`] refuses it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::read(path))?;
        let mut text = String::new();
        file.take(MAX_FILE as u64 + 1).read_to_string(&mut text).map_err(Error::read(path))?;
        if text.len() > MAX_FILE {
            return Err(Error::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text).map_err(|source| Error::Parse { path: path.to_owned(), source })
    }

    /// These, and where they say nothing, `under`. A list is one value: it replaces the other.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            token_file: self.token_file.or(under.token_file),
            name: self.name.or(under.name),
            state_dir: self.state_dir.or(under.state_dir),
            identity: self.identity.or(under.identity),
            transports: self.transports.or(under.transports),
            websocket: self.websocket.over(under.websocket),
            listen_addrs: self.listen_addrs.or(under.listen_addrs),
            announce_addrs: self.announce_addrs.or(under.announce_addrs),
            peers: self.peers.or(under.peers),
            relays: self.relays.or(under.relays),
            relaying: self.relaying.or(under.relaying),
            relay: self.relay.over(under.relay),
            port_mapping: self.port_mapping.or(under.port_mapping),
            mdns: self.mdns.or(under.mdns),
            dht: self.dht.or(under.dht),
            lan: self.lan.or(under.lan),
            log: self.log.over(under.log),
            drain_timeout: self.drain_timeout.or(under.drain_timeout),
            exports: self.exports.or(under.exports),
            fronts: self.fronts.or(under.fronts),
            localai_network_id: self.localai_network_id.or(under.localai_network_id),
        }
    }

    /// Lays what flags say of exports over each of them.
    #[must_use]
    pub fn with_export_terms(self, terms: &ExportSettings) -> Self {
        let lay = |exports: Vec<_>| exports.into_iter().map(|export| terms.clone().over(export)).collect();
        Self { exports: self.exports.map(lay), ..self }
    }

    /// Lays what flags say of fronts over each of them.
    #[must_use]
    pub fn with_front_terms(self, terms: &FrontSettings) -> Self {
        let lay = |fronts: Vec<_>| fronts.into_iter().map(|front| terms.clone().over(front)).collect();
        Self { fronts: self.fronts.map(lay), ..self }
    }

    /// How long to wait for what is in flight.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout.map_or(DEFAULT_DRAIN_TIMEOUT, |span| span.0)
    }

    /// Fills in the defaults and checks what is left to be checked: the configuration of a node.
    ///
    /// # Errors
    /// One line that names the service or the list, and the rule it breaks.
    pub fn resolve(self) -> Result<node::Config, Error> {
        let exports = self.exports.unwrap_or_default().into_iter().map(ExportSettings::resolve);
        let exports = exports.collect::<Result<Vec<_>, _>>()?;
        Export::check_all(&exports)?;
        let lan = self.lan.unwrap_or_default();
        let usual = net::Config::default();
        let (transports, websocket) = (transports(self.transports)?, self.websocket.resolve()?);
        Ok(node::Config {
            name: self.name,
            runtime_dir: None,
            state_dir: self.state_dir,
            identity: self.identity,
            net: net::Config {
                listen: secured(
                    used("listen_addrs", addresses("listen_addrs", self.listen_addrs)?, &transports)?,
                    &websocket,
                )?,
                announce: used("announce_addrs", addresses("announce_addrs", self.announce_addrs)?, &transports)?,
                peers: used("peers", addresses("peers", self.peers)?, &transports)?,
                relays: used("relays", relays(addresses("relays", self.relays)?)?, &transports)?,
                transports,
                websocket,
                relaying: self.relaying.map_or(usual.relaying, |when| when.0),
                relay_limits: self.relay.resolve()?,
                port_mapping: self.port_mapping.unwrap_or(usual.port_mapping),
                mdns: self.mdns.unwrap_or(usual.mdns),
                dht: if lan { Dht::Off } else { self.dht.map_or(usual.dht, |dht| dht.0) },
                lan,
                ..usual
            },
            exports,
            fronts: fronts(self.fronts.unwrap_or_default())?,
            edgevpn: edgevpn::Config { localai: self.localai_network_id.unwrap_or_default() },
        })
    }
}

fn addresses(key: &'static str, given: Option<Vec<Address>>) -> Result<Vec<Multiaddr>, Error> {
    let given = given.unwrap_or_default();
    if given.len() > MAX_ADDRESSES {
        return Err(Error::TooManyAddresses { key, count: given.len() });
    }
    Ok(given.into_iter().map(|address| address.0).collect())
}

/// Each says whose it is.
fn relays(given: Vec<Multiaddr>) -> Result<Vec<Multiaddr>, Error> {
    match given.iter().find(|address| !matches!(address.iter().last(), Some(Protocol::P2p(_)))) {
        Some(address) => Err(Error::RelayWithoutId(address.to_string())),
        None => Ok(given),
    }
}

fn fronts(given: Vec<FrontSettings>) -> Result<Vec<node::Front>, Error> {
    if given.len() > MAX_FRONTS {
        return Err(Error::TooManyFronts(given.len()));
    }
    let is_only = given.len() == 1;
    let mut fronts: Vec<node::Front> = Vec::new();
    for settings in given {
        let front = settings.resolve(is_only)?;
        let listen = front.front.listen;
        let twin = fronts.iter().find(|other| listen.port() != 0 && other.front.listen == listen);
        if let Some(twin) = twin {
            let (one, other) = (twin.front.service.clone(), front.front.service);
            return Err(Error::SameListen { one, other, listen });
        }
        fronts.push(front);
    }
    Ok(fronts)
}
