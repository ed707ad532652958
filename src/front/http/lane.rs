//! One tunnel that carries HTTP requests, one after another.
//!
//! hyper's half of it, the *driver*, reads and writes only while it is polled. Whoever uses the lane polls it along with
//! what it waits for, so that a request and its response cross no task; an idle lane is left alone. Only where two things
//! must go on independently of each other does the driver get a task of its own: a body that is still going up when its
//! response begins, and the orderly end of a tunnel.

use std::{
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    task::{AbortHandle, JoinSet, coop::unconstrained},
    time::Instant,
};

use super::{BUFFER_LIMIT, FIELDS_LIMIT, HEAD_LIMIT, upload::Upload};
use crate::{front::stall::Stall, tunnel::TunnelStream};

/// One tunnel with hyper's client on it. Dropping it resets the tunnel, which tells the backend that nobody waits any
/// more; [`Lane::retire`] ends it in order.
pub(super) struct Lane {
    sender: SendRequest<Upload>,
    driver: Driver,
    /// How long the exchange stands still. Kept from one to the next, for the sake of its timer.
    quiet: Stall,
    /// The connection that carries the tunnel; once the node has another one, the tunnel is stale.
    pub(super) connection: Option<u64>,
    /// Since when it carries nothing.
    pub(super) idle_since: Instant,
}

enum Driver {
    /// Polled by whoever uses the lane.
    Here(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// In a task of its own.
    Task(AbortHandle),
    /// HTTP has ended on the tunnel.
    Ended,
}

impl Lane {
    /// Starts HTTP on a fresh tunnel.
    pub(super) async fn open(tunnel: TunnelStream, connection: Option<u64>) -> hyper::Result<Self> {
        let (sender, driver) = Builder::new()
            .max_buf_size(BUFFER_LIMIT)
            .max_header_size(HEAD_LIMIT)
            .max_headers(FIELDS_LIMIT)
            .handshake(TokioIo::new(tunnel))
            .await?;
        let driver = Driver::Here(Box::pin(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::trace!(%error, "http tunnel broke");
            }
        }));
        Ok(Self { sender, driver, quiet: Stall::default(), connection, idle_since: Instant::now() })
    }

    /// Begins an exchange. The response comes while the lane is polled.
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<> {
        self.quiet.moved();
        unconstrained(self.sender.try_send_request(request))
    }

    /// Polls `wanted` and what it comes from.
    ///
    /// hyper's halves wake each other when they pass something on. Here they are one task, which would be woken while it
    /// runs: tokio then queues it anew and wakes another thread to take it. So what is there already is looked for
    /// without a waker, and only then is it waited for. `wanted` needs none: what it comes from is polled right before.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Driver::Here(_) = self.driver {
            let mut nobody = Context::from_waker(Waker::noop());
            if let Poll::Ready(wanted) = wanted(&mut nobody) {
                return Poll::Ready(wanted);
            }
            self.look();
            if let Poll::Ready(wanted) = wanted(&mut nobody) {
                return Poll::Ready(wanted);
            }
            self.poll_driver(cx);
            wanted(&mut nobody)
        } else {
            wanted(cx)
        }
    }

    /// Waits for `wanted`, which must not yield of its own accord.
    pub(super) async fn drive<F: Future>(&mut self, wanted: F) -> F::Output {
        let mut wanted = pin!(unconstrained(wanted));
        poll_fn(|cx| self.poll(cx, |cx| wanted.as_mut().poll(cx))).await
    }

    /// Something of the exchange moved.
    pub(super) fn moved(&mut self) {
        self.quiet.moved();
    }

    /// Ready once nothing moved for `limit`.
    pub(super) fn poll_quiet(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        self.quiet.poll(cx, limit)
    }

    /// The last exchange is over and the backend was not seen to close.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// No request can follow, not even once its task is through with the last one.
    pub(super) fn is_spent(&self) -> bool {
        match self.driver {
            Driver::Here(_) | Driver::Ended => !self.sender.is_ready(),
            Driver::Task(_) => self.sender.is_closed(),
        }
    }

    /// Does what can be done at once; nobody is woken later. Of an idle lane it tells whether the backend closed it or said
    /// something unasked.
    pub(super) fn look(&mut self) {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        if let Driver::Here(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            // Dropping it ends all that waits for it.
            self.driver = Driver::Ended;
        }
    }

    /// Gives the driver a task of its own, which ends with the lane.
    pub(super) fn detach(&mut self, tasks: &mut JoinSet<()>) {
        self.driver = match mem::replace(&mut self.driver, Driver::Ended) {
            Driver::Here(driver) => Driver::Task(tasks.spawn(driver)),
            other => other,
        };
    }

    /// Lets the driver end the tunnel in order, in a task of its own.
    pub(super) fn retire(mut self, tasks: &mut JoinSet<()>) {
        // It ends once the sender is dropped.
        if let Driver::Here(driver) = mem::replace(&mut self.driver, Driver::Ended) {
            tasks.spawn(driver);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Driver::Task(task) = &self.driver {
            task.abort();
        }
    }
}
