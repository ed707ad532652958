//! When to look for a better way to members that are reached by a relay alone. Pure: time is an argument.
//!
//! Of two such members the one with the smaller id tries. At first soon: most NATs let it through at once, and the first try may
//! have come before both ends knew their addresses. Then regularly, because a firewall or a network may have changed. At every
//! second try the parts are swapped ([`super::punch`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use libp2p::PeerId;

use super::punch::Ask;

/// Before each of the first tries.
const FIRST: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Between the others for some minutes, and then. A try costs two round trips and a handful of packets.
const REGULARLY: Duration = Duration::from_secs(15);
const LATER: Duration = Duration::from_secs(60);

/// Tries until it is later.
const SOON: u32 = 25;

/// The state machine.
#[derive(Debug)]
pub(super) struct Upgrades {
    local: PeerId,
    waiting: BTreeMap<PeerId, Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at: Duration,
    tries: u32,
}

impl Upgrades {
    pub(super) fn new(local: PeerId) -> Self {
        Self { local, waiting: BTreeMap::new() }
    }

    /// Those that are reached by a relay alone, now.
    pub(super) fn relayed(&mut self, now: Duration, peers: impl IntoIterator<Item = PeerId>) {
        let peers: BTreeSet<_> = peers.into_iter().filter(|peer| self.local < *peer).collect();
        self.waiting.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.waiting.entry(peer).or_insert(Waiting { at: now + FIRST[0], tries: 0 });
        }
    }

    /// Something about this node's addresses changed: try all soon.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.waiting.values_mut().for_each(|waiting| *waiting = Waiting { at: now + FIRST[0], tries: 0 });
    }

    /// Whom to try now. They count as tried.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Ask> {
        let due = self.waiting.iter_mut().filter(|(_, waiting)| waiting.at <= now);
        due.map(|(peer, waiting)| {
            let listens = waiting.tries % 2 == 1;
            waiting.tries = waiting.tries.saturating_add(1);
            let pause = match FIRST.get(waiting.tries as usize) {
                Some(first) => *first,
                None if waiting.tries < SOON => REGULARLY,
                None => LATER,
            };
            waiting.at = now + pause;
            Ask { peer: *peer, listens }
        })
        .collect()
    }

    /// When [`Self::due`] should be asked again.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_tries_soon_then_regularly_and_stops_when_there_is_a_way() {
        let mut ids = [PeerId::random(), PeerId::random()];
        ids.sort();
        let [small, great] = ids;
        let mut other = Upgrades::new(great);
        other.relayed(Duration::ZERO, [small]);
        assert_eq!(other.poll_timeout(), None);

        let mut upgrades = Upgrades::new(small);
        upgrades.relayed(Duration::ZERO, [great]);
        let mut times = Vec::new();
        while times.len() < 40 {
            let now = upgrades.poll_timeout().unwrap();
            assert_eq!(upgrades.due(now), [Ask { peer: great, listens: times.len() % 2 == 1 }], "by turns");
            assert!(upgrades.due(now).is_empty());
            upgrades.relayed(now, [great]);
            times.push(now);
        }
        assert!(times[4] < Duration::from_secs(20));
        let longest = |times: &[Duration]| times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert_eq!(longest(&times[..SOON as usize]), REGULARLY);
        assert_eq!(longest(&times), LATER);
        upgrades.hurry(times[39]);
        assert!(upgrades.poll_timeout().unwrap() < times[39] + Duration::from_secs(1));
        upgrades.relayed(times[39], []);
        assert_eq!(upgrades.poll_timeout(), None);
    }
}
