//! The values in edgevpn's ledger that this node reads and writes, as JSON texts.
//!
//! Go writes them field by field in the order of its structs, and compares texts. This node writes its own keys alone, so
//! only reading has to be lenient: unknown fields are ignored, absent ones are empty.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The ledger's bucket of services: name → [`Service`].
pub(super) const SERVICES: &str = "services";

/// The bucket of those that may open streams to services: peer → [`User`].
pub(super) const USERS: &str = "users";

/// The bucket of heartbeats: peer → RFC 3339.
pub(super) const HEALTHCHECK: &str = "healthcheck";

/// The services of LocalAI that have buckets of their own, and the names that they have here: a name of a service has no
/// underscore.
pub(super) const LOCALAI: [(&str, &str); 3] =
    [("federated", "federated"), ("worker", "worker"), ("mlx-worker", "mlx_worker")];

/// LocalAI's bucket for `service`, without its network's id.
pub(super) fn localai_bucket(service: &str) -> Option<&'static str> {
    LOCALAI.iter().find(|(name, _)| *name == service).map(|(_, bucket)| *bucket)
}

/// Who exposes a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Service {
    #[serde(rename = "PeerID")]
    pub(super) peer: String,
    pub(super) name: String,
}

/// Who uses services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct User {
    #[serde(rename = "PeerID")]
    pub(super) peer: String,
    /// Read by nobody.
    pub(super) timestamp: String,
}

/// What LocalAI says of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NodeData {
    /// The name of its service in [`SERVICES`].
    pub(super) name: String,
    /// Its name for people: host, hyphen, name.
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) tunnel_address: String,
    #[serde(rename = "ServiceID")]
    pub(super) service_id: String,
    /// RFC 3339. A reader of LocalAI's takes the worker for gone when it is 40 s older than the reader's own clock.
    pub(super) last_seen: String,
}

/// A value as the ledger holds it.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    // A struct of strings, or a string, always has a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

/// What a text of the ledger holds, if it is of that kind.
pub(super) fn read<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// An instant as LocalAI and edgevpn write it: RFC 3339, UTC, with as many digits of a second as there are.
pub(super) fn timestamp(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

/// The same in whole seconds, as heartbeats are written.
pub(super) fn heartbeat(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

/// The unix second of a heartbeat's value.
pub(super) fn beat(text: &str) -> Option<i64> {
    let at: String = read(text)?;
    OffsetDateTime::parse(&at, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_go_writes_them() {
        let service = Service { peer: "12D3KooWX".into(), name: "abcDEFghij".into() };
        assert_eq!(text(&service), r#"{"PeerID":"12D3KooWX","Name":"abcDEFghij"}"#);
        let data = NodeData {
            name: "abcDEFghij".into(),
            id: "gpu1-abcDEFghij".into(),
            last_seen: "2026-01-02T03:04:05.6789+01:00".into(),
            ..NodeData::default()
        };
        let json = r#"{"Name":"abcDEFghij","ID":"gpu1-abcDEFghij","TunnelAddress":"","ServiceID":"","LastSeen":"2026-01-02T03:04:05.6789+01:00"}"#;
        assert_eq!(text(&data), json);
        assert_eq!(read::<NodeData>(json), Some(data));
        assert_eq!(
            text(&heartbeat(SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_900))),
            r#""2026-01-01T00:00:00Z""#
        );
    }

    #[test]
    fn values_of_other_versions_are_read_as_far_as_they_are_known() {
        assert_eq!(read::<Service>(r#"{"PeerID":"a","Later":1}"#).unwrap().peer, "a");
        assert_eq!(read::<Service>("\"ok\""), None);
        assert_eq!(read::<NodeData>("{}"), Some(NodeData::default()));
    }
}
