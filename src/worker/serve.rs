//! One tunnel's way through a worker, from its header to its end.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Shared, Worker,
    backend::Backend,
    observer::Observer,
    offering::{Offering, Permit},
    push::push,
    tally::{Account, Subscription},
};
use crate::{
    ledger::{NodeId, Protocol},
    tunnel::{
        Class, DialError, Header, Incoming, Line, MAX_FRAME, MessageError, Refusal, Transferred, Tunnel, open, refuse,
        splice_watched,
    },
};

/// How long a front may take to send its header. It sends it with the stream's first packet.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// How long a front may take to receive a verdict. Longer than a lost packet or two; a front that is gone must not hold a
/// slot.
const VERDICT_LIMIT: Duration = Duration::from_secs(5);

/// How long a backend may take to accept a connection, resolving its name included. A front gives up soon after.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Fronts that are told at once at most, over all services: each costs a task and a stream of its connection.
const SUBSCRIBERS_MAX: usize = 4096;

/// How a tunnel that came to a worker ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Served {
    /// It was accepted and carried bytes until its end. `up` is from the backend, `down` to it.
    Carried(Transferred),
    /// The front was told how the service is, until one side had enough of it.
    Reported,
    /// It was declined, and the front told so.
    Refused(Refusal),
    /// The front did not say what it wanted, or was gone before the verdict.
    Abandoned(MessageError),
}

impl Worker {
    /// Serves one tunnel from `from`, which must be an admitted node, to its end. The header comes next on `line`. Dropping
    /// the future resets the tunnel and the backend's connection.
    pub async fn serve(&self, line: impl Into<Line>, from: NodeId) -> Served {
        let line = line.into();
        let shared = Arc::clone(&self.shared);
        let Ok(room) = Arc::clone(&shared.room).try_acquire_owned() else {
            return self.turn_away(line, Refusal::Full).await;
        };
        self.shared.tunnels.track_future(shared.serve(room, line, from)).await
    }

    /// Declines a tunnel before its header is read: a flood of them costs a few bytes each.
    pub async fn turn_away(&self, line: impl Into<Line>, why: Refusal) -> Served {
        let told = timeout(VERDICT_LIMIT, refuse(line.into(), why)).await;
        told_or_abandoned(why, told.unwrap_or_else(|_| Err(late("the verdict"))))
    }

    /// Opens a tunnel from this node's own front: the same checks, the same verdict, the same counting, over memory. The
    /// serving task is the worker's; dropping the future gives up.
    ///
    /// # Errors
    /// As for any other worker.
    pub async fn dial_local(&self, self_id: NodeId, header: Header) -> Result<Tunnel, DialError> {
        self.dial_for(self_id, header).await
    }

    /// The same for `from`, a node that speaks no tunnels: this one speaks them in its place.
    ///
    /// # Errors
    /// As for any other front; the node in it is `from`.
    pub async fn dial_for(&self, from: NodeId, header: Header) -> Result<Tunnel, DialError> {
        let Ok(room) = Arc::clone(&self.shared.room).try_acquire_owned() else {
            return Err(DialError::Refused { node: from, reason: Refusal::Full });
        };
        let (front, carrier) = tokio::io::duplex(MAX_FRAME);
        self.shared.tunnels.spawn(Arc::clone(&self.shared).serve(room, carrier.into(), from));
        let (stream, load) = open(front, &header).await.map_err(|error| error.at(from))?;
        Ok(Tunnel { stream, load })
    }
}

impl Shared {
    /// `room` is held to the end of whatever carries bytes.
    async fn serve(self: Arc<Self>, room: OwnedSemaphorePermit, line: Line, from: NodeId) -> Served {
        let read = tokio::select! {
            () = self.cancel.cancelled() => Err(cut()),
            read = timeout(HEADER_LIMIT, Incoming::read(line)) => read.unwrap_or_else(|_| Err(late("the header"))),
        };
        let incoming = match read {
            Ok(incoming) => incoming,
            Err(error) => {
                tracing::debug!(from = %from.short(), why = %error, "tunnel abandoned");
                return Served::Abandoned(error);
            }
        };
        let trace = incoming.header().trace;
        let service = incoming.header().service.clone();
        let served = match incoming.header().class {
            Class::Load => {
                drop(room);
                self.report(incoming, from).await
            }
            _ => self.answer(incoming, from).await,
        };
        let from = from.short();
        match &served {
            Served::Carried(Transferred { up, down, end }) => {
                tracing::debug!(%service, %from, %trace, from_backend = up, to_backend = down, %end, "tunnel ended");
            }
            Served::Reported => tracing::debug!(%service, %from, %trace, "reports ended"),
            Served::Refused(reason) => tracing::debug!(%service, %from, %trace, %reason, "tunnel refused"),
            Served::Abandoned(why) => tracing::debug!(%service, %from, %trace, %why, "tunnel abandoned"),
        }
        served
    }

    async fn answer(&self, incoming: Incoming, from: NodeId) -> Served {
        let granted = tokio::select! {
            () = self.cancel.cancelled() => Err(Refusal::Draining),
            granted = self.grant(incoming.header(), from) => granted,
        };
        match granted {
            Ok((offering, permit, backend)) => self.carry(incoming, &offering, permit, backend, from).await,
            Err(reason) => decline(incoming, reason).await,
        }
    }

