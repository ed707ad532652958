//! One try of a request at one worker, up to the head of its response.

use std::pin::pin;

use hyper::{Request, Response, body::Incoming};
use tokio::time::timeout;

use super::{fault::Fault, forward::Forward, lane::Lane, objection::is_plain_chunked, upload::Upload};
use crate::{
    balance::InFlight,
    front::handle::Shared,
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
        let idle = shared.config.idle_timeout;
        let limit = shared.config.first_byte_timeout.map_or(idle, |limit| limit.min(idle));
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
}
