//! One request's way to a worker and its response's way back.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::Either;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONTENT_LENGTH, HeaderValue, SET_COOKIE},
    upgrade::OnUpgrade,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Body,
    answer::Answer,
    download::{Download, Held},
    fault::Fault,
    form::is_grpc,
    headers::{self, X_REQUEST_ID},
    inspect::{Inspected, is_plain},
    intake::Intake,
    lane::Lane,
    server::Session,
    upgrade::{Bridge, agreed},
    upload::Source,
};
use crate::{
    balance::{Ask, InFlight, Outcome},
    front::{
        disclosure,
        draft::Draft,
        handle::{Counted, Shared},
        inference::{Call, Does, Tokens},
        search::Search,
        sticky,
    },
    ledger::{NodeId, Protocol},
};

/// A request as it is sent to workers: as often as may be, and but for a hedge to one at a time.
pub(super) struct Forward {
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) headers: HeaderMap,
    pub(super) source: Source,
    /// The client's side of a change of protocol, if it asks for one.
    upgrade: Option<OnUpgrade>,
    /// Doing it twice does no more than doing it once.
    repeatable: bool,
    /// A model works for it.
    infers: bool,
    /// The response says what way it took.
    explains: bool,
    /// For whom it is, as far as those between are trusted.
    client: SocketAddr,
    pub(super) ask: Ask,
    /// The cookie by which the client is known from now on.
    cookie: Option<HeaderValue>,
}

/// What became of a request.
pub(super) struct Forwarded {
    pub(super) result: Result<Response<Body>, Answer>,
    /// Workers tried.
    pub(super) attempts: usize,
    /// The last of them.
    pub(super) node: Option<NodeId>,
    /// Further fields of the response.
    pub(super) fields: HeaderMap,
}

impl Forwarded {
    /// The request was not sent to anybody.
    pub(super) fn refused(answer: Answer) -> Self {
        Self { result: Err(answer), attempts: 0, node: None, fields: HeaderMap::new() }
    }
}

/// A worker's response of which nothing was passed on.
pub(super) struct Found {
    pub(super) response: Response<Incoming>,
    pub(super) flight: InFlight,
    pub(super) lane: Lane,
}

/// The client is gone; there is nobody to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client broke off")]
pub(super) struct Abandoned;

/// Why there is no response of a worker.
enum Lost {
    Client,
    Answer(Answer),
}

impl Forward {
    pub(super) fn new(session: &Session, mut request: Request<Incoming>) -> Self {
        let protocol = headers::wanted_upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
        let speaks = is_grpc(&request).then_some(Protocol::Http2);
        let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        // Calls of gRPC may be streams in which nothing is said for long.
        let may_rest = speaks.is_some();
        let (mut parts, body) = request.into_parts();
        let config = &session.shared.config;
        let client = session.client_of(&parts.headers);
        let explains = config.disclosure.applies(client, &mut parts.headers);
        let (key, cookie) = config.sticky.key(client, &parts.headers);
        let call = Call::of(&parts.method, parts.uri.path()).filter(|_| config.inspect);
        headers::prepare(&mut parts.headers, &parts.uri, &session.hop());
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        let infers = call.is_some_and(|call| call.does == Does::Infer);
        let repeatable = parts.method.is_idempotent() || infers;
        Self {
            source: Source::new(&session.shared, Intake::new(body, &config.limits, may_rest), repeatable),
            target: origin_form(&parts.uri),
            method: parts.method,
            headers: parts.headers,
            upgrade,
            repeatable,
            infers,
            explains,
            client,
            ask: Ask { client: sticky::of_client(client), key, protocol: speaks, ..Ask::default() },
            cookie,
        }
    }

    /// Sends it to one worker after another until one responds.
    pub(super) async fn run(mut self, session: &Session, counted: Counted) -> Result<Forwarded, Abandoned> {
        let shared = &session.shared;
        let id = self.headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let what = format!("{} {}", self.method, self.target.path());
        let mut draft = Draft::new(shared, self.client, what, id);
        match self.inspect(shared).await {
            Inspected::Sent(_) if self.source.is_broken() => return Err(Abandoned),
            Inspected::Sent(model) => draft.set_model(model),
            Inspected::Answered(response) => {
                draft.answers(Some(response.status().as_u16()));
                draft.finish("answered by the front");
                return Ok(Forwarded { result: Ok(*response), attempts: 0, node: None, fields: HeaderMap::new() });
            }
        }
        let until = shared.config.request_timeout.map(|limit| draft.began() + limit);
        let mut search = Search::new(std::mem::take(&mut self.ask), draft);

        let found = match until {
            None => self.find(shared, &mut search).await,
            Some(until) => match timeout_at(until, self.find(shared, &mut search)).await {
                Ok(found) => found,
                Err(_) => Err(Lost::Answer(Answer::late(&shared.config.service))),
            },
        };
        search.draft.sent(self.source.bytes());
        let (mut fields, attempts) = (HeaderMap::new(), search.attempts());
        let node = search.draft.entry().attempts.last().map(|attempt| attempt.node);
        let result = match found {
            Ok(found) => {
                search.draft.tried(found.flight.node(), None);
                fields.extend(self.cookie.take().map(|cookie| (SET_COOKIE, cookie)));
                search.draft.answers(Some(found.response.status().as_u16()));
                self.explain(&search.draft, &mut fields);
                self.deliver(session, found, search.draft, counted, until)
            }
            Err(Lost::Client) => return Err(Abandoned),
            Err(Lost::Answer(answer)) => {
                search.draft.answers(Some(answer.status().as_u16()));
                self.explain(&search.draft, &mut fields);
                search.draft.finish(answer.message());
                Err(answer)
            }
        };
        Ok(Forwarded { result, attempts, node, fields })
    }

