//! When to ping, and when to say that there is no answer. Pure: time and chance are arguments.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Between two pings of a member that is pinged often. With [`PATIENCE`] it bounds how long clients are sent to a member
/// that has stopped: 7.5 s.
const OFTEN: Duration = Duration::from_millis(3500);

/// Between two pings of the others, ± a quarter. One costs half a kilobyte on the wire with all that carries it. Nobody waits
/// for the outcome: sync and gossip go on with the other neighbours.
const RARELY: Duration = Duration::from_secs(15);

/// No answer within this is told, and told again after as long. Two retransmissions fit in, and a machine that was out of
/// breath for a moment.
pub(in crate::net) const PATIENCE: Duration = Duration::from_secs(4);

/// How much a member matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Pace {
    Often,
    Rarely,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Ping,
    /// The last ping is not answered yet.
    TellSilence,
}

/// One connection's state.
#[derive(Debug)]
pub(super) struct Beat {
    pace: Pace,
    rng: StdRng,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { until: Duration },
    Asked { at: Duration, told: u32 },
}

impl Beat {
    /// The first ping is due at once: everybody wants to know the round trip.
    pub(super) fn new(now: Duration, pace: Pace, seed: u64) -> Self {
        Self { pace, rng: StdRng::seed_from_u64(seed), state: State::Resting { until: now } }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Duration {
        match self.state {
            State::Resting { until } => until,
            State::Asked { at, told } => at + PATIENCE * (told + 1),
        }
    }

    /// What there is to do.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Act> {
        if now < self.due() {
            return None;
        }
        match &mut self.state {
            State::Resting { .. } => {
                self.state = State::Asked { at: now, told: 0 };
                Some(Act::Ping)
            }
            State::Asked { told, .. } => {
                *told = told.saturating_add(1);
                Some(Act::TellSilence)
            }
        }
    }

    /// The ping was answered. The round trip.
    pub(super) fn answered(&mut self, now: Duration) -> Option<Duration> {
        let State::Asked { at, .. } = self.state else { return None };
        self.state = State::Resting { until: now + self.interval() };
        Some(now.saturating_sub(at))
    }

    /// The peer pinged, so it lives.
    pub(super) fn heard(&mut self, now: Duration) {
        if self.pace == Pace::Rarely
            && let State::Resting { until } = self.state
        {
            self.state = State::Resting { until: until.max(now + self.interval()) };
        }
    }

    /// It matters more, or less, from now on.
    pub(super) fn set_pace(&mut self, now: Duration, pace: Pace) {
        self.pace = pace;
        if let State::Resting { until } = self.state {
            self.state = State::Resting { until: until.min(now + self.interval()) };
        }
    }

    fn interval(&mut self) -> Duration {
        match self.pace {
            Pace::Often => OFTEN,
            Pace::Rarely => RARELY.mul_f64(self.rng.random_range(0.75..1.25)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn answered(pace: Pace, seed: u64) -> Beat {
        let mut beat = Beat::new(S, pace, seed);
        assert_eq!(beat.poll(S), Some(Act::Ping));
        assert_eq!(beat.answered(S + S / 100), Some(S / 100));
        beat
    }

    #[test]
    fn a_member_that_stops_is_told_within_eight_seconds_where_it_matters() {
        let mut beat = answered(Pace::Often, 1);
        let mut now = S;
        let mut told = Vec::new();
        while told.len() < 3 {
            now = beat.due();
            if beat.poll(now) == Some(Act::TellSilence) {
                told.push(now - S);
            }
        }
        assert!(told[0] < 8 * S, "{told:?}");
        assert_eq!(told[2] - told[1], PATIENCE, "and again");
        assert_eq!(beat.poll(now), None, "once each time");
        assert!(beat.answered(now + S).unwrap() > 2 * PATIENCE, "it was frozen, and goes on");
        assert_eq!(beat.due(), now + S + OFTEN);
    }

    #[test]
    fn two_ends_to_which_the_other_is_one_of_many_ping_about_once_in_fifteen_seconds_together() {
        let mut ends = [answered(Pace::Rarely, 1), answered(Pace::Rarely, 2)];
        let mut pings = [0_u32; 2];
        for now in (1..9000).map(|n| n * S / 10) {
            for this in 0..2 {
                if ends[this].poll(now) == Some(Act::Ping) {
                    pings[this] += 1;
                    ends[1 - this].heard(now);
                    ends[this].answered(now);
                }
            }
        }
        let together = pings[0] + pings[1];
        assert!((55..80).contains(&together) && pings.iter().all(|pings| *pings > 10), "{pings:?} in 900 s");
    }

    #[test]
    fn who_is_pinged_often_does_not_ping_back() {
        let (mut front, mut worker) = (answered(Pace::Often, 1), answered(Pace::Rarely, 2));
        let mut pings = [0_u32; 2];
        for now in (1..1000).map(|n| n * S / 10) {
            if front.poll(now) == Some(Act::Ping) {
                pings[0] += 1;
                worker.heard(now);
                front.answered(now);
            }
            if worker.poll(now).is_some() {
                pings[1] += 1;
            }
        }
        assert!(pings[0] > 25 && pings[1] == 0, "{pings:?}");
    }

    #[test]
    fn a_change_of_pace_is_felt_at_once() {
        let mut beat = answered(Pace::Rarely, 1);
        beat.set_pace(2 * S, Pace::Often);
        assert_eq!(beat.due(), 2 * S + OFTEN);
        beat.set_pace(2 * S, Pace::Rarely);
        assert_eq!(beat.due(), 2 * S + OFTEN, "the next one is as it was; those after it are rare");
    }
}
