//! Flags of every command that balances.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, builder::BoolishValueParser};
use p2p_fed::{
    balance::Pin,
    config::{FrontSettings, LimitSettings, Picking, Span},
    front::{Cidr, Disclosure, Mode, Sticky},
};

use crate::node_flags::said;

/// Flags of every command that balances; they hold for each of its fronts.
#[derive(Debug, Args)]
pub(crate) struct FrontFlags {
    /// How a worker is picked: least-used, random, round-robin, p2c, peak-ewma, prequal, sticky, or external:URL of a scorer of your own [default: least-used]
    #[arg(long, env = "P2P_FED_POLICY", help_heading = "Services")]
    policy: Option<Picking>,

    /// How long the scorer of external:URL may take before least-used decides [default: 50ms]
    #[arg(long, value_name = "TIME", env = "P2P_FED_POLICY_DEADLINE", help_heading = "Services")]
    policy_deadline: Option<Span>,

    /// The only worker to use, by id or name [default: all]
    #[arg(long, value_name = "NODE", env = "P2P_FED_WORKER", help_heading = "Services")]
    worker: Option<Pin>,

    /// What clients speak: http (a pick per request), tcp (a pick per connection), udp (a pick per session), or auto [default: auto]
    #[arg(long, env = "P2P_FED_MODE", help_heading = "Services")]
    mode: Option<Mode>,

    /// How many more workers are tried after the first [default: 3]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_RETRIES", help_heading = "Services")]
    retries: Option<u32>,

    /// How long a worker may take to accept [default: 2s]
    #[arg(long, value_name = "TIME", env = "P2P_FED_CONNECT_TIMEOUT", help_heading = "Services")]
    connect_timeout: Option<Span>,

    /// A connection in which nothing moved for so long is ended [default: 1h]
    #[arg(long, value_name = "TIME", env = "P2P_FED_IDLE_TIMEOUT", help_heading = "Services")]
    idle_timeout: Option<Span>,

    /// A session of datagrams in which nothing moved for so long is ended [default: 60s]
    #[arg(long, value_name = "TIME", env = "P2P_FED_UDP_IDLE_TIMEOUT", help_heading = "Services")]
    udp_idle_timeout: Option<Span>,

    /// How long a worker may take to begin its answer [default: any time]
    #[arg(long, value_name = "TIME", env = "P2P_FED_FIRST_BYTE_TIMEOUT", help_heading = "Services")]
    first_byte_timeout: Option<Span>,

    /// How long a request may take in all [default: any time]
    #[arg(long, value_name = "TIME", env = "P2P_FED_REQUEST_TIMEOUT", help_heading = "Services")]
    request_timeout: Option<Span>,

    /// How long a request or connection waits for a free slot [default: 60s]
    #[arg(long, value_name = "TIME", env = "P2P_FED_QUEUE_TIMEOUT", help_heading = "Services")]
    queue_timeout: Option<Span>,

    /// How long it waits for a worker to come where there is none [default: 0]
    #[arg(long, value_name = "TIME", env = "P2P_FED_HOLD", help_heading = "Services")]
    hold: Option<Span>,

    /// Bytes of a request that are kept to send it to another worker [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "P2P_FED_REPLAY_BYTES", help_heading = "Services")]
    replay_bytes: Option<usize>,

    /// After how long a GET or HEAD without an answer is sent to a second worker as well [default: never]
    #[arg(long, value_name = "TIME", env = "P2P_FED_HEDGE_AFTER", help_heading = "Services")]
    hedge_after: Option<Span>,

    /// Do not look into requests to model servers
    #[arg(long, env = "P2P_FED_NO_INSPECT", value_parser = BoolishValueParser::new(), help_heading = "Services")]
    no_inspect: bool,

    /// Which responses tell who served them: on-request (to clients on this machine that send x-p2p-fed-explain: 1), always or off [default: on-request]
    #[arg(long, value_name = "WHICH", env = "P2P_FED_EXPLAIN_HEADER", help_heading = "Services")]
    explain_header: Option<Disclosure>,

    /// By what policy sticky tells users apart: client, header:NAME or cookie:NAME [default: client]
    #[arg(long, value_name = "WHAT", env = "P2P_FED_STICKY", help_heading = "Services")]
    sticky: Option<Sticky>,

    /// Client connections at once; more wait [default: 16384]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_MAX_CONNECTIONS", help_heading = "Services")]
    max_connections: Option<NonZeroUsize>,

    /// A PEM file with the certificate with which the listeners speak TLS; read again when it changes [default: no TLS]
    #[arg(long, value_name = "PATH", env = "P2P_FED_TLS_CERT", requires = "tls_key", help_heading = "Services")]
    tls_cert: Option<PathBuf>,

    /// A PEM file with its private key
    #[arg(long, value_name = "PATH", env = "P2P_FED_TLS_KEY", requires = "tls_cert", help_heading = "Services")]
    tls_key: Option<PathBuf>,

    /// Connections begin with a PROXY protocol header (v1 or v2) that names the client; others are closed
    #[arg(long, env = "P2P_FED_PROXY_PROTOCOL", help_heading = "Services")]
    proxy_protocol: bool,

    /// A proxy whose X-Forwarded-* and Forwarded are believed: an address or network [default: none]
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        env = "P2P_FED_TRUST_FORWARDED",
        help_heading = "Services"
    )]
    trust_forwarded: Vec<Cidr>,

    /// Bytes in the body of a request at most, 0 for any number [default: 0]
    #[arg(long, value_name = "BYTES", env = "P2P_FED_MAX_BODY", help_heading = "Services")]
    max_body: Option<u64>,

    /// Connections at once of one client address at most, 0 for any number [default: 0]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_MAX_CLIENT_CONNECTIONS", help_heading = "Services")]
    max_client_connections: Option<usize>,
}

impl FrontFlags {
    /// What flags and environment say.
    pub(crate) fn terms(&self) -> FrontSettings {
        FrontSettings {
            service: None,
            listen: None,
            policy: self.policy.clone(),
            policy_deadline: self.policy_deadline,
            mode: self.mode,
            worker: self.worker.clone(),
            retries: self.retries,
            connect_timeout: self.connect_timeout,
            idle_timeout: self.idle_timeout,
            udp_idle_timeout: self.udp_idle_timeout,
            first_byte_timeout: self.first_byte_timeout,
            request_timeout: self.request_timeout,
            queue_timeout: self.queue_timeout,
            hold: self.hold,
            replay_bytes: self.replay_bytes,
            hedge_after: self.hedge_after,
            inspect: self.no_inspect.then_some(false),
            explain_header: self.explain_header,
            sticky: self.sticky.clone(),
            max_connections: self.max_connections,
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            proxy_protocol: self.proxy_protocol.then_some(true),
            trust_forwarded: said(&self.trust_forwarded),
            limits: LimitSettings {
                body_bytes: self.max_body,
                connections_per_client: self.max_client_connections,
                ..LimitSettings::default()
            },
        }
    }
}
