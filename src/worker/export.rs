//! A local backend that this node offers as a service.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use super::{ParseTargetError, Target};
use crate::{
    ledger::{Model, NodeId, Protocol, Service},
    tunnel::is_service_name,
};

/// The service's name when none is given.
pub const DEFAULT_SERVICE: &str = "federated";

/// The usual weight, so that 50 is half and 200 twice the share.
pub const DEFAULT_WEIGHT: u8 = 100;

/// How long a tunnel may be silent when nothing else is said: as long as Envoy's TCP proxy lets it. Models think for
/// minutes before the first byte, and an interactive session may rest.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Services of one node at most, as many as fit in a record.
pub const MAX_EXPORTS: usize = 64;

/// Bytes of all labels of one service at most, as a record allows.
const MAX_LABELS: usize = 256;

/// Bytes in a probe's path at most; no health path comes near.
const MAX_HEALTH_PATH: usize = 1024;

/// One service that this node offers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The service's name: 1 to 63 of `[a-z0-9-.]`.
    pub service: String,
    /// The backend.
    pub target: Target,
    /// How the backend is probed.
    pub health: Health,
    /// Tunnels to the backend at once; 0 for no cap but the worker's own.
    pub max_connections: u32,
    /// Share of the work relative to other workers, 1 to 255.
    pub weight: u8,
    /// How many requests the backend works on at once; 0 where it shall be asked, or nobody knows.
    pub slots: u32,
    /// Used only while no worker of a lower tier can take work; 0 is usual.
    pub tier: u8,
    /// Whether a backend that speaks HTTP/1 is asked if it is a model server, which models it has and how busy it is.
    pub inspect: bool,
    /// Free `key=value` labels, printable, at most 256 bytes in all.
    pub labels: BTreeMap<String, String>,
    /// The nodes whose fronts may use it; empty for every member of the network. This node's own front is one like any
    /// other.
    pub allow: Vec<NodeId>,
    /// A tunnel in which nothing moved for so long is ended.
    pub idle_timeout: Duration,
}

impl Export {
    /// `target` as `service`, everything else at its default: probed by connecting, open to every member, without a cap.
    pub fn new(service: impl Into<String>, target: Target) -> Self {
        let health = if target.protocol() == Protocol::Udp { Health::Off } else { Health::Tcp };
        Self {
            service: service.into(),
            target,
            health,
            max_connections: 0,
            weight: DEFAULT_WEIGHT,
            slots: 0,
            tier: 0,
            inspect: true,
            labels: BTreeMap::new(),
            allow: Vec::new(),
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
        }
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// One line that names the service and the rule it breaks.
    pub fn check(&self) -> Result<(), ExportError> {
        let service = || self.service.chars().take(80).collect();
        if !is_service_name(&self.service) {
            return Err(ExportError::Name(service()));
        }
        if self.weight == 0 {
            return Err(ExportError::Weight(service()));
        }
        if self.idle_timeout.is_zero() {
            return Err(ExportError::IdleTimeout(service()));
        }
        let printable = |text: &str| text.chars().all(|c| !c.is_control());
        let labels_fit = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= MAX_LABELS;
        let label_is_good = |(key, value): (&String, &String)| {
            !key.is_empty() && !key.contains('=') && printable(key) && printable(value)
        };
        if !labels_fit || !self.labels.iter().all(label_is_good) {
            return Err(ExportError::Labels(service()));
        }
        if self.target.protocol() == Protocol::Udp {
            if self.health != Health::Off {
                return Err(ExportError::DatagramHealth(service()));
            }
            if self.target.sends_proxy() {
                return Err(ExportError::DatagramProxy(service()));
            }
        }
        match &self.health {
            Health::Path(path) if !is_path(path) => Err(ExportError::Health(path.chars().take(80).collect())),
            _ => Ok(()),
        }
    }

    /// Checks each of `exports`, and that no two have one name.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check_all(exports: &[Self]) -> Result<(), ExportError> {
        if exports.len() > MAX_EXPORTS {
            return Err(ExportError::TooMany(exports.len()));
        }
        let mut names = std::collections::BTreeSet::new();
        for export in exports {
            export.check()?;
            if !names.insert(&export.service) {
                return Err(ExportError::Duplicate(export.service.clone()));
            }
        }
        Ok(())
    }

