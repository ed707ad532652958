//! Variables of LocalAI and edgevpn, as far as they mean something here.
//!
//! Whoever comes from there has them in unit files and compose files, and expects them to be heeded. Each stands in a table
//! with what it maps to, which is a layer of the configuration like any other: under flags and `P2P_FED_*`, over the file.
//! In a table, the first variable that speaks of a thing decides: LocalAI's, then edgevpn's. An empty one says nothing.
//!
//! The token's variables are not among them but in [`crate::token_source`], because every command takes a token. What means
//! nothing here is in `docs/localai.md`, with the reason.

use std::{env, ffi::OsString};

use p2p_fed::{
    balance::Policy,
    config::{Address, FrontSettings, LogSettings, Meeting, Settings},
    net::Dht,
    telemetry::Format,
};

use crate::{exit::Failure, target_worker::TargetWorker};

/// Bytes of a variable that are looked at: as many as 256 long addresses have, and no more go into a list.
const MAX_VALUE: usize = 64 * 1024;

/// Characters of a wrong value that are quoted.
const QUOTED: usize = 80;

/// The filter for what LocalAI calls debugging.
pub(crate) const DEBUG: &str = "debug";

/// Multiaddrs that LocalAI listens on by default, and we can't.
const UNSPOKEN: [&str; 4] = ["webtransport", "webrtc-direct", "webrtc", "quic"];

/// A variable, and what it says; an error is the end of a sentence that begins with the variable's name.
type Variable<T> = (&'static str, fn(&str) -> Result<T, String>);

/// What every command heeds that runs a node.
const OF_NODES: [Variable<Settings>; 18] = [
    ("LOCALAI_P2P_DISABLE_DHT", |text| Ok(dht(!truth(text)?))),
    ("LOCALAI_P2P_LISTEN_MADDRS", listen_addrs),
    ("LOCALAI_P2P_DHT_ANNOUNCE_MADDRS", announce_addrs),
    ("LOCALAI_P2P_BOOTSTRAP_PEERS_MADDRS", peers),
    ("LOCALAI_P2P_NETWORK_ID", network_id),
    ("P2P_NETWORK_ID", network_id),
    ("LOCALAI_P2P_LOGLEVEL", log_level),
    ("LOCALAI_LOG_LEVEL", log_level),
    ("LOCALAI_DEBUG", |text| Ok(logging(truth(text)?.then_some(DEBUG), None))),
    ("LOCALAI_LOG_FORMAT", log_format),
    ("EDGEVPNDHT", |text| Ok(dht(truth(text)?))),
    ("EDGEVPNMDNS", |text| Ok(Settings { mdns: Some(truth(text)?), ..Settings::default() })),
    ("EDGEVPNLISTENMADDRS", listen_addrs),
    ("EDGEVPNDHTANNOUNCEMADDRS", announce_addrs),
    ("EDGEVPNBOOTSTRAPPEERS", peers),
    ("EDGEVPNAUTORELAYPEERS", relays),
    ("EDGEVPNNATMAP", |text| Ok(Settings { port_mapping: Some(truth(text)?), ..Settings::default() })),
    ("EDGEVPNLOGLEVEL", log_level),
];

/// What `federated` heeds beside.
const OF_FEDERATED: [Variable<FrontSettings>; 6] = [
    ("LOCALAI_ADDRESS", address),
    ("ADDRESS", address),
    ("LOCALAI_RANDOM_WORKER", random_worker),
    ("RANDOM_WORKER", random_worker),
    ("LOCALAI_TARGET_WORKER", target_worker),
    ("TARGET_WORKER", target_worker),
];

/// What the variables say of a node.
///
/// # Errors
/// One of them can't be understood.
pub(crate) fn node() -> Result<Settings, Failure> {
    read(&OF_NODES, Settings::over, |name| env::var_os(name))
}

/// What the variables of LocalAI's federated server say of its front.
///
/// # Errors
/// One of them can't be understood.
pub(crate) fn front() -> Result<FrontSettings, Failure> {
    read(&OF_FEDERATED, FrontSettings::over, |name| env::var_os(name))
}

fn read<T: Default>(
    table: &[Variable<T>],
    over: fn(T, T) -> T,
    look: impl Fn(&str) -> Option<OsString>,
) -> Result<T, Failure> {
    let mut said = T::default();
    for (name, understand) in table {
        let Some(value) = look(name).filter(|value| !value.is_empty()) else { continue };
        let text = value.into_string().map_err(|_| "holds no text".to_owned());
        let layer = text.and_then(|text| match text.len() > MAX_VALUE {
            true => Err(format!("has more than {MAX_VALUE} bytes")),
            false => understand(text.trim()),
        });
        let layer = layer.map_err(|why| Failure::usage(format_args!("the variable {name} {why}")))?;
        said = over(said, layer);
    }
    Ok(said)
}

// === what the values mean ===

/// What of a wrong value is said.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(QUOTED).collect::<String>())
}

