//! Whom to dial, and when to try again. Pure: time and chance are arguments.
//!
//! Addresses arrive from bootstrap flags, mDNS, the DHT and the ledger. A target that does not answer is tried again
//! after a growing, jittered while: bootstrap peers and members of the ledger for ever, others until they have failed so
//! often that they are probably gone. When the last connection is lost every wait is cut short, once.
//!
//! TCP addresses are tried before QUIC: where both work, TCP carries bytes faster and tells at once when the process at
//! the other end was killed.
//!
//! **Invariant.** A target is dialled at most once at a time, and never while it is connected or barred.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The first wait after a failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// No wait is longer for a bootstrap peer: the user named it, so it is expected back.
const BOOTSTRAP_WAIT_MAX: Duration = Duration::from_secs(10);

/// No wait is longer for anybody else.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A server of the DHT closes when idle; it is needed again with the next lookup, not before.
const STRANGER_WAIT: Duration = Duration::from_secs(60);

/// Two nodes that hear of each other at the same time would both dial. The one with the greater id lets the other try
/// first, this long: an answer by mDNS takes up to 120 ms. It takes a second where the last one was just given, and then
/// this is what somebody waits for.
const COURTESY: Duration = Duration::from_millis(150);

/// A target from mDNS or the DHT that failed this often in a row is forgotten until it is heard of again.
const GIVE_UP: u32 = 8;

/// Dials under way at once: enough to join a large network in a second or two, few enough not to flood a home router.
const DIALLING: usize = 32;

/// Targets known at once; a thousand nodes and some that have gone.
const TARGETS: usize = 4096;

/// Addresses kept for one target: a record has eight, mDNS may add as many.
const ADDRESSES: usize = 16;

/// Where a target was heard of; later ones are remembered more faithfully.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Heard,
    Ledger,
    Bootstrap,
}

/// Someone to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Peer(PeerId),
    /// A bootstrap address that does not say whose it is.
    Address(Multiaddr),
}

/// A dial to make now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) target: Target,
    /// Empty where only the DHT knows them.
    pub(super) addresses: Vec<Multiaddr>,
}

#[derive(Debug)]
struct Entry {
    addresses: Vec<Multiaddr>,
    source: Source,
    /// Who answered, for an address without a peer id.
    peer: Option<PeerId>,
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { at: Duration, path: Path },
    Dialling { path: Path },
    Connected,
}

/// Which of its addresses are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Tcp,
    Rest,
}

impl Entry {
    /// When it is to be dialled, if ever.
    fn due(&self, barred: &BTreeMap<PeerId, Duration>) -> Option<Duration> {
        let State::Waiting { at, .. } = self.state else { return None };
        match self.peer.and_then(|peer| barred.get(&peer)) {
            Some(&Duration::MAX) => None,
            Some(until) => Some(at.max(*until)),
            None => Some(at),
        }
    }
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Dialer {
    local: PeerId,
    rng: StdRng,
    targets: BTreeMap<Target, Entry>,
    dialling: usize,
    connected: BTreeSet<PeerId>,
    /// Not dialled before then; [`Duration::MAX`] for those that are banned.
    barred: BTreeMap<PeerId, Duration>,
}

impl Dialer {
    pub(super) fn new(local: PeerId, seed: u64) -> Self {
        Self {
            local,
            rng: StdRng::seed_from_u64(seed),
            targets: BTreeMap::new(),
            dialling: 0,
            connected: BTreeSet::new(),
            barred: BTreeMap::new(),
        }
    }

    /// These are not dialled before the time given, and all others are.
    pub(super) fn bar(&mut self, barred: BTreeMap<PeerId, Duration>) {
        self.barred = barred;
    }

    /// A bootstrap address from the user, with or without `/p2p/ID`.
    pub(super) fn bootstrap(&mut self, now: Duration, address: Multiaddr) {
        match address.iter().last() {
            Some(Protocol::P2p(peer)) => self.found(now, peer, vec![address], Source::Bootstrap),
            _ => {
                let entry = Entry {
                    addresses: vec![address.clone()],
                    source: Source::Bootstrap,
                    peer: None,
                    state: State::Waiting { at: now, path: Path::Rest },
                    failures: 0,
                };
                self.targets.entry(Target::Address(address)).or_insert(entry);
            }
        }
    }

