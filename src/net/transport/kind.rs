//! The kinds of transport, and which of them a node uses.

use std::{collections::BTreeSet, fmt, str::FromStr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP with TLS 1.3 or Noise.
    Tcp,
    /// QUIC (RFC 9000).
    Quic,
    /// WebSocket (RFC 6455), perhaps over TLS of its own, with TLS 1.3 or Noise within: what passes a web proxy.
    WebSocket,
}

impl Transport {
    const ALL: [Self; 3] = [Self::Tcp, Self::Quic, Self::WebSocket];

    /// What carries a connection at `address`, as far as the relay where there is one.
    pub fn of(address: &Multiaddr) -> Self {
        let told = address.iter().find_map(|part| match part {
            Protocol::QuicV1 => Some(Self::Quic),
            Protocol::Ws(_) | Protocol::Wss(_) => Some(Self::WebSocket),
            _ => None,
        });
        told.unwrap_or(Self::Tcp)
    }

    /// `tcp`, `quic` or `ws`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::WebSocket => "ws",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, UnknownTransport> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownTransport)
    }
}

/// There is no transport of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not tcp, quic or ws")]
pub struct UnknownTransport;

/// Those that a node listens on and dials by. Default: all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transports(BTreeSet<Transport>);

impl Transports {
    /// Whether `kind` is one of them.
    pub fn has(&self, kind: Transport) -> bool {
        self.0.contains(&kind)
    }

    /// Where a node listens that was not told: on every address of the host, on ports that the system chooses. WebSocket is
    /// listened on where nothing else is spoken.
    pub(in crate::net) fn usual(&self) -> Vec<Multiaddr> {
        let web = !(self.has(Transport::Tcp) || self.has(Transport::Quic));
        let ends = [
            ("tcp/0", self.has(Transport::Tcp)),
            ("udp/0/quic-v1", self.has(Transport::Quic)),
            ("tcp/0/ws", web && self.has(Transport::WebSocket)),
        ];
        let ends = ends.into_iter().filter_map(|(end, is_used)| is_used.then_some(end));
        ends.flat_map(|end| ["/ip4/0.0.0.0", "/ip6/::"].map(|host| format!("{host}/{end}")))
            .filter_map(|text| text.parse().ok())
            .collect()
    }
}

impl Default for Transports {
    fn default() -> Self {
        Self(Transport::ALL.into())
    }
}

impl FromIterator<Transport> for Transports {
    fn from_iter<I: IntoIterator<Item = Transport>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_carries_it() {
        let of = |text: &str| Transport::of(&text.parse().unwrap());
        let relay = "p2p/12D3KooWPi4DKkcJN3BrpVSvSfpd6da3hferGsBh75KPEWHKAjuD/p2p-circuit";
        for (end, kind) in [
            ("tcp/1", Transport::Tcp),
            ("udp/1/quic-v1", Transport::Quic),
            ("tcp/1/ws", Transport::WebSocket),
            ("tcp/1/wss", Transport::WebSocket),
            ("tcp/1/tls/ws", Transport::WebSocket),
        ] {
            assert_eq!(of(&format!("/ip4/192.0.2.1/{end}")), kind, "{end}");
            assert_eq!(of(&format!("/ip4/192.0.2.1/{end}/{relay}")), kind, "{end}");
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("udp".parse::<Transport>(), Err(UnknownTransport));
    }

    #[test]
    fn a_node_listens_on_what_it_speaks() {
        let usual = |kinds: &[Transport]| {
            let all = kinds.iter().copied().collect::<Transports>().usual();
            all.iter().filter(|address| address.to_string().starts_with("/ip4")).map(Transport::of).collect::<Vec<_>>()
        };
        assert_eq!(Transports::default().usual().len(), 4);
        assert_eq!(usual(&[Transport::Quic, Transport::WebSocket]), [Transport::Quic]);
        assert_eq!(usual(&[Transport::WebSocket]), [Transport::WebSocket]);
    }
}
