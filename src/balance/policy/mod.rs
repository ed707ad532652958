//! How a front picks among those that can take a request.
//!
//! A policy gives each of the field a **score**, the least of which wins, and has nothing else to say: whether somebody
//! can take work, has a free slot or the model is decided before it is asked, the same for all.

mod least_used;
mod p2c;
mod peak_ewma;
mod prequal;
mod random;
mod sticky;

use std::{fmt, str::FromStr, time::Duration};

use rand::Rng;

use super::{Ask, contender::Contender, selection::least};

/// How a front picks among the endpoints that can take a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The least used relative to what it can take. Where slots are known: the fastest with a free slot; with none free the
    /// one that is done with what it has soonest. Where they are not: fewest in flight, then fewest requests since the
    /// endpoint became ready, then at random. All relative to the weight that the worker asks for.
    #[default]
    LeastUsed,
    /// At random, in proportion to the weights.
    Random,
    /// One after another, as often as the weights say.
    RoundRobin,
    /// Of two drawn at random in proportion to the weights, the one with fewer in flight of this front.
    P2c,
    /// The least of latency times what is in flight: the latency that this front saw, quick to believe the worse.
    PeakEwma,
    /// Of those with usual load the one with the least latency; those with the most in flight only if there is nobody else.
    Prequal,
    /// The same worker for the same client, header or cookie, as long as it has no more than 1.25 times its part.
    Sticky,
}

/// The text names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a policy; choose least-used, random, round-robin, p2c, peak-ewma, prequal, sticky or external:URL"
)]
pub struct ParsePolicyError(String);

impl Policy {
    /// All there are, the default first.
    pub const ALL: [Self; 7] =
        [Self::LeastUsed, Self::Random, Self::RoundRobin, Self::P2c, Self::PeakEwma, Self::Prequal, Self::Sticky];

    /// As users name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeastUsed => "least-used",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::P2c => "p2c",
            Self::PeakEwma => "peak-ewma",
            Self::Prequal => "prequal",
            Self::Sticky => "sticky",
        }
    }

    /// Gives each of the field its score.
    pub(super) fn score(self, now: Duration, field: &mut [Contender<'_>], ask: &Ask) {
        match self {
            Self::LeastUsed => least_used::score(field),
            Self::Random => random::score(field),
            Self::RoundRobin => field.iter_mut().for_each(|contender| contender.score = contender.endpoint.share),
            Self::P2c => p2c::score(field),
            Self::PeakEwma => peak_ewma::score(now, field),
            Self::Prequal => prequal::score(field),
            Self::Sticky => sticky::score(field, ask.key.unwrap_or(ask.client)),
        }
    }

    /// The place of its choice among those that have their scores.
    pub(super) fn choose(self, field: &[Contender<'_>], rng: &mut impl Rng) -> usize {
        match self {
            Self::Random => random::choose(field, rng),
            Self::P2c => p2c::choose(field, rng),
            _ => least(field, rng),
        }
    }

    /// Keeps prompts that begin alike together. The others have their own idea of who goes where.
    pub(super) fn heeds_prompts(self) -> bool {
        matches!(self, Self::LeastUsed | Self::P2c | Self::PeakEwma | Self::Prequal)
    }

    /// What decided, if somebody of `field` could take work.
    pub(super) fn because(self, field: &[Contender<'_>]) -> &'static str {
        match self {
            Self::LeastUsed if field.iter().any(|contender| contender.slots > 0) => "a free slot, fastest first",
            Self::LeastUsed => "fewest in flight",
            Self::Random => "at random",
            Self::RoundRobin => "its turn",
            Self::P2c => "fewer in flight of two",
            Self::PeakEwma => "least latency times load",
            Self::Prequal => "least latency among those with usual load",
            Self::Sticky => "its client's worker, within the bound",
        }
    }

    /// What decided, if nobody could take work at once.
    pub(super) fn because_busy(self) -> &'static str {
        match self {
            Self::LeastUsed => "no slot is free: least expected drain",
            _ => "no slot is free: the policy's first",
        }
    }
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let policy = Self::ALL.into_iter().find(|policy| policy.name() == text);
        policy.ok_or_else(|| ParsePolicyError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_print_as_they_parse() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
    }

    #[test]
    fn what_is_no_policy_is_told_what_is_one() {
        for text in ["Least-Used", "", "leastconn", "p2c "] {
            let error = text.parse::<Policy>().unwrap_err().to_string();
            assert!(Policy::ALL.iter().all(|policy| error.contains(policy.name())), "{error}");
        }
        assert!("x".repeat(9999).parse::<Policy>().unwrap_err().to_string().len() < 200);
    }
}
