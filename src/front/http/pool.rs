//! Tunnels that are kept for the next request: idle ones of HTTP/1, and shared ones of HTTP/2.
//!
//! A tunnel costs round trips and a connection to the backend; a request over one that is there costs neither. Each idle
//! one holds a slot of its worker, so few are kept, and not for long.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{
    BUFFER_LIMIT, FIELDS_LIMIT, HEAD_LIMIT,
    gauge::Gauge,
    lane::Lane,
    trunk::{Drivers, Trunk},
};
use crate::{front::handle::Shared, ledger::NodeId, tunnel::TunnelStream};

/// Idle tunnels per worker at most: a burst of requests is followed by another one of about that size.
const IDLE_PER_NODE: usize = 32;

/// Idle tunnels in all at most.
const IDLE_IN_ALL: usize = 512;

/// How long a tunnel is kept idle.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Shared tunnels per worker at most: a few thousand requests at once.
const TRUNKS_PER_NODE: usize = 64;

/// The tunnels that one front keeps, and the tasks that drive all its HTTP tunnels.
#[derive(Default)]
pub(in crate::front) struct Pool {
    /// Held to move a tunnel in or out, never across an await.
    lanes: Mutex<Lanes>,
    /// Held to start a task or to join those that ended.
    drivers: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Default)]
struct Lanes {
    idle: BTreeMap<NodeId, Vec<Lane>>,
    in_all: usize,
    trunks: BTreeMap<NodeId, Vec<Trunk>>,
    /// One permit per worker: whoever holds it may open a shared tunnel, and those who come meanwhile share it.
    gates: BTreeMap<NodeId, Arc<Semaphore>>,
}

impl Pool {
    /// Starts HTTP on a fresh tunnel.
    pub(super) async fn open(&self, tunnel: TunnelStream, connection: Option<u64>) -> hyper::Result<Lane> {
        let (gauge, awaited) = Gauge::new(tunnel);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER_LIMIT)
            .max_header_size(HEAD_LIMIT)
            .max_headers(FIELDS_LIMIT)
            .handshake(TokioIo::new(gauge))
            .await?;
        let mut drivers = self.drivers();
        while drivers.try_join_next().is_some() {}
        let driver = drivers.spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::trace!(%error, "http tunnel broke");
            }
        });
        Ok(Lane::own(sender, driver, awaited, connection))
    }

    /// Starts HTTP/2 on a fresh tunnel to `node`, for this request and those that follow.
    pub(super) async fn open_shared(
        &self,
        node: NodeId,
        tunnel: TunnelStream,
        connection: Option<u64>,
    ) -> hyper::Result<Option<Lane>> {
        while self.drivers().try_join_next().is_some() {}
        let mut trunk = Trunk::open(tunnel, connection, Drivers::of(&self.drivers)).await?;
        let seat = trunk.seat();
        let mut lanes = self.lanes();
        let trunks = lanes.trunks.entry(node).or_default();
        if trunks.len() < TRUNKS_PER_NODE {
            trunks.push(trunk);
        }
        Ok(seat.map(|seat| Lane::shared(seat, connection)))
    }

    /// Room in a shared tunnel to `node`.
    pub(super) fn share(&self, node: NodeId, connection: Option<u64>) -> Option<Lane> {
        let mut lanes = self.lanes();
        let trunks = lanes.trunks.get_mut(&node)?;
        let seat = trunks.iter_mut().filter(|trunk| trunk.connection == connection).find_map(Trunk::seat)?;
        Some(Lane::shared(seat, connection))
    }

    /// Whose permit allows to open a shared tunnel to `node`.
    pub(super) fn gate(&self, node: NodeId) -> Arc<Semaphore> {
        Arc::clone(self.lanes().gates.entry(node).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }

    /// The idle tunnel to `node` that was used last.
    pub(super) fn take(&self, node: NodeId, connection: Option<u64>) -> Option<Lane> {
        let mut lanes = self.lanes();
        let idle = lanes.idle.get_mut(&node)?;
        let newest = idle.iter().rposition(|lane| lane.connection == connection && lane.is_ready())?;
        let lane = idle.remove(newest);
        lanes.in_all -= 1;
        Some(lane)
    }

    /// Keeps a tunnel whose exchange is over.
    pub(super) fn put(&self, node: NodeId, mut lane: Lane) {
        if !lane.is_own() {
            return;
        }
        lane.idle_since = Instant::now();
        let mut lanes = self.lanes();
        let full = lanes.in_all >= IDLE_IN_ALL;
        let idle = lanes.idle.entry(node).or_default();
        if lane.is_closed() || full || idle.len() >= IDLE_PER_NODE {
            return lane.retire();
        }
        idle.push(lane);
        lanes.in_all += 1;
    }

    /// Drops the tunnels to `node` that are kept; requests that are under way go on.
    pub(in crate::front) fn forget(&self, node: NodeId) {
        let mut lanes = self.lanes();
        lanes.trunks.remove(&node);
        let idle = lanes.idle.remove(&node).unwrap_or_default();
        lanes.in_all -= idle.len();
    }

    /// Ends the tunnels that were idle for too long or were closed, and those to workers that get no work any more or came
    /// back on another connection.
    pub(in crate::front) fn sweep(&self, shared: &Shared) {
        let mut lanes = self.lanes();
        let Lanes { idle, in_all, trunks, gates } = &mut *lanes;
        trunks.retain(|node, trunks| {
            let way = shared.balancer.way_to(shared.now(), *node);
            trunks
                .retain_mut(|trunk| way == Some(trunk.connection) && !trunk.is_closed() && trunk.idle_for() < IDLE_FOR);
            !trunks.is_empty()
        });
        // One that is waited at is held by those who wait.
        gates.retain(|node, gate| trunks.contains_key(node) || Arc::strong_count(gate) > 1);
        idle.retain(|node, idle| {
            let way = shared.balancer.way_to(shared.now(), *node);
            for lane in std::mem::take(idle) {
                let is_good = way == Some(lane.connection) && !lane.is_closed();
                if is_good && lane.idle_since.elapsed() < IDLE_FOR {
                    idle.push(lane);
                } else {
                    *in_all -= 1;
                    lane.retire();
                }
            }
            !idle.is_empty()
        });
        drop(lanes);
        while self.drivers().try_join_next().is_some() {}
    }

    /// Ends every tunnel.
    pub(in crate::front) async fn close(&self) {
        *self.lanes() = Lanes::default();
        let mut drivers = std::mem::take(&mut *self.drivers());
        drivers.shutdown().await;
    }

    fn drivers(&self) -> MutexGuard<'_, JoinSet<()>> {
        // Nothing in here panics half way.
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in here panics half way.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
