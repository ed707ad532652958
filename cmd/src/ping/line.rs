//! What is told, line by line.

use std::fmt;

use p2p_fed::api::Way;
use serde::Serialize;

use super::Summary;
use crate::table::clean;

/// One line, for people or as a JSON object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    /// A round trip.
    Answer { seq: u64, node: String, name: String, path: String, transport: String, time_ms: f64 },
    /// None.
    NoAnswer { seq: u64, node: String, name: String, reason: String },
    /// The way is another one than before, or another connection; `before` is none where there was none.
    Path { seq: u64, node: String, name: String, before: Option<Way>, now: Option<Way> },
    /// The end.
    Summary(Summary),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { seq, name, path, transport, time_ms, .. } => {
                write!(f, "{}: seq={seq} time={} path={path} transport={transport}", clean(name), time(*time_ms))
            }
            Self::NoAnswer { seq, name, reason, .. } => write!(f, "{}: seq={seq} {}", clean(name), clean(reason)),
            Self::Path { name, before, now, .. } => {
                write!(f, "{}: {}", clean(name), change(before.as_ref(), now.as_ref()))
            }
            Self::Summary(summary) => write!(f, "\n{summary}"),
        }
    }
}

/// `direct over quic at /ip4/…`.
fn described(way: &Way) -> String {
    format!("{} over {} at {}", way.path, way.transport, way.address)
}

fn change(before: Option<&Way>, now: Option<&Way>) -> String {
    match (before, now) {
        (None, Some(now)) => format!("connected, {}", described(now)),
        (_, None) => "not connected any more".to_owned(),
        (Some(before), Some(now)) if (&before.path, &before.transport) == (&now.path, &now.transport) => {
            format!("another connection, {}", described(now))
        }
        (Some(before), Some(now)) => {
            format!("path changed: {}, was {} over {}", described(now), before.path, before.transport)
        }
    }
}

/// Milliseconds with three digits that say something.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}ms"),
        ms if ms < 10.0 => format!("{ms:.2}ms"),
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms => format!("{ms:.0}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(path: &str, connection: u64) -> Way {
        let (transport, address) = ("quic".to_owned(), "/ip4/192.0.2.7/udp/4001/quic-v1".to_owned());
        Way { path: path.to_owned(), transport, address, connection }
    }

    #[test]
    fn lines_for_people() {
        let (node, name) = ("12D3KooWA".to_owned(), "gpu\u{1b}1".to_owned());
        let path = |before, now| Line::Path { seq: 2, node: node.clone(), name: name.clone(), before, now }.to_string();
        let answer = Line::Answer {
            seq: 2,
            node: node.clone(),
            name: name.clone(),
            path: "direct".into(),
            transport: "quic".into(),
            time_ms: 0.4123,
        };
        assert_eq!(answer.to_string(), "gpu?1: seq=2 time=0.412ms path=direct transport=quic");
        let silence = Line::NoAnswer { seq: 2, node: node.clone(), name: name.clone(), reason: "not connected".into() };
        assert_eq!(silence.to_string(), "gpu?1: seq=2 not connected");
        let at = "at /ip4/192.0.2.7/udp/4001/quic-v1";
        assert_eq!(path(None, Some(way("direct", 1))), format!("gpu?1: connected, direct over quic {at}"));
        assert_eq!(
            path(Some(way("relayed", 1)), Some(way("punched", 2))),
            format!("gpu?1: path changed: punched over quic {at}, was relayed over quic")
        );
        assert_eq!(
            path(Some(way("direct", 1)), Some(way("direct", 2))),
            format!("gpu?1: another connection, direct over quic {at}")
        );
        assert_eq!(path(Some(way("direct", 1)), None), "gpu?1: not connected any more");
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!([0.0412, 1.234, 23.45, 456.7].map(time), ["0.041ms", "1.23ms", "23.4ms", "457ms"]);
    }

    #[test]
    fn programs_get_objects_that_say_what_they_are() {
        let line = Line::NoAnswer { seq: 1, node: "n".into(), name: "g".into(), reason: "r".into() };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, r#"{"type":"no_answer","seq":1,"node":"n","name":"g","reason":"r"}"#);
    }
}
