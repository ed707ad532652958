//! At which addresses of the internet this node can be dialled. Pure: time is an argument.
//!
//! Nobody knows that of itself: there may be a firewall before an address, and a forwarded port before none. So members try it
//! ([`super::dialback`]), as in AutoNAT v2 (libp2p specs, `autonat/autonat-v2.md`): each address for itself, from a port that was
//! not used before, and one member after the other. One that gets through proves the address; of three that do not, the third
//! refutes it. Either is looked at again after a while.
//!
//! **Limits.** A NAT that lets in whomever something was sent to, from any port of theirs, makes a member believe that all the
//! world gets in. So a proof makes a node tell its address and offer itself as a relay, but it does not part with its own relays.

use std::{collections::BTreeSet, time::Duration};

use libp2p::{Multiaddr, PeerId};

use super::listen::is_public;

/// Addresses that are asked about: two transports, two families, and as many mapped by a router.
const CANDIDATES: usize = 8;

/// Members whose dials refute an address, when none gets through.
const REFUTING: usize = 3;

/// After a proof or a refutation it is asked again.
const AGAIN: Duration = Duration::from_secs(600);

/// After a question that nobody answered, and between two about one address.
const PAUSE: Duration = Duration::from_secs(15);

/// Whether an address is known to be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody has tried it yet.
    Unknown,
    /// A member got through to it.
    Proved,
    /// Members tried it, and none got through.
    Refuted,
}

impl Reach {
    /// `unknown`, `reachable` or `unreachable`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Proved => "reachable",
            Self::Refuted => "unreachable",
        }
    }
}

/// What came of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// The member may not, or cannot, dial there.
    Not,
    Reached,
    Failed,
}

/// The state machine.
#[derive(Debug, Default)]
pub(super) struct Reachability {
    candidates: Vec<Candidate>,
    /// No question until then: one is under way, or nobody could be asked.
    busy_until: Duration,
}

#[derive(Debug)]
struct Candidate {
    address: Multiaddr,
    reach: Reach,
    /// Members that did not get through, since it was last proved.
    failed: BTreeSet<PeerId>,
    /// Members that were asked in this round, which began then.
    asked: BTreeSet<PeerId>,
    begun: Duration,
    due: Duration,
}

impl Reachability {
    /// Where others might dial this node. Those not of the internet are of no interest.
    pub(super) fn candidates(&mut self, now: Duration, addresses: impl IntoIterator<Item = Multiaddr>) {
        let mut known = std::mem::take(&mut self.candidates);
        for address in addresses.into_iter().filter(is_public) {
            if self.candidates.len() >= CANDIDATES || self.candidates.iter().any(|known| known.address == address) {
                continue;
            }
            let fresh = |address| Candidate {
                address,
                reach: Reach::Unknown,
                failed: BTreeSet::new(),
                asked: BTreeSet::new(),
                begun: now,
                due: now,
            };
            let position = known.iter().position(|candidate| candidate.address == address);
            self.candidates.push(position.map_or_else(|| fresh(address), |position| known.swap_remove(position)));
        }
    }

    /// Whom of `members` to ask now, and about which addresses. Say [`Self::answered`] in any case.
    pub(super) fn next(&mut self, now: Duration, members: &[PeerId]) -> Option<(PeerId, Vec<Multiaddr>)> {
        if now < self.busy_until {
            return None;
        }
        for stale in self.candidates.iter_mut().filter(|candidate| candidate.begun + AGAIN <= now) {
            // Too few could say anything. A port may have been forwarded since.
            stale.asked.clear();
            stale.begun = now;
        }
        let is_due = |candidate: &&Candidate| candidate.due <= now;
        let unasked = |member: &&PeerId| self.candidates.iter().filter(is_due).any(|due| !due.asked.contains(member));
        let member = *members.iter().find(unasked)?;
        let due = self.candidates.iter_mut().filter(|due| due.due <= now && !due.asked.contains(&member));
        let mut addresses = Vec::new();
        for candidate in due {
            candidate.asked.insert(member);
            addresses.push(candidate.address.clone());
        }
        self.busy_until = now + PAUSE * 2;
        Some((member, addresses))
    }

    /// What `member` found, or nothing. Whether anything is known that was not.
    pub(super) fn answered(&mut self, now: Duration, member: PeerId, found: &[(Multiaddr, Tried)]) -> bool {
        // What remains to be asked is asked of the next member at once, unless this one had nothing to say.
        self.busy_until = if found.is_empty() { now + PAUSE } else { now };
        let mut is_news = false;
        for (address, tried) in found {
            let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.address == *address) else {
                continue;
            };
            let before = candidate.reach;
            match tried {
                Tried::Not => {}
                Tried::Reached => {
                    candidate.reach = Reach::Proved;
                    candidate.failed.clear();
                    candidate.rest(now);
                }
                Tried::Failed => {
                    candidate.failed.insert(member);
                    if candidate.failed.len() >= REFUTING {
                        candidate.reach = Reach::Refuted;
                        candidate.failed.clear();
                        candidate.rest(now);
                    }
                }
            }
            is_news |= candidate.reach != before;
        }
        is_news
    }

    /// The network has changed: what was proved or refuted may hold no more.
    pub(super) fn hurry(&mut self, now: Duration) {
        for candidate in &mut self.candidates {
            candidate.asked.clear();
            (candidate.begun, candidate.due) = (now, now);
        }
    }

    /// What is known of each address.
    pub(super) fn known(&self) -> impl Iterator<Item = (&Multiaddr, Reach)> {
        self.candidates.iter().map(|candidate| (&candidate.address, candidate.reach))
    }
}

