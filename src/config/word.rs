//! Single values, as people write them on a command line and in a file.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use libp2p::Multiaddr;

use crate::{
    balance::{ParsePolicyError, Policy},
    front::{ParseScorerUrlError, ScorerUrl},
    net::{Dht, Relaying},
};

/// The longest span that can be said. A year is for ever, and far from what a clock cannot count.
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Characters of a wrong value that are quoted.
const QUOTED: usize = 80;

/// The text is not what it should be. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct ParseWordError {
    text: String,
    what: &'static str,
}

impl ParseWordError {
    fn new(text: &str, what: &'static str) -> Self {
        Self { text: text.chars().take(QUOTED).collect(), what }
    }
}

/// A span of time: numbers with units, `30s`, `500ms`, `1m30s`, `2h`, `7d`; `0` or up to a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = if text == "0" { Some(Duration::ZERO) } else { sum(text) };
        span.filter(|span| *span <= MAX_SPAN).map(Self).ok_or_else(|| {
            ParseWordError::new(text, "a span of time like 30s, 500ms, 1m30s, 2h or 7d, of a year at most")
        })
    }
}

/// `None` for what is no sum of numbers with units, or too large to be counted.
fn sum(mut rest: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    loop {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(60 * 60)?),
            "d" => Duration::from_secs(number.checked_mul(24 * 60 * 60)?),
            _ => return None,
        };
        sum = sum.checked_add(part)?;
        if tail.is_empty() {
            return Some(sum);
        }
        rest = tail;
    }
}

/// An address in the network: `/ip4/192.0.2.7/tcp/4001`, `/ip4/0.0.0.0/udp/4001/quic-v1`, `/dns4/…`, with or without
/// `/p2p/ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub Multiaddr);

impl FromStr for Address {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<Multiaddr>() {
            Ok(address) if !address.is_empty() => Ok(Self(address)),
            _ => Err(ParseWordError::new(
                text,
                "a multiaddr like /ip4/192.0.2.7/tcp/4001 or /ip4/192.0.2.7/udp/4001/quic-v1",
            )),
        }
    }
}

/// Where clients connect: `HOST:PORT` with an IP address or `localhost`, `PORT` of the loopback address, or `:PORT` of all
/// IPv4 addresses. Port 0 takes a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let on = |host: Ipv4Addr, port: &str| Some(SocketAddr::new(IpAddr::V4(host), port_of(port)?));
        let listen = match text.rsplit_once(':') {
            None => on(Ipv4Addr::LOCALHOST, text),
            Some(("", port)) => on(Ipv4Addr::UNSPECIFIED, port),
            Some(("localhost", port)) => on(Ipv4Addr::LOCALHOST, port),
            Some(_) => text.parse().ok(),
        };
        listen
            .map(Self)
            .ok_or_else(|| ParseWordError::new(text, "a listener like 127.0.0.1:8080, [::1]:8080, :8080 or 8080"))
    }
}

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Which DHT serves as a meeting place: `public`, `private` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting(pub Dht);

impl FromStr for Meeting {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "public" => Ok(Self(Dht::Public)),
            "private" => Ok(Self(Dht::Private)),
            "off" => Ok(Self(Dht::Off)),
            _ => Err(ParseWordError::new(text, "public, private or off")),
        }
    }
}

/// When a node is a relay for others: `auto`, `always` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving(pub Relaying);

impl FromStr for Serving {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self(Relaying::Auto)),
            "always" => Ok(Self(Relaying::Always)),
            "never" => Ok(Self(Relaying::Never)),
            _ => Err(ParseWordError::new(text, "auto, always or never")),
        }
    }
}

/// How a worker is picked: the name of a policy, or `external:URL` of a scorer of the user's own, beside which `least-used`
/// decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picking {
    /// The policy.
    pub policy: Policy,
    /// Who is asked first.
    pub scorer: Option<ScorerUrl>,
}

/// The text names neither a policy nor a scorer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePickingError {
    /// It names no policy.
    #[error(transparent)]
    Policy(#[from] ParsePolicyError),
    /// What follows `external:` is no scorer.
    #[error(transparent)]
    Scorer(#[from] ParseScorerUrlError),
}

impl From<Policy> for Picking {
    fn from(policy: Policy) -> Self {
        Self { policy, scorer: None }
    }
}

impl FromStr for Picking {
    type Err = ParsePickingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("external:") {
            Some(url) => Ok(Self { policy: Policy::LeastUsed, scorer: Some(url.parse()?) }),
            None => Ok(text.parse::<Policy>()?.into()),
        }
    }
}

/// A label of a service: `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What stands before the first `=`.
    pub key: String,
    /// What stands behind it.
    pub value: String,
}

impl FromStr for Label {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(ParseWordError::new(text, "a label: KEY=VALUE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_sums_of_numbers_with_units() {
        let known = [("0", 0), ("0s", 0), ("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("2h", 7_200_000)];
        for (text, ms) in known.into_iter().chain([("7d", 604_800_000), ("1d12h", 129_600_000)]) {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1w",
            "30s ",
            "8761h",
            "366d",
            "99999999999999999999s",
            "18446744073709551615h",
            "1s2",
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("is not a span of time like 30s"), "{error}");
        }
    }

    #[test]
    fn listeners_are_of_this_machine_unless_said_otherwise() {
        for (text, listen) in [
            ("8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[::1]:80", "[::1]:80"),
            ("0", "127.0.0.1:0"),
        ] {
            assert_eq!(text.parse(), Ok(Listen(listen.parse().unwrap())), "{text}");
        }
        for text in ["", ":", "65536", "+80", ":+80", "example.org:80", "::1:80", "127.0.0.1", "http://127.0.0.1:80"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_is_a_name_or_a_scorer() {
        assert_eq!("random".parse(), Ok(Picking::from(Policy::Random)));
        let external: Picking = "external:http://127.0.0.1:9000/score".parse().unwrap();
        assert_eq!(external.policy, Policy::LeastUsed);
        assert_eq!(external.scorer.unwrap().to_string(), "http://127.0.0.1:9000/score");
        for (text, part) in [
            ("fastest", "is not a policy"),
            ("external", "is not a policy"),
            ("external:", "http://HOST:PORT"),
            ("external:https://a/", "TLS"),
        ] {
            let error = text.parse::<Picking>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn other_words() {
        assert_eq!("off".parse(), Ok(Meeting(Dht::Off)));
        assert!("Public".parse::<Meeting>().is_err());
        assert_eq!("a=b=c".parse(), Ok(Label { key: "a".into(), value: "b=c".into() }));
        assert!("=b".parse::<Label>().is_err() && "a".parse::<Label>().is_err());
        assert!("/ip4/127.0.0.1/tcp/0".parse::<Address>().is_ok());
        for text in ["", "/", "127.0.0.1:80", "/ip4/300.0.0.1/tcp/1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,40}|[0-9a-z:./=\\[\\]]{0,20}") {
            let _ = (text.parse::<Span>(), text.parse::<Listen>(), text.parse::<Address>(), text.parse::<Label>());
        }

        #[test]
        fn spans_mean_what_they_say(hours in 0u64..100, minutes in 0u64..100, ms in 0u64..10_000) {
            let span = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(ms);
            prop_assert_eq!(format!("{hours}h{minutes}m{ms}ms").parse(), Ok(Span(span)));
        }
    }
}
