//! What the operator may choose.

use std::time::Duration;

use crate::{
    IssuerKey, NetworkId,
    record::{TTL_MAX, TTL_MIN},
};

/// The settings of a [`Ledger`](crate::Ledger). [`Config::new`] gives the ones that suit most networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network; records of others are refused.
    pub network: NetworkId,
    /// The token's generation; records of others are ignored, until a decree begins a new one.
    pub generation: u32,
    /// Who says what nodes may do. None in an open network: whoever holds the token may do everything.
    pub issuer: Option<IssuerKey>,
    /// How long this node's record counts as fresh at the others after the last word of it arrived. 60 s to 1 h, whole
    /// seconds; 420 s. Longer survives longer partitions, shorter hides a node that died silently sooner. In a network of
    /// more than 1200 nodes it is longer: see [`pace`](Self::pace).
    pub ttl: Duration,
    /// How often this node renews its record, ± 20 %. 15 s to a third of `ttl`, so that two may be lost; 120 s.
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
/// How much slower each owner in the ledger makes everybody renew: ten renewals a second in all, whatever their number,
/// which every node has to receive.
const RENEW_PER_OWNER: Duration = Duration::from_millis(100);
/// What a record outlives three renewals by.
const TTL_RESERVE: Duration = Duration::from_secs(60);
/// Longest time that a silent node stays in sight, and longest tolerance of dates.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// The usual settings for one network.
    pub const fn new(network: NetworkId, generation: u32) -> Self {
        Self {
            network,
            generation,
            issuer: None,
            ttl: Duration::from_secs(420),
            renew_interval: Duration::from_secs(120),
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

    /// How often to renew, and how long a record counts as fresh, in a ledger of so many owners: a tenth of a second for
    /// each owner, and three times that with a minute to spare, where the settings are less.
    pub fn pace(&self, owners: usize) -> (Duration, Duration) {
        let slowest = (TTL_MAX - TTL_RESERVE) / 3;
        let owners = u32::try_from(owners).unwrap_or(u32::MAX);
        let renew = self.renew_interval.max(RENEW_PER_OWNER.saturating_mul(owners).min(slowest));
        let needed = if renew > self.renew_interval { renew * 3 + TTL_RESERVE } else { Duration::ZERO };
        (renew, self.ttl.max(needed))
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
    fn a_large_network_renews_more_slowly_and_never_too_late() {
        let usual = Config::new(NetworkId([0; 16]), 0);
        let pace = |owners| (usual.pace(owners).0.as_secs(), usual.pace(owners).1.as_secs());
        assert_eq!(pace(0), (120, 420));
        assert_eq!(pace(1200), (120, 420));
        assert_eq!(pace(2000), (200, 660));
        assert_eq!(pace(10_000), (1000, 3060));
        assert_eq!(pace(1_000_000), (1180, 3600));
        let still = Config { ttl: TTL_MAX, renew_interval: Duration::from_secs(1200), ..usual };
        assert_eq!(still.pace(20_000), (Duration::from_secs(1200), TTL_MAX));
    }

    #[test]
    fn what_is_out_of_bounds_is_named_and_clamped() {
        let usual = Config::new(NetworkId([0; 16]), 0);
        let quick = Config { renew_interval: Duration::from_secs(200), ..usual };
        assert_eq!(quick.check().unwrap_err().to_string(), "renew_interval is 200s, not 15s to 140s");
        assert_eq!(quick.clamped().check(), Ok(()));
        let fraction = Config { ttl: Duration::from_millis(60_500), ..usual };
        assert!(fraction.check().is_err());
        assert_eq!(fraction.clamped().ttl, TTL_MIN);
    }
}
