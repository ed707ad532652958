//! When a link is asked and when it is answered (RFC 6762 §5.2, §6, §7.3, §8.3).
//!
//! A **round** is one question and the multicast answers to it, which every node on the link hears. So a question asked by
//! another node counts as ours, and a link of a hundred nodes has one round a minute, not a hundred. Rounds come quickly
//! after the start and ever more slowly up to [`MAX_GAP`].
//!
//! Our own packets come back to us, and no process of this machine can tell its own from its neighbour's. Nothing here
//! needs to: a question heard within a second of the round's start is the same round, so the echo changes nothing; and
//! the answer to our own question is what tells the others that we are still here.
//!
//! **Invariant.** Two multicast responses are at least [`MIN_BETWEEN`] apart.
//!
//! **Absent on purpose.** No clock, no randomness of its own, no socket. After each `handle`, take from `poll_output` until
//! it is empty; come back at `poll_timeout`.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};

/// Multicast responses on one link are at least this far apart, and a round lasts that long (RFC 6762 §6).
const MIN_BETWEEN: Duration = Duration::from_secs(1);

/// The time between the first two rounds; it doubles with each one.
const FIRST_GAP: Duration = Duration::from_secs(1);

/// The time between two rounds at most, before up to a quarter is added at random.
const MAX_GAP: Duration = Duration::from_secs(60);

/// Everybody answers the same question, so each waits a random while in this range of milliseconds first (RFC 6762 §6).
const SCATTER_MS: std::ops::Range<u64> = 20..120;

/// Unsolicited responses after a start or a change of address: two, since one may be lost (RFC 6762 §8.3).
const ANNOUNCEMENTS: u8 = 2;

/// Unicast answers per second and link. A spoofed question must not make us a loudspeaker; a crowd gets multicast.
const UNICAST_PER_SECOND: usize = 16;

/// What happened on the link.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// Somebody asked for us.
    Question {
        /// The one who asks.
        from: SocketAddr,
        /// The answer goes to it alone.
        wants_unicast: bool,
        /// It asked the whole link for everybody: as good as a question of ours.
        is_round: bool,
        /// It knows our answer already (RFC 6762 §7.1).
        knows_us: bool,
    },
    /// Our addresses are not what was announced.
    Changed,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// The question, to the group.
    Query,
    /// Our records, to the group.
    Respond,
    /// Our records, to one.
    RespondTo(SocketAddr),
}

/// The timing of one link.
#[derive(Debug)]
pub(super) struct Schedule {
    gap: Duration,
    next_query: Instant,
    round_began: Option<Instant>,
    announcements_left: u8,
    respond_at: Option<Instant>,
    responded_at: Option<Instant>,
    /// Unicast answers to give, at most [`UNICAST_PER_SECOND`].
    unicast: VecDeque<SocketAddr>,
    /// The second that `unicast_spent` counts in.
    unicast_since: Instant,
    unicast_spent: usize,
}

impl Schedule {
    /// A link that was just opened: announce and ask at once. RFC 6762 §5.2 would wait up to 120 ms, in case one event
    /// makes many nodes ask in the same moment. What does so here, a rack that boots or a switch that comes back,
    /// scatters them further by itself: processes start, and interfaces are read, seconds apart. What is left is two
    /// packets from each, no answer waits for them, and nobody has to wait for a node that was just started by hand.
    /// The answers, which all give to one question, keep their distance (§6).
    pub(super) fn new(now: Instant) -> Self {
        Self {
            gap: FIRST_GAP,
            next_query: now,
            round_began: None,
            announcements_left: ANNOUNCEMENTS,
            respond_at: Some(now),
            responded_at: None,
            unicast: VecDeque::new(),
            unicast_since: now,
            unicast_spent: 0,
        }
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input, rng: &mut impl Rng) {
        match input {
            Input::Changed => {
                self.announcements_left = ANNOUNCEMENTS;
                self.respond_by(now + scatter(rng));
            }
            Input::Question { from, wants_unicast, is_round, knows_us } => {
                if is_round && self.round_began.is_none_or(|began| now >= began + MIN_BETWEEN) {
                    self.begin_round(now, rng);
                }
                match (knows_us, wants_unicast) {
                    (true, _) => {}
                    (false, true) => self.respond_to(now, from),
                    (false, false) => self.respond_by(now + scatter(rng)),
                }
            }
        }
    }

