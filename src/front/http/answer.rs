//! What the front says itself when no worker's response can be passed on.

use std::fmt;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use rand::RngExt;

use super::{Body, form::Form};
use crate::{balance::NoWorker, front::search::NotFound};

/// Seconds after which a client may try again where no worker was there: a restarted worker is back by then.
const NO_WORKER_AGAIN: u64 = 1;

/// The same where all were busy. From one to so many, by chance, so that those who were refused together don't come back
/// together.
const BUSY_AGAIN: u64 = 4;

/// Methods that are allowed, where one was not.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// An answer of the front's own.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    kind: Kind,
    /// What a person reads.
    message: String,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u64>,
    close: bool,
}

/// What a program switches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    BadRequest,
    NoModel,
    Busy,
    NoWorker,
    BadGateway,
    GatewayTimeout,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoModel => "model_not_found",
            Self::Busy => "busy",
            Self::NoWorker => "no_worker",
            Self::BadGateway => "bad_gateway",
            Self::GatewayTimeout => "gateway_timeout",
        }
    }
}

impl Answer {
    fn new(status: StatusCode, kind: Kind, message: String) -> Self {
        Self { status, kind, message, retry_after: None, close: false }
    }

    /// The request itself is at fault; the connection is closed, since its framing can't be trusted either.
    pub(super) fn refused(status: StatusCode, message: &str) -> Self {
        Self { close: true, ..Self::new(status, Kind::BadRequest, message.to_owned()) }
    }

    /// No worker took the request; nothing of it reached a backend.
    pub(super) fn no_worker(service: &str, reason: impl fmt::Display) -> Self {
        let message = format!("no worker of service {service} is available: {reason}; try again in a second");
        let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::NoWorker, message);
        Self { retry_after: Some(NO_WORKER_AGAIN), ..answer }
    }

    /// The workers are well and have no slot free. Not 503, so that nobody takes the service to be down.
    pub(super) fn busy(service: &str, reason: impl fmt::Display) -> Self {
        let again = rand::rng().random_range(1..=BUSY_AGAIN);
        let message = format!("service {service} is busy: {reason}; try again in {again} s");
        Self { retry_after: Some(again), ..Self::new(StatusCode::TOO_MANY_REQUESTS, Kind::Busy, message) }
    }

    /// Nobody serves the model.
    pub(super) fn no_model(service: &str, model: &str) -> Self {
        let message = format!("model '{model}' not found: no worker of service {service} has it");
        Self::new(StatusCode::NOT_FOUND, Kind::NoModel, message)
    }

    /// A worker took the request, and its response could not be had.
    pub(super) fn bad_gateway(service: &str, reason: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, Kind::BadGateway, format!("a worker of service {service} failed: {reason}"))
    }

    /// A worker took the request and stayed silent.
    pub(super) fn gateway_timeout(service: &str, reason: impl fmt::Display) -> Self {
        let message = format!("a worker of service {service} did not answer: {reason}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, Kind::GatewayTimeout, message)
    }

    /// The request took longer than it may.
    pub(super) fn late(service: &str) -> Self {
        let message = format!("service {service} did not answer within the time that a request may take");
        Self::new(StatusCode::GATEWAY_TIMEOUT, Kind::GatewayTimeout, message)
    }

    /// What a client is told when the search for a worker ended without one.
    pub(super) fn not_found<F: fmt::Display>(
        service: &str,
        model: Option<&str>,
        reason: NotFound<F>,
        of: impl Fn(F) -> Self,
    ) -> Self {
        match reason {
            NotFound::Nobody(NoWorker::WithoutModel) => Self::no_model(service, model.unwrap_or_default()),
            NotFound::Nobody(NoWorker::QueueFull) | NotFound::Late(_) => Self::busy(service, reason),
            NotFound::Nobody(reason) => Self::no_worker(service, reason),
            NotFound::Spent { last, .. } | NotFound::Unsure(last) => of(last),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// For the journal.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn into_response(self, form: Form) -> Response<Body> {
        if form == Form::Grpc {
            return self.into_grpc();
        }
        let text = form.write(self.status, self.kind, self.message);
        let mut response = Response::new(Either::Right(Full::new(Bytes::from(text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static(ALLOWED));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// A response of nothing but its trailers. The codes are those that a gRPC client makes of the statuses itself, but where
    /// a better one is known.
    fn into_grpc(self) -> Response<Body> {
        let code = match self.status {
            StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG => "13",
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "8",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => "12",
            _ => "14",
        };
        let mut response = Response::new(Either::Right(Full::default()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code));
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.message)) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

/// As gRPC writes messages: printable ASCII but `%`, and everything else in hexadecimal.
fn percent_encoded(message: &str) -> String {
    let encoded = message.bytes().map(|byte| match byte {
        b'%' | ..b' ' | b'\x7f'.. => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    });
    encoded.collect()
}
