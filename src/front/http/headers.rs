//! What header fields cross the front, and what it adds.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap, Uri,
    header::{
        CONNECTION, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that concern one hop alone (RFC 9110 §7.6.1), and those by which a client authenticates to a proxy.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];

/// Removes what concerns the hop that the message came over, including the fields that `Connection` names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in connection_options(headers) {
        if let Ok(name) = HeaderName::try_from(name) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The protocol that a client asks to change to, if we pass such a request on. `h2c` is not: what followed would be
/// requests that nobody looks at.
pub(super) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    if !connection_options(headers).iter().any(|option| option == "upgrade") {
        return None;
    }
    let mut protocols = headers.get_all(UPGRADE).iter();
    let (protocol, more) = (protocols.next()?, protocols.next());
    let is_h2c = |text: &str| text.split(',').any(|name| name.trim().to_ascii_lowercase().starts_with("h2c"));
    (more.is_none() && protocol.to_str().is_ok_and(|text| !is_h2c(text))).then(|| protocol.clone())
}

/// Says of a message that it changes the protocol.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Makes a client's header ours: nothing of its hop, nothing it claims of itself, and what the backend should know of it.
pub(super) fn prepare(headers: &mut HeaderMap, uri: &Uri, client: SocketAddr, local: Option<SocketAddr>) {
    // An absolute target overrides the field (RFC 9112 §3.2.2).
    let from_target = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let host = from_target.or_else(|| headers.get(HOST).cloned());
    let takes_trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    });
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    strip_hop_by_hop(headers);
    strip_forwarded(headers);

    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if is_chunked {
        // Our own framing, but said aloud: for a GET hyper would otherwise drop the body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let address = match client.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip @ IpAddr::V4(_) => ip,
    };
    if let Ok(address) = HeaderValue::from_str(&address.to_string()) {
        headers.insert(X_FORWARDED_FOR, address);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = &host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    // HTTP/1.0 may come without; we speak HTTP/1.1 to the backend, which must have one.
    let fallback = || HeaderValue::from_str(&local.map(|address| address.to_string()).unwrap_or_default()).ok();
    if let Some(host) = host.or_else(fallback) {
        headers.insert(HOST, host);
    }
}

/// No client decides what a backend believes of where it came from.
fn strip_forwarded(headers: &mut HeaderMap) {
    headers.remove(FORWARDED);
    let claims: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// The options of all `Connection` fields, in lower case.
fn connection_options(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|option| option.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn prepared(fields: &[(&str, &str)], uri: &str) -> HeaderMap {
        let mut headers = headers(fields);
        prepare(&mut headers, &uri.parse().unwrap(), ([10, 0, 0, 9], 5).into(), Some(([127, 0, 0, 1], 8080).into()));
        headers
    }

    #[test]
    fn what_concerns_one_hop_stays_there() {
        let mut headers = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "x-also"),
            ("x-private", "1"),
            ("x-also", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "secret"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("trailer", "x-sum"),
            ("content-type", "a/b"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["content-type", "trailer"]);
    }

    #[test]
    fn a_client_can_claim_nothing_of_itself() {
        let claims = [
            ("host", "a.example"),
            ("connection", "x-forwarded-for, host"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/"),
            ("forwarded", "for=1.2.3.4"),
        ];
        let headers = prepared(&claims, "/");
        assert_eq!(names(&headers), ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.9");
        assert_eq!(headers["x-forwarded-host"], "a.example");
        assert_eq!(headers["host"], "a.example");
    }

    #[test]
    fn the_host_is_the_one_meant() {
        assert_eq!(prepared(&[("host", "a")], "http://b:81/x")["host"], "b:81");
        assert_eq!(prepared(&[], "/")["host"], "127.0.0.1:8080");
    }

    #[test]
    fn trailers_and_chunks_are_asked_for_anew() {
        let headers = prepared(&[("host", "a"), ("te", "gzip, trailers"), ("transfer-encoding", "chunked")], "/");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["connection"], "te");
        assert_eq!(headers["transfer-encoding"], "chunked");
        assert!(!prepared(&[("host", "a"), ("te", "gzip")], "/").contains_key("te"));
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_is_never_h2c() {
        let wanted = |fields: &[(&str, &str)]| wanted_upgrade(&headers(fields));
        assert_eq!(wanted(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]).unwrap(), "websocket");
        assert_eq!(wanted(&[("upgrade", "websocket")]), None);
        assert_eq!(wanted(&[("connection", "upgrade")]), None);
        assert_eq!(wanted(&[("connection", "upgrade"), ("upgrade", "websocket, H2C")]), None);
        assert_eq!(wanted(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "h2c")]), None);
    }
}
