//! Why a configuration is refused.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::settings::{MAX_ADDRESSES, MAX_FILE, MAX_FRONTS};
use crate::{certificate::CertificateError, net::Transport, worker::ExportError};

/// Why a configuration is refused. Nothing was started; the same one fails again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It is not what a configuration looks like.
    #[error("the configuration {} has more than {MAX_FILE} bytes: this is some other file", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}:{}:{}: {}", path.display(), source.line, source.column, source.message)]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What, and where.
        #[source]
        source: ParseError,
    },
    /// What is offered breaks a rule.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An export says how, and not what.
    #[error("service {0}: no target; say where its backend listens: HOST:PORT, unix:PATH or PORT")]
    NoTarget(String),
    /// A listener breaks a rule.
    #[error("service {service}: {rule}")]
    Front {
        /// Which service it balances.
        service: String,
        /// The rule.
        rule: &'static str,
    },
    /// A listener's certificate can't be used.
    #[error("cannot speak TLS for service {service}: {source}")]
    Certificate {
        /// Which service it balances.
        service: String,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// Several listeners, and nobody said where.
    #[error("service {0}: no listener; with several services each needs its own: NAME@HOST:PORT")]
    NoListen(String),
    /// One address, one listener.
    #[error("services {one} and {other} are both to listen on {listen}; give each its own address: NAME@HOST:PORT")]
    SameListen {
        /// A service.
        one: String,
        /// Another.
        other: String,
        /// Their address.
        listen: SocketAddr,
    },
    /// More listeners than one node needs.
    #[error("{0} listeners are too many: one node has at most {MAX_FRONTS}")]
    TooManyFronts(usize),
    /// WebSocket's files can't be used.
    #[error("cannot speak TLS over WebSocket: {0}")]
    WebSocket(#[source] CertificateError),
    /// Listening on `/tls/ws` takes a certificate.
    #[error("cannot listen on {0}: say --ws-cert and --ws-key, or let a proxy speak TLS and listen on …/ws behind it")]
    NoCertificate(String),
    /// A certificate without its key, or the other way round.
    #[error("a certificate and its key go together: --ws-cert and --ws-key")]
    HalfCertificate,
    /// A node without a transport reaches nobody.
    #[error("no transport is left: name some of tcp, quic and ws")]
    NoTransport,
    /// An address of a transport that is switched off.
    #[error("{key}: {address} is of transport {transport}, which is off; add it to --transports")]
    TransportOff {
        /// In which list.
        key: &'static str,
        /// The address.
        address: String,
        /// Its transport.
        transport: Transport,
    },
    /// A relay without an id can't be asked.
    #[error("relay {0}: the address must end with the relay's id: /p2p/12D3KooW…")]
    RelayWithoutId(String),
    /// A limit that is none.
    #[error("relay: {key} must be from 1 to 65536, and a circuit lasts a second at least")]
    RelayLimit {
        /// Which.
        key: &'static str,
    },
    /// More addresses than are of use.
    #[error("{count} of {key} are too many: at most {MAX_ADDRESSES}")]
    TooManyAddresses {
        /// Which list.
        key: &'static str,
        /// How many were given.
        count: usize,
    },
}

impl Error {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
    /// What is wrong; for an unknown key, which ones are known. One line.
    pub message: String,
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl From<serde_yaml::Error> for ParseError {
    fn from(error: serde_yaml::Error) -> Self {
        // The parser names no place where the text ended too early, or as a whole is wrong: then it is the first.
        let (line, column) = error.location().map_or((1, 1), |place| (place.line().max(1), place.column().max(1)));
        let text = error.to_string();
        let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        // What was in the file may be in the message.
        let message = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { line, column, message }
    }
}
