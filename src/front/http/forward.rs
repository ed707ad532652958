//! One request's way to a worker and its response's way back.

use std::sync::Arc;

use http_body_util::Either;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONTENT_LENGTH, HeaderValue},
    upgrade::OnUpgrade,
};

use super::{
    Body,
    answer::{Answer, not_found},
    download::{Download, Held},
    fault::Fault,
    headers,
    lane::Lane,
    server::Session,
    upgrade::{Bridge, agreed},
    upload::Source,
};
use crate::{
    balance::{InFlight, Outcome},
    front::{handle::Counted, search::Search},
    ledger::NodeId,
};

/// A request as it is sent to workers: as often as may be, to one at a time.
pub(super) struct Forward {
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) headers: HeaderMap,
    pub(super) source: Source,
    /// The client's side of a change of protocol, if it asks for one.
    upgrade: Option<OnUpgrade>,
}

/// What became of a request.
pub(super) struct Forwarded {
    pub(super) result: Result<Response<Body>, Answer>,
    /// Workers tried.
    pub(super) attempts: usize,
    /// The last of them.
    pub(super) node: Option<NodeId>,
}

/// The client is gone; there is nobody to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client broke off")]
pub(super) struct Abandoned;

impl Forward {
    pub(super) fn new(session: &Session, mut request: Request<Incoming>) -> Self {
        let protocol = headers::wanted_upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
        let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        headers::prepare(&mut parts.headers, &parts.uri, session.client, session.local);
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        Self {
            source: Source::new(body, parts.method.is_idempotent()),
            target: origin_form(&parts.uri),
            method: parts.method,
            headers: parts.headers,
            upgrade,
        }
    }

    /// Sends it to one worker after another until one responds.
    pub(super) async fn run(mut self, session: &Session, counted: Counted) -> Result<Forwarded, Abandoned> {
        let shared = &session.shared;
        let service = &shared.config.service;
        let mut search = Search::new();
        let mut node = None;
        let result = loop {
            let flight = match search.pick(shared) {
                Ok(flight) => flight,
                Err(reason) => break Err(not_found(service, reason, |fault: Fault| fault.answer(service))),
            };
            node = Some(flight.node());
            match self.attempt(shared, &flight).await {
                Ok((response, lane)) => {
                    break match self.upgrade.take() {
                        Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                            Ok(switch(session, response, client, flight, lane, counted))
                        }
                        _ => respond(session, response, flight, lane, counted, &self.method),
                    };
                }
                Err(Fault::Client) => return Err(Abandoned),
                Err(fault) if self.may_repeat(&fault) => search.give_up(shared, flight, fault.outcome(), fault),
                Err(fault) => {
                    shared.finish(flight, fault.outcome());
                    break Err(fault.answer(service));
                }
            }
        };
        Ok(Forwarded { result, attempts: search.attempts(), node })
    }

    /// Whether another try can't do what this one may have done.
    pub(super) fn may_repeat(&self, fault: &Fault) -> bool {
        match fault {
            Fault::Missed(_) | Fault::Broken { sent: false, .. } => true,
            Fault::Broken { sent: true, .. } => self.method.is_idempotent() && self.source.can_replay(),
            Fault::Garbled(_) | Fault::Silent(_) | Fault::Client => false,
        }
    }
}

/// What a server is asked for, as opposed to a proxy (RFC 9112 §3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().map_or_else(Uri::default, |target| Uri::from(target.clone()))
}

/// Passes a worker's response on.
fn respond(
    session: &Session,
    mut response: Response<Incoming>,
    mut flight: InFlight,
    lane: Lane,
    counted: Counted,
    method: &Method,
) -> Result<Response<Body>, Answer> {
    let shared = &session.shared;
    let status = response.status();
    if status.is_informational() {
        let fault = Fault::Garbled(format!("it has status {status} that was not asked for"));
        shared.finish(flight, fault.outcome());
        return Err(fault.answer(&shared.config.service));
    }
    let outcome = if is_fault(status) { Outcome::Failed } else { Outcome::Ok };
    if outcome == Outcome::Ok {
        flight.answered(shared.now());
    }
    headers::strip_hop_by_hop(response.headers_mut());
    if *method != Method::HEAD && status != StatusCode::NOT_MODIFIED {
        // hyper writes it anew from the length that it read.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    *response.version_mut() = Version::HTTP_11;
    let held = Held { flight, lane, counted, outcome, client: session.reset.clone() };
    Ok(response.map(|body| Either::Left(Download::new(Arc::clone(shared), body, held))))
}

/// Says to the client that its worker changes the protocol, and leaves the rest to the connection's task.
fn switch(
    session: &Session,
    mut response: Response<Incoming>,
    client: OnUpgrade,
    mut flight: InFlight,
    lane: Lane,
    counted: Counted,
) -> Response<Body> {
    flight.answered(session.shared.now());
    let protocol = agreed(&response);
    let worker = hyper::upgrade::on(&mut response);
    session.set_bridge(Bridge { client, worker, flight, lane, counted });
    headers::strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(CONTENT_LENGTH);
    headers::set_upgrade(response.headers_mut(), protocol.unwrap_or(HeaderValue::from_static("")));
    response.map(|_| Either::Right(http_body_util::Full::default()))
}

/// The worker's own failure, as opposed to an answer that the request deserves. 501 and 505 speak of the request.
fn is_fault(status: StatusCode) -> bool {
    status.is_server_error() && !matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED)
}