    /// The first worker's response that is worth passing on.
    async fn find(&self, shared: &Shared, search: &mut Search<Fault>) -> Result<Found, Lost> {
        let service = &shared.config.service;
        let model = search.draft.entry().model.clone();
        // What a worker answered that had better not been asked, in case nobody answers better.
        let mut refusal: Option<Found> = None;
        loop {
            let flight = match &refusal {
                None => search.next(shared).await.map_err(|reason| {
                    let answer = |fault: Fault| fault.answer(service);
                    Lost::Answer(Answer::not_found(service, model.as_deref(), reason, answer))
                })?,
                Some(_) => match search.now(shared) {
                    Some(flight) => flight,
                    None => break,
                },
            };
            let (flight, fault) = match self.race(shared, search, flight).await {
                Ok(found) if self.may_ask_others(found.response.status()) => {
                    let status = found.response.status();
                    search.draft.tried(found.flight.node(), Some(format!("it answered {status}")));
                    if let Some(Found { flight, response, .. }) = refusal.replace(found) {
                        shared.finish(flight, outcome(response.status()));
                    }
                    continue;
                }
                Ok(found) => {
                    if let Some(Found { flight, response, .. }) = refusal {
                        shared.finish(flight, outcome(response.status()));
                    }
                    return Ok(found);
                }
                Err(failed) => failed,
            };
            match fault {
                Fault::Client => return Err(Lost::Client),
                // Dropped with the flight, whose worker is not to blame.
                fault @ Fault::Excess(_) => return Err(Lost::Answer(fault.answer(service))),
                fault if self.may_repeat(&fault) && (fault.is_harmless() || shared.may_retry()) => {
                    search.give_up(shared, flight, fault.outcome(), fault);
                }
                fault => {
                    search.draft.tried(flight.node(), Some(fault.to_string()));
                    shared.finish(flight, fault.outcome());
                    if refusal.is_some() {
                        break;
                    }
                    return Err(Lost::Answer(fault.answer(service)));
                }
            }
        }
        refusal.ok_or_else(|| Lost::Answer(Answer::no_worker(service, "every worker was tried")))
    }

    /// Whether another try can't do what this one may have done.
    pub(super) fn may_repeat(&self, fault: &Fault) -> bool {
        match fault {
            Fault::Missed(_) | Fault::Broken { sent: false, .. } => true,
            Fault::Broken { sent: true, .. } | Fault::Silent(_) => self.repeatable && self.source.can_replay(),
            Fault::Garbled(_) | Fault::Excess(_) | Fault::Client => false,
        }
    }

    /// Whether another worker may do better than the one that answered so: it has too much to do, or is not well.
    fn may_ask_others(&self, status: StatusCode) -> bool {
        let refuses = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        refuses.contains(&status) && self.repeatable && self.source.can_replay()
    }

    /// The client asks to change the protocol.
    pub(super) fn wants_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    fn explain(&self, draft: &Draft, fields: &mut HeaderMap) {
        if self.explains {
            disclosure::explain(draft.entry(), fields);
        }
    }

    /// Passes a worker's response on.
    fn deliver(
        mut self,
        session: &Session,
        found: Found,
        draft: Draft,
        counted: Counted,
        until: Option<Instant>,
    ) -> Result<Response<Body>, Answer> {
        let Found { mut response, mut flight, lane } = found;
        let shared = &session.shared;
        let status = response.status();
        if let Some(client) = self.upgrade.take_if(|_| status == StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(switch(session, response, client, flight, lane, counted, draft));
        }
        if status.is_informational() {
            let fault = Fault::Garbled(format!("it has status {status} that was not asked for"));
            shared.finish(flight, fault.outcome());
            let answer = fault.answer(&shared.config.service);
            draft.finish(answer.message());
            return Err(answer);
        }
        let outcome = outcome(status);
        if outcome == Outcome::Ok {
            flight.answered(shared.now());
        }
        headers::strip_hop_by_hop(response.headers_mut());
        if self.method != Method::HEAD && status != StatusCode::NOT_MODIFIED {
            // hyper writes it anew from the length that it read.
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        *response.version_mut() = Version::HTTP_11;
        let tokens = (self.infers && is_plain(response.headers())).then(Tokens::default);
        let (client, source) = (session.reset.clone(), self.source);
        let held = Held { flight, lane, counted, outcome, client, draft, source, tokens };
        Ok(response.map(|body| Either::Left(Download::new(Arc::clone(shared), body, held, until))))
    }
}

/// What a server is asked for, as opposed to a proxy (RFC 9112 §3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().map_or_else(Uri::default, |target| Uri::from(target.clone()))
}

/// Says to the client that its worker changes the protocol, and leaves the rest to the connection's task.
fn switch(
    session: &Session,
    mut response: Response<Incoming>,
    client: OnUpgrade,
    mut flight: InFlight,
    lane: Lane,
    counted: Counted,
    draft: Draft,
) -> Response<Body> {
    flight.answered(session.shared.now());
    let protocol = agreed(&response);
    let worker = hyper::upgrade::on(&mut response);
    session.set_bridge(Bridge { client, worker, flight, lane, counted, draft });
    headers::strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(CONTENT_LENGTH);
    headers::set_upgrade(response.headers_mut(), protocol.unwrap_or(HeaderValue::from_static("")));
    response.map(|_| Either::Right(http_body_util::Full::default()))
}

/// What a response's status says of the worker. Only its own failures are held against it, as opposed to an answer that
/// the request deserves: 501 and 505 speak of the request.
fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Full,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Ok,
        _ if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Ok,
    }
}
