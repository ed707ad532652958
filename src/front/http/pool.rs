//! Idle tunnels, kept for the next request.
//!
//! A tunnel costs round trips and a connection to the backend; a request over one that is there costs neither. Each idle
//! one holds a slot of its worker, so few are kept, and not for long.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{task::JoinSet, time::Instant};

use super::{BUFFER_LIMIT, FIELDS_LIMIT, HEAD_LIMIT, lane::Lane};
use crate::{front::handle::Shared, ledger::NodeId, tunnel::TunnelStream};

/// Idle tunnels per worker at most: a burst of requests is followed by another one of about that size.
const IDLE_PER_NODE: usize = 32;

/// Idle tunnels in all at most.
const IDLE_IN_ALL: usize = 512;

/// How long a tunnel is kept idle.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// The idle tunnels of one front, and the tasks that drive all its HTTP tunnels.
#[derive(Default)]
pub(in crate::front) struct Pool {
    /// Held to move a tunnel in or out, never across an await.
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    idle: BTreeMap<NodeId, Vec<Lane>>,
    in_all: usize,
    drivers: JoinSet<()>,
}

impl Pool {
    /// Starts HTTP on a fresh tunnel.
    pub(super) async fn open(&self, tunnel: TunnelStream, connection: Option<u64>) -> hyper::Result<Lane> {
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER_LIMIT)
            .max_header_size(HEAD_LIMIT)
            .max_headers(FIELDS_LIMIT)
            .handshake(TokioIo::new(tunnel))
            .await?;
        let mut lanes = self.lanes();
        while lanes.drivers.try_join_next().is_some() {}
        let driver = lanes.drivers.spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::trace!(%error, "http tunnel broke");
            }
        });
        Ok(Lane::new(sender, driver, connection))
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

    /// Drops the idle tunnels to `node`.
    pub(in crate::front) fn forget(&self, node: NodeId) {
        let mut lanes = self.lanes();
        let idle = lanes.idle.remove(&node).unwrap_or_default();
        lanes.in_all -= idle.len();
    }

    /// Ends the tunnels that were idle for too long or were closed, and those to workers that get no work any more or came
    /// back on another connection.
    pub(in crate::front) fn sweep(&self, shared: &Shared) {
        let mut lanes = self.lanes();
        let Lanes { idle, in_all, drivers } = &mut *lanes;
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
        while drivers.try_join_next().is_some() {}
    }

    /// Ends every tunnel.
    pub(in crate::front) async fn close(&self) {
        let mut drivers = {
            let mut lanes = self.lanes();
            lanes.idle.clear();
            lanes.in_all = 0;
            std::mem::take(&mut lanes.drivers)
        };
        drivers.shutdown().await;
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in here panics half way.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
