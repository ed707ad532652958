//! What a front is told.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use super::{Cidr, Limits};
use crate::certificate::Certificate;

use super::{Disclosure, External, Sticky};

/// What a front is told. [`Config::new`] fills in the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service that it balances.
    pub service: String,
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the clients speak.
    pub mode: Mode,
    /// How many more workers are tried after the first one, per request or TCP connection. Default 3: with one more dead
    /// worker than that, something else is wrong.
    pub retries: u32,
    /// How long a worker may take from the dial to its verdict, its own dial of the backend included. Default 2 s: a
    /// relayed path and a loaded worker fit in, and a client whose worker hangs waits no longer for the next.
    pub connect_timeout: Duration,
    /// How long nothing may move on a TCP connection, an upgraded one or an HTTP exchange. Default 1 h: a model may think
    /// for many minutes before its first token and a database connection may rest over lunch, while TCP keep-alive finds
    /// clients that are gone within two minutes and the connection to the worker finds dead workers in seconds.
    pub idle_timeout: Duration,
    /// How long nothing may move in a session of datagrams. Default 60 s: what has questions and answers is done long
    /// before, and what lives longer keeps itself alive more often, as NATs forget as soon.
    pub udp_idle_timeout: Duration,
    /// How long a worker may take from the last byte of a request to the first of its response. A request that may be sent
    /// again then goes to another one. Default none, so that the idle time holds: only who knows the models knows how long
    /// one thinks, and what is cut here was hours of work at worst.
    pub first_byte_timeout: Option<Duration>,
    /// How long a request may take in all, from its head to the last byte of its response. Default none: a stream of tokens
    /// may well last for an hour.
    pub request_timeout: Option<Duration>,
    /// How long a request or connection may wait for a free slot. Default 60 s: about what people and the clients of
    /// language models bear before they try again.
    pub queue_timeout: Duration,
    /// How long a request or connection waits for a worker to come where nobody offers the service. Default zero: it is
    /// told at once, and its client knows best whether to come again. Choose what a worker needs to start.
    pub hold: Duration,
    /// Bytes of a request that are kept until its response begins, so that it can be sent to another worker. What is larger is
    /// streamed, and sent once. Default 1 MiB: the longest conversations with a model fit in. All requests together keep
    /// 64 MiB at most.
    pub replay_limit: usize,
    /// After how long without an answer a GET or HEAD is sent to a second worker as well; the first answer counts. Default
    /// never: it makes slow answers rarer, and costs up to a fifth more work.
    pub hedge_after: Option<Duration>,
    /// Whether requests to model servers are looked into: a request goes where its model is, one that was not answered is
    /// sent again, and tokens are counted. Default yes.
    pub inspect: bool,
    /// Which responses tell of the way they took.
    pub disclosure: Disclosure,
    /// By what policy `sticky` tells users apart.
    pub sticky: Sticky,
    /// Who is asked before the balancer's own policy decides. Default nobody.
    pub scorer: Option<External>,
    /// Client connections at once. When all are taken, new ones wait in the kernel's queue. Default 16 384: each takes one
    /// file descriptor and its buffers.
    pub max_connections: usize,
    /// What one client may take.
    pub limits: Limits,
    /// The listener speaks TLS, and nothing else, with this certificate, read again when its files change. Default `None`: bytes as they are.
    pub tls: Option<Certificate>,
    /// Each connection begins with a PROXY protocol header that names its client; one without is closed. For listeners that
    /// only a load balancer can reach. Default false.
    pub proxy_protocol: bool,
    /// Whose `X-Forwarded-*` and `Forwarded` are believed and extended; everybody else's are overwritten. Default nobody's.
    pub trust_forwarded: Vec<Cidr>,
}

impl Config {
    /// The defaults for `service` at `listen`.
    pub fn new(service: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            service: service.into(),
            listen,
            mode: Mode::Auto,
            retries: 3,
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(3600),
            udp_idle_timeout: Duration::from_secs(60),
            first_byte_timeout: None,
            request_timeout: None,
            queue_timeout: Duration::from_secs(60),
            hold: Duration::ZERO,
            replay_limit: 1024 * 1024,
            hedge_after: None,
            inspect: true,
            disclosure: Disclosure::default(),
            sticky: Sticky::default(),
            scorer: None,
            max_connections: 16_384,
            limits: Limits::default(),
            tls: None,
            proxy_protocol: false,
            trust_forwarded: Vec::new(),
        }
    }
}

/// What the clients of a front speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// HTTP if the first bytes are those of an HTTP/1 request or of HTTP/2, else opaque bytes. A client that says nothing for 300 ms
    /// waits for its server to speak first, so it gets opaque bytes too, unless all workers declare their backends HTTP.
    #[default]
    Auto,
    /// HTTP/1 or HTTP/2: one pick per request.
    Http,
    /// Opaque bytes: one pick per connection.
    Tcp,
    /// Datagrams: one pick per client address and session. It listens for nothing else.
    Udp,
}

/// The text names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a mode; choose auto, http, tcp or udp")]
pub struct ParseModeError(String);

impl FromStr for Mode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "http" => Ok(Self::Http),
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(ParseModeError(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_print_as_they_parse() {
        for mode in [Mode::Auto, Mode::Http, Mode::Tcp, Mode::Udp] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("sctp".parse::<Mode>().is_err());
    }
}
