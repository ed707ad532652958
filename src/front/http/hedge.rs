//! A second worker for a request that the first one does not answer.

use std::pin::pin;

use futures::future::{Either, select};
use hyper::Method;
use tokio::time::sleep;

use super::{
    fault::Fault,
    forward::{Forward, Found},
};
use crate::{
    balance::InFlight,
    front::{handle::Shared, search::Search},
};

/// A worker and what went wrong with it.
type Failed = (InFlight, Fault);

impl Forward {
    /// The response of the worker of `flight`; or, where hedging is on and it takes too long, that of the first of two. The
    /// other one's tunnel is reset.
    pub(super) async fn race(
        &self,
        shared: &Shared,
        search: &mut Search<Fault>,
        flight: InFlight,
    ) -> Result<Found, Failed> {
        let Some(patience) = shared.config.hedge_after.filter(|_| self.may_hedge()) else {
            return self.ask(shared, flight).await;
        };
        let node = flight.node();
        let first = pin!(self.ask(shared, flight));
        let first = match select(first, pin!(sleep(patience))).await {
            Either::Left((answered, _)) => return answered,
            Either::Right(((), first)) => first,
        };
        let Some(other) = search.now(shared) else { return first.await };
        let nodes = [node, other.node()];
        let second = pin!(self.ask(shared, other));
        let (early, late) = match select(first, second).await {
            Either::Left((early, late)) | Either::Right((early, late)) => (early, late),
        };
        match early {
            Ok(found) => {
                for slower in nodes.into_iter().filter(|node| *node != found.flight.node()) {
                    search.draft.tried(slower, Some("another one answered first".to_owned()));
                }
                Ok(found)
            }
            Err((flight, fault)) => {
                search.give_up(shared, flight, fault.outcome(), fault);
                late.await
            }
        }
    }

    async fn ask(&self, shared: &Shared, flight: InFlight) -> Result<Found, Failed> {
        match self.attempt(shared, &flight).await {
            Ok((response, lane)) => Ok(Found { response, flight, lane }),
            Err(fault) => Err((flight, fault)),
        }
    }

    /// Nothing but the head is sent, and it asks for nothing to be done.
    fn may_hedge(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD) && self.source.is_empty() && !self.wants_upgrade()
    }
}