    /// `peer` may be reached at `addresses`.
    pub(super) fn found(&mut self, now: Duration, peer: PeerId, addresses: Vec<Multiaddr>, source: Source) {
        if peer == self.local || (!self.targets.contains_key(&Target::Peer(peer)) && self.targets.len() >= TARGETS) {
            return;
        }
        let courtesy = if self.local > peer && source != Source::Bootstrap { COURTESY } else { Duration::ZERO };
        let start = match self.connected.contains(&peer) {
            true => State::Connected,
            false => State::Waiting { at: now + courtesy, path: Path::Tcp },
        };
        let entry = self.targets.entry(Target::Peer(peer)).or_insert_with(|| Entry {
            addresses: Vec::new(),
            source,
            peer: Some(peer),
            state: start,
            failures: 0,
        });
        entry.source = entry.source.max(source);
        let mut news = false;
        for address in addresses.into_iter().map(|address| without_peer(address, peer)) {
            if !entry.addresses.contains(&address) {
                news = true;
                entry.addresses.insert(0, address);
            }
        }
        entry.addresses.truncate(ADDRESSES);
        // A new address is worth a try at once; hearing the same ones again on the LAN means that it is alive there.
        if let State::Waiting { at, .. } = entry.state {
            let soon = now + courtesy;
            if news && at > soon {
                entry.state = State::Waiting { at: soon, path: Path::Tcp };
            }
        }
    }

    /// The ledger no longer lists `peer`: it is dialled no longer than any other.
    pub(super) fn unlist(&mut self, peer: PeerId) {
        if let Some(entry) = self.targets.get_mut(&Target::Peer(peer)).filter(|entry| entry.source == Source::Ledger) {
            entry.source = Source::Heard;
        }
    }

    /// A first connection to `peer` exists, whoever made it.
    pub(super) fn connected(&mut self, peer: PeerId) {
        self.connected.insert(peer);
        for entry in self.targets.values_mut().filter(|entry| entry.peer == Some(peer)) {
            if matches!(entry.state, State::Waiting { .. }) {
                entry.state = State::Connected;
            }
            entry.failures = 0;
        }
    }

    /// A dial of `target` led to `peer`.
    pub(super) fn succeeded(&mut self, target: &Target, peer: PeerId) {
        let Some(entry) = self.targets.get_mut(target) else { return };
        if matches!(entry.state, State::Dialling { .. }) {
            self.dialling -= 1;
        }
        entry.peer = Some(peer);
        entry.state = State::Connected;
        entry.failures = 0;
    }

    /// The last connection to `peer` is gone.
    pub(super) fn disconnected(&mut self, now: Duration, peer: PeerId, was_member: bool) {
        self.connected.remove(&peer);
        let wait = if was_member { self.jittered(FIRST_WAIT) } else { self.jittered(STRANGER_WAIT) };
        for entry in self.targets.values_mut().filter(|entry| entry.peer == Some(peer)) {
            if entry.state == State::Connected {
                entry.state = State::Waiting { at: now + wait, path: Path::Tcp };
            }
        }
    }

    /// Try everybody soon: all members are lost.
    pub(super) fn hurry(&mut self, now: Duration) {
        let soon = now + self.jittered(FIRST_WAIT);
        for entry in self.targets.values_mut() {
            entry.failures = entry.failures.min(1);
            if let State::Waiting { at, path } = entry.state {
                entry.state = State::Waiting { at: at.min(soon), path };
            }
        }
    }

