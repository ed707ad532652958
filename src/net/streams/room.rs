//! The places on the connections to one peer, and whether another connection is needed.
//!
//! A muxer has a limit of its own, at which it ends the connection and every stream on it. So a stream needs a **place**
//! first. Both ends count their own: what one of them may open leaves the other its share, and a margin for streams that
//! one end has dropped and the other has not yet. The end that dialled the peer knows an address that works; it dials a
//! **further** connection, before the last place is taken, for either end.
//!
//! Connections that were there before the newest one that is not a further one get no new streams while it lives: the
//! peer may have started anew. Nor do connections by a relay while there is one without; the streams that run there go on.
//!
//! **Invariant.** The places given and not dropped on a connection are at most [`PLACES`].
//!
//! **Absent on purpose.** A further connection is never closed for want of use. What was needed once is needed again, an
//! idle one costs a socket and a ping, and closing it would race with a stream that the peer opens at that moment.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, swarm::ConnectionId};
use tokio::sync::{Notify, futures::OwnedNotified, mpsc};

use super::{Open, heard::Heard};

/// Streams that one end may have open on a connection. Both ends together use half of what a muxer takes, and yamux, which
/// walks all streams of a connection to open one more, stays quick.
pub(super) const PLACES: usize = 1024;

/// A further connection is dialled when fewer places are left, so that most of a burst need not wait for it.
const SPARE: usize = PLACES / 4;

/// Connections to one peer that are filled: together as many streams as a front takes clients unless it is told otherwise.
pub(in crate::net) const CONNECTIONS: usize = 16;

/// After a further connection failed or ended, how long none is dialled: the peer may not want it.
const AGAIN: Duration = Duration::from_secs(1);

/// All connections to one peer.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// In the order they were made.
    connections: Vec<Connection>,
    growth: Growth,
    /// A stream that is a use was opened, by either end.
    was_used: bool,
    /// Told once for each place given back, and all who wait when a connection came or went.
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    /// The connection that this one was made beside, to have more room; itself for all others.
    beside: ConnectionId,
    /// It goes by a relay.
    relayed: bool,
    /// Where this node dialled it; none where the peer did.
    dialled: Option<Multiaddr>,
    open: mpsc::Sender<Open>,
    outbound: Arc<AtomicUsize>,
    inbound: Arc<AtomicUsize>,
    heard: Arc<Heard>,
}

/// Whether a further connection is on its way.
#[derive(Debug, Default)]
enum Growth {
    #[default]
    Idle,
    Dialling(ConnectionId),
    Barred {
        until: Instant,
    },
}

/// What came of asking for a place.
#[derive(Debug)]
pub(super) enum Taken {
    /// Open the stream there.
    Place(mpsc::Sender<Open>, Place),
    /// Ask again when this is done.
    Later(Pin<Box<OwnedNotified>>),
    /// There is no place, and no further connection will come soon.
    Full,
    /// There is no connection.
    NotConnected,
}

impl Room {
    /// Adds a connection, and when its streams last brought bytes; returns the count of the streams that the peer has open on it.
    pub(super) fn add(
        &mut self,
        id: ConnectionId,
        relayed: bool,
        dialled: Option<Multiaddr>,
        (open, heard): (mpsc::Sender<Open>, Arc<Heard>),
        further: bool,
    ) -> Arc<AtomicUsize> {
        self.connections.retain(|connection| !connection.open.is_closed());
        if matches!(self.growth, Growth::Dialling(wanted) if wanted == id) {
            self.growth = Growth::Idle;
        }
        let beside = self.connections.last().filter(|_| further).map_or(id, |last| last.beside);
        let inbound = Arc::default();
        let (outbound, counted) = (Arc::default(), Arc::clone(&inbound));
        let connection = Connection { id, beside, relayed, dialled, open, outbound, inbound: counted, heard };
        self.connections.push(connection);
        self.changed.notify_waiters();
        inbound
    }

