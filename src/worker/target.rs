//! Where a backend listens, as people write it.

use std::{fmt, net::Ipv6Addr, path::PathBuf, str::FromStr};

use crate::{ledger::Protocol, proxy_protocol::Version};

/// Bytes in a DNS name at most (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// Bytes in the path of a Unix socket at most: `sun_path` less its closing zero, on Linux; a few more than on others.
const MAX_SOCKET_PATH: usize = 107;

/// A backend's address: `tcp://HOST:PORT`, `http://HOST:PORT`, `h2://HOST:PORT`, `udp://HOST:PORT`, `HOST:PORT`, `PORT` (of 127.0.0.1) or `unix:PATH`. An IPv6
/// address stands in brackets.
///
/// The scheme says how the backend speaks ([`Target::protocol`]). Without one it is taken for HTTP, which most backends
/// are. That is announced to fronts as a hint and is no promise: the worker itself carries any bytes, and a front in `auto`
/// mode looks at what the client sends. `tcp://` is for protocols in which the server speaks first (SSH, SMTP, MySQL), where
/// there is nothing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Option<Scheme>,
    pub(super) place: Place,
    /// What each connection to it begins with, if it wants to be told for whom it is.
    pub(super) send_proxy: Option<Version>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Tcp,
    Http,
    H2,
    Udp,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A host name or address (IPv6 without brackets), resolved on each connect.
    Host { host: String, port: u16 },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Target {
    /// How the backend is announced to speak.
    pub fn protocol(&self) -> Protocol {
        match self.scheme {
            Some(Scheme::Tcp) => Protocol::Tcp,
            Some(Scheme::Http) | None => Protocol::Http,
            Some(Scheme::H2) => Protocol::Http2,
            Some(Scheme::Udp) => Protocol::Udp,
        }
    }

    /// The same, where each connection begins with a PROXY protocol header of this version. It names the client where there
    /// is one; those of HTTP requests are of several, and have theirs in `X-Forwarded-For`.
    #[must_use]
    pub fn with_proxy_protocol(self, version: Version) -> Self {
        Self { send_proxy: Some(version), ..self }
    }

    /// Whether the backend is told for whom a connection is.
    pub(super) fn sends_proxy(&self) -> bool {
        self.send_proxy.is_some()
    }

    /// What an HTTP request to the backend calls its host.
    pub(super) fn authority(&self) -> String {
        match &self.place {
            Place::Host { .. } => self.place.to_string(),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The form that it is parsed from; a bare port with its host.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Some(Scheme::Tcp) => "tcp://",
            Some(Scheme::Http) => "http://",
            Some(Scheme::H2) => "h2://",
            Some(Scheme::Udp) => "udp://",
            None => "",
        })?;
        self.place.fmt(f)
    }
}

/// The text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a target: {why}")]
pub struct ParseTargetError {
    text: String,
    why: &'static str,
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| ParseTargetError { text: text.chars().take(80).collect(), why })
    }
}

fn parse(text: &str) -> Result<Target, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Target { scheme: None, place: parse_socket_path(path)?, send_proxy: None });
    }
    let (scheme, address) = match text.split_once("://") {
        None => (None, text),
        Some(("tcp", address)) => (Some(Scheme::Tcp), address),
        Some(("http", address)) => (Some(Scheme::Http), address.strip_suffix('/').unwrap_or(address)),
        Some(("h2", address)) => (Some(Scheme::H2), address.strip_suffix('/').unwrap_or(address)),
        Some(("udp", address)) => (Some(Scheme::Udp), address),
        Some(("https", _)) => {
            return Err("TLS to a backend is not supported; offer its plain port, or tcp:// for TLS as it is");
        }
        Some(_) => return Err("its scheme is none of tcp://, http://, h2://, udp:// and unix:"),
    };
    if address.contains('/') {
        return Err("a target has no path; a path to probe goes with --health");
    }
    Ok(Target { scheme, place: parse_address(scheme, address)?, send_proxy: None })
}