    /// Everything that must hold before a byte of a client reaches a backend, ending with the connection to it.
    async fn grant(&self, header: &Header, from: NodeId) -> Result<(Arc<Offering>, Permit, Backend), Refusal> {
        let offering = self.offering(header)?;
        let speaks = (header.class == Class::Udp) == (offering.export.target.protocol() == Protocol::Udp);
        let granted = match offering.admit(from) {
            Ok(()) if !speaks => Err(Refusal::WrongProtocol),
            Ok(()) => offering.connect(header.client).await,
            Err(reason) => Err(reason),
        };
        if granted.is_err() {
            offering.count_refused();
        }
        let (permit, backend) = granted?;
        Ok((offering, permit, backend))
    }

    fn offering(&self, header: &Header) -> Result<Arc<Offering>, Refusal> {
        self.state().offerings.get(&header.service).cloned().ok_or(Refusal::NoSuchService)
    }

    /// `_permit` is held to the end.
    async fn carry(
        &self,
        incoming: Incoming,
        offering: &Offering,
        _permit: Permit,
        mut backend: Backend,
        from: NodeId,
    ) -> Served {
        let mut observer = Observer::new(incoming.header().class, Account::new(Arc::clone(&offering.tally), from));
        let accepted = timeout(VERDICT_LIMIT, incoming.accept(observer.load())).await;
        let mut tunnel = match accepted.unwrap_or_else(|_| Err(late("the verdict"))) {
            Ok(tunnel) => tunnel,
            Err(error) => return Served::Abandoned(error),
        };
        offering.count_accepted();
        let cancel = self.cancel.child_token();
        let idle = offering.export.idle_timeout;
        let transferred = splice_watched(&mut backend, &mut tunnel, idle, &cancel, &mut observer).await;
        if !transferred.end.is_complete() {
            backend.reset();
        }
        Served::Carried(transferred)
    }

    /// Tells a front how a service is, for as long as it wants to hear of it.
    async fn report(&self, incoming: Incoming, from: NodeId) -> Served {
        let (offering, subscription) = match self.subscribe(incoming.header(), from) {
            Ok(granted) => granted,
            Err(reason) => return decline(incoming, reason).await,
        };
        let _counted = Subscriber::count(self);
        let accepted = timeout(VERDICT_LIMIT, incoming.accept(offering.tally.load(from))).await;
        let tunnel = match accepted.unwrap_or_else(|_| Err(late("the verdict"))) {
            Ok(tunnel) => tunnel,
            Err(error) => return Served::Abandoned(error),
        };
        match self.cancel.run_until_cancelled(push(subscription, tunnel, &offering.retired)).await {
            Some(Err(error)) => Served::Abandoned(error.into()),
            Some(Ok(())) | None => Served::Reported,
        }
    }

    fn subscribe(&self, header: &Header, from: NodeId) -> Result<(Arc<Offering>, Subscription), Refusal> {
        let offering = self.offering(header)?;
        offering.admit(from)?;
        if self.subscribers.load(Ordering::Relaxed) >= SUBSCRIBERS_MAX {
            return Err(Refusal::Full);
        }
        let subscription = offering.tally.subscribe(from).ok_or(Refusal::Full)?;
        Ok((offering, subscription))
    }
}

/// One of those who are told, while it lives.
struct Subscriber<'a>(&'a Shared);

impl<'a> Subscriber<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.subscribers.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        self.0.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Offering {
    /// Whether `from` may use it now.
    fn admit(&self, from: NodeId) -> Result<(), Refusal> {
        if self.tally.facts().draining {
            return Err(Refusal::Draining);
        }
        if !self.export.allow.is_empty() && !self.export.allow.contains(&from) {
            return Err(Refusal::NotAllowed);
        }
        Ok(())
    }

    async fn connect(&self, client: Option<SocketAddr>) -> Result<(Permit, Backend), Refusal> {
        let permit = self.permit().ok_or(Refusal::Full)?;
        match Backend::connect_for(&self.export.target, CONNECT_LIMIT, client).await {
            Ok(mut backend) => {
                backend.count_in(&self.counters);
                Ok((permit, backend))
            }
            Err(error) => {
                tracing::debug!(service = %self.export.service, why = %error, "backend not reached");
                self.doubt();
                Err(Refusal::BackendUnreachable)
            }
        }
    }
}

async fn decline(incoming: Incoming, reason: Refusal) -> Served {
    let told = timeout(VERDICT_LIMIT, incoming.refuse(reason)).await;
    told_or_abandoned(reason, told.unwrap_or_else(|_| Err(late("the verdict"))))
}

fn told_or_abandoned(reason: Refusal, told: Result<(), MessageError>) -> Served {
    match told {
        Ok(()) => Served::Refused(reason),
        Err(error) => Served::Abandoned(error),
    }
}

fn late(what: &str) -> MessageError {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long")).into()
}

fn cut() -> MessageError {
    io::Error::new(io::ErrorKind::Interrupted, "the worker stops").into()
}
