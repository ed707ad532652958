//! One opaque connection: one worker, one tunnel.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    handle::Shared,
    search::{Miss, NotFound, Search},
};
use crate::{
    balance::InFlight,
    tunnel::{Class, Early, Transferred, TunnelStream, splice},
};

/// Carries `client` to a worker and back until both directions ended, it is idle for too long, or `cut`.
pub(super) async fn serve(shared: &Arc<Shared>, mut client: Client, cut: &CancellationToken) {
    let _counted = shared.count();
    let service = &shared.config.service;
    let found = tokio::select! {
        () = cut.cancelled() => return,
        found = find(shared, &mut client) => found,
    };
    let (mut flight, mut tunnel) = match found {
        Ok(found) => found,
        Err(NotFound::Unsure(reason)) => {
            tracing::debug!(%service, client = %client.address(), %reason, "the worker broke off");
            return client.reset().set();
        }
        Err(reason) => {
            tracing::debug!(%service, client = %client.address(), %reason, "no worker");
            return client.close().await;
        }
    };
    flight.answered(shared.now());
    let Transferred { up, down, end } = splice(&mut client, &mut tunnel, shared.config.idle_timeout, cut).await;
    tracing::debug!(%service, client = %client.address(), node = %flight.node().short(), up, down, %end, "connection ended");
    shared.conclude(flight, &client, &end);
}

/// The first worker that takes the connection.
async fn find(shared: &Shared, client: &mut Client) -> Result<(InFlight, TunnelStream), NotFound<Miss>> {
    let mut search = Search::new();
    let said = client.said_already();
    loop {
        let flight = search.pick(shared)?;
        let early = Early::new(said.clone());
        match shared.dial(&flight, Class::Tcp, Some(client.address()), &early).await {
            Ok(tunnel) => {
                if !early.is_sent() {
                    client.replay(said);
                }
                return Ok((flight, tunnel.stream));
            }
            Err(miss) if early.is_sent() && !miss.is_refusal() => {
                shared.finish(flight, miss.outcome());
                return Err(NotFound::Unsure(miss));
            }
            Err(miss) => search.give_up(shared, flight, miss.outcome(), miss),
        }
    }
}