    /// How many requests the backend takes at once: what the user said, or else `told`, what it says itself (0 if nothing),
    /// and no more than it may have connections; 0 where nobody knows.
    pub(super) fn slots(&self, told: u32) -> u32 {
        let slots = if self.slots > 0 { self.slots } else { told };
        match (slots, self.max_connections) {
            (0, cap) => cap,
            (slots, 0) => slots,
            (slots, cap) => slots.min(cap),
        }
    }

    /// What is announced of it, with what its backend tells.
    pub(super) fn offer(&self, slots: u32, models: Vec<Model>) -> Service {
        Service {
            name: self.service.clone(),
            protocol: self.target.protocol(),
            weight: self.weight,
            slots: u16::try_from(slots).unwrap_or(u16::MAX),
            labels: self.labels.clone(),
            tier: self.tier,
            models,
        }
    }
}

/// `NAME=TARGET`.
impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.service, self.target)
    }
}

/// `[NAME=]TARGET`.
impl FromStr for Export {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, target) = match text.split_once('=') {
            // The path of a Unix socket may hold a `=`; a name holds neither `:` nor `/`.
            Some((name, target)) if !name.contains([':', '/']) => (name, target),
            _ => (DEFAULT_SERVICE, text),
        };
        let export = Self::new(service, target.parse()?);
        export.check()?;
        Ok(export)
    }
}

/// How a backend is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes a connection.
    Tcp,
    /// It answers `GET` of this path with 2xx or 3xx.
    Path(String),
    /// Not at all: it is offered as long as this node runs.
    Off,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Path(path) => path,
            Self::Off => "off",
        })
    }
}

/// `tcp`, `off`, or a path.
impl FromStr for Health {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "off" => Ok(Self::Off),
            path if is_path(path) => Ok(Self::Path(path.to_owned())),
            other => Err(ExportError::Health(other.chars().take(80).collect())),
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= MAX_HEALTH_PATH && text.parse::<hyper::http::uri::PathAndQuery>().is_ok()
}

