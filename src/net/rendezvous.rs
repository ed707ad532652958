//! Where nodes of a network meet in the DHT, and when to look there. Pure: time and chance are arguments.
//!
//! A rendezvous is a text that the token yields for each window of time; its DHT key is the SHA-256 multihash of that
//! text (edgevpn's form, so that one token meets edgevpn too). The current and the previous window's are advertised and
//! searched, so that two nodes on either side of a change, or with clocks a little off, still meet; older ones are
//! withdrawn.
//!
//! One round = advertise and search each key. A round comes at the start, right after each change, and then after growing
//! waits: often while the node is alone, rarely once it has company.

use std::time::Duration;

use libp2p::kad::RecordKey;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

use crate::token::Windows;

/// The first wait between rounds; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Between rounds while nobody is connected.
const ALONE_MAX: Duration = Duration::from_secs(30);

/// Between rounds otherwise: finds the other half of a network that was split, at little cost to the public DHT.
const ACCOMPANIED_MAX: Duration = Duration::from_secs(300);

/// What to do at the DHT.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Advertise this node under the key, and search it for others.
    Meet(RecordKey),
    /// Stop advertising.
    Withdraw(RecordKey),
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Rendezvous {
    rng: StdRng,
    /// Advertised now: the current window's and the previous one's.
    keys: Vec<RecordKey>,
    next: Duration,
    wait: Duration,
}

impl Rendezvous {
    pub(super) fn new(now: Duration, seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), keys: Vec::new(), next: now, wait: FIRST_WAIT }
    }

    /// Something changed that makes a round worth it now: a server of the DHT was reached, or all peers are lost.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.wait = FIRST_WAIT;
        self.next = self.next.min(now + FIRST_WAIT.mul_f64(self.rng.random_range(0.0..0.25)));
    }

    /// Whatever is due, given the rendezvous texts of the current and the previous window and whether members are
    /// connected.
    pub(super) fn steps(&mut self, now: Duration, current: &str, previous: &str, accompanied: bool) -> Vec<Step> {
        let mut wanted = vec![key(current)];
        if previous != current {
            wanted.push(key(previous));
        }
        let changed = wanted != self.keys;
        if !changed && now < self.next {
            return Vec::new();
        }
        let mut steps: Vec<_> =
            self.keys.iter().filter(|key| !wanted.contains(key)).cloned().map(Step::Withdraw).collect();
        steps.extend(wanted.iter().cloned().map(Step::Meet));
        if changed {
            // Others change at the same instant and may be a moment late: look again soon.
            self.wait = FIRST_WAIT;
        }
        self.keys = wanted;
        self.next = now + self.wait.mul_f64(self.rng.random_range(0.75..1.25));
        self.wait = (self.wait * 2).min(if accompanied { ACCOMPANIED_MAX } else { ALONE_MAX });
        steps
    }
}

/// Whether a DHT key is that of one of these rendezvous.
pub(super) fn is_key_of(key: &RecordKey, places: &Windows<String>) -> bool {
    places.iter().any(|place| self::key(place) == *key)
}

/// The DHT key of a rendezvous text: the multihash `0x12 0x20 ‖ SHA-256(text)`.
fn key(text: &str) -> RecordKey {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend_from_slice(&Sha256::digest(text));
    RecordKey::from(multihash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_key_is_edgevpns() {
        let hex = "122048ffd43c88e34263f9525e64e799ae0a8fe5cdbb85c7c18be89cc621259a361b";
        let bytes = key("d57f519ec2276f43871b30ba8e2b4ee1").to_vec();
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
    }

    #[test]
    fn keys_are_those_of_a_running_edgevpn() {
        for of in crate::edgevpn::vectors::both().iter().flat_map(|vectors| &vectors.tokens) {
            assert_eq!(key(&of.rendezvous).to_vec(), crate::edgevpn::vectors::unhex(&of.dht_key));
        }
    }

    #[test]
    fn both_windows_are_met_at_once_after_a_change_and_the_oldest_is_withdrawn() {
        let mut rendezvous = Rendezvous::new(S, 1);
        assert_eq!(rendezvous.steps(S, "b", "a", true), [Step::Meet(key("b")), Step::Meet(key("a"))]);
        assert_eq!(rendezvous.steps(S, "b", "a", true), []);
        assert_eq!(
            rendezvous.steps(S + S / 10, "c", "b", true),
            [Step::Withdraw(key("a")), Step::Meet(key("c")), Step::Meet(key("b"))]
        );
    }

    #[test]
    fn strangers_can_fill_this_networks_places_alone() {
        let [previous, current, next] = ["a", "b", "c"].map(str::to_owned);
        let places = Windows { previous, current, next };
        assert!(["a", "b", "c"].iter().all(|text| is_key_of(&key(text), &places)));
        assert!(!is_key_of(&key("d"), &places));
    }

    #[test]
    fn a_token_without_rotation_meets_at_one_place() {
        let mut rendezvous = Rendezvous::new(S, 1);
        assert_eq!(rendezvous.steps(S, "still", "still", false), [Step::Meet(key("still"))]);
    }

    #[test]
    fn rounds_grow_rarer_and_stay_more_frequent_while_alone() {
        let count = |accompanied| {
            let mut rendezvous = Rendezvous::new(Duration::ZERO, 1);
            (0..3600).filter(|&t| !rendezvous.steps(t * S, "a", "b", accompanied).is_empty()).count()
        };
        let (alone, accompanied) = (count(false), count(true));
        assert!((100..300).contains(&alone), "{alone}");
        assert!((12..40).contains(&accompanied), "{accompanied}");
    }

    #[test]
    fn hurry_brings_the_next_round_forward() {
        let mut rendezvous = Rendezvous::new(Duration::ZERO, 1);
        for t in 0..100 {
            rendezvous.steps(t * S, "a", "b", true);
        }
        rendezvous.hurry(100 * S);
        assert!(!rendezvous.steps(101 * S, "a", "b", true).is_empty());
    }
}