/// As LocalAI and edgevpn read them, in any case.
fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "1" => Ok(true),
        "false" | "f" | "no" | "0" => Ok(false),
        _ => Err(format!("is {}: say true or false", quoted(text))),
    }
}

/// That there is to be one says not which; that is for the file to say, or it is the public one.
fn dht(is_on: bool) -> Settings {
    Settings { dht: (!is_on).then_some(Meeting(Dht::Off)), ..Settings::default() }
}

fn addresses(text: &str) -> Result<Option<Vec<Address>>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let list = parts.map(|part| part.parse::<Address>().map_err(|error| format!("is wrong: {error}")));
    list.collect::<Result<Vec<_>, _>>().map(|list| (!list.is_empty()).then_some(list))
}

fn listen_addrs(text: &str) -> Result<Settings, String> {
    let listen_addrs = addresses(text)?;
    for address in listen_addrs.iter().flatten().map(|address| address.0.to_string()) {
        if let Some(part) = address.split('/').find(|part| UNSPOKEN.contains(part)) {
            return Err(format!(
                "has {address}: nodes listen by tcp, quic-v1 and ws here, and not by {part}; leave it out"
            ));
        }
    }
    Ok(Settings { listen_addrs, ..Settings::default() })
}

fn announce_addrs(text: &str) -> Result<Settings, String> {
    Ok(Settings { announce_addrs: addresses(text)?, ..Settings::default() })
}

fn peers(text: &str) -> Result<Settings, String> {
    Ok(Settings { peers: addresses(text)?, ..Settings::default() })
}

fn relays(text: &str) -> Result<Settings, String> {
    let relays = addresses(text)?;
    let is_named = |relay: &String| relay.rsplit('/').nth(1) == Some("p2p");
    match relays.iter().flatten().map(|relay| relay.0.to_string()).find(|relay| !is_named(relay)) {
        Some(relay) => Err(format!("has {relay}: the address of a relay ends with its id, /p2p/12D3KooW…")),
        None => Ok(Settings { relays, ..Settings::default() }),
    }
}

fn network_id(text: &str) -> Result<Settings, String> {
    let id = text.parse().map_err(|error| format!("is wrong: {error}"))?;
    Ok(Settings { localai_network_id: Some(id), ..Settings::default() })
}

/// The words of LocalAI, edgevpn and the log library of both. Nothing of ours is worse than an error.
fn log_level(text: &str) -> Result<Settings, String> {
    let level = match text.to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => DEBUG,
        "info" => "info",
        "warn" | "warning" => "warn",
        "error" | "dpanic" | "panic" | "fatal" => "error",
        _ => return Err(format!("is {}: say trace, debug, info, warn, error or fatal", quoted(text))),
    };
    Ok(logging(Some(level), None))
}

fn log_format(text: &str) -> Result<Settings, String> {
    match text {
        "default" | "text" => Ok(logging(None, Some(Format::Console))),
        "json" => Ok(logging(None, Some(Format::Json))),
        _ => Err(format!("is {}: say default, text or json", quoted(text))),
    }
}

fn logging(level: Option<&str>, format: Option<Format>) -> Settings {
    Settings { log: LogSettings { level: level.map(str::to_owned), format }, ..Settings::default() }
}

fn address(text: &str) -> Result<FrontSettings, String> {
    let listen = text.parse().map_err(|error| format!("is wrong: {error}"))?;
    Ok(FrontSettings { listen: Some(listen), ..FrontSettings::default() })
}

fn random_worker(text: &str) -> Result<FrontSettings, String> {
    // That it is not to be random says not what else.
    let policy = truth(text)?.then(|| Policy::Random.into());
    Ok(FrontSettings { policy, ..FrontSettings::default() })
}

fn target_worker(text: &str) -> Result<FrontSettings, String> {
    let TargetWorker(pin) = text.parse().map_err(|error| format!("is wrong: {error}"))?;
    Ok(FrontSettings { worker: Some(pin), ..FrontSettings::default() })
}