/// What is wrong with an export. Decided before anything is started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A backend that takes datagrams can't be asked whether it is well.
    #[error("service {0:?} takes datagrams, and cannot be probed: leave --health out")]
    DatagramHealth(String),
    /// Datagrams have no beginning that a client's address could stand at.
    #[error("service {0:?} takes datagrams, which the PROXY protocol is not for: leave --send-proxy out")]
    DatagramProxy(String),
    /// The name breaks the rule.
    #[error("{0:?} is not the name of a service: 1 to 63 of a-z, 0-9, '-' and '.'")]
    Name(String),
    /// The target does.
    #[error(transparent)]
    Target(#[from] ParseTargetError),
    /// Neither a kind of probe nor a path.
    #[error("{0:?} is not a health check: tcp, off, or a path that starts with '/'")]
    Health(String),
    /// A weight of zero would be an offer that nobody may take.
    #[error("service {0}: the weight is a number from 1 to 255")]
    Weight(String),
    /// Every tunnel would end at once.
    #[error("service {0}: the idle timeout is more than zero")]
    IdleTimeout(String),
    /// They would not fit in a record.
    #[error("service {0}: labels are printable key=value pairs of at most 256 bytes in all")]
    Labels(String),
    /// One name, one backend.
    #[error("service {0} is exposed twice; give each target a name of its own: NAME=TARGET")]
    Duplicate(String),
    /// They would not fit in a record.
    #[error("{0} services are too many: one node offers at most {MAX_EXPORTS}")]
    TooMany(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Export, ExportError> {
        text.parse()
    }

    #[test]
    fn a_name_is_optional_and_a_path_may_look_like_one() {
        for (text, printed) in [
            ("11434", "federated=127.0.0.1:11434"),
            ("llm=11434", "llm=127.0.0.1:11434"),
            ("ssh.gpu-1=tcp://localhost:22", "ssh.gpu-1=tcp://localhost:22"),
            ("unix:/run/a=b", "federated=unix:/run/a=b"),
            ("x=unix:/run/a=b", "x=unix:/run/a=b"),
        ] {
            let export = parse(text).unwrap();
            assert_eq!(export.to_string(), printed);
            assert_eq!(parse(printed).unwrap(), export);
        }
    }

    #[test]
    fn a_bad_name_or_target_is_told_in_one_line() {
        for (text, word) in
            [("LLM=80", "\"LLM\""), ("=80", "\"\""), ("llm=", "HOST:PORT"), ("a b=80", "\"a b\""), ("llm=x", "\"x\"")]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        assert!(matches!(parse(&format!("{}=80", "x".repeat(64))), Err(ExportError::Name(_))));
    }

    #[test]
    fn a_health_check_is_a_word_or_a_path() {
        for text in ["tcp", "off", "/", "/healthz?deep=1"] {
            assert_eq!(text.parse::<Health>().unwrap().to_string(), text);
        }
        for text in ["", "http", "healthz", "/a b", "/\r\nHost: x", &format!("/{}", "x".repeat(1024))] {
            assert!(matches!(text.parse::<Health>(), Err(ExportError::Health(_))), "{text:?}");
        }
    }

    #[test]
    fn what_the_types_leave_open_is_checked() {
        let good = parse("llm=80").unwrap();
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(Export { labels: label("gpu", "a100"), ..good.clone() }.check(), Ok(()));
        let bad = |export: Export| export.check().unwrap_err();
        assert!(matches!(bad(Export { weight: 0, ..good.clone() }), ExportError::Weight(_)));
        assert!(matches!(bad(Export { idle_timeout: Duration::ZERO, ..good.clone() }), ExportError::IdleTimeout(_)));
        assert!(matches!(bad(Export { health: Health::Path("x".into()), ..good.clone() }), ExportError::Health(_)));
        for labels in [label("", "x"), label("a=b", "x"), label("a", "\n"), label("a", &"x".repeat(256))] {
            assert!(matches!(bad(Export { labels, ..good.clone() }), ExportError::Labels(_)));
        }
    }

    #[test]
    fn two_exports_do_not_share_a_name_and_there_is_a_bound() {
        let twice = [parse("llm=80").unwrap(), parse("llm=81").unwrap()];
        assert_eq!(Export::check_all(&twice), Err(ExportError::Duplicate("llm".into())));
        let many: Vec<_> = (0..=MAX_EXPORTS).map(|i| parse(&format!("s{i}=80")).unwrap()).collect();
        assert_eq!(Export::check_all(&many), Err(ExportError::TooMany(65)));
        assert_eq!(Export::check_all(&many[1..]), Ok(()));
    }

    #[test]
    fn the_offer_says_what_the_export_says() {
        let export = Export { weight: 7, tier: 3, ..parse("ssh=tcp://localhost:22").unwrap() };
        let offer = export.offer(100_000, Vec::new());
        assert_eq!((offer.name.as_str(), offer.protocol), ("ssh", crate::ledger::Protocol::Tcp));
        assert_eq!((offer.weight, offer.slots, offer.tier), (7, u16::MAX, 3));
    }

    #[test]
    fn slots_are_what_the_user_says_or_else_the_backend_up_to_the_connections() {
        for (slots, max_connections, told, wanted) in [
            (0, 0, 0, 0),
            (0, 5, 0, 5),
            (0, 0, 4, 4),
            (0, 2, 4, 2),
            (0, 9, 4, 4),
            (3, 0, 4, 3),
            (3, 2, 4, 2),
            (8, 0, 4, 8),
        ] {
            let export = Export { slots, max_connections, ..parse("llm=80").unwrap() };
            assert_eq!(export.slots(told), wanted, "{slots} {max_connections} {told}");
        }
    }
}
