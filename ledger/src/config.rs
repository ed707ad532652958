//! What the operator may choose.

use std::time::Duration;

use crate::{
    NetworkId,
    record::{TTL_MAX, TTL_MIN},
};

/// The settings of a [`Ledger`](crate::Ledger). [`Config::new`] gives the ones that suit most networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network; records of others are refused.
    pub network: NetworkId,
    /// The token's generation; records of others are ignored.
    pub generation: u32,
    /// How long this node's record counts as fresh at the others after the last one arrived. 60 s to 1 h, whole
    /// seconds; 240 s. Longer survives longer partitions, shorter hides a node that died silently sooner.
    pub ttl: Duration,
    /// How often this node signs its record anew, ± 20 %. 15 s to a third of `ttl`, so that two may be lost; 60 s.
    pub renew_interval: Duration,
    /// How often this node compares ledgers with one connected peer picked at random, ± 20 %. 1 s to 1 min; 5 s.
    /// Shorter repairs losses sooner and costs more when idle.
    pub sync_interval: Duration,
    /// How long a node that is no longer fresh stays in the view, for people to see. 0 to 24 h; 10 min.
    pub forget_after: Duration,
    /// How far ahead of this node's wall clock a record may be dated when its owner is first seen. 24 h: clocks that
    /// are off by a time zone or a day still work together.
    pub issued_ahead_max: Duration,
    /// How old by this node's wall clock a record may be when its owner is first seen. 24 h: what was captured before
    /// is refused as a replay.
    pub issued_age_max: Duration,
    /// Nodes in the ledger; 20 000.
    pub owners_max: usize,
    /// Bytes of all records and evidence as they travel; 64 MiB. Decoded they take about three times as much.
    pub bytes_max: usize,
    /// Gossip messages per second that one peer may pass on; 50. What is above is ignored: the sync repairs it.
    pub sender_rate: u32,
    /// Gossip messages that one peer may pass on at once; 200, the burst after a partition heals.
    pub sender_burst: u32,
}

/// A setting is out of its bounds. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value:?}, not {min:?} to {max:?}")]
pub struct ConfigError {
    setting: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
}

/// Shortest interval of renewals: fsync and spreading cost more than they tell below it.
const RENEW_MIN: Duration = Duration::from_secs(15);
/// Shortest interval of syncs: below it, idle networks talk of nothing else.
const SYNC_MIN: Duration = Duration::from_secs(1);
/// Longest interval of syncs: renewals travel by sync, and have to cross the network several times within a TTL.
const SYNC_MAX: Duration = Duration::from_secs(60);
/// Longest time that a silent node stays in sight, and longest tolerance of dates.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// The usual settings for one network.
    pub const fn new(network: NetworkId, generation: u32) -> Self {
        Self {
            network,
            generation,
            ttl: Duration::from_secs(240),
            renew_interval: Duration::from_secs(60),
            sync_interval: Duration::from_secs(5),
            forget_after: Duration::from_secs(10 * 60),
            issued_ahead_max: DAY,
            issued_age_max: DAY,
            owners_max: 20_000,
            bytes_max: 64 * 1024 * 1024,
            sender_rate: 50,
            sender_burst: 200,
        }
    }

    /// Whether every duration is within its bounds. [`Ledger::new`](crate::Ledger::new) clamps what is not.
    ///
    /// # Errors
    /// The first setting that is out of its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let clamped = self.clamped();
        let table = [
            ("ttl", self.ttl, clamped.ttl, TTL_MIN, TTL_MAX),
            ("renew_interval", self.renew_interval, clamped.renew_interval, RENEW_MIN, clamped.ttl / 3),
            ("sync_interval", self.sync_interval, clamped.sync_interval, SYNC_MIN, SYNC_MAX),
            ("forget_after", self.forget_after, clamped.forget_after, Duration::ZERO, DAY),
            ("issued_ahead_max", self.issued_ahead_max, clamped.issued_ahead_max, Duration::ZERO, DAY),
            ("issued_age_max", self.issued_age_max, clamped.issued_age_max, Duration::ZERO, DAY),
        ];
        match table.into_iter().find(|(_, value, clamped, ..)| value != clamped) {
            None => Ok(()),
            Some((setting, value, _, min, max)) => Err(ConfigError { setting, value, min, max }),
        }
    }

    /// The nearest settings that are within their bounds.
    pub(crate) fn clamped(mut self) -> Self {
        self.ttl = Duration::from_secs(self.ttl.clamp(TTL_MIN, TTL_MAX).as_secs());
        self.renew_interval = self.renew_interval.clamp(RENEW_MIN, self.ttl / 3);
        self.sync_interval = self.sync_interval.clamp(SYNC_MIN, SYNC_MAX);
        self.forget_after = self.forget_after.min(DAY);
        self.issued_ahead_max = self.issued_ahead_max.min(DAY);
        self.issued_age_max = self.issued_age_max.min(DAY);
        self.owners_max = self.owners_max.max(1);
        self.sender_rate = self.sender_rate.max(1);
        self.sender_burst = self.sender_burst.max(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_settings_are_valid() {
        let usual = Config::new(NetworkId([0; 16]), 0);
        assert_eq!(usual.check(), Ok(()));
        assert_eq!(usual.clamped(), usual);
    }

    #[test]
    fn what_is_out_of_bounds_is_named_and_clamped() {
        let usual = Config::new(NetworkId([0; 16]), 0);
        let quick = Config { renew_interval: Duration::from_secs(100), ..usual };
        assert_eq!(quick.check().unwrap_err().to_string(), "renew_interval is 100s, not 15s to 80s");
        assert_eq!(quick.clamped().check(), Ok(()));
        let fraction = Config { ttl: Duration::from_millis(60_500), ..usual };
        assert!(fraction.check().is_err());
        assert_eq!(fraction.clamped().ttl, TTL_MIN);
    }
}
