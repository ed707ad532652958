//! What header fields cross the front, and what it adds.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap, Uri,
    header::{
        CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
        TE, TRANSFER_ENCODING, UPGRADE,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Names a request in the logs of all who see it.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a client's name for its request at most; a longer one is replaced.
const REQUEST_ID_MAX: usize = 128;

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

/// What is known of the hop that a request came over.
pub(super) struct Hop {
    /// Who sent it to us.
    pub(super) peer: IpAddr,
    /// Where we were connected to.
    pub(super) local: Option<SocketAddr>,
    pub(super) is_encrypted: bool,
    /// What the peer says of those before it is believed.
    pub(super) is_trusted: bool,
}

/// Makes a client's header ours: nothing of its hop, nothing it claims of itself (but of a hop that is trusted), and what
/// the backend should know of it.
pub(super) fn prepare(headers: &mut HeaderMap, uri: &Uri, hop: &Hop) {
    // An absolute target overrides the field (RFC 9112 §3.2.2), and is where HTTP/2 has it.
    let from_target = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let host = from_target.or_else(|| headers.get(HOST).cloned());
    let takes_trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    });
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    strip_hop_by_hop(headers);
    strip_claims(headers, hop.is_trusted);
    name_request(headers);

    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if is_chunked {
        // Our own framing, but said aloud: for a GET hyper would otherwise drop the body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    forward(headers, host.as_ref(), hop);
    // HTTP/1.0 may come without; we speak HTTP/1.1 to the backend, which must have one.
    let fallback = || HeaderValue::from_str(&hop.local.map(|address| address.to_string()).unwrap_or_default()).ok();
    if let Some(host) = host.or_else(fallback) {
        headers.insert(HOST, host);
    }
}

/// Says for whom we ask. What a trusted hop said before is kept, and it is added to those it names.
fn forward(headers: &mut HeaderMap, host: Option<&HeaderValue>, hop: &Hop) {
    let scheme = if hop.is_encrypted { "https" } else { "http" };
    if headers.contains_key(FORWARDED) {
        // RFC 7239: an IPv6 address stands in brackets and quotes.
        let node = match hop.peer {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        append(headers, FORWARDED, &format!("for={node};proto={scheme}"));
    }
    append(headers, X_FORWARDED_FOR, &hop.peer.to_string());
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
}

/// Puts `value` behind those that the field has, in one field.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let joined = if headers.contains_key(&name) {
        let before = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
        let all: Vec<&[u8]> = before.chain([value.as_bytes()]).collect();
        HeaderValue::from_bytes(&all.join(&b", "[..]))
    } else {
        HeaderValue::from_str(value)
    };
    if let Ok(joined) = joined {
        headers.insert(name, joined);
    }
}

