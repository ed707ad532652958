//! What is said of one listener that balances.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
};

use serde::Deserialize;

use super::{Error, Listen, Span, text};
use crate::{
    balance::{Pin, Policy},
    front::{self, Mode},
    node,
    tunnel::is_service_name,
    worker::DEFAULT_SERVICE,
};

/// Where a front listens when nothing else is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Workers tried after the first at most; a request that so many refused is served by none.
const MAX_RETRIES: u32 = 100;

/// One listener that balances. [`front::Config`] says more about each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct FrontSettings {
    /// The service that it balances: 1 to 63 of `a-z`, `0-9`, `-` and `.`. Default `federated`.
    #[serde(default)]
    pub service: Option<String>,
    /// Where clients connect: `ADDRESS:PORT`, `PORT` of this machine alone, or `:PORT` of all its IPv4 addresses. Default
    /// `127.0.0.1:8080`, for one listener; each of several needs its own. Who can connect can use the service.
    #[serde(default, deserialize_with = "text::option")]
    pub listen: Option<Listen>,
    /// How a worker is picked: `least-used`, `random`, `round-robin`, `p2c`, `peak-ewma`, `prequal` or `sticky`. Default
    /// `least-used`.
    #[serde(default, deserialize_with = "text::option")]
    pub policy: Option<Policy>,
    /// What clients speak: `http` (a pick per request), `tcp` (a pick per connection), or `auto` (told by the first bytes).
    /// Default `auto`.
    #[serde(default, deserialize_with = "text::option")]
    pub mode: Option<Mode>,
    /// The only worker to use, by its id or its name. Default: all.
    #[serde(default, deserialize_with = "text::option")]
    pub worker: Option<Pin>,
    /// How many more workers are tried after the first, 0 to 100. Default 3.
    #[serde(default)]
    pub retries: Option<u32>,
    /// How long a worker may take to accept before the next is tried; more than zero. Default `2s`. Raise it where backends
    /// accept slowly.
    #[serde(default, deserialize_with = "text::option")]
    pub connect_timeout: Option<Span>,
    /// A connection or exchange in which nothing moved for so long is ended; more than zero. Default `1h`.
    #[serde(default, deserialize_with = "text::option")]
    pub idle_timeout: Option<Span>,
    /// Client connections at once, at least 1; more wait. Default 16384. Each takes a file descriptor.
    #[serde(default)]
    pub max_connections: Option<NonZeroUsize>,
}

impl FrontSettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            service: self.service.or(under.service),
            listen: self.listen.or(under.listen),
            policy: self.policy.or(under.policy),
            mode: self.mode.or(under.mode),
            worker: self.worker.or(under.worker),
            retries: self.retries.or(under.retries),
            connect_timeout: self.connect_timeout.or(under.connect_timeout),
            idle_timeout: self.idle_timeout.or(under.idle_timeout),
            max_connections: self.max_connections.or(under.max_connections),
        }
    }

    /// With the defaults. `is_only`: there is no other front, so that it may have the usual listener.
    pub(super) fn resolve(self, is_only: bool) -> Result<node::Front, Error> {
        let service = self.service.unwrap_or_else(|| DEFAULT_SERVICE.to_owned());
        let listen = match self.listen {
            Some(Listen(listen)) => listen,
            None if is_only => DEFAULT_LISTEN,
            None => return Err(Error::NoListen(service)),
        };
        let usual = front::Config::new(service, listen);
        let front = front::Config {
            mode: self.mode.unwrap_or(usual.mode),
            retries: self.retries.unwrap_or(usual.retries),
            connect_timeout: self.connect_timeout.map_or(usual.connect_timeout, |span| span.0),
            idle_timeout: self.idle_timeout.map_or(usual.idle_timeout, |span| span.0),
            max_connections: self.max_connections.map_or(usual.max_connections, NonZeroUsize::get),
            ..usual
        };
        match broken_rule(&front) {
            Some(rule) => Err(Error::Front { service: front.service.chars().take(80).collect(), rule }),
            None => Ok(node::Front { front, policy: self.policy.unwrap_or_default(), pin: self.worker }),
        }
    }
}

fn broken_rule(front: &front::Config) -> Option<&'static str> {
    [
        (is_service_name(&front.service), "the name of a service is 1 to 63 of a-z, 0-9, '-' and '.'"),
        (front.retries <= MAX_RETRIES, "retries are 0 to 100"),
        (!front.connect_timeout.is_zero(), "the connect timeout is more than zero"),
        (!front.idle_timeout.is_zero(), "the idle timeout is more than zero"),
    ]
    .into_iter()
    .find_map(|(is_kept, rule)| (!is_kept).then_some(rule))
}
