//! Streams that nodes of edgevpn open to what this node offers them.
//!
//! Whoever is a user in the ledger has proved the token by writing there; nobody else is served. A user's entry may still be on
//! its way when its first stream comes, so it is waited for a little.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use libp2p::PeerId;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken};

use crate::{
    ledger::{Protocol, Service},
    net::{Inbound, node_of},
    tunnel::{Class, Header, TraceId, Tunnel, splice},
    worker::Worker,
};

/// How long a stream waits for its peer to become a user: a few seconds of two writes that met.
const USER_WAIT: Duration = Duration::from_secs(8);

/// Streams that wait for that, from all peers; more are reset.
const WAITING: usize = 256;

/// A tunnel in which nothing moved for so long is ended; an export's own limit is mostly shorter.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Who may open streams.
pub(super) type Users = Arc<BTreeSet<PeerId>>;

/// What streams are served from.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) worker: Worker,
    pub(super) users: watch::Receiver<Users>,
    pub(super) offered: watch::Receiver<Option<Service>>,
    pub(super) stop: CancellationToken,
}

impl Server {
    /// Serves what arrives until the node stops.
    pub(super) async fn run(self, mut arriving: mpsc::Receiver<Inbound>) {
        let mut serving = JoinSet::new();
        let waiting = Arc::new(tokio::sync::Semaphore::new(WAITING));
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = serving.join_next() => {
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                }
                inbound = arriving.recv() => {
                    let Some(inbound) = inbound else { break };
                    // Strangers may take all the places; who is known needs none.
                    let place = match self.users.borrow().contains(&inbound.peer) {
                        true => None,
                        false => match Arc::clone(&waiting).try_acquire_owned() {
                            Ok(place) => Some(place),
                            Err(_) => {
                                tracing::debug!(peer = %inbound.peer, "too many streams wait for their users");
                                continue;
                            }
                        },
                    };
                    let this = self.clone();
                    serving.spawn(async move { this.serve(inbound, place).await });
                }
            }
        }
        serving.shutdown().await;
    }

    async fn serve(mut self, Inbound { peer, stream }: Inbound, place: Option<OwnedSemaphorePermit>) {
        let known = async { self.users.wait_for(|users| users.contains(&peer)).await.is_ok() };
        let is_known = timeout(USER_WAIT, known).await.unwrap_or_default();
        drop(place);
        if !is_known {
            return tracing::debug!(%peer, "legacy stream refused: not among the users in edgevpn's ledger");
        }
        let Some(service) = self.offered.borrow().clone() else {
            return tracing::debug!(%peer, "legacy stream refused: nothing is offered");
        };
        let Some(from) = node_of(&peer) else { return };
        let class = match service.protocol {
            Protocol::Http => Class::Http,
            Protocol::Http2 => Class::Http2,
            Protocol::Tcp | Protocol::Udp => Class::Tcp,
        };
        let header = Header { service: service.name, class, trace: TraceId::random(), client: None };
        let mut tunnel = match self.worker.dial_for(from, header).await {
            Ok(Tunnel { stream, .. }) => stream,
            Err(error) => return tracing::debug!(%peer, %error, "legacy stream refused"),
        };
        let stop = self.stop.child_token();
        let mut stream = stream.compat();
        let carried = splice(&mut stream, &mut tunnel, IDLE, &stop).await;
        tracing::debug!(%peer, up = carried.up, down = carried.down, end = %carried.end, "legacy stream ended");
    }
}