    /// Takes a connection away; says whether it was the last.
    pub(super) fn remove(&mut self, id: ConnectionId, now: Instant) -> bool {
        let was_further = self.connections.iter().any(|connection| connection.id == id && connection.beside != id);
        if was_further && !matches!(self.growth, Growth::Dialling(_)) {
            self.growth = Growth::Barred { until: now + AGAIN };
        }
        self.connections.retain(|connection| connection.id != id);
        self.changed.notify_waiters();
        self.connections.is_empty()
    }

    /// A stream that is a use is opened: one end has use for the other.
    pub(super) fn use_it(&mut self) {
        self.was_used = true;
    }

    /// Neither end has, or had, a use for the other, and no stream is open.
    pub(super) fn is_unused(&self) -> bool {
        !self.was_used && self.connections.iter().all(|connection| connection.used() == 0)
    }

    /// A place on the connection with the most room.
    pub(super) fn take(&mut self, now: Instant) -> Taken {
        let with_room = self.current().filter(|connection| connection.outbound.load(Ordering::Relaxed) < PLACES);
        if let Some(emptiest) = with_room.min_by_key(|connection| connection.used()) {
            let place = Place::take(&emptiest.outbound, Some(&self.changed));
            return Taken::Place(emptiest.open.clone(), place);
        }
        match self.current().count() {
            0 => Taken::NotConnected,
            count if count >= CONNECTIONS || self.is_barred(now) => Taken::Full,
            _ => {
                let mut changed = Box::pin(Arc::clone(&self.changed).notified_owned());
                // From here on it counts as waiting, so that no place given back goes unnoticed.
                changed.as_mut().enable();
                Taken::Later(changed)
            }
        }
    }

    /// Where to dial a further connection now, if one is needed and this end is the one to dial it.
    pub(super) fn wants(&self, now: Instant) -> Option<Multiaddr> {
        if matches!(self.growth, Growth::Dialling(_)) || self.is_barred(now) || self.current().count() >= CONNECTIONS {
            return None;
        }
        let left = |count: &AtomicUsize| PLACES.saturating_sub(count.load(Ordering::Relaxed));
        let outbound: usize = self.current().map(|connection| left(&connection.outbound)).sum();
        let inbound: usize = self.current().map(|connection| left(&connection.inbound)).sum();
        if outbound.min(inbound) >= SPARE {
            return None;
        }
        let direct = self.current().filter(|connection| !connection.relayed);
        direct.into_iter().find_map(|connection| connection.dialled.clone())
    }

    /// No stream is open on the connection.
    pub(super) fn is_idle(&self, id: ConnectionId) -> bool {
        self.connections.iter().filter(|connection| connection.id == id).all(|connection| connection.used() == 0)
    }

    /// Streams on the connection brought bytes within `limit`.
    pub(super) fn heard_within(&self, id: ConnectionId, now: Instant, limit: Duration) -> bool {
        self.connections.iter().any(|connection| connection.id == id && connection.heard.within(now, limit))
    }

    /// The further connection that was wanted is being dialled.
    pub(super) fn dialling(&mut self, id: ConnectionId) {
        self.growth = Growth::Dialling(id);
    }

    /// Whether `id` is the further connection that was dialled.
    pub(super) fn dialled(&self, id: ConnectionId) -> bool {
        matches!(self.growth, Growth::Dialling(wanted) if wanted == id)
    }

    /// The further connection could not be made; whoever waits for it is told.
    pub(super) fn dial_failed(&mut self, now: Instant) {
        self.growth = Growth::Barred { until: now + AGAIN };
        self.changed.notify_waiters();
    }

    fn is_barred(&self, now: Instant) -> bool {
        matches!(self.growth, Growth::Barred { until } if now < until)
    }

    /// The connections that get new streams, newest first.
    fn current(&self) -> impl Iterator<Item = &Connection> {
        let living = || self.connections.iter().rev().filter(|connection| !connection.open.is_closed());
        let has_way = living().any(|connection| !connection.relayed);
        let living = move || living().filter(move |connection| !(has_way && connection.relayed));
        let newest = living().next().map(|newest| newest.beside);
        living().filter(move |connection| Some(connection.beside) == newest)
    }
}

impl Connection {
    fn used(&self) -> usize {
        self.outbound.load(Ordering::Relaxed) + self.inbound.load(Ordering::Relaxed)
    }
}

