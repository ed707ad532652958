//! What a node says about itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{Credential, NodeId};

/// Longest name of a node or a service: a DNS label (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 63;
/// Addresses in a statement: several interfaces, two transports and a relay, and no more than a dialler would try.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of an address: `/dns/…/p2p/…/p2p-circuit/p2p/…` with a long host name.
pub const ADDRESS_MAX: usize = 128;
/// Services in a statement; who offers more runs more nodes.
pub const SERVICES_MAX: usize = 64;
/// Bytes of all keys and values of a service's labels: hints for people and policies, not a store.
pub const LABELS_MAX: usize = 256;
/// Models of a service: what a large collection has.
pub const MODELS_MAX: usize = 128;
/// Bytes of a model's name: a repository, a name and a quantisation fit.
pub const MODEL_NAME_MAX: usize = 128;
/// Bytes of all names of a service's models: less than half of a record.
pub const MODELS_BYTES_MAX: usize = 6 * 1024;
/// Shortest time to live: below it, one late sync would make a healthy node look gone.
pub const TTL_MIN: Duration = Duration::from_secs(60);
/// Longest time to live: beyond it, a node that died silently would be offered for too long.
pub const TTL_MAX: Duration = Duration::from_secs(60 * 60);

/// Which network a record belongs to: sixteen bytes derived from the token, so that no record of one network can be
/// replayed into another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub [u8; 16]);

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One node's whole statement: signed, numbered, never merged with an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The network it belongs to.
    pub network: NetworkId,
    /// The token's generation under which it was written.
    pub generation: u32,
    /// Who wrote it; the signature is verified against this key.
    pub owner: NodeId,
    /// Its number; a higher one replaces a lower one.
    pub seq: u64,
    /// When it was written by the owner's wall clock, in milliseconds since 1970. For people and for a sanity bound on
    /// first sight; never compared for liveness.
    pub issued_ms: u64,
    /// How long it counts as fresh after it arrived, by the receiver's own monotonic clock. 60 s to 1 h, whole seconds.
    pub ttl: Duration,
    /// The body.
    pub statement: Statement,
    /// What the network's issuer granted its owner; none in an open network.
    pub credential: Option<Credential>,
}

/// The part of a record that its owner chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The node's name for people: 1 to 63 of `[a-z0-9-.]`. Not unique; the owner's key is.
    pub name: String,
    /// Multiaddrs in text form where the node can be dialled. At most 8 of at most 128 bytes, printable ASCII.
    pub addresses: Vec<String>,
    /// What it offers. At most 64.
    pub services: Vec<Service>,
    /// No new work, please; current work goes on.
    pub draining: bool,
    /// The node is about to stop.
    pub leaving: bool,
}

/// One service that a node offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// 1 to 63 of `[a-z0-9-.]`.
    pub name: String,
    /// How the backend speaks.
    pub protocol: Protocol,
    /// Share of the work relative to other workers, 1 to 255; 100 is usual.
    pub weight: u8,
    /// Connections the worker takes at once; 0 where it did not say.
    pub slots: u16,
    /// Free `key=value` labels; at most 256 bytes in all, printable.
    pub labels: BTreeMap<String, String>,
    /// When the worker is chosen: fronts use those of a higher tier only while none of a lower one can take work. 0 is usual.
    pub tier: u8,
    /// The models that the backend serves, by their names; empty where that is not known or there are none. At most 128
    /// of at most 6144 bytes in all.
    pub models: Vec<Model>,
}

/// A model that a backend serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Model {
    /// As requests name it: 1 to 128 printable ASCII characters without spaces. [`Model::OTHERS`] stands for those that
    /// found no room.
    pub name: String,
    /// It is in memory now, so that a request for it need not wait for it to load.
    pub loaded: bool,
}

/// How a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Any byte stream.
    Tcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 without TLS (RFC 9113 §3.3), as gRPC servers speak it.
    Http2,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Http2 => "h2",
            Self::Udp => "udp",
        })
    }
}

/// A statement breaks one of its bounds. Nothing was published; the same statement will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// A name is empty, too long or has other characters.
    #[error("the name {0:?} is not 1 to 63 of a-z, 0-9, - and .")]
    Name(String),
    /// Too many addresses.
    #[error("{0} addresses where at most 8 fit")]
    Addresses(usize),
    /// An address is empty, too long or not printable.
    #[error("the address {0:?} is not 1 to 128 printable ASCII characters without spaces")]
    Address(String),
    /// Too many services.
    #[error("{0} services where at most 64 fit")]
    Services(usize),
    /// Two services with one name.
    #[error("the service {0:?} is named twice")]
    Twice(String),
    /// A weight of zero.
    #[error("the service {0:?} has weight 0: leave it out, or set draining")]
    Weight(String),
    /// A label is not printable, has no key, has a `=` in its key, or they are too long together.
    #[error("the labels of {0:?} are not key=value in printable ASCII of at most 256 bytes together")]
    Labels(String),
    /// Too many models, or a model's name is empty, too long, not printable or given twice.
    #[error("the models of {0:?} are not at most 128 distinct names of printable ASCII, 6144 bytes together")]
    Models(String),
    /// All of it is too long for a record.
    #[error("the record would have {0} bytes where at most 16384 fit")]
    Size(usize),
}

