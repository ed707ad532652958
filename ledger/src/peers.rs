//! The peers that are up: what they may pass on, and when to sync with whom.
//!
//! A sync takes place soon after a peer came up (the side with the smaller id opens it, so that one is enough), and
//! with one peer picked at random every [`Config::sync_interval`]; after a time alone it begins with a fifth of that, since
//! nodes that start together know little of each other after their first syncs. All is jittered, the first one the more
//! peers are up, so that a healed partition is no stampede and two nodes that meet need not wait.

use std::{collections::BTreeMap, time::Duration};

use crate::{Config, NodeId, bucket::Bucket, dice::Dice};

/// Peers that are up at once; connections have lower limits. What is above is not listened to.
const PEERS_MAX: usize = 4096;
/// How long after a peer came up the first sync may wait, for each other peer that is up. The first one is synced with at
/// once: a node that just started has nothing, and somebody waits for it. With many, whoever comes up is met by all of
/// them, and the first sync leaves little for the others to say.
const FIRST_SYNC_STEP: Duration = Duration::from_millis(5);
/// How long it may wait however many are up.
const FIRST_SYNC_WITHIN: Duration = Duration::from_secs(1);
/// The part of the interval after which the first sync with a random peer takes place.
const EAGER: u32 = 5;
/// How long a stream may take to open before another try.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Sessions that a peer may open: honest ones open one per interval, and one per connection.
const OPENS: Bucket = Bucket::new(Duration::from_secs(1), 8);

#[derive(Debug)]
struct Peer {
    gossip: Bucket,
    /// Messages above its rate since it came up.
    dropped: u32,
    /// When to open the first sync, if that is for this node to do.
    first_sync: Option<Duration>,
    /// Until when a stream asked for may still open.
    opening: Option<Duration>,
    opens: Bucket,
}

#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    up: BTreeMap<NodeId, Peer>,
    sync_interval: Duration,
    /// What the interval is now: it doubles up to `sync_interval`.
    interval: Duration,
    gossip: Bucket,
    sender_burst: u32,
    /// When to sync with a random peer.
    next_sync: Duration,
}

/// Whether a gossip message may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Granted,
    /// Above the peer's rate. `told`: time to complain.
    Exceeded {
        told: bool,
    },
    /// The peer is not up.
    Stranger,
}

impl Peers {
    pub(crate) fn new(config: &Config, me: NodeId) -> Self {
        let period = Duration::from_secs(1) / config.sender_rate;
        let gossip = Bucket::new(period, config.sender_burst);
        Self {
            me,
            up: BTreeMap::new(),
            sync_interval: config.sync_interval,
            interval: config.sync_interval / EAGER,
            gossip,
            sender_burst: config.sender_burst,
            next_sync: Duration::ZERO,
        }
    }

    /// A peer came up. `false`: it already was, or there are too many.
    pub(crate) fn up(&mut self, now: Duration, peer: NodeId, dice: &mut Dice) -> bool {
        if peer == self.me || self.up.contains_key(&peer) || self.up.len() >= PEERS_MAX {
            return false;
        }
        if self.up.is_empty() {
            self.interval = self.sync_interval / EAGER;
            self.next_sync = now + dice.around(self.interval);
        }
        let others = u32::try_from(self.up.len()).unwrap_or(u32::MAX);
        let within = FIRST_SYNC_STEP.saturating_mul(others).min(FIRST_SYNC_WITHIN);
        let first_sync = (self.me < peer).then(|| now + dice.up_to(within));
        self.up.insert(peer, Peer { gossip: self.gossip, dropped: 0, first_sync, opening: None, opens: OPENS });
        true
    }

    pub(crate) fn down(&mut self, peer: &NodeId) -> bool {
        self.up.remove(peer).is_some()
    }

    pub(crate) fn is_up(&self, peer: &NodeId) -> bool {
        self.up.contains_key(peer)
    }

    /// Charges a gossip message to the peer that passed it on.
    pub(crate) fn charge(&mut self, now: Duration, peer: &NodeId) -> Leave {
        let Some(peer) = self.up.get_mut(peer) else { return Leave::Stranger };
        if peer.gossip.take(now) {
            return Leave::Granted;
        }
        let told = peer.dropped.checked_rem(self.sender_burst) == Some(0);
        peer.dropped = peer.dropped.wrapping_add(1);
        Leave::Exceeded { told }
    }

    /// Whether the peer may open one more session.
    pub(crate) fn may_open(&mut self, now: Duration, peer: &NodeId) -> bool {
        self.up.get_mut(peer).is_some_and(|peer| peer.opens.take(now))
    }

    /// A stream to the peer is being opened, unless one already is.
    pub(crate) fn opening(&mut self, now: Duration, peer: &NodeId) -> bool {
        match self.up.get_mut(peer) {
            Some(peer) if peer.opening.is_none_or(|until| until <= now) => {
                peer.opening = Some(now + OPEN_WITHIN);
                true
            }
            _ => false,
        }
    }