/// A stream's place on its connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    count: Arc<AtomicUsize>,
    /// Who may be waiting for it.
    freed: Option<Arc<Notify>>,
}

impl Place {
    pub(super) fn take(count: &Arc<AtomicUsize>, freed: Option<&Arc<Notify>>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count: Arc::clone(count), freed: freed.cloned() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(freed) = &self.freed {
            freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// A room and the receiving ends of its connections.
    #[derive(Default)]
    struct Lab {
        room: Room,
        relayed: bool,
        opening: Vec<mpsc::Receiver<Open>>,
        places: Vec<Place>,
    }

    impl Lab {
        fn connect(&mut self, id: usize, dialled: bool, further: bool) -> Arc<AtomicUsize> {
            let (open, opening) = mpsc::channel(1);
            self.opening.push(opening);
            let open = (open, Arc::new(Heard::new(Instant::now())));
            self.room.add(ConnectionId::new_unchecked(id), self.relayed, dialled.then(address), open, further)
        }

        /// Takes all places there are, and then what is said.
        fn fill(&mut self, now: Instant) -> Taken {
            loop {
                match self.room.take(now) {
                    Taken::Place(_, place) => self.places.push(place),
                    other => return other,
                }
            }
        }
    }

    fn address() -> Multiaddr {
        "/ip4/192.0.2.1/tcp/1".parse().unwrap()
    }

    fn id(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    #[test]
    fn a_further_connection_is_wanted_before_the_last_place_is_taken_and_once() {
        let (mut lab, now) = (Lab::default(), Instant::now());
        lab.connect(1, true, false);
        assert_eq!(lab.room.wants(now), None);
        let Taken::Later(waiting) = lab.fill(now) else { panic!("one more connection may come") };
        assert_eq!(lab.places.len(), PLACES);
        lab.places.truncate(PLACES - SPARE);
        assert_eq!(lab.room.wants(now), None);
        lab.places.pop();
        assert_eq!(lab.room.wants(now), None, "places came back");
        assert!(waiting.now_or_never().is_some(), "and who waited is told");
        lab.fill(now);
        assert_eq!(lab.room.wants(now), Some(address()));
        lab.room.dialling(id(2));
        assert_eq!(lab.room.wants(now), None);
        assert!(lab.room.dialled(id(2)));
        let Taken::Later(waiting) = lab.room.take(now) else { panic!("it is being dialled") };
        lab.connect(2, true, true);
        assert!(waiting.now_or_never().is_some());
        lab.fill(now);
        assert_eq!(lab.places.len(), 2 * PLACES);
    }

    #[test]
    fn what_the_peer_opens_counts_and_only_the_end_that_dialled_dials_again() {
        for (dialled, wanted) in [(true, Some(address())), (false, None)] {
            let (mut lab, now) = (Lab::default(), Instant::now());
            let inbound = lab.connect(1, dialled, false);
            let places: Vec<_> = (0..PLACES - SPARE + 1).map(|_| Place::take(&inbound, None)).collect();
            assert_eq!(lab.room.wants(now), wanted);
            drop(places);
            assert_eq!(lab.room.wants(now), None);
        }
    }

    #[test]
    fn streams_go_where_the_most_room_is() {
        let (mut lab, now) = (Lab::default(), Instant::now());
        let inbound = lab.connect(1, true, false);
        lab.connect(2, true, true);
        let _theirs: Vec<_> = (0..10).map(|_| Place::take(&inbound, None)).collect();
        for _ in 0..10 {
            let Taken::Place(_, place) = lab.room.take(now) else { panic!("there is room") };
            lab.places.push(place);
        }
        assert_eq!(lab.room.connections[0].outbound.load(Ordering::Relaxed), 0);
        assert_eq!(lab.room.connections[1].outbound.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn beyond_all_connections_it_says_so_at_once() {
        let (mut lab, now) = (Lab::default(), Instant::now());
        lab.connect(0, true, false);
        for n in 1..CONNECTIONS {
            assert!(matches!(lab.fill(now), Taken::Later(_)));
            lab.connect(n, true, true);
        }
        assert!(matches!(lab.fill(now), Taken::Full));
        assert_eq!(lab.places.len(), CONNECTIONS * PLACES);
        assert_eq!(lab.room.wants(now), None);
        lab.places.pop();
        assert!(matches!(lab.room.take(now), Taken::Place(..)), "a stream that ended gives its place back");
    }

    #[test]
    fn a_further_connection_that_fails_is_told_and_tried_again_later() {
        let (mut lab, now) = (Lab::default(), Instant::now());
        lab.connect(1, true, false);
        lab.fill(now);
        lab.room.dialling(id(2));
        let Taken::Later(waiting) = lab.room.take(now) else { panic!("it is being dialled") };
        lab.room.dial_failed(now);
        assert!(waiting.now_or_never().is_some());
        assert!(matches!(lab.room.take(now), Taken::Full));
        assert_eq!(lab.room.wants(now), None);
        assert_eq!(lab.room.wants(now + AGAIN), Some(address()));
        assert!(matches!(lab.room.take(now + AGAIN), Taken::Later(_)));
        lab.connect(3, true, true);
        assert!(!lab.room.remove(id(3), now));
        assert_eq!(lab.room.wants(now), None, "one that ends at once is not dialled in a loop");
        lab.connect(4, true, true);
        lab.room.dialling(id(5));
        lab.room.remove(id(4), now);
        assert!(lab.room.dialled(id(5)), "the end of another one is not its end");
    }

    #[test]
    fn a_peer_is_unused_while_no_stream_is_open_and_none_but_for_syncs_was() {
        let (mut lab, now) = (Lab::default(), Instant::now());
        let inbound = lab.connect(1, true, false);
        assert!(lab.room.is_unused());
        let theirs = Place::take(&inbound, None);
        assert!(!lab.room.is_unused());
        drop(theirs);
        let Taken::Place(_, ours) = lab.room.take(now) else { panic!("there is room") };
        assert!(!lab.room.is_unused());
        drop(ours);
        assert!(lab.room.is_unused());
        lab.room.use_it();
        assert!(!lab.room.is_unused(), "it may be used again");
    }

    #[test]
    fn a_way_without_a_relay_gets_the_new_streams_and_a_relay_serves_where_there_is_none() {
        let (mut lab, now) = (Lab { relayed: true, ..Lab::default() }, Instant::now());
        lab.connect(1, true, false);
        let Taken::Place(_, running) = lab.room.take(now) else { panic!("there is room") };
        lab.relayed = false;
        lab.connect(2, true, false);
        lab.relayed = true;
        lab.connect(3, true, false);
        let used = |lab: &Lab, n: usize| lab.room.connections[n].outbound.load(Ordering::Relaxed);
        let Taken::Place(_, _direct) = lab.room.take(now) else { panic!("there is room") };
        assert_eq!((used(&lab, 0), used(&lab, 1), used(&lab, 2)), (1, 1, 0));
        assert!(!lab.room.is_idle(id(1)) && !lab.room.is_idle(id(2)) && lab.room.is_idle(id(3)));
        drop(running);
        assert!(lab.room.is_idle(id(1)));
        lab.room.remove(id(2), now);
        assert!(matches!(lab.room.take(now), Taken::Place(..)));
        lab.fill(now);
        assert_eq!(lab.room.wants(now), None, "more room is not made by a relay");
    }

    #[test]
    fn a_peer_that_began_anew_gets_its_streams_on_the_new_connection() {
        let (mut lab, now) = (Lab::default(), Instant::now());
        lab.connect(1, true, false);
        lab.connect(2, true, true);
        lab.connect(3, false, false);
        assert!(matches!(lab.fill(now), Taken::Later(_)));
        assert_eq!(lab.places.len(), PLACES);
        assert!(!lab.room.remove(id(3), now));
        assert!(matches!(lab.room.take(now), Taken::Place(..)), "the older ones serve again");
        assert!(!lab.room.remove(id(2), now));
        assert!(lab.room.remove(id(1), now), "the last");
        assert!(matches!(lab.room.take(now), Taken::NotConnected));
    }
}
