//! Requests that are refused before any worker is picked: what hyper lets through and a proxy must not.

use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
    http::uri::Authority,
};

use super::{answer::Answer, intake::Excess};
use crate::front::Limits;

/// Why this request is refused, if it is.
pub(super) fn objection<B>(request: &Request<B>, limits: &Limits) -> Option<Answer> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let refused = |status, message: &str| Some(Answer::refused(status, message));
    if *method == Method::CONNECT || *method == Method::TRACE {
        // A tunnel to anywhere, and an echo of what only the server should see (RFC 9110 §9.3.6, §9.3.8).
        return refused(StatusCode::METHOD_NOT_ALLOWED, "CONNECT and TRACE are not allowed here");
    }
    if target_length(uri) > limits.target_bytes {
        return refused(StatusCode::URI_TOO_LONG, &format!("the target is longer than {} bytes", limits.target_bytes));
    }
    if headers.len() > limits.fields {
        let message = format!("the request has more than {} header fields", limits.fields);
        return refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &message);
    }
    if !(uri.path().starts_with('/') || uri.path() == "*" && *method == Method::OPTIONS) {
        return refused(StatusCode::BAD_REQUEST, "the request target is not one that a server takes");
    }
    if !is_plain_chunked(headers) {
        return refused(StatusCode::NOT_IMPLEMENTED, "the only transfer coding understood here is chunked");
    }
    if !has_good_host(request) {
        return refused(StatusCode::BAD_REQUEST, "the request must name one valid host");
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Some(ambiguous());
    }
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match limits.body_bytes {
        Some(limit) if length.is_some_and(|length| length > limit) => {
            let excess = Excess::TooLarge(limit);
            refused(excess.status(), &excess.to_string())
        }
        _ => None,
    }
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

/// RFC 9112 §3.2: exactly one `Host`, and a valid one; HTTP/1.0 may leave it out. HTTP/2 has it in its authority, and if it
/// has both, they are the same (RFC 9113 §8.3.1).
fn has_good_host<B>(request: &Request<B>) -> bool {
    let is_host = |value: &HeaderValue| {
        let host = value.as_bytes();
        host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
    };
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() == Version::HTTP_10 || authority.is_some(),
        (Some(only), None) => {
            let is_same = |authority: &Authority| authority.as_str().as_bytes().eq_ignore_ascii_case(only.as_bytes());
            is_host(only) && authority.is_none_or(is_same)
        }
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
        objection(&request.body(()).unwrap(), &Limits::default())
            .map(|answer| answer.into_response(Form::Text).status().as_u16())
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
        assert_eq!(refused("CONNECT", "a:1", &[HOST]), Some(405));
        assert_eq!(refused("TRACE", "/", &[HOST]), Some(405));
        assert_eq!(refused("POST", "/", &[HOST, ("content-length", "1"), ("content-length", "1")]), Some(400));
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
        assert!(objection(&request, &Limits::default()).is_none());
    }
}