    /// When something may be due next.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.respond_at.map_or(self.next_query, |at| at.min(self.next_query))
    }

    /// What is due now, one at a time.
    pub(super) fn poll_output(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Output> {
        if let Some(to) = self.unicast.pop_front() {
            return Some(Output::RespondTo(to));
        }
        if self.respond_at.is_some_and(|at| at <= now) {
            self.announcements_left = self.announcements_left.saturating_sub(1);
            self.responded_at = Some(now);
            self.respond_at = (self.announcements_left > 0).then(|| now + MIN_BETWEEN);
            return Some(Output::Respond);
        }
        if self.next_query <= now {
            self.begin_round(now, rng);
            return Some(Output::Query);
        }
        None
    }

    fn begin_round(&mut self, now: Instant, rng: &mut impl Rng) {
        self.round_began = Some(now);
        self.next_query = now + self.gap.mul_f64(rng.random_range(1.0..1.25));
        self.gap = (self.gap * 2).min(MAX_GAP);
    }

    /// A response by `at`, or as soon after it as one may follow the last: askers share one response.
    fn respond_by(&mut self, at: Instant) {
        let at = self.responded_at.map_or(at, |last| at.max(last + MIN_BETWEEN));
        self.respond_at = Some(self.respond_at.map_or(at, |planned| planned.min(at)));
    }

    fn respond_to(&mut self, now: Instant, to: SocketAddr) {
        if now >= self.unicast_since + MIN_BETWEEN {
            (self.unicast_since, self.unicast_spent) = (now, 0);
        }
        if self.unicast_spent < UNICAST_PER_SECOND {
            self.unicast_spent += 1;
            self.unicast.push_back(to);
        }
    }
}

