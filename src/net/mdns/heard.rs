//! Whom we heard of lately, so that the same news is not told twice in a breath.
//!
//! Each query makes every peer on the link answer, and an answer arrives once per link. A peer is told again at most once
//! in [`QUIET`], unless an address is new: often enough that a lost connection is found again by the next answer, rarely
//! enough that the dialler sleeps.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

use super::{Discovered, address::MAX_ADDRESSES};

/// Peers remembered. Beyond a link of 4096 nodes the one told longest ago is forgotten, which only costs a repetition.
const MAX_PEERS: usize = 4096;

/// How long a peer that said nothing new is not told again.
const QUIET: Duration = Duration::from_secs(5);

/// The peers told, and when.
#[derive(Default)]
pub(super) struct Heard {
    peers: HashMap<PeerId, Told>,
}

struct Told {
    /// All addresses told since `at`, at most [`MAX_ADDRESSES`].
    addresses: Vec<Multiaddr>,
    at: Instant,
}

impl Heard {
    /// Whether this is to be told; if so it counts as told.
    pub(super) fn is_news(&mut self, now: Instant, found: &Discovered) -> bool {
        match self.peers.get_mut(&found.peer) {
            Some(told) if now.saturating_duration_since(told.at) < QUIET => {
                let known = told.addresses.len();
                for address in &found.addresses {
                    if told.addresses.len() < MAX_ADDRESSES && !told.addresses.contains(address) {
                        told.addresses.push(address.clone());
                    }
                }
                told.addresses.len() > known
            }
            Some(told) => {
                *told = Told::new(now, found);
                true
            }
            None => {
                self.make_room();
                self.peers.insert(found.peer, Told::new(now, found));
                true
            }
        }
    }

    fn make_room(&mut self) {
        if self.peers.len() >= MAX_PEERS
            && let Some(oldest) = self.peers.iter().min_by_key(|(_, told)| told.at).map(|(peer, _)| *peer)
        {
            self.peers.remove(&oldest);
        }
    }
}

impl Told {
    fn new(now: Instant, found: &Discovered) -> Self {
        Self { addresses: found.addresses.iter().take(MAX_ADDRESSES).cloned().collect(), at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: PeerId, ports: impl IntoIterator<Item = u16>) -> Discovered {
        let addresses = ports.into_iter().map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()).collect();
        Discovered { peer, addresses }
    }

    #[test]
    fn the_same_is_told_again_only_after_a_while() {
        let (mut heard, now, peer) = (Heard::default(), Instant::now(), PeerId::random());
        assert!(heard.is_news(now, &found(peer, [1])));
        assert!(!heard.is_news(now + QUIET / 2, &found(peer, [1])));
        assert!(heard.is_news(now + QUIET, &found(peer, [1])));
        assert!(!heard.is_news(now + QUIET, &found(peer, [1])));
        assert!(heard.is_news(now + QUIET, &found(PeerId::random(), [1])), "another peer is another matter");
    }

    #[test]
    fn a_new_address_is_told_at_once_and_two_links_do_not_flap() {
        let (mut heard, now, peer) = (Heard::default(), Instant::now(), PeerId::random());
        assert!(heard.is_news(now, &found(peer, [1])));
        assert!(heard.is_news(now, &found(peer, [2])));
        assert!(!heard.is_news(now, &found(peer, [1])));
        assert!(!heard.is_news(now, &found(peer, [2])));
    }

    #[test]
    fn a_peer_that_changes_all_the_time_is_told_a_bounded_number_of_times() {
        let (mut heard, now, peer) = (Heard::default(), Instant::now(), PeerId::random());
        let told = (1..1000).filter(|port| heard.is_news(now, &found(peer, [*port]))).count();
        assert_eq!(told, MAX_ADDRESSES);
        let mut heard = Heard::default();
        heard.is_news(now, &found(peer, 1..1000));
        assert_eq!(heard.peers[&peer].addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn the_one_told_longest_ago_makes_room() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        let first = PeerId::random();
        heard.is_news(now, &found(first, [1]));
        for _ in 0..MAX_PEERS {
            heard.is_news(now + Duration::from_secs(1), &found(PeerId::random(), [1]));
        }
        assert_eq!(heard.peers.len(), MAX_PEERS);
        assert!(!heard.peers.contains_key(&first));
    }
}