/// Whether `text` may name a node or a service: 1 to 63 of `[a-z0-9-.]`. So no name can carry markup, a path, or
/// characters that people can't see.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

/// As much of a refused text as an error line should repeat.
fn excerpt(text: &str) -> String {
    text.chars().take(NAME_MAX + 1).collect()
}

impl Record {
    /// Whether `newer`, of the same owner, says something else than this one.
    pub(crate) fn says_other(&self, newer: &Self) -> bool {
        self.statement != newer.statement || self.generation != newer.generation || self.credential != newer.credential
    }
}

impl Statement {
    /// What a node says last: it goes, and offers nothing. Addresses and services are gone from it.
    pub fn farewell(&self) -> Self {
        Self { name: self.name.clone(), leaving: true, ..Self::default() }
    }

    /// Whether every part is within its bounds.
    ///
    /// # Errors
    /// The first bound that is broken. (Whether all parts together fit into one record shows when it is signed.)
    pub fn check(&self) -> Result<(), StatementError> {
        if !is_name(&self.name) {
            return Err(StatementError::Name(excerpt(&self.name)));
        }
        if self.addresses.len() > ADDRESSES_MAX {
            return Err(StatementError::Addresses(self.addresses.len()));
        }
        for address in &self.addresses {
            let fits = (1..=ADDRESS_MAX).contains(&address.len()) && address.bytes().all(|b| b.is_ascii_graphic());
            if !fits {
                return Err(StatementError::Address(excerpt(address)));
            }
        }
        if self.services.len() > SERVICES_MAX {
            return Err(StatementError::Services(self.services.len()));
        }
        let mut names = BTreeSet::new();
        for service in &self.services {
            service.check()?;
            if !names.insert(&service.name) {
                return Err(StatementError::Twice(service.name.clone()));
            }
        }
        Ok(())
    }

    /// The same statement with its services and models in the order of their names, as the wire has them.
    pub(crate) fn sorted(mut self) -> Self {
        self.services.sort_by(|a, b| a.name.cmp(&b.name));
        self.services.iter_mut().for_each(|service| service.models.sort());
        self
    }
}

impl Model {
    /// The name that stands for models which are there as well but found no room.
    pub const OTHERS: &'static str = "*";

