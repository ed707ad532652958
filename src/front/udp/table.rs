//! Who has a session, and who gives way to whom.
//!
//! Anybody can send from many addresses, and from those of others. So that such a flood does not keep clients out, a full
//! table makes room by one rule, *the unanswered give way*: of the sessions that never got an answer, the one whose client
//! said nothing for the longest time ends, if that is [`UNANSWERED`] or more. A session that was answered is never ended for
//! another one: it looks like a client. What a backend answers to forged addresses does so too, until it idles.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::Waiting;

/// How long a session without an answer stays in any case. Most answers come sooner, so that a client that waits for its
/// first one is not cut off; and a flood opens no more tunnels per second than there may be sessions.
pub(super) const UNANSWERED: Duration = Duration::from_secs(1);

/// How long nothing may have moved in a session that is let end in a drain: whoever still talks does so more often.
pub(super) const LULL: Duration = Duration::from_secs(5);

/// When a client was last sent an answer: milliseconds since the front began, and one. 0 before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<AtomicU64>);

impl Answered {
    pub(super) fn set(&self, now: Duration) {
        self.0.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    /// Since the front began.
    fn at(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }
}

/// The receiver's end of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) queue: mpsc::Sender<Waiting>,
    pub(super) answered: Answered,
    /// Ends it at once.
    pub(super) cut: CancellationToken,
}

/// A session, and its client's last datagram.
#[derive(Debug)]
struct Seat {
    session: Session,
    spoke: Instant,
    /// The number of that datagram; its place among the unanswered.
    number: u64,
}

/// The sessions of all clients.
///
/// **Invariant.** `unanswered` has the seats that were not seen to be answered, each at its number.
#[derive(Debug, Default)]
pub(super) struct Table {
    seats: HashMap<SocketAddr, Seat>,
    unanswered: BTreeMap<u64, SocketAddr>,
    /// Of the next datagram.
    number: u64,
}

/// What became of a datagram that was for a session.
#[derive(Debug)]
pub(super) enum Handed {
    Over,
    /// Its session has enough of them.
    Full,
    /// There is no session.
    Nobody(Waiting),
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Gives a datagram to the session of its client.
    pub(super) fn hand_over(&mut self, client: SocketAddr, datagram: Waiting) -> Handed {
        let Some(seat) = self.seats.get_mut(&client) else { return Handed::Nobody(datagram) };
        match seat.session.queue.try_send(datagram) {
            Ok(()) => {}
            // It lives: it is not idle because it is slow.
            Err(mpsc::error::TrySendError::Full(_)) => return Handed::Full,
            Err(mpsc::error::TrySendError::Closed(datagram)) => {
                self.remove(client);
                return Handed::Nobody(datagram);
            }
        }
        seat.spoke = Instant::now();
        if self.unanswered.remove(&seat.number).is_some() && seat.session.answered.at().is_none() {
            seat.number = self.number;
            self.number += 1;
            self.unanswered.insert(seat.number, client);
        }
        Handed::Over
    }

    /// `client`, which has no session, gets one.
    pub(super) fn insert(&mut self, client: SocketAddr, session: Session) {
        let number = self.number;
        self.number += 1;
        self.unanswered.insert(number, client);
        self.seats.insert(client, Seat { session, spoke: Instant::now(), number });
    }

    /// Ends the session that gives way to a new one; false if none does.
    pub(super) fn make_way(&mut self) -> bool {
        while let Some((number, client)) = self.unanswered.first_key_value().map(|(number, client)| (*number, *client))
        {
            match self.seats.get(&client) {
                Some(seat) if seat.session.answered.at().is_some() => {
                    self.unanswered.remove(&number);
                }
                Some(seat) if seat.spoke.elapsed() < UNANSWERED => return false,
                Some(seat) => {
                    seat.session.cut.cancel();
                    self.remove(client);
                    return true;
                }
                None => {
                    self.unanswered.remove(&number);
                }
            }
        }
        false
    }

    /// Lets go of the sessions that have ended.
    pub(super) fn sweep(&mut self) {
        self.keep(|seat| !seat.session.queue.is_closed());
    }

    /// Lets the sessions end in which nothing moved for [`LULL`]. `now` is since the front began.
    pub(super) fn hush(&mut self, now: Duration) {
        let rests = |at: Duration| now.saturating_sub(at) >= LULL;
        self.keep(|seat| seat.spoke.elapsed() < LULL || !seat.session.answered.at().is_none_or(rests));
    }

    fn keep(&mut self, is_kept: impl Fn(&Seat) -> bool) {
        let unanswered = &mut self.unanswered;
        self.seats.retain(|_, seat| {
            let is_kept = is_kept(seat);
            if !is_kept {
                unanswered.remove(&seat.number);
            }
            is_kept
        });
    }

    fn remove(&mut self, client: SocketAddr) {
        if let Some(seat) = self.seats.remove(&client) {
            self.unanswered.remove(&seat.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    /// Gives `client` a session; what it has is to be held.
    fn enter(table: &mut Table, port: u16) -> (mpsc::Receiver<Waiting>, Answered, CancellationToken) {
        let (queue, kept) = mpsc::channel(4);
        let (answered, cut) = (Answered::default(), CancellationToken::new());
        table.insert(client(port), Session { queue, answered: answered.clone(), cut: cut.clone() });
        (kept, answered, cut)
    }

    fn speaks(table: &mut Table, port: u16) -> Handed {
        table.hand_over(client(port), Waiting::alone(b"x"))
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_unanswered_the_one_that_was_silent_for_longest_gives_way() {
        let mut table = Table::default();
        let (first, second, third) = (enter(&mut table, 1), enter(&mut table, 2), enter(&mut table, 3));
        assert!(!table.make_way(), "an answer may still come");
        tokio::time::advance(UNANSWERED).await;
        assert!(matches!(speaks(&mut table, 1), Handed::Over));
        second.1.set(Duration::ZERO);
        assert!(table.make_way());
        assert!(third.2.is_cancelled() && !first.2.is_cancelled() && !second.2.is_cancelled());
        assert!(!table.make_way(), "the first spoke just now");
        tokio::time::advance(UNANSWERED).await;
        assert!(table.make_way() && first.2.is_cancelled());
        tokio::time::advance(UNANSWERED).await;
        assert!(!table.make_way(), "who was answered stays");
        assert_eq!((table.len(), table.unanswered.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ended_is_forgotten_with_its_place() {
        let mut table = Table::default();
        let kept = [enter(&mut table, 1), enter(&mut table, 2)];
        let (ended, _, _) = enter(&mut table, 3);
        drop(ended);
        assert!(matches!(speaks(&mut table, 3), Handed::Nobody(_)));
        assert_eq!((table.len(), table.unanswered.len()), (2, 2));
        drop(kept);
        table.sweep();
        assert_eq!((table.len(), table.unanswered.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_drain_those_rest_that_neither_speak_nor_are_answered() {
        let mut table = Table::default();
        let _speaks = enter(&mut table, 1);
        let answered = enter(&mut table, 2);
        let mut rests = enter(&mut table, 3);
        tokio::time::advance(LULL).await;
        assert!(matches!(speaks(&mut table, 1), Handed::Over));
        answered.1.set(LULL);
        table.hush(LULL);
        assert_eq!((table.len(), table.unanswered.len()), (2, 2));
        assert!(rests.0.recv().await.is_none(), "its queue ends");
        assert!(!rests.2.is_cancelled(), "answers may still come");
    }
}
