//! What the front says itself when no worker's response can be passed on.

use std::fmt;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Response, StatusCode, Uri,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};

use super::Body;
use crate::front::search::NotFound;

/// Seconds after which a client may try again where no worker was there: a restarted worker is back by then.
const RETRY_AFTER_SECS: &str = "1";

/// An answer of the front's own.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    /// What a program switches on.
    kind: &'static str,
    /// What a person reads.
    message: String,
    close: bool,
}

impl Answer {
    /// The request itself is at fault; the connection is closed, since its framing can't be trusted either.
    pub(super) fn refused(status: StatusCode, message: &str) -> Self {
        Self { status, kind: "bad_request", message: message.to_owned(), close: true }
    }

    /// No worker took the request; nothing of it reached a backend.
    pub(super) fn no_worker(service: &str, reason: impl fmt::Display) -> Self {
        let message = format!("no worker of service {service} is available: {reason}; try again in a second");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "no_worker", message, close: false }
    }

    /// A worker took the request, and its response could not be had.
    pub(super) fn bad_gateway(service: &str, reason: impl fmt::Display) -> Self {
        let message = format!("a worker of service {service} failed: {reason}");
        Self { status: StatusCode::BAD_GATEWAY, kind: "bad_gateway", message, close: false }
    }

    /// A worker took the request and stayed silent.
    pub(super) fn gateway_timeout(service: &str, reason: impl fmt::Display) -> Self {
        let message = format!("a worker of service {service} did not answer: {reason}");
        Self { status: StatusCode::GATEWAY_TIMEOUT, kind: "gateway_timeout", message, close: false }
    }

    pub(super) fn into_response(self, form: Form) -> Response<Body> {
        let (content_type, text) = match form {
            Form::Text => ("text/plain; charset=utf-8", self.message + "\n"),
            Form::Json => {
                let code = self.status.as_u16();
                let error = serde_json::json!({ "message": self.message, "type": self.kind, "code": code });
                ("application/json", serde_json::json!({ "error": error }).to_string() + "\n")
            }
        };
        let mut response = Response::new(Either::Right(Full::new(Bytes::from(text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// `{"error": {"message": …, "type": …, "code": …}}`, the shape that clients of language models parse.
    Json,
}

impl Form {
    /// What the client of a request can read, as far as it shows.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let mentions_json = |name| {
            let mut values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
            values.any(|value| value.to_ascii_lowercase().contains("json"))
        };
        let is_api = uri.path().starts_with("/v1/");
        if is_api || mentions_json(ACCEPT) || mentions_json(CONTENT_TYPE) { Self::Json } else { Self::Text }
    }
}

/// What a client is told when the search for a worker ended without one.
pub(super) fn not_found<F: fmt::Display>(service: &str, reason: NotFound<F>, of: impl Fn(F) -> Answer) -> Answer {
    match reason {
        NotFound::Nobody(reason) => Answer::no_worker(service, reason),
        NotFound::Spent { last, .. } | NotFound::Unsure(last) => of(last),
    }
}