    /// A dial did not lead to a connection. Says when the target is tried again, `None` where other addresses of it are
    /// tried at once or it is given up.
    pub(super) fn failed(&mut self, now: Duration, target: &Target) -> Option<Duration> {
        let factor = self.rng.random_range(0.75..1.25);
        let entry = self.targets.get_mut(target)?;
        let State::Dialling { path } = entry.state else { return None };
        self.dialling -= 1;
        if entry.peer.is_some_and(|peer| self.connected.contains(&peer)) {
            // It dialled us meanwhile.
            entry.state = State::Connected;
            return None;
        }
        if path == Path::Tcp && entry.addresses.iter().any(|address| !is_tcp(address)) {
            entry.state = State::Waiting { at: now, path: Path::Rest };
            return None;
        }
        entry.failures += 1;
        if entry.failures >= GIVE_UP && entry.source == Source::Heard {
            self.targets.remove(target);
            return None;
        }
        let longest = if entry.source == Source::Bootstrap { BOOTSTRAP_WAIT_MAX } else { WAIT_MAX };
        let doubled = FIRST_WAIT.saturating_mul(1 << entry.failures.saturating_sub(1).min(16));
        let wait = doubled.min(longest).mul_f64(factor);
        entry.state = State::Waiting { at: now + wait, path: Path::Tcp };
        Some(wait)
    }

    /// The next dial that is due.
    pub(super) fn poll_output(&mut self, now: Duration) -> Option<Dial> {
        if self.dialling >= DIALLING {
            return None;
        }
        let barred = &self.barred;
        let is_due = |entry: &Entry| entry.due(barred).is_some_and(|at| at <= now);
        let (target, entry) = self.targets.iter_mut().find(|(_, entry)| is_due(entry))?;
        let State::Waiting { path, .. } = entry.state else { return None };
        let tcp: Vec<_> = entry.addresses.iter().filter(|address| is_tcp(address)).cloned().collect();
        let (path, addresses) = match path {
            Path::Tcp if !tcp.is_empty() => (Path::Tcp, tcp),
            Path::Tcp => (Path::Rest, entry.addresses.clone()),
            Path::Rest if tcp.len() == entry.addresses.len() => (Path::Rest, tcp),
            Path::Rest => (Path::Rest, entry.addresses.iter().filter(|address| !is_tcp(address)).cloned().collect()),
        };
        entry.state = State::Dialling { path };
        self.dialling += 1;
        Some(Dial { target: target.clone(), addresses })
    }

    /// When [`Self::poll_output`] should be asked again.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        if self.dialling >= DIALLING {
            return None;
        }
        self.targets.values().filter_map(|entry| entry.due(&self.barred)).min()
    }

    fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.random_range(0.75..1.25))
    }
}

fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

