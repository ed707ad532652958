//! With whom this node has reservations, so that it can be reached although nobody can dial it. Pure: time is an argument.
//!
//! A node that others can dial needs none. Any other one has [`WANTED`] at once, so that when one relay goes the other is there.
//! Relays are those that the user named, and members that say that they are one. One that fails is tried again after a while
//! that grows; a member's relay is forgotten when it is no longer connected.
//!
//! **Absent on purpose.** No reservation is given back, and none is taken back that was asked for: the library's behaviour panics
//! where a relay answers at that very moment.

use std::{collections::BTreeMap, time::Duration};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId};

use super::facts;

/// Reservations at once.
const WANTED: usize = 2;

/// After a reservation ended or was denied; doubled each time in a row, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A relay that has not answered by then may not do so at all; another one is asked as well.
const ANSWER: Duration = Duration::from_secs(10);

/// The state machine.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    relays: BTreeMap<PeerId, Relay>,
    is_reachable: bool,
}

#[derive(Debug)]
struct Relay {
    /// Where it is.
    address: Multiaddr,
    /// The user named it.
    is_named: bool,
    state: State,
    /// In a row.
    failures: u32,
    /// Why the last one failed.
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free { at: Duration },
    Asked { listener: ListenerId, until: Duration },
    Held(ListenerId),
}

impl Reservations {
    /// A relay that the user named.
    pub(super) fn named(&mut self, relay: PeerId, address: Multiaddr) {
        self.relays.insert(relay, Relay::new(address, true));
    }

    /// A connected member says that it is a relay, at `address`.
    pub(super) fn offered(&mut self, relay: PeerId, address: Multiaddr) {
        self.relays.entry(relay).or_insert_with(|| Relay::new(address, false));
    }

    /// A member is no longer connected.
    pub(super) fn lost(&mut self, relay: PeerId) {
        if self.relays.get(&relay).is_some_and(|relay| !relay.is_named && matches!(relay.state, State::Free { .. })) {
            self.relays.remove(&relay);
        }
    }

    /// Others can dial this node: it asks nobody any more.
    pub(super) fn reachable(&mut self) {
        self.is_reachable = true;
    }

    /// The relay was asked.
    pub(super) fn asked(&mut self, now: Duration, relay: PeerId, listener: ListenerId) {
        if let Some(relay) = self.relays.get_mut(&relay) {
            relay.state = State::Asked { listener, until: now + ANSWER };
        }
    }

    /// It could not even be asked.
    pub(super) fn failed(&mut self, now: Duration, relay: PeerId, why: String) {
        if let Some(relay) = self.relays.get_mut(&relay) {
            relay.fail(now);
            relay.fault = Some(why);
        }
    }

    /// The relay granted or renewed a reservation.
    pub(super) fn granted(&mut self, relay: PeerId) {
        if let Some(relay) = self.relays.get_mut(&relay)
            && let State::Asked { listener, .. } = relay.state
        {
            relay.state = State::Held(listener);
            relay.failures = 0;
            relay.fault = None;
        }
    }

    /// A listener ended. Whether it was one of a reservation's.
    pub(super) fn ended(&mut self, now: Duration, ended: ListenerId, why: Option<String>) -> bool {
        let Some(relay) = self.relays.values_mut().find(|relay| relay.listener() == Some(ended)) else { return false };
        relay.fail(now);
        relay.fault = why;
        true
    }

    /// Relays with a reservation.
    #[cfg(test)]
    fn held(&self) -> impl Iterator<Item = &PeerId> {
        self.relays.iter().filter(|(_, relay)| matches!(relay.state, State::Held(_))).map(|(peer, _)| peer)
    }

    /// What is known of each relay.
    pub(super) fn facts(&self) -> Vec<facts::Relay> {
        let of = |(peer, relay): (&PeerId, &Relay)| facts::Relay {
            peer: peer.to_string(),
            address: relay.address.to_string(),
            is_named: relay.is_named,
            reservation: match relay.state {
                State::Free { .. } => "free",
                State::Asked { .. } => "asked",
                State::Held(_) => "held",
            }
            .to_owned(),
            failures: relay.failures,
            fault: relay.fault.clone(),
        };
        self.relays.iter().map(of).collect()
    }

