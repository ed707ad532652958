//! One tunnel that carries HTTP requests, one after another.

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1::SendRequest},
};
use tokio::{task::AbortHandle, time::Instant};

use super::upload::Upload;

/// One tunnel with hyper's client on it. Dropping it resets the tunnel, which tells the backend that nobody waits any
/// more; [`Lane::retire`] ends it in order.
pub(super) struct Lane {
    sender: SendRequest<Upload>,
    /// Stops the task that drives the tunnel.
    driver: Option<AbortHandle>,
    /// The connection that carries the tunnel; once the node has another one, the tunnel is stale.
    pub(super) connection: Option<u64>,
    /// Since when it carries nothing.
    pub(super) idle_since: Instant,
}

impl Lane {
    pub(super) fn new(sender: SendRequest<Upload>, driver: AbortHandle, connection: Option<u64>) -> Self {
        Self { sender, driver: Some(driver), connection, idle_since: Instant::now() }
    }

    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// The last exchange is over and the backend did not close.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Lets the driver end the tunnel in order.
    pub(super) fn retire(mut self) {
        self.driver = None;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}
