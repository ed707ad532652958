//! The way of one request through a tunnel.

use futures::future::Either;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1::SendRequest},
};
use tokio::{task::AbortHandle, time::Instant};

use super::{gauge::Awaited, translate, trunk::Seat, upload::Upload};

/// A tunnel of HTTP/1 with hyper's client on it, or a seat in one of HTTP/2. Dropping it resets the tunnel of HTTP/1, which
/// tells the backend that nobody waits any more; [`Lane::retire`] ends it in order. In one of HTTP/2 the response's body
/// does that for its stream.
pub(super) struct Lane {
    way: Way,
    /// The connection that carries the tunnel; once the node has another one, the tunnel is stale.
    pub(super) connection: Option<u64>,
    /// Since when it carries nothing.
    pub(super) idle_since: Instant,
}

enum Way {
    Own {
        sender: SendRequest<Upload>,
        /// Stops the task that drives the tunnel.
        driver: Option<AbortHandle>,
        awaited: Awaited,
    },
    Shared(Seat),
}

impl Lane {
    pub(super) fn own(
        sender: SendRequest<Upload>,
        driver: AbortHandle,
        awaited: Awaited,
        connection: Option<u64>,
    ) -> Self {
        Self { way: Way::Own { sender, driver: Some(driver), awaited }, connection, idle_since: Instant::now() }
    }

    pub(super) fn shared(seat: Seat, connection: Option<u64>) -> Self {
        Self { way: Way::Shared(seat), connection, idle_since: Instant::now() }
    }

    /// Sends a request of `service`, in the tunnel's version of HTTP.
    pub(super) fn send(
        &mut self,
        mut request: Request<Upload>,
        service: &str,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<> {
        match &mut self.way {
            Way::Own { sender, awaited, .. } => {
                awaited.begin();
                translate::to_http1(&mut request);
                Either::Left(sender.try_send_request(request))
            }
            Way::Shared(seat) => {
                translate::to_http2(&mut request, service);
                Either::Right(seat.sender.try_send_request(request))
            }
        }
    }

    /// The head of the response is there.
    pub(super) fn responded(&self) {
        if let Way::Own { awaited, .. } = &self.way {
            awaited.end();
        }
    }

    /// Nobody else sends through it, so that it can be kept for later.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.way, Way::Own { .. })
    }

    /// The last exchange is over and the backend did not close.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.way, Way::Own { sender, .. } if sender.is_ready())
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.way {
            Way::Own { sender, .. } => sender.is_closed(),
            Way::Shared(seat) => seat.sender.is_closed(),
        }
    }

    /// Lets the driver end the tunnel in order.
    pub(super) fn retire(mut self) {
        if let Way::Own { driver, .. } = &mut self.way {
            *driver = None;
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Way::Own { driver: Some(driver), .. } = &self.way {
            driver.abort();
        }
    }
}
