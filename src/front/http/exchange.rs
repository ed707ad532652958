//! One try of a request at one worker, up to the head of its response.

use std::{error::Error, pin::pin};

use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::time::timeout;

use super::{fault::Fault, forward::Forward, lane::Lane, objection::is_plain_chunked, upload::Upload};
use crate::{
    balance::InFlight,
    front::{handle::Shared, search::Miss},
    ledger::Protocol,
    tunnel::{Class, Early},
};

impl Forward {
    /// One worker: over an idle tunnel if there is one, else over a fresh one. A backend may close an idle connection just
    /// when we use it; that is no fault of the worker, and a fresh tunnel settles it.
    pub(super) async fn attempt(
        &self,
        shared: &Shared,
        flight: &InFlight,
    ) -> Result<(Response<Incoming>, Lane), Fault> {
        let kept = match flight.protocol() {
            Protocol::Http2 => shared.pool.share(flight.node(), flight.connection()),
            _ => shared.pool.take(flight.node(), flight.connection()),
        };
        if let Some(lane) = kept {
            match self.send(shared, lane).await {
                Err(fault @ Fault::Broken { .. }) if self.may_repeat(&fault) => {}
                result => return result,
            }
        }
        let lane = match flight.protocol() {
            Protocol::Http2 => open_shared(shared, flight).await?,
            _ => {
                let tunnel = shared.dial(flight, Class::Http, None, &Early::default()).await?;
                let opened = shared.pool.open(tunnel.stream, flight.connection()).await;
                opened.map_err(|error| Fault::Broken { sent: false, error })?
            }
        };
        self.send(shared, lane).await
    }

    async fn send(&self, shared: &Shared, mut lane: Lane) -> Result<(Response<Incoming>, Lane), Fault> {
        let idle = shared.config.idle_timeout;
        let limit = shared.config.first_byte_timeout.map_or(idle, |limit| limit.min(idle));
        let mut sending = pin!(lane.send(self.request(), &shared.config.service));
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
            Ok(response) => match broken_framing(response.headers()) {
                None => {
                    lane.responded();
                    Ok((response, lane))
                }
                Some(why) => Err(Fault::Garbled(why.to_owned())),
            },
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                let error = error.into_error();
                let sent = !(unsent || is_unprocessed(&error) && self.source.can_replay());
                Err(match self.source.excess() {
                    Some(excess) => Fault::Excess(excess),
                    None if self.source.is_broken() => Fault::Client,
                    None if error.is_parse() => Fault::Garbled(error.to_string()),
                    None => Fault::Broken { sent, error },
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
}

/// A seat in a fresh tunnel, or in one that somebody else opened meanwhile.
async fn open_shared(shared: &Shared, flight: &InFlight) -> Result<Lane, Fault> {
    let (node, connection, limit) = (flight.node(), flight.connection(), shared.config.connect_timeout);
    let gate = shared.pool.gate(node);
    let permit = timeout(limit, gate.acquire()).await.map_err(|_| Miss::NoVerdict { node, limit })?;
    if let Some(lane) = shared.pool.share(node, connection) {
        return Ok(lane);
    }
    let tunnel = shared.dial(flight, Class::Http2, None, &Early::default()).await?;
    let opened = shared.pool.open_shared(node, tunnel.stream, connection).await;
    drop(permit);
    // A tunnel that was just opened has room.
    opened
        .map_err(|error| Fault::Broken { sent: false, error })?
        .ok_or_else(|| Fault::Garbled("it ended its HTTP/2 connection at once".to_owned()))
}

/// Why nobody can be sure where a response with these fields ends (RFC 9112 §6.3).
fn broken_framing(headers: &HeaderMap) -> Option<&'static str> {
    let is_coded = headers.contains_key(TRANSFER_ENCODING);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) if !is_coded => None,
        _ if !is_plain_chunked(headers) => Some("it has a transfer coding other than chunked"),
        (Some(_), None) if is_coded => Some("it has both a length and a transfer coding"),
        (_, Some(_)) => Some("it gives its length more than once"),
        _ => None,
    }
}

/// The backend says that it did nothing with the request (RFC 9113 §8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let reason = error.source().and_then(|source| source.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    reason == Some(h2::Reason::REFUSED_STREAM)
}
