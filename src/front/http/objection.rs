//! Requests that are refused before any worker is picked: what hyper lets through and a proxy must not.

use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri, Version,
    header::{HOST, HeaderValue, TRANSFER_ENCODING},
    http::uri::Authority,
};

use super::answer::Answer;

/// Bytes in a request target at most, as nginx and most servers allow.
const TARGET_LIMIT: usize = 8 * 1024;

/// Why this request is refused, if it is.
pub(super) fn objection<B>(request: &Request<B>) -> Option<Answer> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let refused = |status, message| Some(Answer::refused(status, message));
    if *method == Method::CONNECT {
        return refused(StatusCode::NOT_IMPLEMENTED, "CONNECT is not spoken here");
    }
    if target_length(uri) > TARGET_LIMIT {
        return refused(StatusCode::URI_TOO_LONG, "the request target is longer than 8 KiB");
    }
    if !(uri.path().starts_with('/') || uri.path() == "*" && *method == Method::OPTIONS) {
        return refused(StatusCode::BAD_REQUEST, "the request target is not one that a server takes");
    }
    if !is_plain_chunked(headers) {
        return refused(StatusCode::NOT_IMPLEMENTED, "the only transfer coding understood here is chunked");
    }
    if !has_good_host(request.version(), headers) {
        return refused(StatusCode::BAD_REQUEST, "the request must name one valid host");
    }
    None
}

/// The request's framing can be read in two ways (RFC 9112 §6.3).
pub(super) fn ambiguous() -> Answer {
    let message = "the request gives its length more than once, or both a length and a transfer coding";
    Answer::refused(StatusCode::BAD_REQUEST, message)
}

fn target_length(uri: &Uri) -> usize {
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    authority + uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// Another coding would have to be undone here, since `Transfer-Encoding` ends at each hop (RFC 9112 §6.1).
pub(super) fn is_plain_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// RFC 9112 §3.2: exactly one `Host`, and a valid one; HTTP/1.0 may leave it out.
fn has_good_host(version: Version, headers: &HeaderMap) -> bool {
    let is_host = |value: &HeaderValue| {
        let host = value.as_bytes();
        host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
    };
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version == Version::HTTP_10,
        (Some(only), None) => is_host(only),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::http::form::Form;

    fn refused(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        objection(&request.body(()).unwrap()).map(|answer| answer.into_response(Form::Text).status().as_u16())
    }

    const HOST: (&str, &str) = ("host", "a.example:8080");

    #[test]
    fn ordinary_requests_pass() {
        assert_eq!(refused("GET", "/v1/models?x=1", &[HOST]), None);
        assert_eq!(refused("GET", "http://a.example/x", &[HOST]), None);
        assert_eq!(refused("OPTIONS", "*", &[HOST]), None);
        assert_eq!(refused("POST", "/", &[HOST, ("transfer-encoding", "Chunked ")]), None);
        assert_eq!(refused("GET", "/", &[("host", "[::1]:80")]), None);
        assert_eq!(refused("GET", "/", &[("host", "")]), None);
    }

    #[test]
    fn what_a_proxy_must_not_pass_on_is_refused() {
        assert_eq!(refused("CONNECT", "a:1", &[HOST]), Some(501));
        assert_eq!(refused("GET", "*", &[HOST]), Some(400));
        assert_eq!(refused("GET", &format!("/{}", "x".repeat(9 * 1024)), &[HOST]), Some(414));
        assert_eq!(refused("GET", "/", &[]), Some(400));
        assert_eq!(refused("GET", "/", &[HOST, HOST]), Some(400));
        for host in ["a b", "a/b", "user@a", "a,b c"] {
            assert_eq!(refused("GET", "/", &[("host", host)]), Some(400), "{host}");
        }
        for coding in ["gzip, chunked", "identity", "xchunked", "chunked, chunked", ""] {
            assert_eq!(refused("POST", "/", &[HOST, ("transfer-encoding", coding)]), Some(501), "{coding}");
        }
        let twice = [HOST, ("transfer-encoding", "identity"), ("transfer-encoding", "chunked")];
        assert_eq!(refused("POST", "/", &twice), Some(501));
    }

    #[test]
    fn http_1_0_may_leave_the_host_out() {
        let request = Request::builder().version(Version::HTTP_10).uri("/").body(()).unwrap();
        assert!(objection(&request).is_none());
    }
}
