//! Which of edgevpn's nodes this one listens to. Pure: time is an argument.
//!
//! A router of gossipsub sends a peer that speaks floodsub every message there is. Listening to all of a large network, this
//! node would get each message as many times as it has peers. So it listens to everybody only at first, and then to a few, as
//! many as a router of gossipsub has in its mesh; and beside them to those from whom nothing is heard by way of others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use libp2p::PeerId;

/// Peers that are listened to though they could be done without.
const ENOUGH: usize = 6;

/// How long it counts that a peer's own message came by way of another. Each says something every ten seconds or so.
const HEARD_OF: Duration = Duration::from_secs(45);

/// The state machine.
#[derive(Debug, Default)]
pub(in crate::edgevpn) struct Feeds {
    /// When a message that it has made came by way of another last.
    peers: BTreeMap<PeerId, Option<Duration>>,
    chosen: BTreeSet<PeerId>,
}

impl Feeds {
    /// Exactly these are connected.
    pub(in crate::edgevpn) fn connected(&mut self, peers: &BTreeSet<PeerId>) {
        self.peers.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.peers.entry(*peer).or_insert(None);
        }
    }

    /// A message that `author` has made came from `sender`.
    pub(in crate::edgevpn) fn heard(&mut self, now: Duration, author: PeerId, sender: PeerId) {
        if author != sender
            && let Some(heard) = self.peers.get_mut(&author)
        {
            *heard = Some(now);
        }
    }

    /// Whom to listen to from now on.
    pub(in crate::edgevpn) fn choose(&mut self, now: Duration) -> &BTreeSet<PeerId> {
        let is_spare = |heard: &Option<Duration>| heard.is_some_and(|at| now < at + HEARD_OF);
        let (spare, needed): (Vec<_>, Vec<_>) = self.peers.iter().partition(|(_, heard)| is_spare(heard));
        let mut chosen: BTreeSet<PeerId> = needed.into_iter().map(|(peer, _)| *peer).collect();
        // Those of the last time first: every change costs both ends something.
        let before = spare.iter().filter(|(peer, _)| self.chosen.contains(*peer));
        let others = spare.iter().filter(|(peer, _)| !self.chosen.contains(*peer));
        let enough: Vec<_> = before.chain(others).take(ENOUGH).map(|(peer, _)| **peer).collect();
        chosen.extend(enough);
        self.chosen = chosen;
        &self.chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn everybody_at_first_then_a_few_and_whoever_is_heard_by_nobody_else() {
        let peers: BTreeSet<_> = (0..20).map(|_| PeerId::random()).collect();
        let lone = *peers.iter().nth(7).unwrap();
        let sender = *peers.first().unwrap();
        let mut feeds = Feeds::default();
        feeds.connected(&peers);
        assert_eq!(feeds.choose(S), &peers);
        for peer in peers.iter().filter(|peer| **peer != lone) {
            feeds.heard(2 * S, *peer, if *peer == sender { lone } else { sender });
        }
        feeds.heard(2 * S, lone, lone);
        let chosen = feeds.choose(3 * S).clone();
        assert_eq!(chosen.len(), ENOUGH + 1);
        assert!(chosen.contains(&lone));
        assert_eq!(feeds.choose(4 * S), &chosen, "no change without a cause");
        assert_eq!(feeds.choose(2 * S + HEARD_OF), &peers, "nothing was heard of them for a while");
    }

    #[test]
    fn a_feed_that_goes_is_replaced() {
        let mut peers: BTreeSet<_> = (0..20).map(|_| PeerId::random()).collect();
        let mut feeds = Feeds::default();
        feeds.connected(&peers);
        let all: Vec<_> = peers.iter().copied().collect();
        for (n, peer) in all.iter().enumerate() {
            feeds.heard(S, *peer, all[(n + 1) % all.len()]);
        }
        let chosen = feeds.choose(S).clone();
        assert_eq!(chosen.len(), ENOUGH);
        peers.retain(|peer| !chosen.contains(peer));
        feeds.connected(&peers);
        assert_eq!(feeds.choose(S).len(), ENOUGH);
    }
}
