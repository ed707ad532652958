//! Datagrams: a session, a worker and a tunnel for each client address.
//!
//! One socket receives for all. It never waits for a session: where a tunnel is slower than its client, that client's
//! datagrams are dropped, as a router drops them. A session ends when nothing moved for [`Config::udp_idle_timeout`], or with
//! its tunnel; the next datagram of its client begins another one, at another worker if need be.
//!
//! [`Config::udp_idle_timeout`]: super::Config::udp_idle_timeout

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    net::UdpSocket,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    draft::Draft,
    handle::Shared,
    listener::{ACCEPT_PAUSE, SWEEP, pass_on},
    search::{Miss, NotFound, Search},
    sticky,
};
use crate::{
    balance::{Ask, InFlight, Outcome},
    tunnel::{self, Class, Datagrams, Early, MAX_DATAGRAM, Packets, Transferred, TunnelStream, splice},
};

/// Datagrams of one client that wait for its tunnel at most: a burst while the worker is searched for.
const QUEUE: usize = 64;

/// Bytes of datagrams that wait in all sessions together: what a second of a fast link brings, and no more than a front can
/// spare, whoever sends from however many addresses.
const WAITING: usize = 64 * 1024 * 1024;

type Sessions = HashMap<SocketAddr, mpsc::Sender<Waiting>>;

/// A datagram before its tunnel, and its part of [`WAITING`].
struct Waiting {
    datagram: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Receives until a drain begins. Sessions end by themselves then: their clients have said their last.
pub(super) async fn receive(shared: &Arc<Shared>, socket: &Arc<UdpSocket>, clients: &mut JoinSet<()>) {
    let mut draining = pin!(shared.draining());
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sessions = Sessions::new();
    let mut room = vec![0; MAX_DATAGRAM];
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut dropped = 0u64;
    loop {
        let received = tokio::select! {
            biased;
            () = draining.as_mut() => return,
            Some(ended) = clients.join_next() => {
                pass_on(ended);
                continue;
            }
            _ = sweep.tick() => {
                shared.sweep();
                sessions.retain(|_, session| !session.is_closed());
                if dropped > 0 {
                    tracing::debug!(service = %shared.config.service, on = %shared.address, dropped, "datagrams dropped");
                    dropped = 0;
                }
                continue;
            }
            received = socket.recv_from(&mut room) => received,
        };
        match received {
            Ok((length, client)) => {
                // An empty one takes room as well.
                let wanted = u32::try_from(length.max(1)).unwrap_or(u32::MAX);
                let Ok(_room) = Arc::clone(&waiting).try_acquire_many_owned(wanted) else {
                    dropped += 1;
                    continue;
                };
                let datagram = Bytes::copy_from_slice(room.get(..length).unwrap_or_default());
                let Err(unsent) = hand_over(&mut sessions, client, Waiting { datagram, _room }) else { continue };
                if sessions.len() >= shared.config.max_connections {
                    sessions.retain(|_, session| !session.is_closed());
                }
                let is_full = sessions.len() >= shared.config.max_connections;
                let Some(first) = unsent.filter(|_| !is_full) else {
                    dropped += 1;
                    continue;
                };
                let (session, queue) = mpsc::channel(QUEUE);
                // There is room for it: the queue is fresh.
                let _ = session.try_send(first);
                sessions.insert(client, session);
                clients.spawn(serve(Arc::clone(shared), Client { socket: Arc::clone(socket), address: client, queue }));
            }
            // What an earlier answer met on its way, or a lack of memory: either way the next one may come.
            Err(error) => {
                tracing::debug!(service = %shared.config.service, on = %shared.address, %error, "receiving failed");
                tokio::select! {
                    () = draining.as_mut() => return,
                    () = sleep(ACCEPT_PAUSE.0) => {}
                }
            }
        }
    }
}

/// Gives a datagram to its session. Comes back with it if there is none, and without it if the session has enough.
fn hand_over(sessions: &mut Sessions, client: SocketAddr, datagram: Waiting) -> Result<(), Option<Waiting>> {
    let Some(session) = sessions.get(&client) else { return Err(Some(datagram)) };
    session.try_send(datagram).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => None,
        mpsc::error::TrySendError::Closed(datagram) => {
            sessions.remove(&client);
            Some(datagram)
        }
    })
}

/// One client: what it sends comes by the queue, what it is answered goes out of the socket that it knows.
struct Client {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    queue: mpsc::Receiver<Waiting>,
}

impl Packets for Client {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.queue.poll_recv(cx).map(|waiting| Ok(waiting.map(|waiting| waiting.datagram)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        // What can't be sent is lost, as it would be on its way: a client that is gone says nothing, and idling ends it.
        self.socket.poll_send_to(cx, datagram, self.address).map(|_| Ok(()))
    }
}

/// A session, from its first datagram to its end.
async fn serve(shared: Arc<Shared>, client: Client) {
    let cut = shared.cut.child_token();
    let _counted = shared.count();
    let (service, address) = (&shared.config.service, client.address);
    let key = sticky::of_client(address);
    let ask = Ask { client: key, key: Some(key), ..Ask::default() };
    let mut search = Search::new(ask, Draft::new(&shared, address, "udp".to_owned(), ""));
    let found = tokio::select! {
        () = cut.cancelled() => return search.draft.finish("cut off by a drain"),
        found = find(&shared, address, &mut search) => found,
    };
    let (mut flight, mut tunnel) = match found {
        Ok(found) => found,
        Err(reason) => {
            tracing::debug!(%service, client = %address, %reason, "no worker");
            return search.draft.finish(reason.to_string());
        }
    };
    flight.answered(shared.now());
    search.draft.tried(flight.node(), None);
    search.draft.answers(None);
    let mut client = Datagrams::new(client);
    let Transferred { up, down, end } = splice(&mut client, &mut tunnel, shared.config.udp_idle_timeout, &cut).await;
    tracing::debug!(%service, client = %address, node = %flight.node().short(), up, down, %end, "session ended");
    match end {
        tunnel::End::Complete | tunnel::End::Idle => shared.finish(flight, Outcome::Ok),
        tunnel::End::Tunnel(_) => shared.finish(flight, Outcome::Failed),
        tunnel::End::Cancelled | tunnel::End::Local(_) => drop(flight),
    }
    search.draft.ended(up, down, &end);
}

/// The first worker that takes the session.
async fn find(
    shared: &Shared,
    client: SocketAddr,
    search: &mut Search<Miss>,
) -> Result<(InFlight, TunnelStream), NotFound<Miss>> {
    loop {
        let flight = search.next(shared).await?;
        match shared.dial(&flight, Class::Udp, Some(client), &Early::default()).await {
            Ok(tunnel) => return Ok((flight, tunnel.stream)),
            Err(miss) => search.give_up(shared, flight, miss.outcome(), miss),
        }
    }
}