fn parse_socket_path(path: &str) -> Result<Place, &'static str> {
    match path {
        "" => Err("unix: needs the path of a socket"),
        _ if path.len() > MAX_SOCKET_PATH => Err("a socket's path has at most 107 bytes"),
        _ if path.contains('\0') => Err("a path has no zero byte"),
        _ => Ok(Place::Unix(path.into())),
    }
}

fn parse_address(scheme: Option<Scheme>, address: &str) -> Result<Place, &'static str> {
    let only_digits = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit());
    if scheme.is_none() && only_digits {
        return Ok(Place::Host { host: "127.0.0.1".to_owned(), port: parse_port(address)? });
    }
    let (host, port) = address.rsplit_once(':').ok_or("expected HOST:PORT, PORT, or unix:PATH")?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
        Some(_) => return Err("what stands in brackets is not an IPv6 address"),
        None if host.contains(':') => return Err("an IPv6 address stands in brackets: [::1]:80"),
        None if is_host_name(host) => host,
        None => return Err("its host is neither a name nor an address"),
    };
    Ok(Place::Host { host: host.to_owned(), port: parse_port(port)? })
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port @ 1..) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err("a port is a number from 1 to 65535"),
    }
}

fn is_host_name(host: &str) -> bool {
    (1..=MAX_HOST).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_is_read_and_printed() {
        for (text, printed, protocol) in [
            ("11434", "127.0.0.1:11434", Protocol::Http),
            ("localhost:80", "localhost:80", Protocol::Http),
            ("[::1]:8080", "[::1]:8080", Protocol::Http),
            ("tcp://10.0.0.1:22", "tcp://10.0.0.1:22", Protocol::Tcp),
            ("tcp://[fe80::1]:22", "tcp://[fe80::1]:22", Protocol::Tcp),
            ("http://gpu-1.example:8000", "http://gpu-1.example:8000", Protocol::Http),
            ("http://gpu_1:8000/", "http://gpu_1:8000", Protocol::Http),
            ("unix:/run/llm.sock", "unix:/run/llm.sock", Protocol::Http),
            ("unix:llm.sock", "unix:llm.sock", Protocol::Http),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), printed);
            assert_eq!(target.protocol(), protocol, "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_in_one_line_that_names_it() {
        for (text, word) in [
            ("", "HOST:PORT"),
            ("localhost", "HOST:PORT"),
            ("http://localhost", "HOST:PORT"),
            ("tcp://80", "HOST:PORT"),
            ("0", "1 to 65535"),
            ("65536", "1 to 65535"),
            ("localhost:", "1 to 65535"),
            ("localhost:+80", "1 to 65535"),
            (":80", "neither a name"),
            ("a b:80", "neither a name"),
            ("::1:80", "brackets"),
            ("[::1:80", "brackets"),
            ("[localhost]:80", "brackets"),
            ("[::1]", "brackets"),
            ("http://localhost:80/v1", "--health"),
            ("https://localhost:443", "TLS"),
            ("ftp://localhost:21", "scheme"),
            ("unix:", "path of a socket"),
            ("unix:a\0b", "zero byte"),
            (&format!("unix:/{}", "x".repeat(107)), "107 bytes"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_http_host_is_the_address_or_localhost() {
        assert_eq!("tcp://[::1]:80".parse::<Target>().unwrap().authority(), "[::1]:80");
        assert_eq!("unix:/run/x".parse::<Target>().unwrap().authority(), "localhost");
    }

    proptest! {
        #[test]
        fn what_was_read_prints_as_something_that_reads_the_same(
            text in "((tcp|http)://)?([a-z0-9.-]{1,12}|\\[::[0-9a-f]{1,4}\\]):[0-9]{1,5}|[0-9]{1,5}|unix:[ -~]{1,20}",
        ) {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
        }

        #[test]
        fn arbitrary_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<Target>();
        }
    }
}
