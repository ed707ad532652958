//! Datagrams: a session, a worker and a tunnel for each client address.
//!
//! One socket receives for all. It never waits for a session: where a tunnel is slower than its client, that client's
//! datagrams are dropped, as a router drops them, and counted (`loss`). A session ends when nothing moved for
//! [`Config::udp_idle_timeout`], or with its tunnel; the next datagram of its client begins another one, at another worker
//! if need be. Where all may not have one, `table` says who gives way.
//!
//! [`Config::udp_idle_timeout`]: super::Config::udp_idle_timeout

mod loss;
mod table;

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::UdpSocket,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

pub use loss::Loss;
pub(super) use loss::Losses;
use table::{Answered, Handed, Session, Table};

use super::{
    crowd::{Crowd, Place},
    draft::Draft,
    handle::Shared,
    listener::{ACCEPT_PAUSE, SWEEP, pass_on},
    search::{Miss, NotFound, Search},
    sticky,
};
use crate::{
    balance::{Ask, InFlight, Outcome},
    ledger::Protocol,
    tunnel::{self, Class, Datagrams, Early, MAX_DATAGRAM, Packets, Transferred, TunnelStream, splice},
};

/// Datagrams of one client that wait for its tunnel at most: a burst while the worker is searched for.
const QUEUE: usize = 64;

/// Bytes of datagrams that wait in all sessions together: what a second of a fast link brings, and no more than a front can
/// spare, whoever sends from however many addresses.
const WAITING: usize = 64 * 1024 * 1024;

/// How often a full table is looked through for sessions that have ended: a flood must not have it done for each datagram.
const LOOK: Duration = Duration::from_millis(100);

/// A datagram before its tunnel, and its part of [`WAITING`].
#[derive(Debug)]
struct Waiting {
    datagram: Bytes,
    _room: OwnedSemaphorePermit,
}

#[cfg(test)]
impl Waiting {
    /// One that waits alone.
    fn alone(datagram: &'static [u8]) -> Self {
        let room = Arc::new(Semaphore::new(WAITING)).try_acquire_owned().expect("it is fresh");
        Self { datagram: Bytes::from_static(datagram), _room: room }
    }
}

/// Receives until a drain's deadline, or until the last session has ended in a drain. While it drains, those that have a
/// session go on and nobody gets a new one.
pub(super) async fn receive(shared: &Arc<Shared>, socket: &Arc<UdpSocket>, clients: &mut JoinSet<()>) {
    let mut draining = pin!(shared.draining());
    let mut overdue = pin!(shared.overdue());
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut door = Door {
        shared,
        socket,
        table: Table::default(),
        swept: Instant::now(),
        waiting: Arc::new(Semaphore::new(WAITING)),
        drains: false,
    };
    // One byte more than is carried, to tell what is too long.
    let mut room = vec![0; MAX_DATAGRAM + 1];
    let mut told = 0;
    loop {
        if door.drains && clients.is_empty() {
            return;
        }
        let received = tokio::select! {
            biased;
            () = overdue.as_mut() => return,
            () = draining.as_mut(), if !door.drains => {
                door.drains = true;
                continue;
            }
            Some(ended) = clients.join_next() => {
                pass_on(ended);
                continue;
            }
            _ = sweep.tick() => {
                shared.sweep();
                door.table.sweep();
                if door.drains {
                    door.table.hush(shared.now());
                }
                let dropped = shared.losses.total();
                if dropped > told {
                    tracing::debug!(service = %shared.config.service, on = %shared.address, dropped = dropped - told, "datagrams dropped");
                    told = dropped;
                }
                continue;
            }
            received = socket.recv_from(&mut room) => received,
        };
        match received {
            Ok((length, client)) => {
                let datagram = room.get(..length).unwrap_or_default();
                match door.take(client, datagram) {
                    Ok(None) => {}
                    Ok(Some(client)) => drop(clients.spawn(serve(Arc::clone(shared), client))),
                    Err(why) => shared.losses.count(why),
                }
            }
            // What an earlier answer met on its way, or a lack of memory: either way the next one may come.
            Err(error) => {
                tracing::debug!(service = %shared.config.service, on = %shared.address, %error, "receiving failed");
                tokio::select! {
                    () = overdue.as_mut() => return,
                    () = sleep(ACCEPT_PAUSE.0) => {}
                }
            }
        }
    }
}

