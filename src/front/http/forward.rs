//! One request's way to a worker and its response's way back.

use std::{pin::pin, sync::Arc};

use http_body_util::Either;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONTENT_LENGTH, HeaderValue},
    upgrade::OnUpgrade,
};
use tokio::time::timeout;

use super::{
    Body,
    answer::{Answer, not_found},
    download::{Download, Held},
    headers,
    lane::Lane,
    objection::is_plain_chunked,
    server::Session,
    upgrade::{Bridge, agreed},
    upload::{Source, Upload},
};
use crate::{
    balance::{InFlight, Outcome},
    front::{
        handle::{Counted, Shared},
        search::{Miss, Search},
    },
    ledger::NodeId,
    tunnel::{Class, Early},
};

/// A request as it is sent to workers: as often as may be, to one at a time.
pub(super) struct Forward {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    source: Source,
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

/// Why a worker's response could not be had.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Nothing of the request reached a backend.
    #[error("{0}")]
    Missed(#[from] Miss),
    /// The tunnel broke before the response began.
    #[error("the connection broke before the response: {error}")]
    Broken { sent: bool, error: hyper::Error },
    /// What came is no response that can be passed on.
    #[error("its response is not valid: {0}")]
    Garbled(String),
    /// Nothing came.
    #[error("nothing for {} s", .0.as_secs())]
    Silent(std::time::Duration),
    /// The client broke off in the middle of its request.
    #[error("the client broke off")]
    Client,
}

impl Fault {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Missed(miss) => miss.outcome(),
            _ => Outcome::Failed,
        }
    }

    fn answer(&self, service: &str) -> Answer {
        match self {
            Self::Missed(miss) => Answer::no_worker(service, miss),
            Self::Silent(_) => Answer::gateway_timeout(service, self),
            _ => Answer::bad_gateway(service, self),
        }
    }
}

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

    /// One worker: over an idle tunnel if there is one, else over a fresh one. A backend may close an idle connection just
    /// when we use it; that is no fault of the worker, and a fresh tunnel settles it.
    async fn attempt(&self, shared: &Shared, flight: &InFlight) -> Result<(Response<Incoming>, Lane), Fault> {
        if let Some(lane) = shared.pool.take(flight.node(), flight.connection()) {
            match self.send(shared, lane).await {
                Err(fault @ Fault::Broken { .. }) if self.may_repeat(&fault) => {}
                result => return result,
            }
        }
        let tunnel = shared.dial(flight, Class::Http, None, &Early::default()).await?;
        let opened = shared.pool.open(tunnel.stream, flight.connection()).await;
        let lane = opened.map_err(|error| Fault::Broken { sent: false, error })?;
        self.send(shared, lane).await
    }

    async fn send(&self, shared: &Shared, mut lane: Lane) -> Result<(Response<Incoming>, Lane), Fault> {
        let limit = shared.config.idle_timeout;
        let mut sending = pin!(lane.send(self.request()));
        // Dropped in the opposite order: the tunnel is reset before hyper could end it in order, should the client leave.
        let lane = lane;
        let mut moves = self.source.moves();
        let sent = loop {
            match timeout(limit, sending.as_mut()).await {
                Ok(sent) => break sent,
                Err(_) => {
                    let before = std::mem::replace(&mut moves, self.source.moves());
                    if before == moves {
                        return Err(Fault::Silent(limit));
                    }
                }
            }
        };
        match sent {
            Ok(response) if is_plain_chunked(response.headers()) => Ok((response, lane)),
            Ok(_) => Err(Fault::Garbled("it has a transfer coding other than chunked".to_owned())),
            Err(mut error) => {
                let sent = error.take_message().is_none();
                let error = error.into_error();
                Err(match () {
                    () if self.source.is_broken() => Fault::Client,
                    () if error.is_parse() => Fault::Garbled(error.to_string()),
                    () => Fault::Broken { sent, error },
                })
            }
        }
    }

    fn request(&self) -> Request<Upload> {
        let mut request = Request::new(self.source.upload());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Whether another try can't do what this one may have done.
    fn may_repeat(&self, fault: &Fault) -> bool {
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