    /// Whether `name` may name a model.
    pub fn is_name(name: &str) -> bool {
        (1..=MODEL_NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl Service {
    /// A service of which nothing but this is said: the usual weight, no slots, no labels, the first tier, no models.
    pub fn new(name: impl Into<String>, protocol: Protocol) -> Self {
        let labels = BTreeMap::new();
        Self { name: name.into(), protocol, weight: 100, slots: 0, labels, tier: 0, models: Vec::new() }
    }

    fn check(&self) -> Result<(), StatementError> {
        if !is_name(&self.name) {
            return Err(StatementError::Name(excerpt(&self.name)));
        }
        if self.weight == 0 {
            return Err(StatementError::Weight(self.name.clone()));
        }
        let printable = |text: &str| text.bytes().all(|b| matches!(b, b' '..=b'~'));
        let labels_fit = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS_MAX;
        let labels_read = self
            .labels
            .iter()
            .all(|(key, value)| !key.is_empty() && !key.contains('=') && printable(key) && printable(value));
        if !(labels_fit && labels_read) {
            return Err(StatementError::Labels(self.name.clone()));
        }
        let bytes: usize = self.models.iter().map(|model| model.name.len()).sum();
        let names: BTreeSet<_> = self.models.iter().map(|model| &model.name).collect();
        let models_fit =
            self.models.len() <= MODELS_MAX && bytes <= MODELS_BYTES_MAX && names.len() == self.models.len();
        let models_read = names.into_iter().all(|name| Model::is_name(name));
        if models_fit && models_read { Ok(()) } else { Err(StatementError::Models(self.name.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Service {
        Service::new(name, Protocol::Tcp)
    }

    fn statement(services: Vec<Service>) -> Statement {
        Statement { name: "node".into(), services, ..Statement::default() }
    }

    #[test]
    fn names_that_could_hurt_are_refused() {
        for name in ["", "A", "../../x", "<img onerror>", "a b", "a\u{200b}", "\u{202e}a", "ä", "a\n", &"a".repeat(64)]
        {
            assert!(!is_name(name), "{name:?}");
            assert!(matches!(statement(vec![service(name)]).check(), Err(StatementError::Name(_))), "{name:?}");
        }
        for name in ["a", "llm-7b.q4", &"a".repeat(63)] {
            assert_eq!(statement(vec![service(name)]).check(), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn every_bound_holds_on_both_sides() {
        let many = |n: usize| (0..n).map(|i| service(&format!("s{i}"))).collect();
        assert_eq!(statement(many(64)).check(), Ok(()));
        assert_eq!(statement(many(65)).check(), Err(StatementError::Services(65)));
        assert_eq!(statement(vec![service("a"), service("a")]).check(), Err(StatementError::Twice("a".into())));

        let with = |address: &str, n| Statement { addresses: vec![address.into(); n], ..statement(vec![]) };
        assert_eq!(with(&"/".repeat(128), 8).check(), Ok(()));
        assert_eq!(with("/a", 9).check(), Err(StatementError::Addresses(9)));
        for address in ["", "/a b", "/ä", &"/".repeat(129)] {
            assert!(matches!(with(address, 1).check(), Err(StatementError::Address(_))), "{address:?}");
        }

        assert_eq!(
            statement(vec![Service { weight: 0, ..service("a") }]).check(),
            Err(StatementError::Weight("a".into()))
        );
        let labelled = |key: &str, value: &str| {
            statement(vec![Service { labels: [(key.into(), value.into())].into(), ..service("a") }]).check()
        };
        assert_eq!(labelled("k", &"v".repeat(255)), Ok(()));
        for (key, value) in [("", "v"), ("a=b", "v"), ("k", "\u{202e}"), ("k\n", "v"), ("k", &"v".repeat(256))] {
            assert_eq!(labelled(key, value), Err(StatementError::Labels("a".into())), "{key:?}");
        }
    }

    #[test]
    fn the_models_of_a_service_are_bounded() {
        let with = |names: Vec<String>| {
            let models = names.into_iter().map(|name| Model { name, loaded: false }).collect();
            statement(vec![Service { models, ..service("a") }]).check()
        };
        let many = |n: usize, width: usize| (0..n).map(|i| format!("{i:0width$}")).collect::<Vec<_>>();
        assert_eq!(with(many(128, 48)), Ok(()));
        assert_eq!(with(vec!["Qwen/Qwen3-8B:q4_K".into(), Model::OTHERS.into()]), Ok(()));
        let refused = [many(129, 3), many(128, 49), vec!["a".into(), "a".into()], vec![String::new()]];
        let unreadable = ["a b", "ä", "a\n", &"a".repeat(129)].map(|name| vec![name.to_owned()]);
        for names in refused.into_iter().chain(unreadable) {
            assert_eq!(with(names.clone()), Err(StatementError::Models("a".into())), "{names:?}");
        }
    }

    #[test]
    fn an_error_repeats_no_more_than_shows_what_is_wrong() {
        let long = "A".repeat(1000);
        assert_eq!(statement(vec![service(&long)]).check(), Err(StatementError::Name("A".repeat(64))));
        let all = [Protocol::Tcp, Protocol::Http, Protocol::Http2, Protocol::Udp];
        assert_eq!(all.map(|protocol| protocol.to_string()), ["tcp", "http", "h2", "udp"]);
    }

    #[test]
    fn any_part_that_differs_says_something_else() {
        let record = Record {
            network: NetworkId([1; 16]),
            generation: 1,
            owner: NodeId::from_bytes([2; 32]),
            seq: 1,
            issued_ms: 0,
            ttl: TTL_MIN,
            statement: statement(vec![]),
            credential: None,
        };
        let renewed = Record { seq: 2, issued_ms: 9, ttl: TTL_MAX, ..record.clone() };
        assert!(!record.says_other(&renewed));
        let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let invitation = crate::Invitation {
            network: record.network,
            serial: crate::Serial([4; 16]),
            holder: [5; 32],
            roles: crate::Roles::NONE,
            services: crate::ServiceGlob::any(),
            expires_unix_s: 0,
            once: false,
        };
        let shown = Credential::bind(crate::SignedInvitation::sign(invitation, &key), &key, record.owner);
        assert!(record.says_other(&Record { generation: 2, ..record.clone() }));
        assert!(record.says_other(&Record { credential: Some(shown), ..record.clone() }));
        assert!(record.says_other(&Record { statement: statement(vec![service("a")]), ..record.clone() }));
    }

    #[test]
    fn a_farewell_offers_nothing() {
        let farewell = statement(vec![service("a")]).farewell();
        assert!(farewell.leaving && farewell.services.is_empty() && farewell.addresses.is_empty());
        assert_eq!(farewell.check(), Ok(()));
    }
}
