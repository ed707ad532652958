//! Where a scorer answers, as people write it.

use std::{fmt, path::PathBuf, str::FromStr};

use hyper::Uri;

/// Bytes of a URL at most: what is longer is a mistake.
const URL_MAX: usize = 1024;

/// Bytes in the path of a Unix socket at most: `sun_path` less its closing zero.
const SOCKET_PATH_MAX: usize = 107;

/// Characters of a wrong URL that are quoted.
const QUOTED: usize = 80;

/// Where a scorer answers: `http://HOST:PORT/PATH`, or `unix:PATH` of a socket where it answers at `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScorerUrl {
    pub(super) place: Place,
    /// Path and query of the request.
    pub(super) path: String,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `HOST:PORT`, an IPv6 address in brackets; resolved on each connect.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl ScorerUrl {
    /// What requests call its host.
    pub(super) fn host(&self) -> &str {
        match &self.place {
            Place::Tcp(authority) => authority,
            Place::Unix(_) => "localhost",
        }
    }
}

/// The form that it is parsed from, with its port and its path.
impl fmt::Display for ScorerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(authority) => write!(f, "http://{authority}{}", self.path),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text does not say where a scorer answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a scorer: {why}")]
pub struct ParseScorerUrlError {
    text: String,
    why: &'static str,
}

impl FromStr for ScorerUrl {
    type Err = ParseScorerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| ParseScorerUrlError { text: text.chars().take(QUOTED).collect(), why })
    }
}

fn parse(text: &str) -> Result<ScorerUrl, &'static str> {
    if text.len() > URL_MAX {
        return Err("it has more than 1024 bytes");
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(ScorerUrl { place: Place::Unix(socket(path)?), path: "/".to_owned() });
    }
    let expected = "expected http://HOST:PORT/PATH or unix:PATH";
    if text.starts_with("https:") {
        return Err("TLS to a scorer is not supported; let it listen on this machine: http://127.0.0.1:PORT/PATH");
    }
    let uri: Uri = text.parse().map_err(|_| expected)?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or(expected)?;
    if authority.as_str().contains('@') {
        return Err("a user or a password is not supported");
    }
    let host = authority.host();
    if host.is_empty() {
        return Err(expected);
    }
    let port = match authority.as_str().get(host.len()..) {
        None | Some("") => 80,
        Some(rest) => rest.strip_prefix(':').and_then(port).ok_or("a port is a number from 1 to 65535")?,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(ScorerUrl { place: Place::Tcp(format!("{host}:{port}")), path: path.to_owned() })
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn socket(path: &str) -> Result<PathBuf, &'static str> {
    match path {
        "" => Err("unix: needs the path of a socket"),
        _ if path.len() > SOCKET_PATH_MAX => Err("a socket's path has at most 107 bytes"),
        _ if path.chars().any(char::is_control) => Err("a socket's path has no control characters here"),
        _ => Ok(path.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_is_read_and_printed() {
        for (text, printed, host) in [
            ("http://127.0.0.1:9000/score", "http://127.0.0.1:9000/score", "127.0.0.1:9000"),
            ("http://scorer.example", "http://scorer.example:80/", "scorer.example:80"),
            ("http://[::1]:9000/a?b=c", "http://[::1]:9000/a?b=c", "[::1]:9000"),
            ("unix:/run/scorer.sock", "unix:/run/scorer.sock", "localhost"),
        ] {
            let url: ScorerUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.host()), (printed, host));
        }
    }

    #[test]
    fn what_is_no_scorer_is_refused_in_one_line_that_says_why() {
        for (text, word) in [
            ("", "http://HOST:PORT"),
            ("127.0.0.1:9000", "http://HOST:PORT"),
            ("/score", "http://HOST:PORT"),
            ("ftp://a:1/", "http://HOST:PORT"),
            ("http:///score", "http://HOST:PORT"),
            ("https://a:1/", "TLS"),
            ("http://me:secret@a:1/", "password"),
            ("http://a:/", "1 to 65535"),
            ("http://a:0/", "1 to 65535"),
            ("http://a:65536/", "1 to 65535"),
            ("unix:", "path of a socket"),
            ("unix:a\nb", "control"),
            (&format!("unix:/{}", "x".repeat(107)), "107 bytes"),
            (&format!("http://a:1/{}", "x".repeat(1024)), "1024 bytes"),
        ] {
            let error = text.parse::<ScorerUrl>().unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_prints_as_something_that_reads_the_same(
            text in "http://([a-z0-9.-]{1,9}|\\[::[0-9a-f]\\])(:[0-9]{1,6})?(/[ -~]{0,9})?|unix:[ -~]{1,20}|\\PC{0,20}",
        ) {
            if let Ok(url) = text.parse::<ScorerUrl>() {
                prop_assert_eq!(url.to_string().parse::<ScorerUrl>().unwrap(), url);
            }
        }
    }
}
