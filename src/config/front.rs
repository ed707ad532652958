//! What is said of one listener that balances.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;

use super::{Error, LimitSettings, Listen, Picking, Span, text};
use crate::{
    balance::{Pin, Policy},
    certificate::Certificate,
    front::{self, Cidr, Disclosure, External, Mode, Sticky},
    node,
    tunnel::is_service_name,
    worker::DEFAULT_SERVICE,
};

/// Where a front listens when nothing else is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Workers tried after the first at most; a request that so many refused is served by none.
const MAX_RETRIES: u32 = 100;

/// Bytes of one request that are kept to be sent again at most: what all requests together may keep.
const MAX_REPLAY: usize = 64 * 1024 * 1024;

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
    /// How a worker is picked: `least-used`, `random`, `round-robin`, `p2c`, `peak-ewma`, `prequal`, `sticky` or
    /// `external:URL`. Default `least-used`.
    #[serde(default, deserialize_with = "text::option")]
    pub policy: Option<Picking>,
    /// How long the scorer of `external:URL` may take before `least-used` decides; more than zero, up to `10s`. Default
    /// `50ms`.
    #[serde(default, deserialize_with = "text::option")]
    pub policy_deadline: Option<Span>,
    /// What clients speak: `http` (a pick per request), `tcp` (a pick per connection), `udp` (a pick per session of datagrams), or `auto` (told by the first bytes).
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
    /// A session of datagrams in which nothing moved for so long is ended; more than zero. Default `60s`.
    #[serde(default, deserialize_with = "text::option")]
    pub udp_idle_timeout: Option<Span>,
    /// How long a worker may take from the last byte of a request to the first of its response; more than zero. Default: as
    /// long as a connection may be idle.
    #[serde(default, deserialize_with = "text::option")]
    pub first_byte_timeout: Option<Span>,
    /// How long a request may take in all; more than zero. Default: any time.
    #[serde(default, deserialize_with = "text::option")]
    pub request_timeout: Option<Span>,
    /// How long a request or connection waits for a free slot; 0 for not at all. Default `60s`.
    #[serde(default, deserialize_with = "text::option")]
    pub queue_timeout: Option<Span>,
    /// How long it waits for a worker to come where nobody offers the service. Default `0`: it is told at once.
    #[serde(default, deserialize_with = "text::option")]
    pub hold: Option<Span>,
    /// Bytes of a request that are kept to send it to another worker, 0 to 67108864. Default 1048576.
    #[serde(default)]
    pub replay_bytes: Option<usize>,
    /// After how long without an answer a GET or HEAD is sent to a second worker as well; more than zero. Default: never.
    #[serde(default, deserialize_with = "text::option")]
    pub hedge_after: Option<Span>,
    /// Whether requests to model servers are looked into. Default true.
    #[serde(default)]
    pub inspect: Option<bool>,
    /// Which responses tell who served them and why: `on-request` (to clients on this machine that ask), `always`, `off`.
    /// Default `on-request`.
    #[serde(default, deserialize_with = "text::option")]
    pub explain_header: Option<Disclosure>,
    /// By what policy `sticky` tells users apart: `client` (its address), `header:NAME` or `cookie:NAME`. Default `client`.
    #[serde(default, deserialize_with = "text::option")]
    pub sticky: Option<Sticky>,
    /// Client connections at once, at least 1; more wait. Default 16384. Each takes a file descriptor.
    #[serde(default)]
    pub max_connections: Option<NonZeroUsize>,
    /// The certificate with which the listener speaks TLS, and those between it and its root: a PEM file. Default none.
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key: a PEM file. Both are read again when they change.
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// Connections begin with a PROXY protocol header, version 1 or 2; others are closed. Default false.
    #[serde(default)]
    pub proxy_protocol: Option<bool>,
    /// Networks or addresses of proxies whose `X-Forwarded-*` and `Forwarded` are believed. Default none.
    #[serde(default, deserialize_with = "text::list")]
    pub trust_forwarded: Option<Vec<Cidr>>,
    /// What one client may take.
    #[serde(default)]
    pub limits: LimitSettings,
}