    /// Whom to ask now, and where. Say [`Self::asked`] or [`Self::failed`].
    pub(super) fn next(&self, now: Duration) -> Option<(PeerId, Multiaddr)> {
        let counts = |relay: &&Relay| relay.listener().is_some() && !relay.is_overdue(now);
        if self.is_reachable || self.relays.values().filter(counts).count() >= WANTED {
            return None;
        }
        let free = self.relays.iter().filter_map(|(peer, relay)| match relay.state {
            State::Free { at } if at <= now => Some((!relay.is_named, relay.failures, peer, relay)),
            _ => None,
        });
        let (_, _, peer, relay) = free.min_by_key(|(is_member, failures, peer, _)| (*is_member, *failures, **peer))?;
        Some((*peer, relay.address.clone()))
    }
}

impl Relay {
    fn new(address: Multiaddr, is_named: bool) -> Self {
        Self { address, is_named, state: State::Free { at: Duration::ZERO }, failures: 0, fault: None }
    }

    fn listener(&self) -> Option<ListenerId> {
        match self.state {
            State::Asked { listener, .. } | State::Held(listener) => Some(listener),
            State::Free { .. } => None,
        }
    }

    fn is_overdue(&self, now: Duration) -> bool {
        matches!(self.state, State::Asked { until, .. } if until <= now)
    }

    fn fail(&mut self, now: Duration) {
        let (first, longest) = AGAIN;
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        self.state = State::Free { at: now + wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    /// Asks whom it says, and returns them.
    fn ask(reservations: &mut Reservations, now: Duration) -> Vec<PeerId> {
        let mut asked = Vec::new();
        while let Some((relay, _)) = reservations.next(now) {
            reservations.asked(now, relay, ListenerId::next());
            asked.push(relay);
        }
        asked
    }

    #[test]
    fn two_relays_are_asked_those_that_the_user_named_first() {
        let mut reservations = Reservations::default();
        let [a, b, c] = [(); 3].map(|()| PeerId::random());
        reservations.offered(a, address(1));
        reservations.offered(b, address(2));
        reservations.named(c, address(3));
        assert_eq!(reservations.next(S), Some((c, address(3))));
        let asked = ask(&mut reservations, S);
        assert_eq!(asked, [c, a.min(b)]);
        reservations.granted(c);
        assert_eq!(reservations.held().collect::<Vec<_>>(), [&c]);
    }

    #[test]
    fn another_relay_takes_the_place_of_one_that_goes_or_does_not_answer() {
        let mut reservations = Reservations::default();
        let mut relays = [(); 3].map(|()| PeerId::random());
        relays.sort();
        relays.iter().for_each(|relay| reservations.offered(*relay, address(1)));
        ask(&mut reservations, S);
        let listeners = relays.map(|relay| reservations.relays[&relay].listener());
        reservations.granted(relays[0]);
        assert!(reservations.ended(2 * S, listeners[0].unwrap(), Some("it is full".into())));
        assert!(!reservations.ended(2 * S, ListenerId::next(), None));
        let told = reservations.facts();
        let told = told.iter().find(|told| told.peer == relays[0].to_string()).unwrap();
        assert_eq!((&*told.reservation, told.failures, told.fault.as_deref()), ("free", 1, Some("it is full")));
        assert_eq!(ask(&mut reservations, 2 * S), [relays[2]]);
        assert_eq!(
            ask(&mut reservations, 11 * S),
            [relays[0]],
            "one has not answered, and the one that went is tried again"
        );
        reservations.granted(relays[1]);
        assert_eq!(reservations.held().collect::<Vec<_>>(), [&relays[1]], "better late than never");
    }

    #[test]
    fn a_relay_that_fails_is_tried_ever_more_seldom() {
        let mut reservations = Reservations::default();
        let relay = PeerId::random();
        reservations.named(relay, address(1));
        let mut tries = 0;
        for second in 0..600 {
            while reservations.next(second * S).is_some() {
                reservations.failed(second * S, relay, "no way".into());
                tries += 1;
            }
        }
        assert!((12..20).contains(&tries), "{tries}");
    }

    #[test]
    fn who_can_be_dialled_asks_nobody_and_who_is_gone_is_not_asked() {
        let mut reservations = Reservations::default();
        let relay = PeerId::random();
        reservations.offered(relay, address(1));
        reservations.lost(relay);
        assert_eq!(reservations.next(S), None);
        reservations.offered(relay, address(1));
        reservations.reachable();
        assert_eq!(reservations.next(S), None);
    }
}