#[cfg(test)]
mod tests {
    use p2p_fed::config::Picking;

    use super::*;

    fn of<T: Default>(table: &[Variable<T>], over: fn(T, T) -> T, set: &[(&str, &str)]) -> Result<T, String> {
        let look = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        read(table, over, look).map_err(|failure| failure.what().to_owned())
    }

    fn node(set: &[(&str, &str)]) -> Result<Settings, String> {
        of(&OF_NODES, Settings::over, set)
    }

    fn front(set: &[(&str, &str)]) -> Result<FrontSettings, String> {
        of(&OF_FEDERATED, FrontSettings::over, set)
    }

    /// What a configuration file would say.
    fn file(text: &str) -> Settings {
        Settings::parse(text).unwrap()
    }

    /// Each variable of a node: a value, and what a file would say instead; and a value that is refused.
    const NODE: [(&str, &str, &str, &str); 18] = [
        ("LOCALAI_P2P_DISABLE_DHT", "true", "dht: off", "perhaps"),
        ("LOCALAI_P2P_LISTEN_MADDRS", "/ip4/0.0.0.0/tcp/1, /ip6/::/tcp/1", LISTEN, "0.0.0.0:1"),
        ("LOCALAI_P2P_DHT_ANNOUNCE_MADDRS", "/dns4/a.example/tcp/1,", "announce_addrs: [/dns4/a.example/tcp/1]", "a:1"),
        ("LOCALAI_P2P_BOOTSTRAP_PEERS_MADDRS", "/ip4/192.0.2.7/tcp/1", "peers: [/ip4/192.0.2.7/tcp/1]", "a,b"),
        ("LOCALAI_P2P_NETWORK_ID", "lab", "localai_network_id: lab", "two words"),
        ("P2P_NETWORK_ID", "lab", "localai_network_id: lab", "two words"),
        ("LOCALAI_P2P_LOGLEVEL", "FATAL", "log: {level: error}", "loud"),
        ("LOCALAI_LOG_LEVEL", "trace", "log: {level: trace}", "p2p_fed=debug"),
        ("LOCALAI_DEBUG", "1", "log: {level: debug}", "debug"),
        ("LOCALAI_LOG_FORMAT", "json", "log: {format: json}", "console"),
        ("EDGEVPNDHT", "false", "dht: off", "private"),
        ("EDGEVPNMDNS", "No", "mdns: false", "off"),
        ("EDGEVPNLISTENMADDRS", "/ip4/0.0.0.0/tcp/1,/ip6/::/tcp/1", LISTEN, "/ip4/0.0.0.0/udp/1/webrtc-direct"),
        ("EDGEVPNDHTANNOUNCEMADDRS", "/dns4/a.example/tcp/1", "announce_addrs: [/dns4/a.example/tcp/1]", "a:1"),
        ("EDGEVPNBOOTSTRAPPEERS", "/ip4/192.0.2.7/tcp/1", "peers: [/ip4/192.0.2.7/tcp/1]", "a,b"),
        ("EDGEVPNAUTORELAYPEERS", RELAY, RELAYS, "/ip4/192.0.2.7/tcp/1"),
        ("EDGEVPNNATMAP", "f", "port_mapping: false", "upnp"),
        ("EDGEVPNLOGLEVEL", "warning", "log: {level: warn}", "loud"),
    ];

    const LISTEN: &str = "listen_addrs: [/ip4/0.0.0.0/tcp/1, /ip6/::/tcp/1]";
    const RELAY: &str = "/ip4/192.0.2.7/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const RELAYS: &str = "relays: [/ip4/192.0.2.7/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN]";

    #[test]
    fn each_variable_of_a_node_says_what_a_file_would() {
        for ((name, _), (tried, value, meaning, wrong)) in OF_NODES.into_iter().zip(NODE) {
            assert_eq!(name, tried, "in the table's order");
            assert_eq!(node(&[(name, value)]), Ok(file(meaning)), "{name}={value}");
            assert_eq!(node(&[(name, "")]), Ok(Settings::default()), "{name} says nothing");
            let refusal = node(&[(name, wrong)]).unwrap_err();
            assert!(refusal.starts_with(&format!("the variable {name} ")), "{refusal}");
        }
    }

