//! One opaque connection: one worker, one tunnel.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    draft::Draft,
    handle::Shared,
    search::{Miss, NotFound, Search},
    sticky,
};
use crate::{
    balance::{Ask, InFlight},
    tunnel::{Class, Early, Transferred, TunnelStream, splice},
};

/// Carries `client` to a worker and back until both directions ended, it is idle for too long, or `cut`.
pub(super) async fn serve(shared: &Arc<Shared>, mut client: Client, cut: &CancellationToken) {
    let _counted = shared.count();
    let service = &shared.config.service;
    let mut search = search(shared, client.address());
    let found = tokio::select! {
        () = cut.cancelled() => return search.draft.finish("cut off by a drain"),
        found = find(shared, &mut client, &mut search) => found,
    };
    let (mut flight, mut tunnel) = match found {
        Ok(found) => found,
        Err(reason) => {
            tracing::debug!(%service, client = %client.address(), %reason, "no worker");
            search.draft.finish(reason.to_string());
            return match reason {
                // A backend may have got what it said.
                NotFound::Unsure(_) => client.reset().set(),
                _ => client.close().await,
            };
        }
    };
    flight.answered(shared.now());
    search.draft.tried(flight.node(), None);
    search.draft.answers(None);
    let Transferred { up, down, end } = splice(&mut client, &mut tunnel, shared.config.idle_timeout, cut).await;
    tracing::debug!(%service, client = %client.address(), node = %flight.node().short(), up, down, %end, "connection ended");
    shared.conclude(flight, &client, &end);
    search.draft.ended(up, down, &end);
}

fn search(shared: &Arc<Shared>, client: SocketAddr) -> Search<Miss> {
    let key = sticky::of_client(client);
    let ask = Ask { client: key, key: Some(key), ..Ask::default() };
    Search::new(ask, Draft::new(shared, client, "tcp".to_owned(), ""))
}

/// The first worker that takes the connection.
async fn find(
    shared: &Shared,
    client: &mut Client,
    search: &mut Search<Miss>,
) -> Result<(InFlight, TunnelStream), NotFound<Miss>> {
    loop {
        let flight = search.next(shared).await?;
        // Taken only now: a client that waits in the queue may have more to say by then.
        let said = client.said_already();
        let early = Early::new(said.clone());
        match shared.dial(&flight, Class::Tcp, Some(client.address()), &early).await {
            Ok(tunnel) => {
                if !early.is_sent() {
                    client.replay(said);
                }
                return Ok((flight, tunnel.stream));
            }
            Err(miss) if early.is_sent() && !miss.is_refusal() => {
                search.draft.tried(flight.node(), Some(miss.to_string()));
                shared.finish(flight, miss.outcome());
                return Err(NotFound::Unsure(miss));
            }
            Err(miss) => {
                client.replay(said);
                search.give_up(shared, flight, miss.outcome(), miss);
            }
        }
    }
}