/// The peer is said by the target; an address with another peer's id in it would never match.
fn without_peer(mut address: Multiaddr, peer: PeerId) -> Multiaddr {
    if address.iter().last() == Some(Protocol::P2p(peer)) {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn tcp(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn quic(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/udp/{port}/quic-v1").parse().unwrap()
    }

    /// A dialer whose id is smaller than the returned peer's, so that no courtesy delays it.
    fn dialer() -> (Dialer, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        (Dialer::new(a.min(b), 1), a.max(b))
    }

    #[test]
    fn tcp_is_tried_before_quic_and_both_before_waiting() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![quic(1), tcp(1)], Source::Heard);
        let target = Target::Peer(peer);
        assert_eq!(dialer.poll_output(S).unwrap().addresses, [tcp(1)]);
        assert_eq!(dialer.poll_output(S), None, "once at a time");
        assert_eq!(dialer.failed(S, &target), None);
        assert_eq!(dialer.poll_output(S).unwrap().addresses, [quic(1)]);
        assert!(dialer.failed(S, &target).is_some());
        assert_eq!(dialer.poll_output(S), None, "it waits now");
    }

    #[test]
    fn who_is_heard_of_is_dialled_before_any_time_passes() {
        let (mut dialer, peer) = dialer();
        assert_eq!(dialer.poll_timeout(), None);
        dialer.found(S, peer, vec![tcp(1)], Source::Heard);
        assert_eq!(dialer.poll_timeout(), Some(S));
        assert_eq!(dialer.poll_output(S).unwrap().target, Target::Peer(peer));
    }

    #[test]
    fn waits_grow_to_a_bound_and_a_bootstrap_peer_is_tried_for_ever() {
        let (mut dialer, peer) = dialer();
        dialer.bootstrap(S, tcp(1).with(Protocol::P2p(peer)));
        let mut now = S;
        let mut waits = Vec::new();
        for _ in 0..40 {
            let dial = dialer.poll_output(now).expect("it is dialled whenever it is due");
            waits.push(dialer.failed(now, &dial.target).expect("a bootstrap peer is never given up"));
            now = dialer.poll_timeout().unwrap();
        }
        assert!(waits[0] < S && waits[3] > waits[0]);
        assert!(waits.iter().all(|wait| *wait <= BOOTSTRAP_WAIT_MAX.mul_f64(1.25)));
        assert!(waits[39] > BOOTSTRAP_WAIT_MAX / 2);
    }

    #[test]
    fn what_was_only_heard_of_is_given_up_and_found_again() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Heard);
        let mut now = S;
        for _ in 0..GIVE_UP {
            let dial = dialer.poll_output(now).unwrap();
            dialer.failed(now, &dial.target);
            now = dialer.poll_timeout().unwrap_or(now);
        }
        assert_eq!(dialer.poll_timeout(), None);
        dialer.found(now, peer, vec![tcp(1)], Source::Heard);
        assert!(dialer.poll_output(now).is_some());
    }

    #[test]
    fn losing_everybody_cuts_the_waits_short() {
        let (mut dialer, peer) = dialer();
        let other = tcp(9);
        dialer.bootstrap(S, other.clone());
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        let mut now = S;
        for _ in 0..6 {
            while let Some(dial) = dialer.poll_output(now) {
                dialer.failed(now, &dial.target);
            }
            now = dialer.poll_timeout().unwrap();
        }
        let last = PeerId::random();
        dialer.connected(last);
        dialer.disconnected(now, last, true);
        dialer.hurry(now);
        assert!(dialer.poll_timeout().unwrap() <= now + S);
    }

    #[test]
    fn a_connection_made_by_the_other_side_ends_the_wait_and_its_loss_starts_one() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        dialer.connected(peer);
        assert_eq!(dialer.poll_output(10 * S), None);
        dialer.disconnected(10 * S, peer, true);
        assert!(dialer.poll_output(11 * S).is_some());
    }

    #[test]
    fn a_dial_that_lost_the_race_against_an_inbound_connection_is_not_lost_count_of() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        let dial = dialer.poll_output(S).unwrap();
        dialer.connected(peer);
        assert_eq!(dialer.failed(S, &dial.target), None);
        assert_eq!(dialer.dialling, 0);
        assert_eq!(dialer.poll_timeout(), None, "it is connected, so there is nothing to do");
    }

    #[test]
    fn a_connected_peer_that_is_heard_of_is_not_dialled() {
        let (mut dialer, peer) = dialer();
        dialer.connected(peer);
        dialer.found(S, peer, vec![tcp(1)], Source::Heard);
        assert_eq!(dialer.poll_output(S), None);
        dialer.disconnected(S, peer, true);
        assert!(dialer.poll_output(2 * S).is_some());
    }

    #[test]
    fn the_greater_id_lets_the_other_dial_first() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut dialer = Dialer::new(a.max(b), 1);
        dialer.found(S, a.min(b), vec![tcp(1)], Source::Heard);
        assert_eq!(dialer.poll_output(S), None);
        assert!(dialer.poll_output(S + COURTESY).is_some());
    }

    #[test]
    fn a_barred_peer_is_dialled_when_its_time_has_come_whatever_is_heard_of_it() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        dialer.bar([(peer, 60 * S)].into());
        dialer.found(2 * S, peer, vec![tcp(2)], Source::Bootstrap);
        assert_eq!(dialer.poll_output(59 * S), None);
        assert_eq!(dialer.poll_timeout(), Some(60 * S));
        dialer.bar([(peer, Duration::MAX)].into());
        assert_eq!((dialer.poll_timeout(), dialer.poll_output(1000 * S)), (None, None));
        dialer.bar(BTreeMap::new());
        assert!(dialer.poll_output(60 * S).is_some());
    }

    #[test]
    fn a_new_address_is_tried_at_once() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        for _ in 0..6 {
            let now = dialer.poll_timeout().unwrap();
            let dial = dialer.poll_output(now).unwrap();
            dialer.failed(now, &dial.target);
        }
        let now = dialer.poll_timeout().unwrap() - S;
        dialer.found(now, peer, vec![tcp(2)], Source::Heard);
        assert_eq!(dialer.poll_output(now).unwrap().addresses, [tcp(2), tcp(1)]);
    }
}