    #[test]
    fn each_variable_of_the_federated_server_says_what_a_file_would() {
        let random = FrontSettings { policy: Some(Picking::from(Policy::Random)), ..FrontSettings::default() };
        let worker = FrontSettings { worker: Some("gpu1-abcdefghij".parse().unwrap()), ..FrontSettings::default() };
        let listen = FrontSettings { listen: Some("0.0.0.0:80".parse().unwrap()), ..FrontSettings::default() };
        for (name, value, meaning, wrong) in [
            ("LOCALAI_ADDRESS", ":80", &listen, "10.1.0.1/24"),
            ("ADDRESS", "0.0.0.0:80", &listen, "here"),
            ("LOCALAI_RANDOM_WORKER", "yes", &random, "maybe"),
            ("RANDOM_WORKER", "TRUE", &random, ":80"),
            ("LOCALAI_TARGET_WORKER", "GPU1-abcDEFghij", &worker, "gpu 1"),
            ("TARGET_WORKER", "gpu1-abcdefghij", &worker, "a/b"),
        ] {
            assert!(OF_FEDERATED.iter().any(|(known, _)| *known == name), "{name}");
            assert_eq!(front(&[(name, value)]).as_ref(), Ok(meaning), "{name}={value}");
            assert_eq!(front(&[(name, "")]), Ok(FrontSettings::default()), "{name} says nothing");
            let refusal = front(&[(name, wrong)]).unwrap_err();
            assert!(refusal.starts_with(&format!("the variable {name} ")), "{refusal}");
        }
    }

    /// That a thing is as it usually is leaves the file its say: a private DHT, a policy of one's own.
    #[test]
    fn a_denial_says_nothing_more() {
        for set in [("LOCALAI_P2P_DISABLE_DHT", "false"), ("EDGEVPNDHT", "true"), ("LOCALAI_DEBUG", "0")] {
            assert_eq!(node(&[set]), Ok(Settings::default()), "{set:?}");
        }
        assert_eq!(front(&[("LOCALAI_RANDOM_WORKER", "false")]), Ok(FrontSettings::default()));
    }

    #[test]
    fn the_first_in_the_table_decides_and_a_wrong_one_is_refused_all_the_same() {
        let both = node(&[("EDGEVPNLOGLEVEL", "warn"), ("LOCALAI_P2P_LOGLEVEL", "debug"), ("P2P_NETWORK_ID", "a")]);
        assert_eq!(both, Ok(file("{log: {level: debug}, localai_network_id: a}")));
        let wrong = node(&[("EDGEVPNLOGLEVEL", "loud"), ("LOCALAI_P2P_LOGLEVEL", "debug")]);
        assert!(wrong.unwrap_err().contains("EDGEVPNLOGLEVEL is \"loud\": say trace, debug"));
    }

    #[test]
    fn each_variable_is_documented() {
        let page = include_str!("../../docs/localai.md");
        let names = OF_NODES.iter().map(|(name, _)| name).chain(OF_FEDERATED.iter().map(|(name, _)| name));
        for name in names.chain(&crate::token_source::VARIABLES) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn what_libp2p_listens_by_and_we_cannot_is_refused() {
        for address in ["/ip4/0.0.0.0/udp/1/quic-v1/webtransport", "/ip4/0.0.0.0/udp/1/webrtc-direct"] {
            let refusal = node(&[("LOCALAI_P2P_LISTEN_MADDRS", address)]).unwrap_err();
            assert!(refusal.contains(address) && refusal.contains("leave it out"), "{refusal}");
        }
        assert!(node(&[("LOCALAI_P2P_LISTEN_MADDRS", "/ip4/0.0.0.0/udp/1/quic-v1")]).is_ok());
    }

    #[test]
    fn a_value_that_is_no_text_or_endless_is_refused_and_not_repeated() {
        use std::os::unix::ffi::OsStringExt;
        let look = |name: &str| (name == "EDGEVPNDHT").then(|| OsString::from_vec(vec![0xff]));
        let refusal = read(&OF_NODES, Settings::over, look).unwrap_err();
        assert_eq!(refusal.what(), "the variable EDGEVPNDHT holds no text");
        let refusal = node(&[("EDGEVPNBOOTSTRAPPEERS", &",".repeat(MAX_VALUE + 1))]).unwrap_err();
        assert_eq!(refusal, "the variable EDGEVPNBOOTSTRAPPEERS has more than 65536 bytes");
        let refusal = node(&[("LOCALAI_P2P_LOGLEVEL", &"x".repeat(1000))]).unwrap_err();
        assert!(refusal.len() < 250, "{refusal}");
    }
}
