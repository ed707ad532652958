//! What keeps the requests of one user together.

use std::{fmt, net::SocketAddr, str::FromStr};

use hyper::{
    HeaderMap,
    header::{COOKIE, HeaderName, HeaderValue},
};
use rand::RngExt;

/// Bytes of a header's or cookie's value that count.
const VALUE_MAX: usize = 256;

/// Characters of a cookie's name at most.
const NAME_MAX: usize = 64;

/// By what policy `sticky` tells users apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sticky {
    /// By the client's address.
    #[default]
    Client,
    /// By the value of this header field. A request without it goes to anybody.
    Header(HeaderName),
    /// By a cookie of this name, which the front sets for those that have none.
    Cookie(String),
}

/// The text says nothing that users could be told apart by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not what requests are kept together by; choose client, header:NAME or cookie:NAME")]
pub struct ParseStickyError(String);

impl FromStr for Sticky {
    type Err = ParseStickyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseStickyError(text.chars().take(64).collect());
        match text.split_once(':') {
            None if text == "client" => Ok(Self::Client),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| wrong()),
            // A token, as RFC 6265 §4.1.1 wants: what may be the name of a field.
            Some(("cookie", name)) if name.len() <= NAME_MAX && name.parse::<HeaderName>().is_ok() => {
                Ok(Self::Cookie(name.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl Sticky {
    /// The key of a request, and the cookie that its client is to be given.
    pub(super) fn key(&self, client: SocketAddr, headers: &HeaderMap) -> (Option<u64>, Option<HeaderValue>) {
        match self {
            Self::Client => (Some(of_client(client)), None),
            Self::Header(name) => (headers.get(name).map(|value| of_value(value.as_bytes())), None),
            Self::Cookie(name) => match cookie(headers, name) {
                Some(value) => (Some(of_value(value.as_bytes())), None),
                None => {
                    let value = format!("{:032x}", rand::rng().random::<u128>());
                    let given = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
                    (Some(of_value(value.as_bytes())), HeaderValue::try_from(given).ok())
                }
            },
        }
    }
}

/// The same for all connections of one client, at every front.
pub(super) fn of_client(client: SocketAddr) -> u64 {
    match client.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => fingerprint(&ip.octets()),
        std::net::IpAddr::V6(ip) => fingerprint(&ip.octets()),
    }
}

fn of_value(value: &[u8]) -> u64 {
    fingerprint(value.get(..VALUE_MAX).unwrap_or(value))
}

/// The first cookie of that name with a value.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)
}

/// FNV-1a: short, and the same in every build, so that several fronts agree.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn it_prints_as_it_parses() {
        for text in ["client", "header:x-user", "cookie:lb"] {
            assert_eq!(text.parse::<Sticky>().unwrap().to_string(), text);
        }
        for text in ["", "user", "header:", "header:a b", "cookie:", "cookie:a=b", "cookie:a;b", "client:x"] {
            assert!(text.parse::<Sticky>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_client_is_the_same_on_every_connection() {
        let key = |text: &str| Sticky::Client.key(text.parse().unwrap(), &HeaderMap::new()).0;
        assert_eq!(key("192.0.2.1:1"), key("192.0.2.1:2"));
        assert_eq!(key("192.0.2.1:1"), key("[::ffff:192.0.2.1]:1"));
        assert_ne!(key("192.0.2.1:1"), key("192.0.2.2:1"));
    }

    #[test]
    fn a_header_that_is_missing_binds_nobody() {
        let sticky: Sticky = "header:x-user".parse().unwrap();
        let key = |fields| sticky.key(([1, 2, 3, 4], 1).into(), &headers(fields)).0;
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[("x-user", "ann")]), key(&[("x-user", "ann")]));
        assert_ne!(key(&[("x-user", "ann")]), key(&[("x-user", "bob")]));
    }

    #[test]
    fn a_cookie_is_given_once() {
        let sticky: Sticky = "cookie:lb".parse().unwrap();
        let client = ([1, 2, 3, 4], 1).into();
        let (first, given) = sticky.key(client, &headers(&[("cookie", "a=b; lb=")]));
        let given = given.unwrap().to_str().unwrap().to_owned();
        assert!(given.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{given}");
        let back = HeaderValue::try_from(format!("a=b; {}", given.split(';').next().unwrap())).unwrap();
        let headers = HeaderMap::from_iter([(COOKIE, back)]);
        assert_eq!(sticky.key(client, &headers), (first, None));
    }
}
