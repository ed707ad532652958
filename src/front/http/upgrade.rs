//! Connections that change from HTTP to another protocol, WebSocket above all.

use bytes::Bytes;
use hyper::{Response, body::Incoming, header::UPGRADE, http::HeaderValue, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::{gauge::Gauge, lane::Lane, wire::Wire};
use crate::{
    balance::InFlight,
    front::{
        client::Client,
        draft::Draft,
        handle::{Counted, Shared},
    },
    tunnel::{End, Transferred, TunnelStream, splice},
};

/// A client and a worker that agreed to change protocols. It is in flight as long as they talk.
pub(super) struct Bridge {
    pub(super) client: OnUpgrade,
    pub(super) worker: OnUpgrade,
    pub(super) flight: InFlight,
    /// Its driver hands the tunnel over; dropping it before would end both.
    pub(super) lane: Lane,
    pub(super) counted: Counted,
    pub(super) draft: Draft,
}

impl Bridge {
    /// Carries bytes both ways until both directions ended, nothing moved for the idle time, or `cut`.
    pub(super) async fn run(self, shared: &Shared, cut: &CancellationToken) {
        let Self { client, worker, flight, lane, counted, draft } = self;
        let Ok((client, worker)) = futures::try_join!(client, worker) else { return };
        drop(lane);
        let (Ok(client), Ok(worker)) = (client.downcast::<TokioIo<Wire>>(), worker.downcast::<TokioIo<Gauge>>()) else {
            // They are what we gave to hyper.
            return;
        };
        let (early_client, early_worker) = (client.read_buf, worker.read_buf);
        let (mut client, mut tunnel) = (client.io.into_inner().into_client(), worker.io.into_inner().into_tunnel());
        client.replay(early_client);
        let Transferred { up, down, end } = carry(&mut client, &mut tunnel, early_worker, shared, cut).await;
        tracing::debug!(
            service = %shared.config.service, client = %client.address(), node = %flight.node().short(), %end,
            "upgraded connection ended"
        );
        shared.conclude(flight, &client, &end);
        draft.ended(up, down, &end);
        drop(counted);
    }
}

async fn carry(
    client: &mut Client,
    tunnel: &mut TunnelStream,
    early: Bytes,
    shared: &Shared,
    cut: &CancellationToken,
) -> Transferred {
    // What the worker sent along with its 101: less than hyper's buffer.
    let ended = |end| Transferred { up: 0, down: 0, end };
    tokio::select! {
        () = cut.cancelled() => return ended(End::Cancelled),
        written = client.write_all(&early) => if let Err(error) = written {
            return ended(End::Local(error));
        },
    }
    splice(client, tunnel, shared.config.idle_timeout, cut).await
}

/// The protocol that a worker's 101 changes to.
pub(super) fn agreed(response: &Response<Incoming>) -> Option<HeaderValue> {
    response.headers().get(UPGRADE).cloned()
}
