//! What a response tells of the way it took.

use std::{fmt, net::SocketAddr, str::FromStr};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::journal::Entry;

/// By which a client asks.
pub(super) const ASKED: HeaderName = HeaderName::from_static("x-p2p-fed-explain");

const WORKER: HeaderName = HeaderName::from_static("x-p2p-fed-worker");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-p2p-fed-attempts");
const REASON: HeaderName = HeaderName::from_static("x-p2p-fed-reason");
const REQUEST: HeaderName = HeaderName::from_static("x-p2p-fed-request");

/// Which responses say in their header who served them and why. It names machines, so not every client is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disclosure {
    /// Those whose request asks for it (`x-p2p-fed-explain: 1`) and comes from this machine.
    #[default]
    OnRequest,
    /// All.
    Always,
    /// None.
    Off,
}

/// The text is no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not say when to explain; choose on-request, always or off")]
pub struct ParseDisclosureError(String);

impl FromStr for Disclosure {
    type Err = ParseDisclosureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on-request" => Ok(Self::OnRequest),
            "always" => Ok(Self::Always),
            "off" => Ok(Self::Off),
            _ => Err(ParseDisclosureError(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Disclosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnRequest => "on-request",
            Self::Always => "always",
            Self::Off => "off",
        })
    }
}

impl Disclosure {
    /// Whether the response to this request says it. The request to say it ends here.
    pub(super) fn applies(self, client: SocketAddr, headers: &mut HeaderMap) -> bool {
        let is_asked = headers.remove(ASKED).is_some_and(|value| value != "0");
        match self {
            Self::OnRequest => is_asked && client.ip().to_canonical().is_loopback(),
            Self::Always => true,
            Self::Off => false,
        }
    }
}

/// Puts into `headers` what is known by now.
pub(super) fn explain(entry: &Entry, headers: &mut HeaderMap) {
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(REQUEST, entry.number.to_string());
    put(ATTEMPTS, entry.attempts.len().to_string());
    if let Some(last) = entry.attempts.iter().rfind(|attempt| attempt.fault.is_none()) {
        let named = last.choice.candidates.iter().find(|candidate| candidate.node == last.node);
        put(WORKER, named.map_or_else(|| last.node.to_string(), |candidate| candidate.name.to_string()));
        let waited = last.choice.waited.as_millis();
        let waited = if waited > 0 { format!(", after {waited} ms in the queue") } else { String::new() };
        put(REASON, format!("{}{waited}", last.choice.because));
    }
}