impl Candidate {
    fn rest(&mut self, now: Duration) {
        self.asked.clear();
        self.due = now + AGAIN;
        self.begun = self.due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn outside() -> Multiaddr {
        address("/ip4/203.0.113.1/tcp/1")
    }

    fn asking() -> (Reachability, Vec<PeerId>) {
        let mut reachability = Reachability::default();
        reachability.candidates(Duration::ZERO, [outside(), address("/ip4/192.168.0.2/tcp/1")]);
        (reachability, (0..4).map(|_| PeerId::random()).collect())
    }

    fn reach(reachability: &Reachability) -> Reach {
        reachability.known().next().unwrap().1
    }

    #[test]
    fn one_that_gets_through_proves_an_address_and_it_is_asked_again_later() {
        let (mut reachability, members) = asking();
        let now = Duration::from_secs(1);
        let (member, asked) = reachability.next(now, &members).unwrap();
        assert_eq!(asked, [outside()], "addresses of a private network are nobody's business");
        assert!(reachability.next(now, &members).is_none(), "one at a time");
        assert!(reachability.answered(now, member, &[(outside(), Tried::Reached)]));
        assert_eq!(reach(&reachability), Reach::Proved);
        assert!(reachability.next(now + AGAIN / 2, &members).is_none());
        assert!(reachability.next(now + AGAIN, &members).is_some());
    }

    #[test]
    fn three_that_do_not_get_through_refute_it_and_none_is_asked_twice() {
        let (mut reachability, members) = asking();
        let now = Duration::from_secs(1);
        let mut asked = BTreeSet::new();
        for round in 1..=REFUTING {
            let (member, _) = reachability.next(now, &members).unwrap();
            assert!(asked.insert(member));
            let is_news = reachability.answered(now, member, &[(outside(), Tried::Failed)]);
            assert_eq!(is_news, round == REFUTING);
        }
        assert_eq!(reach(&reachability), Reach::Refuted);
        // It was proved meanwhile: one failure is not enough to doubt it.
        reachability.hurry(now);
        let (member, _) = reachability.next(now, &members).unwrap();
        assert!(reachability.answered(now, member, &[(outside(), Tried::Reached)]));
        reachability.hurry(now);
        let (member, _) = reachability.next(now, &members).unwrap();
        assert!(!reachability.answered(now, member, &[(outside(), Tried::Failed)]));
        assert_eq!(reach(&reachability), Reach::Proved);
    }

    #[test]
    fn a_member_that_says_nothing_costs_a_pause_and_the_next_one_is_asked() {
        let (mut reachability, members) = asking();
        let (first, _) = reachability.next(Duration::ZERO, &members).unwrap();
        assert!(!reachability.answered(Duration::ZERO, first, &[]));
        assert!(reachability.next(PAUSE / 2, &members).is_none());
        let (second, _) = reachability.next(PAUSE, &members).unwrap();
        assert_ne!(first, second);
        // One that went before it could answer holds nobody up.
        assert!(reachability.next(PAUSE * 4, &members).is_some());
    }

    #[test]
    fn where_too_few_can_say_anything_they_are_asked_again_after_a_while() {
        let (mut reachability, members) = asking();
        let (member, _) = reachability.next(Duration::ZERO, &members[..1]).unwrap();
        reachability.answered(Duration::ZERO, member, &[(outside(), Tried::Failed)]);
        assert!(reachability.next(AGAIN / 2, &members[..1]).is_none());
        assert!(reachability.next(AGAIN / 2, &members[..2]).is_some_and(|(newcomer, _)| newcomer == members[1]));
        assert!(reachability.next(AGAIN, &members[..1]).is_some());
    }

    #[test]
    fn what_is_known_of_an_address_is_forgotten_with_it() {
        let (mut reachability, members) = asking();
        let (member, _) = reachability.next(Duration::ZERO, &members).unwrap();
        reachability.answered(Duration::ZERO, member, &[(outside(), Tried::Reached)]);
        reachability.candidates(Duration::ZERO, [outside(), address("/ip4/203.0.113.1/tcp/2")]);
        assert_eq!(reachability.known().map(|(_, reach)| reach).collect::<Vec<_>>(), [Reach::Proved, Reach::Unknown]);
        reachability.candidates(Duration::ZERO, []);
        reachability.candidates(Duration::ZERO, [outside()]);
        assert_eq!(reach(&reachability), Reach::Unknown);
        let many = (1..100).map(|port| address(&format!("/ip4/203.0.113.1/tcp/{port}")));
        reachability.candidates(Duration::ZERO, many);
        assert_eq!(reachability.known().count(), CANDIDATES);
    }
}