/// The client for whom a trusted hop asks: the last one in `X-Forwarded-For` whose word is not taken itself.
pub(super) fn forwarded_for(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let values = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut furthest = None;
    for name in named.into_iter().rev() {
        // Some write a port with it.
        let address = name.parse().ok().or_else(|| Some(name.parse::<SocketAddr>().ok()?.ip()));
        let Some(address) = address.map(|address: IpAddr| address.to_canonical()) else { break };
        furthest = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    furthest
}

/// No client decides what a backend believes of where it came from, whichever way it is spelt: gateways that make variables
/// of fields (CGI, WSGI) take `_` for `-`.
fn strip_claims(headers: &mut HeaderMap, is_trusted: bool) {
    let is_claim = |name: &HeaderName| {
        let name = name.as_str();
        if name.contains('_') {
            let name = name.replace('_', "-");
            return is_provenance(&name) || HeaderName::try_from(name).is_ok_and(|name| is_ours(&name));
        }
        !is_trusted && is_provenance(name)
    };
    let claims: Vec<_> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Says where a request came from.
fn is_provenance(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip"
}

/// What only we say.
fn is_ours(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH || *name == X_REQUEST_ID || HOP_BY_HOP.contains(name)
}

/// Gives the request a name, unless it has a good one, and keeps that of the trace it belongs to if it is one
/// (W3C Trace Context). No trace is begun here: nobody would be told of it.
fn name_request(headers: &mut HeaderMap) {
    if !sole(headers, &X_REQUEST_ID).is_some_and(is_request_id) {
        let id: u128 = rand::random();
        if let Ok(id) = HeaderValue::try_from(format!("{id:032x}")) {
            headers.insert(X_REQUEST_ID, id);
        }
    }
    if headers.contains_key(&TRACEPARENT) && !sole(headers, &TRACEPARENT).is_some_and(is_traceparent) {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

/// The field's value, if it has one only.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

/// Safe to log, to compare and to put into an address.
fn is_request_id(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/=+@".contains(byte);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(is_plain)
}

/// `00-` 32 digits `-` 16 digits `-` 2 digits, and more behind them in later versions.
fn is_traceparent(text: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let parts: Vec<&[u8]> = text.splitn(5, |byte| *byte == b'-').collect();
    match parts[..] {
        [version @ [_, _], trace, parent, flags @ [_, _], ref later @ ..] => {
            (trace.len(), parent.len()) == (32, 16)
                && [version, trace, parent, flags].into_iter().all(is_hex)
                && !is_zero(trace)
                && !is_zero(parent)
                && version != b"ff"
                && (later.is_empty() || version != b"00")
        }
        _ => false,
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
        let mut headers = over(fields, uri, false, false);
        headers.remove(X_REQUEST_ID).expect("each has a name");
        headers
    }

    fn over(fields: &[(&str, &str)], uri: &str, is_trusted: bool, is_encrypted: bool) -> HeaderMap {
        let mut headers = headers(fields);
        let local = Some(([127, 0, 0, 1], 8080).into());
        let hop = Hop { peer: [10, 0, 0, 9].into(), local, is_encrypted, is_trusted };
        prepare(&mut headers, &uri.parse().unwrap(), &hop);
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
            ("x-real-ip", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("content_length", "5"),
            ("transfer_encoding", "chunked"),
            ("x_harmless", "kept"),
        ];
        let headers = prepared(&claims, "/");
        let kept = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x_harmless"];
        assert_eq!(names(&headers), kept);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.9");
        assert_eq!(headers["x-forwarded-host"], "a.example");
        assert_eq!(headers["host"], "a.example");
    }

    #[test]
    fn what_a_trusted_hop_says_is_extended() {
        let said = [
            ("host", "a.example"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=1.2.3.4"),
        ];
        let headers = over(&said, "/", true, false);
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 5.6.7.8, 10.0.0.9");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-port"], "443");
        assert_eq!(headers["x-forwarded-host"], "a.example");
        assert_eq!(headers["forwarded"], "for=1.2.3.4, for=10.0.0.9;proto=http");
        assert_eq!(over(&[("host", "a")], "/", false, true)["x-forwarded-proto"], "https");
    }

    #[test]
    fn the_client_is_the_last_one_that_nobody_trusted_names() {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let named =
            |fields: &[(&str, &str)]| forwarded_for(&headers(fields), is_trusted).map(|address| address.to_string());
        let field = "x-forwarded-for";
        assert_eq!(named(&[(field, "6.6.6.6, 1.2.3.4, 10.0.0.1"), (field, "10.0.0.2")]).as_deref(), Some("1.2.3.4"));
        assert_eq!(named(&[(field, "1.2.3.4:567")]).as_deref(), Some("1.2.3.4"));
        assert_eq!(named(&[(field, "10.0.0.3, 10.0.0.1")]).as_deref(), Some("10.0.0.3"));
        assert_eq!(named(&[(field, "6.6.6.6, unknown, 10.0.0.1")]).as_deref(), Some("10.0.0.1"));
        assert_eq!(named(&[(field, "unknown")]), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn a_request_has_one_good_name_and_no_bad_trace() {
        let named = |fields: &[(&str, &str)]| over(fields, "/", false, false);
        assert_eq!(named(&[("x-request-id", "a-1_b.c")])["x-request-id"], "a-1_b.c");
        let long = "x".repeat(REQUEST_ID_MAX + 1);
        for bad in [&[("x-request-id", "a b")][..], &[("x-request-id", &long)], &[("x-request-id", "a"); 2], &[]] {
            let id = named(bad)["x-request-id"].to_str().unwrap().to_owned();
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?}: {id}");
        }
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = named(&[("traceparent", good), ("tracestate", "a=1")]);
        assert_eq!(
            (&headers["traceparent"], &headers["tracestate"]),
            (&good.parse().unwrap(), &"a=1".parse().unwrap())
        );
        assert!(
            named(&[("traceparent", &good.replace("00-0", "cc-0").replace("-01", "-01-later"))])
                .contains_key("traceparent")
        );
        for bad in [
            "x",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later",
        ] {
            let headers = named(&[("traceparent", bad), ("tracestate", "a=1")]);
            assert!(!headers.contains_key("traceparent") && !headers.contains_key("tracestate"), "{bad}");
        }
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
