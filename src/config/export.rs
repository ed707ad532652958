//! What is said of one service that the node offers.

use std::{collections::BTreeMap, num::NonZeroU8};

use serde::Deserialize;

use super::{Error, Span, text};
use crate::{
    ledger::NodeId,
    proxy_protocol::Version,
    worker::{DEFAULT_SERVICE, Export, Health, Target},
};

/// One service that the node offers. [`Export`] says more about each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct ExportSettings {
    /// The service's name: 1 to 63 of `a-z`, `0-9`, `-` and `.`. Default `federated`. Nodes that offer the same thing under
    /// the same name share its work.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the backend listens: `[tcp://|http://]HOST:PORT`, `unix:PATH`, or `PORT` of this machine. Required. Say `tcp://`
    /// where the server speaks first (SSH, MySQL).
    #[serde(deserialize_with = "text::required")]
    pub target: Option<Target>,
    /// How the backend is probed: `tcp` (it takes a connection), a path like `/health` (GET is answered with 2xx or 3xx), or
    /// `off`. Default `tcp`. Choose a path where the backend accepts connections before it can work.
    #[serde(default, deserialize_with = "text::option")]
    pub health: Option<Health>,
    /// Connections to the backend at once; more are refused, and fronts try another worker. 0 for no cap. Default 0. Choose
    /// what the backend can work on in parallel, plus a short queue.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Share of the work relative to other workers, 1 to 255. Default 100.
    #[serde(default)]
    pub weight: Option<NonZeroU8>,
    /// How many requests the backend works on at once: fronts hold back what is beyond. 0 to ask the backend where it can
    /// be asked. Default 0.
    #[serde(default)]
    pub slots: Option<u32>,
    /// Ask a backend that speaks HTTP/1 whether it is a model server, which models it has and how busy it is. Default `true`.
    #[serde(default)]
    pub inspect: Option<bool>,
    /// 0 to 255: fronts use a worker of a higher tier only while none of a lower one can take work. Default 0.
    #[serde(default)]
    pub tier: Option<u8>,
    /// Free `key: value` pairs for people, at most 256 bytes in all. Default none.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Ids of the nodes whose fronts may use it. Default: every member.
    #[serde(default, deserialize_with = "text::list")]
    pub allow: Option<Vec<NodeId>>,
    /// A connection in which nothing moved for so long is ended; more than zero. Default `1h`: models think for minutes
    /// before the first byte.
    #[serde(default, deserialize_with = "text::option")]
    pub idle_timeout: Option<Span>,
    /// Tell the backend of each connection's client with a PROXY protocol header: `v1` or `v2`. Default not.
    #[serde(default, deserialize_with = "text::option")]
    pub send_proxy: Option<Version>,
}

impl ExportSettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            name: self.name.or(under.name),
            target: self.target.or(under.target),
            health: self.health.or(under.health),
            max_connections: self.max_connections.or(under.max_connections),
            weight: self.weight.or(under.weight),
            slots: self.slots.or(under.slots),
            inspect: self.inspect.or(under.inspect),
            tier: self.tier.or(under.tier),
            labels: self.labels.or(under.labels),
            allow: self.allow.or(under.allow),
            idle_timeout: self.idle_timeout.or(under.idle_timeout),
            send_proxy: self.send_proxy.or(under.send_proxy),
        }
    }

    /// With the defaults. What can only be checked together with the others is not checked yet.
    pub(super) fn resolve(self) -> Result<Export, Error> {
        let service = self.name.unwrap_or_else(|| DEFAULT_SERVICE.to_owned());
        let Some(target) = self.target else { return Err(Error::NoTarget(service)) };
        let target = match self.send_proxy {
            Some(version) => target.with_proxy_protocol(version),
            None => target,
        };
        let usual = Export::new(service, target);
        Ok(Export {
            health: self.health.unwrap_or(usual.health),
            max_connections: self.max_connections.unwrap_or(usual.max_connections),
            weight: self.weight.map_or(usual.weight, NonZeroU8::get),
            slots: self.slots.unwrap_or(usual.slots),
            inspect: self.inspect.unwrap_or(usual.inspect),
            tier: self.tier.unwrap_or(usual.tier),
            labels: self.labels.unwrap_or(usual.labels),
            allow: self.allow.unwrap_or(usual.allow),
            idle_timeout: self.idle_timeout.map_or(usual.idle_timeout, |span| span.0),
            ..usual
        })
    }
}