fn scatter(rng: &mut impl Rng) -> Duration {
    Duration::from_millis(rng.random_range(SCATTER_MS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer() -> SocketAddr {
        "192.0.2.9:5353".parse().unwrap()
    }

    fn question() -> Input {
        Input::Question { from: peer(), wants_unicast: false, is_round: true, knows_us: false }
    }

    /// A schedule with its own clock; what it sends is kept with the time since the start.
    struct Run {
        schedule: Schedule,
        rng: StdRng,
        start: Instant,
        now: Instant,
        sent: Vec<(Duration, Output)>,
    }

    impl Run {
        fn new(seed: u64) -> Self {
            let (rng, now) = (StdRng::seed_from_u64(seed), Instant::now());
            Self { schedule: Schedule::new(now), rng, start: now, now, sent: Vec::new() }
        }

        fn until(&mut self, at: Duration) {
            let end = self.start + at;
            while self.schedule.poll_timeout() <= end {
                self.now = self.now.max(self.schedule.poll_timeout());
                self.drain();
            }
            self.now = end;
        }

        fn drain(&mut self) {
            while let Some(output) = self.schedule.poll_output(self.now, &mut self.rng) {
                self.sent.push((self.now - self.start, output));
                if output == Output::Query {
                    self.schedule.handle(self.now, question(), &mut self.rng); // our own echo
                }
            }
        }

        fn handle(&mut self, input: Input) {
            self.schedule.handle(self.now, input, &mut self.rng);
            self.drain();
        }

        fn times(&self, wanted: Output) -> Vec<Duration> {
            self.sent.iter().filter(|(_, output)| *output == wanted).map(|(at, _)| *at).collect()
        }
    }

    #[test]
    fn a_link_that_opens_is_told_and_asked_before_any_time_passes() {
        let mut run = Run::new(5);
        run.drain();
        assert_eq!(run.sent, [(Duration::ZERO, Output::Respond), (Duration::ZERO, Output::Query)]);
    }

    #[test]
    fn a_lone_node_asks_at_once_then_ever_more_slowly() {
        let mut run = Run::new(1);
        run.until(Duration::from_secs(600));
        let asked = run.times(Output::Query);
        assert_eq!(asked[0], Duration::ZERO);
        for (pair, gap) in asked.windows(2).zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
            let (gap, between) = (SECOND * gap, pair[1] - pair[0]);
            assert!(gap <= between && between <= gap.mul_f64(1.25), "{between:?} for {gap:?}");
        }
        assert!(asked.len() > 12);
    }

    #[test]
    fn a_start_is_announced_twice_and_so_is_a_change() {
        let mut run = Run::new(2);
        // No echo here, so nothing but the announcements is said.
        let mut said = Vec::new();
        let end = run.start + 3 * SECOND;
        while run.schedule.poll_timeout() < end {
            run.now = run.schedule.poll_timeout();
            while let Some(output) = run.schedule.poll_output(run.now, &mut run.rng) {
                if output == Output::Respond {
                    said.push(run.now - run.start);
                }
            }
        }
        assert_eq!(said.len(), 2);
        assert_eq!(said, [Duration::ZERO, MIN_BETWEEN]);
        run.now = end;
        run.handle(Input::Changed);
        let before = run.times(Output::Respond).len();
        run.until(6 * SECOND);
        assert!(run.times(Output::Respond).len() >= before + 2);
    }

    #[test]
    fn a_link_of_many_nodes_has_one_round_a_minute() {
        let mut runs: Vec<Run> = (0..50).map(Run::new).collect();
        let start = runs[0].start;
        runs.iter_mut().for_each(|run| (run.start, run.now) = (start, start));
        let mut asked = Vec::new();
        while let Some(next) = runs.iter().map(|run| run.schedule.poll_timeout()).min() {
            if next > start + Duration::from_secs(600) {
                break;
            }
            let mut questions = 0;
            for run in &mut runs {
                run.now = run.now.max(next);
                while let Some(output) = run.schedule.poll_output(run.now, &mut run.rng) {
                    questions += usize::from(output == Output::Query);
                }
            }
            for _ in 0..questions {
                asked.push(next - start);
                runs.iter_mut().for_each(|run| run.schedule.handle(run.now, question(), &mut run.rng));
            }
        }
        let late = asked.iter().filter(|at| **at > Duration::from_secs(120)).count();
        assert!((6..=9).contains(&late), "{late} questions of 50 nodes in eight minutes");
        assert!(asked.len() < 20, "{} questions of 50 nodes in ten minutes", asked.len());
    }

    #[test]
    fn whoever_knows_us_gets_no_answer() {
        let mut run = Run::new(3);
        run.until(5 * SECOND);
        let before = run.sent.len();
        run.handle(Input::Question { from: peer(), wants_unicast: false, is_round: false, knows_us: true });
        run.handle(Input::Question { from: peer(), wants_unicast: true, is_round: false, knows_us: true });
        assert_eq!(run.schedule.respond_at, None);
        assert_eq!(run.sent.len(), before);
    }

    #[test]
    fn unicast_is_answered_at_once_up_to_a_limit() {
        let mut run = Run::new(4);
        let ask = Input::Question { from: peer(), wants_unicast: true, is_round: false, knows_us: false };
        for _ in 0..100 {
            run.handle(ask);
        }
        assert_eq!(run.times(Output::RespondTo(peer())).len(), UNICAST_PER_SECOND);
        run.until(2 * SECOND);
        run.handle(ask);
        assert_eq!(run.times(Output::RespondTo(peer())).len(), UNICAST_PER_SECOND + 1);
    }

    proptest! {
        #[test]
        fn responses_keep_their_distance_and_everyone_is_answered(
            seed: u64,
            asks in prop::collection::vec(0u64..20_000, 0..60),
        ) {
            let mut run = Run::new(seed);
            let mut asks: Vec<Duration> = asks.into_iter().map(Duration::from_millis).collect();
            asks.sort_unstable();
            for at in &asks {
                run.until(*at);
                run.handle(question());
            }
            run.until(Duration::from_secs(30));
            let said = run.times(Output::Respond);
            for pair in said.windows(2) {
                prop_assert!(pair[1] - pair[0] >= MIN_BETWEEN);
            }
            for ask in asks {
                let soon = ask..=ask + MIN_BETWEEN + Duration::from_millis(SCATTER_MS.end);
                prop_assert!(said.iter().any(|at| soon.contains(at)), "asked at {:?}, said at {:?}", ask, said);
            }
        }
    }
}