/// Where datagrams are told apart by their clients.
struct Door<'a> {
    shared: &'a Arc<Shared>,
    socket: &'a Arc<UdpSocket>,
    table: Table,
    /// When a full table was last looked through.
    swept: Instant,
    /// What is left of [`WAITING`].
    waiting: Arc<Semaphore>,
    /// Nobody gets a new session.
    drains: bool,
}

impl Door<'_> {
    /// Takes a datagram in. Yields its client if it begins a session, and why if it is dropped.
    fn take(&mut self, address: SocketAddr, datagram: &[u8]) -> Result<Option<Client>, Loss> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Loss::Large);
        }
        // An empty one takes room as well.
        let wanted = u32::try_from(datagram.len().max(1)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.waiting).try_acquire_many_owned(wanted).map_err(|_| Loss::Memory)?;
        let datagram = Waiting { datagram: Bytes::copy_from_slice(datagram), _room: room };
        match self.table.hand_over(address, datagram) {
            Handed::Over => Ok(None),
            Handed::Full => Err(Loss::Queue),
            Handed::Nobody(first) => self.begin(address, first).map(Some),
        }
    }

    /// A session for a client that has none.
    fn begin(&mut self, address: SocketAddr, first: Waiting) -> Result<Client, Loss> {
        if self.drains {
            return Err(Loss::Draining);
        }
        let place = match self.shared.config.limits.connections_per_client {
            0 => None,
            limit => Some(Crowd::enter(&self.shared.crowd, address.ip(), limit).ok_or(Loss::Client)?),
        };
        let max = self.shared.config.max_connections;
        if self.table.len() >= max && self.swept.elapsed() >= LOOK {
            self.table.sweep();
            self.swept = Instant::now();
        }
        if self.table.len() >= max && !self.table.make_way() {
            return Err(Loss::Sessions);
        }
        let (sender, queue) = mpsc::channel(QUEUE);
        // There is room for it: the queue is fresh.
        let _ = sender.try_send(first);
        let (answered, cut) = (Answered::default(), self.shared.cut.child_token());
        self.table.insert(address, Session { queue: sender, answered: answered.clone(), cut: cut.clone() });
        let packets =
            Exchange { shared: Arc::clone(self.shared), socket: Arc::clone(self.socket), address, queue, answered };
        Ok(Client { packets, cut, _place: place })
    }
}

/// One client that has a session.
struct Client {
    packets: Exchange,
    /// Ends it at once: another one needs its place, or a drain is over.
    cut: CancellationToken,
    /// Held to the end.
    _place: Option<Place>,
}

/// What a client sends comes by the queue; what it is answered goes out of the socket that it knows.
struct Exchange {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    queue: mpsc::Receiver<Waiting>,
    answered: Answered,
}

impl Exchange {
    /// Takes no more, and counts what was not carried.
    fn close(&mut self, why: Loss) {
        self.queue.close();
        while self.queue.try_recv().is_ok() {
            self.shared.losses.count(why);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close(Loss::Ended);
    }
}

impl Packets for Exchange {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.queue.poll_recv(cx).map(|waiting| Ok(waiting.map(|waiting| waiting.datagram)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        self.socket.poll_send_to(cx, datagram, self.address).map(|sent| {
            self.answered.set(self.shared.now());
            if sent.is_err() {
                // Lost, as it would be on its way: a client that is gone says nothing, and idling ends it.
                self.shared.losses.count(Loss::Unsent);
            }
            Ok(())
        })
    }
}

/// A session, from its first datagram to its end.
async fn serve(shared: Arc<Shared>, client: Client) {
    let Client { mut packets, cut, _place } = client;
    let _counted = shared.count();
    let (service, address) = (&shared.config.service, packets.address);
    let key = sticky::of_client(address);
    let ask = Ask { client: key, key: Some(key), protocol: Some(Protocol::Udp), ..Ask::default() };
    let mut search = Search::new(ask, Draft::new(&shared, address, "udp".to_owned(), ""));
    let found = tokio::select! {
        () = cut.cancelled() => {
            let by_drain = shared.cut.is_cancelled();
            return search.draft.finish(if by_drain { "cut off by a drain" } else { "gave way to another client" });
        }
        found = find(&shared, address, &mut search) => found,
    };
    let (mut flight, mut tunnel) = match found {
        Ok(found) => found,
        Err(reason) => {
            packets.close(Loss::Worker);
            tracing::debug!(%service, client = %address, %reason, "no worker");
            return search.draft.finish(reason.to_string());
        }
    };
    flight.answered(shared.now());
    search.draft.tried(flight.node(), None);
    search.draft.answers(None);
    let mut client = Datagrams::new(packets);
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