    /// The stream to the peer is open.
    pub(crate) fn opened(&mut self, peer: &NodeId) {
        if let Some(peer) = self.up.get_mut(peer) {
            peer.opening = None;
        }
    }

    /// With whom to sync now.
    pub(crate) fn due(&mut self, now: Duration, dice: &mut Dice) -> Vec<NodeId> {
        let mut due = Vec::new();
        for (id, peer) in &mut self.up {
            if peer.first_sync.take_if(|at| *at <= now).is_some() {
                due.push(*id);
            }
        }
        if self.next_sync <= now {
            self.interval = (2 * self.interval).min(self.sync_interval);
            self.next_sync = now + dice.around(self.interval);
            due.extend(self.up.keys().nth(dice.place(self.up.len())));
        }
        due
    }

    /// When somebody is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let first = self.up.values().filter_map(|peer| peer.first_sync).min();
        let next = (!self.up.is_empty()).then_some(self.next_sync);
        first.into_iter().chain(next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetworkId;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn peers() -> (Peers, Dice) {
        (Peers::new(&Config::new(NetworkId([0; 16]), 0), node(5)), Dice::new(3))
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_peer_is_synced_with_at_once_and_a_crowd_within_a_second() {
        let mut dice = Dice::new(3);
        let mut peers = Peers::new(&Config::new(NetworkId([0; 16]), 0), node(0));
        assert!(peers.up(s(10), node(255), &mut dice));
        assert_eq!(peers.deadline(), Some(s(10)));
        assert_eq!(peers.due(s(10), &mut dice), [node(255)]);
        (1..=254).for_each(|n| assert!(peers.up(s(10), node(n), &mut dice)));
        let early = peers.due(s(10) + Duration::from_millis(200), &mut dice).len();
        assert!((10..200).contains(&early), "{early} of 254 in the first 200 ms");
        assert_eq!(early + peers.due(s(11), &mut dice).len(), 254);
    }

    #[test]
    fn the_smaller_id_opens_the_first_sync_within_a_second() {
        let (mut peers, mut dice) = peers();
        assert_eq!(peers.deadline(), None);
        assert!(peers.up(s(10), node(9), &mut dice));
        assert!(peers.up(s(10), node(1), &mut dice));
        assert!(!peers.up(s(10), node(1), &mut dice), "twice");
        assert!(!peers.up(s(10), node(5), &mut dice), "itself");
        let first = peers.deadline().unwrap();
        assert!((s(10)..s(11)).contains(&first));
        assert_eq!(peers.due(first, &mut dice), [node(9)]);
    }

    #[test]
    fn later_syncs_reach_every_peer_at_their_interval() {
        let (mut peers, mut dice) = peers();
        (6..9).for_each(|n| assert!(peers.up(s(0), node(n), &mut dice)));
        let mut early = Vec::new();
        while early.len() < 3 {
            early.push(peers.deadline().unwrap());
            peers.due(*early.last().unwrap(), &mut dice);
        }
        assert!(early[2] < s(9), "at first a little sooner: {early:?}");
        let mut met = std::collections::BTreeSet::new();
        let mut last = early[2];
        while peers.deadline().unwrap() < s(9) {
            last = peers.deadline().unwrap();
            peers.due(last, &mut dice);
        }
        for _ in 0..40 {
            let at = peers.deadline().unwrap();
            assert!((s(4)..=s(6)).contains(&(at - last)), "{:?}", at - last);
            last = at;
            met.extend(peers.due(at, &mut dice));
        }
        assert_eq!(met.len(), 3);
        (6..9).for_each(|n| assert!(peers.down(&node(n))));
        assert_eq!(peers.deadline(), None);
    }

    #[test]
    fn a_flood_is_cut_and_told_once_per_burst() {
        let (mut peers, mut dice) = peers();
        assert_eq!(peers.charge(s(0), &node(1)), Leave::Stranger);
        peers.up(s(0), node(1), &mut dice);
        let leaves: Vec<_> = (0..600).map(|_| peers.charge(s(0), &node(1))).collect();
        assert_eq!(leaves.iter().filter(|leave| **leave == Leave::Granted).count(), 200);
        assert_eq!(leaves.iter().filter(|leave| **leave == Leave::Exceeded { told: true }).count(), 2);
        assert_eq!((0..100).filter(|_| peers.charge(s(1), &node(1)) == Leave::Granted).count(), 50);
    }

    #[test]
    fn a_stream_that_never_opens_is_tried_again() {
        let (mut peers, mut dice) = peers();
        peers.up(s(0), node(1), &mut dice);
        assert!(peers.opening(s(0), &node(1)));
        assert!(!peers.opening(s(9), &node(1)));
        assert!(peers.opening(s(10), &node(1)));
        peers.opened(&node(1));
        assert!(peers.opening(s(11), &node(1)));
        assert_eq!((0..20).filter(|_| peers.may_open(s(0), &node(1))).count(), 8);
    }
}