impl FrontSettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            service: self.service.or(under.service),
            listen: self.listen.or(under.listen),
            policy: self.policy.or(under.policy),
            policy_deadline: self.policy_deadline.or(under.policy_deadline),
            mode: self.mode.or(under.mode),
            worker: self.worker.or(under.worker),
            retries: self.retries.or(under.retries),
            connect_timeout: self.connect_timeout.or(under.connect_timeout),
            idle_timeout: self.idle_timeout.or(under.idle_timeout),
            udp_idle_timeout: self.udp_idle_timeout.or(under.udp_idle_timeout),
            first_byte_timeout: self.first_byte_timeout.or(under.first_byte_timeout),
            request_timeout: self.request_timeout.or(under.request_timeout),
            queue_timeout: self.queue_timeout.or(under.queue_timeout),
            hold: self.hold.or(under.hold),
            replay_bytes: self.replay_bytes.or(under.replay_bytes),
            hedge_after: self.hedge_after.or(under.hedge_after),
            inspect: self.inspect.or(under.inspect),
            explain_header: self.explain_header.or(under.explain_header),
            sticky: self.sticky.or(under.sticky),
            max_connections: self.max_connections.or(under.max_connections),
            tls_cert: self.tls_cert.or(under.tls_cert),
            tls_key: self.tls_key.or(under.tls_key),
            proxy_protocol: self.proxy_protocol.or(under.proxy_protocol),
            trust_forwarded: self.trust_forwarded.or(under.trust_forwarded),
            limits: self.limits.over(under.limits),
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
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(chain), Some(key)) => Some(Certificate { chain, key }),
            (None, None) => None,
            _ => return Err(refused(usual.service, "a certificate and its key go together: --tls-cert and --tls-key")),
        };
        let picking = self.policy.unwrap_or_else(|| Policy::default().into());
        let deadline = self.policy_deadline.map_or(External::DEADLINE, |span| span.0);
        let front = front::Config {
            mode: self.mode.unwrap_or(usual.mode),
            retries: self.retries.unwrap_or(usual.retries),
            connect_timeout: self.connect_timeout.map_or(usual.connect_timeout, |span| span.0),
            idle_timeout: self.idle_timeout.map_or(usual.idle_timeout, |span| span.0),
            udp_idle_timeout: self.udp_idle_timeout.map_or(usual.udp_idle_timeout, |span| span.0),
            first_byte_timeout: self.first_byte_timeout.map(|span| span.0).or(usual.first_byte_timeout),
            request_timeout: self.request_timeout.map(|span| span.0).or(usual.request_timeout),
            queue_timeout: self.queue_timeout.map_or(usual.queue_timeout, |span| span.0),
            hold: self.hold.map_or(usual.hold, |span| span.0),
            replay_limit: self.replay_bytes.unwrap_or(usual.replay_limit),
            hedge_after: self.hedge_after.map(|span| span.0).or(usual.hedge_after),
            inspect: self.inspect.unwrap_or(usual.inspect),
            disclosure: self.explain_header.unwrap_or(usual.disclosure),
            sticky: self.sticky.unwrap_or(usual.sticky),
            scorer: picking.scorer.map(|url| External { url, deadline }),
            max_connections: self.max_connections.map_or(usual.max_connections, NonZeroUsize::get),
            tls,
            proxy_protocol: self.proxy_protocol.unwrap_or(usual.proxy_protocol),
            trust_forwarded: self.trust_forwarded.unwrap_or(usual.trust_forwarded),
            limits: self.limits.resolve(),
            ..usual
        };
        if let Some(certificate) = &front.tls {
            front::check_certificate(certificate)
                .map_err(|source| Error::Certificate { service: front.service.clone(), source })?;
        }
        match broken_rule(&front) {
            Some(rule) => Err(refused(front.service, rule)),
            None => Ok(node::Front { front, policy: picking.policy, pin: self.worker }),
        }
    }
}

fn refused(service: String, rule: &'static str) -> Error {
    Error::Front { service: service.chars().take(80).collect(), rule }
}

fn broken_rule(front: &front::Config) -> Option<&'static str> {
    let is_some_time = |span: Duration| !span.is_zero();
    let is_quick = |scorer: &External| !scorer.deadline.is_zero() && scorer.deadline <= External::DEADLINE_MAX;
    let rules = [
        (is_service_name(&front.service), "the name of a service is 1 to 63 of a-z, 0-9, '-' and '.'"),
        (front.retries <= MAX_RETRIES, "retries are 0 to 100"),
        (!front.connect_timeout.is_zero(), "the connect timeout is more than zero"),
        (!front.idle_timeout.is_zero(), "the idle timeout is more than zero"),
        (!front.udp_idle_timeout.is_zero(), "the idle timeout of datagrams is more than zero"),
        (
            front.mode != Mode::Udp || front.tls.is_none() && !front.proxy_protocol,
            "TLS and the PROXY protocol are for connections, and not for mode udp",
        ),
        (front.first_byte_timeout.is_none_or(is_some_time), "the first byte timeout is more than zero"),
        (front.request_timeout.is_none_or(is_some_time), "the request timeout is more than zero"),
        (front.hedge_after.is_none_or(is_some_time), "the time to a hedge is more than zero"),
        (front.scorer.as_ref().is_none_or(is_quick), "the policy's deadline is more than zero, and 10s at most"),
        (front.replay_limit <= MAX_REPLAY, "replay bytes are 0 to 67108864"),
    ];
    let broken = rules.into_iter().find_map(|(is_kept, rule)| (!is_kept).then_some(rule));
    broken.or_else(|| front.limits.broken_rule())
}
