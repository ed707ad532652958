//! What a front knows about reaching one worker directly: connections at rest, those being made, and whether it is worth
//! trying. It decides and does not act; time is handed in.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    pass::Pass,
    stream::{Cut, TlsStream},
};

/// Connections at rest per worker at most. A burst beyond it makes new ones.
const REST: usize = 512;

/// How long a connection rests before it is closed.
const REST_FOR: Duration = Duration::from_secs(60);

/// Connections that are being made to one worker at once: what a burst needs, and well below what a worker lets in that
/// has not said a word yet.
const MAKING: usize = 16;

/// Connections that are at rest or being made while others are in use, so that the next client does not wait for one.
const SPARE: usize = 1;

/// Pause after a failure; it doubles with each further one.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One worker.
#[derive(Default)]
pub(super) struct Reach {
    pub(super) pass: Option<Arc<Pass>>,
    /// The one used last is taken first, so that those that are not needed grow old.
    resting: Vec<Resting>,
    /// In the order in which they came.
    waiting: VecDeque<oneshot::Sender<Box<TlsStream>>>,
    making: usize,
    /// Failures in a row.
    failures: u32,
    paused_until: Option<Instant>,
    /// Every living connection.
    cuts: Vec<Weak<Cut>>,
}

struct Resting {
    stream: Box<TlsStream>,
    since: Instant,
}

/// How a connection can be had.
pub(super) enum Had {
    /// At rest until now, for so long.
    Now(Box<TlsStream>, Duration),
    /// As soon as one is made or comes back; nothing comes if that fails.
    Soon(oneshot::Receiver<Box<TlsStream>>),
    /// The last try failed a moment ago.
    Not,
}

impl Reach {
    /// A connection for a tunnel. See [`Self::begin`].
    pub(super) fn take(&mut self, now: Instant) -> Had {
        while let Some(Resting { mut stream, since }) = self.resting.pop() {
            if stream.is_at_rest() {
                return Had::Now(stream, now.saturating_duration_since(since));
            }
        }
        if self.is_paused(now) {
            return Had::Not;
        }
        let (place, soon) = oneshot::channel();
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting.push_back(place);
        Had::Soon(soon)
    }

    /// How many connections are to be made now. Each is counted as being made from here on, until
    /// [`Self::made`] or [`Self::failed`].
    pub(super) fn begin(&mut self, now: Instant) -> usize {
        if self.is_paused(now) {
            return 0;
        }
        // Until the worker has given a pass there is no use in asking for several.
        let most = if self.pass.is_some() { MAKING } else { 1 };
        let spare = SPARE.saturating_sub(self.resting.len());
        let more = (self.waiting.len() + spare).min(most).saturating_sub(self.making);
        self.making += more;
        more
    }

    /// A connection was made.
    pub(super) fn made(&mut self, now: Instant, stream: Box<TlsStream>) {
        self.making = self.making.saturating_sub(1);
        (self.failures, self.paused_until) = (0, None);
        self.cuts.push(Arc::downgrade(&stream.cutter()));
        self.rest(now, stream);
    }

    /// One is not made, because there are enough in all. Whoever waits takes another carrier.
    pub(super) fn forgone(&mut self) {
        self.making = self.making.saturating_sub(1);
        self.waiting.clear();
    }

    /// None could be made. Whoever waits takes another carrier. What was begun together fails together and counts once.
    pub(super) fn failed(&mut self, now: Instant) {
        self.making = self.making.saturating_sub(1);
        self.waiting.clear();
        if self.is_paused(now) {
            return;
        }
        let (first, longest) = PAUSE;
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        self.paused_until = Some(now + pause);
        self.pass = None;
    }

    /// A connection has nothing to do: whoever waits gets it, or it rests.
    pub(super) fn rest(&mut self, now: Instant, mut stream: Box<TlsStream>) {
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(stream) {
                Ok(()) => return,
                Err(unwanted) => stream = unwanted,
            }
        }
        if self.resting.len() < REST {
            self.resting.push(Resting { stream, since: now });
        }
    }

    /// Closes what has rested long enough or was closed by the worker, and forgets what is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.resting.retain_mut(|resting| {
            now.saturating_duration_since(resting.since) < REST_FOR && resting.stream.is_at_rest()
        });
        self.cuts.retain(|cut| cut.strong_count() > 0);
        if self.pass.as_ref().is_some_and(|pass| pass.is_old(now)) {
            self.pass = None;
        }
    }

    /// Ends every connection.
    pub(super) fn cut(&mut self) {
        self.resting.clear();
        self.cuts.drain(..).filter_map(|cut| cut.upgrade()).for_each(|cut| cut.cut());
    }

    /// Connections are made to it, or were when last tried.
    pub(super) fn is_open(&self) -> bool {
        self.failures == 0 && self.pass.is_some()
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon(reach: &mut Reach, now: Instant) -> oneshot::Receiver<Box<TlsStream>> {
        match reach.take(now) {
            Had::Soon(soon) => soon,
            _ => panic!("nothing rests and nothing failed"),
        }
    }

    #[test]
    fn without_a_pass_one_connection_is_begun_for_all_that_wait() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        let waiting: Vec<_> = (0..5).map(|_| soon(&mut reach, now)).collect();
        assert_eq!(reach.begin(now), 1);
        assert_eq!(reach.begin(now), 0, "it is being made");
        drop(waiting);
    }

    #[test]
    fn the_pause_doubles_with_each_failure_up_to_a_minute() {
        let (mut reach, mut now) = (Reach::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let mut waiting = soon(&mut reach, now);
            assert_eq!(reach.begin(now), 1);
            reach.failed(now);
            assert!(waiting.try_recv().is_err(), "it takes another carrier");
            let pause = Duration::from_secs(seconds);
            assert!(matches!(reach.take(now + pause - Duration::from_millis(1)), Had::Not));
            now += pause;
        }
    }

    #[test]
    fn sixteen_that_fail_together_are_one_failure() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        for _ in 0..16 {
            reach.failed(now);
        }
        drop(soon(&mut reach, now + Duration::from_secs(1)));
    }
}
