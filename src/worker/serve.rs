//! One tunnel's way through a worker, from its header to its end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Shared, Worker,
    backend::Backend,
    offering::{Offering, Slot},
};
use crate::{
    ledger::NodeId,
    tunnel::{
        DialError, Header, Incoming, Line, MAX_FRAME, MessageError, Refusal, Transferred, Tunnel, open, refuse, splice,
    },
};

/// How long a front may take to send its header. It sends it with the stream's first packet.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// How long a front may take to receive a verdict. Longer than a lost packet or two; a front that is gone must not hold a
/// slot.
const VERDICT_LIMIT: Duration = Duration::from_secs(5);

/// How long a backend may take to accept a connection, resolving its name included. A front gives up soon after.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How a tunnel that came to a worker ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Served {
    /// It was accepted and carried bytes until its end. `up` is from the backend, `down` to it.
    Carried(Transferred),
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
        let Ok(room) = Arc::clone(&self.shared.room).try_acquire_owned() else {
            return Err(DialError::Refused { node: self_id, reason: Refusal::Full });
        };
        let (front, carrier) = tokio::io::duplex(MAX_FRAME);
        self.shared.tunnels.spawn(Arc::clone(&self.shared).serve(room, carrier.into(), self_id));
        let (stream, load) = open(front, &header).await.map_err(|error| error.at(self_id))?;
        Ok(Tunnel { stream, load })
    }
}

impl Shared {
    /// `_room` is held to the end.
    async fn serve(self: Arc<Self>, _room: OwnedSemaphorePermit, line: Line, from: NodeId) -> Served {
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
        let served = self.answer(incoming, from).await;
        let from = from.short();
        match &served {
            Served::Carried(Transferred { up, down, end }) => {
                tracing::debug!(%service, %from, %trace, from_backend = up, to_backend = down, %end, "tunnel ended");
            }
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
            Ok((offering, slot, backend)) => self.carry(incoming, &offering, slot, backend).await,
            Err(reason) => {
                let told = timeout(VERDICT_LIMIT, incoming.refuse(reason)).await;
                told_or_abandoned(reason, told.unwrap_or_else(|_| Err(late("the verdict"))))
            }
        }
    }

    /// Everything that must hold before a byte of a client reaches a backend, ending with the connection to it.
    async fn grant(&self, header: &Header, from: NodeId) -> Result<(Arc<Offering>, Slot, Backend), Refusal> {
        let (offering, is_draining) = {
            let state = self.state();
            (state.offerings.get(&header.service).cloned(), state.is_draining)
        };
        let offering = offering.ok_or(Refusal::NoSuchService)?;
        let granted = offering.grant(is_draining, from, header.client).await;
        if granted.is_err() {
            offering.count_refused();
        }
        let (slot, backend) = granted?;
        Ok((offering, slot, backend))
    }

    /// `_slot` is held to the end.
    async fn carry(&self, incoming: Incoming, offering: &Offering, _slot: Slot, mut backend: Backend) -> Served {
        let accepted = timeout(VERDICT_LIMIT, incoming.accept(offering.load())).await;
        let mut tunnel = match accepted.unwrap_or_else(|_| Err(late("the verdict"))) {
            Ok(tunnel) => tunnel,
            Err(error) => return Served::Abandoned(error),
        };
        offering.count_accepted();
        let cancel = self.cancel.child_token();
        let transferred = splice(&mut backend, &mut tunnel, offering.export.idle_timeout, &cancel).await;
        if !transferred.end.is_complete() {
            backend.reset();
        }
        Served::Carried(transferred)
    }
}

impl Offering {
    async fn grant(
        &self,
        is_draining: bool,
        from: NodeId,
        client: Option<SocketAddr>,
    ) -> Result<(Slot, Backend), Refusal> {
        if is_draining {
            return Err(Refusal::Draining);
        }
        if !self.export.allow.is_empty() && !self.export.allow.contains(&from) {
            return Err(Refusal::NotAllowed);
        }
        let slot = self.slot().ok_or(Refusal::Full)?;
        match Backend::connect_for(&self.export.target, CONNECT_LIMIT, client).await {
            Ok(backend) => Ok((slot, backend)),
            Err(error) => {
                tracing::debug!(service = %self.export.service, why = %error, "backend not reached");
                self.doubt();
                Err(Refusal::BackendUnreachable)
            }
        }
    }
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
