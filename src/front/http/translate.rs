//! What a request must have in the one version of HTTP and must not have in the other.

use hyper::{
    HeaderMap, Request, Uri,
    body::Body,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE},
    http::uri::{Authority, Parts, Scheme},
};

/// Makes it one of HTTP/1.1, for a tunnel that speaks that.
pub(super) fn to_http1<B: Body>(request: &mut Request<B>) {
    let has_length = request.headers().contains_key(CONTENT_LENGTH);
    if !request.body().is_end_stream() && !has_length {
        // HTTP/2 needs no length; without a word hyper would drop the body of a GET.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    join_cookies(request.headers_mut());
}

/// Makes it one of HTTP/2 to `service`, for a tunnel that speaks that. What belongs to a connection of HTTP/1 goes
/// (RFC 9113 §8.2.2), and the host becomes the authority.
pub(super) fn to_http2<B>(request: &mut Request<B>, service: &str) {
    let headers = request.headers_mut();
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    // Nobody would answer it: the body follows at once.
    headers.remove(EXPECT);
    let host = headers.remove(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = host.or_else(|| service.parse().ok());
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = authority;
    parts.path_and_query = request.uri().path_and_query().cloned();
    // They fit together, or it stays what it was and the tunnel's client refuses it.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = hyper::Version::HTTP_2;
}

/// HTTP/2 may send each cookie in a field of its own, HTTP/1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;

    #[test]
    fn a_body_of_unknown_length_is_chunked_and_cookies_are_one() {
        let unknown = Full::new(Bytes::from("x")).with_trailers(async { None::<Result<HeaderMap, _>> });
        let request = Request::get("/").header(COOKIE, "a=1").header(COOKIE, "b=2").body(unknown).unwrap();
        let mut request = request;
        to_http1(&mut request);
        assert_eq!(request.headers()[TRANSFER_ENCODING], "chunked");
        assert_eq!(request.headers().get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);

        let mut request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        to_http1(&mut request);
        assert!(request.headers().is_empty());
        let mut request = Request::post("/").header(CONTENT_LENGTH, "1").body(Full::new(Bytes::from("x"))).unwrap();
        to_http1(&mut request);
        assert!(!request.headers().contains_key(TRANSFER_ENCODING));
    }

    #[test]
    fn what_belongs_to_a_connection_does_not_reach_http_2() {
        let request =
            Request::get("/a?b").header(HOST, "h.example:81").header(CONNECTION, "te").header("te", "trailers");
        let mut request = request.header(TRANSFER_ENCODING, "chunked").header(EXPECT, "100-continue").body(()).unwrap();
        to_http2(&mut request, "web");
        assert_eq!(request.uri(), "http://h.example:81/a?b");
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()["te"], "trailers");
        let mut request = Request::options("*").header(HOST, "").body(()).unwrap();
        to_http2(&mut request, "web");
        assert_eq!(request.uri().authority().unwrap(), "web");
        assert_eq!(request.uri().path(), "*");
    }
}
