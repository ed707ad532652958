//! Whom to dial, and when to try again. Pure: time and chance are arguments.
//!
//! Addresses arrive from bootstrap flags, mDNS, the DHT and the ledger. While the network is small, everybody is dialled.
//! Beyond [`SMALL`] nodes, a node dials
//!
//! * the members that it picks for itself ([`Neighbours`]),
//! * those that it *wants*, because it has use for them, or *keeps*, because they may have use for it,
//! * bootstrap peers, until it has neighbours and the ledger knows them, and
//! * one that it heard of and that the ledger does not know for a while: perhaps the other half of a network that fell
//!   apart.
//!
//! A target that does not answer is tried again after a growing, jittered while: bootstrap peers and members of the ledger
//! for ever, others until they have failed so often that they are probably gone. When the last connection is lost every wait
//! is cut short, once.
//!
//! All addresses of a target are dialled at once; which of them has a head start is the transport's to say
//! ([`super::transport`]).
//!
//! **Invariant.** A target is dialled at most once at a time, and never while it is connected or barred.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::neighbours::{Neighbours, PICKED};

/// Nodes up to which everybody is connected to everybody: as many connections as the neighbours of a large network make.
const SMALL: usize = 2 * PICKED;

/// Members known, from whatever source, up to which a network passes for small: some that are gone are still spoken of.
const SMALL_KNOWN: usize = 2 * SMALL;

/// A member of a large network that was heard of is dialled if the ledger does not know it after so long. One that joins
/// dials for itself and is known within seconds; all who hear of it at once had better not dial it.
const SCOUT_AFTER: Duration = Duration::from_secs(60);

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

/// Where a target was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    is_bootstrap: bool,
    /// Who answered, for an address without a peer id.
    peer: Option<PeerId>,
    /// When it was first heard of, or the ledger let go of it.
    since: Duration,
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { at: Duration },
    Dialling,
    Connected,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Dialer {
    local: PeerId,
    rng: StdRng,
    targets: BTreeMap<Target, Entry>,
    dialling: usize,
    /// Whether each is a member.
    connected: BTreeMap<PeerId, bool>,
    /// Not dialled before then; [`Duration::MAX`] for those that are banned.
    barred: BTreeMap<PeerId, Duration>,
    listed: BTreeSet<PeerId>,
    wanted: BTreeSet<PeerId>,
    kept: BTreeSet<PeerId>,
    neighbours: Neighbours,
    /// When somebody is due, unless something changed since that was found out.
    next: Option<Duration>,
    changed: bool,
}

// === what is known ===

impl Dialer {
    pub(super) fn new(local: PeerId, seed: u64) -> Self {
        Self {
            local,
            rng: StdRng::seed_from_u64(seed),
            targets: BTreeMap::new(),
            dialling: 0,
            connected: BTreeMap::new(),
            barred: BTreeMap::new(),
            listed: BTreeSet::new(),
            wanted: BTreeSet::new(),
            kept: BTreeSet::new(),
            neighbours: Neighbours::new(seed),
            next: None,
            changed: true,
        }
    }

    /// A bootstrap address from the user, with or without `/p2p/ID`.
    pub(super) fn bootstrap(&mut self, now: Duration, address: Multiaddr) {
        match address.iter().last() {
            Some(Protocol::P2p(peer)) => self.found(now, peer, vec![address], Source::Bootstrap),
            _ => {
                let entry = Entry {
                    addresses: vec![address.clone()],
                    is_bootstrap: true,
                    peer: None,
                    since: now,
                    state: State::Waiting { at: now },
                    failures: 0,
                };
                self.targets.entry(Target::Address(address)).or_insert(entry);
                self.changed = true;
            }
        }
    }

    /// `peer` may be reached at `addresses`.
    pub(super) fn found(&mut self, now: Duration, peer: PeerId, addresses: Vec<Multiaddr>, source: Source) {
        if peer == self.local || (!self.targets.contains_key(&Target::Peer(peer)) && self.targets.len() >= TARGETS) {
            return;
        }
        self.changed = true;
        let courtesy = if self.local > peer && source != Source::Bootstrap { COURTESY } else { Duration::ZERO };
        let start = match self.connected.contains_key(&peer) {
            true => State::Connected,
            false => State::Waiting { at: now + courtesy },
        };
        let entry = self.targets.entry(Target::Peer(peer)).or_insert_with(|| Entry {
            addresses: Vec::new(),
            is_bootstrap: false,
            peer: Some(peer),
            since: now,
            state: start,
            failures: 0,
        });
        match source {
            Source::Heard => self.neighbours.add(peer),
            Source::Ledger => {
                self.neighbours.add(peer);
                self.listed.insert(peer);
            }
            Source::Bootstrap => entry.is_bootstrap = true,
        }
        let mut news = false;
        for address in addresses.into_iter().map(|address| without_peer(address, peer)) {
            if !entry.addresses.contains(&address) {
                news = true;
                entry.addresses.insert(0, address);
            }
        }
        entry.addresses.truncate(ADDRESSES);
        // A new address is worth a try at once; hearing the same ones again on the LAN means that it is alive there.
        if let State::Waiting { at } = entry.state {
            let soon = now + courtesy;
            if news && at > soon {
                entry.state = State::Waiting { at: soon };
            }
        }
    }

    /// The ledger no longer lists `peer`: it is dialled no longer than any other.
    pub(super) fn unlist(&mut self, now: Duration, peer: PeerId) {
        self.changed = true;
        self.listed.remove(&peer);
        if let Some(entry) = self.targets.get_mut(&Target::Peer(peer)) {
            entry.since = now;
        }
    }

    /// These, and no others but those kept, are dialled although they are no neighbours.
    pub(super) fn want(&mut self, wanted: BTreeSet<PeerId>) {
        self.changed = true;
        self.wanted = wanted;
    }

    /// So are these.
    pub(super) fn keep(&mut self, kept: BTreeSet<PeerId>) {
        self.changed = true;
        self.kept = kept;
    }

    /// These are not dialled before the time given, and all others are.
    pub(super) fn bar(&mut self, barred: BTreeMap<PeerId, Duration>) {
        self.changed = true;
        self.barred = barred;
    }
}

// === what happens ===

impl Dialer {
    /// A first connection to `peer` exists, whoever made it.
    pub(super) fn connected(&mut self, peer: PeerId, is_member: bool) {
        self.changed = true;
        self.connected.insert(peer, is_member);
        for entry in self.targets.values_mut().filter(|entry| entry.peer == Some(peer)) {
            if matches!(entry.state, State::Waiting { .. }) {
                entry.state = State::Connected;
            }
            entry.failures = 0;
        }
    }

    /// A dial of `target` led to `peer`.
    pub(super) fn succeeded(&mut self, target: &Target, peer: PeerId) {
        self.changed = true;
        let Some(entry) = self.targets.get_mut(target) else { return };
        if matches!(entry.state, State::Dialling) {
            self.dialling -= 1;
        }
        entry.peer = Some(peer);
        entry.state = State::Connected;
        entry.failures = 0;
    }

    /// The last connection to `peer` is gone.
    pub(super) fn disconnected(&mut self, now: Duration, peer: PeerId, was_member: bool) {
        self.changed = true;
        self.connected.remove(&peer);
        let wait = if was_member { self.jittered(FIRST_WAIT) } else { self.jittered(STRANGER_WAIT) };
        for entry in self.targets.values_mut().filter(|entry| entry.peer == Some(peer)) {
            if entry.state == State::Connected {
                entry.state = State::Waiting { at: now + wait };
            }
        }
    }

    /// Try everybody soon: all members are lost.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.changed = true;
        let soon = now + self.jittered(FIRST_WAIT);
        for entry in self.targets.values_mut() {
            entry.failures = entry.failures.min(1);
            if let State::Waiting { at } = entry.state {
                entry.state = State::Waiting { at: at.min(soon) };
            }
        }
    }

    /// A dial did not lead to a connection. Says when the target is tried again, `None` where it is given up.
    pub(super) fn failed(&mut self, now: Duration, target: &Target) -> Option<Duration> {
        self.changed = true;
        let factor = self.rng.random_range(0.75..1.25);
        let entry = self.targets.get_mut(target)?;
        if entry.state != State::Dialling {
            return None;
        }
        self.dialling -= 1;
        if entry.peer.is_some_and(|peer| self.connected.contains_key(&peer)) {
            // It dialled us meanwhile.
            entry.state = State::Connected;
            return None;
        }
        entry.failures += 1;
        let is_listed = entry.peer.is_some_and(|peer| self.listed.contains(&peer));
        if entry.failures >= GIVE_UP && !entry.is_bootstrap && !is_listed {
            if let Some(peer) = entry.peer {
                self.neighbours.remove(peer);
            }
            self.targets.remove(target);
            return None;
        }
        let longest = if entry.is_bootstrap { BOOTSTRAP_WAIT_MAX } else { WAIT_MAX };
        let doubled = FIRST_WAIT.saturating_mul(1 << entry.failures.saturating_sub(1).min(16));
        let wait = doubled.min(longest).mul_f64(factor);
        entry.state = State::Waiting { at: now + wait };
        Some(wait)
    }
}

// === what to do ===

impl Dialer {
    /// The next dial that is due.
    pub(super) fn poll_output(&mut self, now: Duration) -> Option<Dial> {
        if self.poll_timeout()? > now {
            return None;
        }
        let is_due = |entry: &Entry| self.due(entry).is_some_and(|at| at <= now);
        let target = self.targets.iter().find(|(_, entry)| is_due(entry)).map(|(target, _)| target.clone())?;
        let entry = self.targets.get_mut(&target)?;
        let addresses = entry.addresses.clone();
        entry.state = State::Dialling;
        self.dialling += 1;
        self.changed = true;
        Some(Dial { target, addresses })
    }

    /// When [`Self::poll_output`] should be asked again.
    pub(super) fn poll_timeout(&mut self) -> Option<Duration> {
        if self.dialling >= DIALLING {
            return None;
        }
        if std::mem::take(&mut self.changed) {
            self.pick();
            self.next = self.targets.values().filter_map(|entry| self.due(entry)).min();
        }
        self.next
    }

    /// Members of the ledger that are connected and that this node does not need, the last in its order first.
    pub(super) fn unneeded(&mut self) -> Vec<PeerId> {
        self.pick();
        let members = self.connected.iter().filter(|(_, is_member)| **is_member).map(|(peer, _)| *peer);
        // Of whom the ledger knows nothing yet, nothing is to be said.
        let listed = members.filter(|peer| self.listed.contains(peer));
        let entries = listed.filter_map(|peer| Some((peer, self.targets.get(&Target::Peer(peer))?)));
        let mut unneeded: Vec<_> = entries.filter(|(peer, entry)| !self.needs(entry, *peer)).collect();
        unneeded.sort_by_key(|(peer, _)| std::cmp::Reverse(self.neighbours.place(peer)));
        unneeded.into_iter().map(|(peer, _)| peer).collect()
    }

    /// Whether a member that the DHT tells of, and that is not connected, is to be dialled at its addresses there.
    pub(super) fn is_worth_meeting(&self, now: Duration, peer: &PeerId) -> bool {
        let is_barred = self.barred.get(peer).is_some_and(|until| now < *until);
        !is_barred && (self.is_small() || self.company() < PICKED || !self.listed.contains(peer))
    }

    /// Members that are connected, and where they may be reached.
    pub(super) fn known(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let members = self.connected.iter().filter(|(_, is_member)| **is_member).map(|(peer, _)| *peer);
        let with_addresses =
            members.filter_map(|peer| Some((peer, self.targets.get(&Target::Peer(peer))?.addresses.clone())));
        with_addresses.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    /// Members that are connected.
    pub(super) fn company(&self) -> usize {
        self.connected.values().filter(|is_member| **is_member).count()
    }

    fn pick(&mut self) {
        let (targets, connected, barred) = (&self.targets, &self.connected, &self.barred);
        self.neighbours.pick(|peer| {
            match targets.get(&Target::Peer(*peer)).map(|entry| (entry.state, entry.failures)) {
                Some((State::Connected, _)) => connected.get(peer) == Some(&true),
                Some((State::Dialling | State::Waiting { .. }, failures)) => {
                    failures == 0 && !barred.contains_key(peer)
                }
                None => false,
            }
        });
    }

    /// When it is to be dialled, if ever.
    fn due(&self, entry: &Entry) -> Option<Duration> {
        let State::Waiting { at } = entry.state else { return None };
        // Nobody has answered yet at an address without a name.
        let Some(peer) = entry.peer else { return Some(at) };
        let at = match self.needs(entry, peer) {
            true => at,
            false if self.listed.contains(&peer) => return None,
            false => at.max(entry.since + SCOUT_AFTER),
        };
        match self.barred.get(&peer) {
            Some(&Duration::MAX) => None,
            Some(until) => Some(at.max(*until)),
            None => Some(at),
        }
    }

    fn needs(&self, entry: &Entry, peer: PeerId) -> bool {
        self.is_small()
            || self.wanted.contains(&peer)
            || self.kept.contains(&peer)
            || self.neighbours.has_picked(&peer)
            || (entry.is_bootstrap && !(self.listed.contains(&peer) && self.company() >= PICKED))
    }

    fn is_small(&self) -> bool {
        self.listed.len() < SMALL && self.targets.len() < SMALL_KNOWN
    }

    fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.random_range(0.75..1.25))
    }
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
    fn all_addresses_are_dialled_at_once_and_then_it_waits() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![quic(1), tcp(1)], Source::Heard);
        let target = Target::Peer(peer);
        assert_eq!(dialer.poll_output(S).unwrap().addresses, [tcp(1), quic(1)]);
        assert_eq!(dialer.poll_output(S), None, "once at a time");
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
        dialer.connected(last, true);
        dialer.disconnected(now, last, true);
        dialer.hurry(now);
        assert!(dialer.poll_timeout().unwrap() <= now + S);
    }

    #[test]
    fn a_connection_made_by_the_other_side_ends_the_wait_and_its_loss_starts_one() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        dialer.connected(peer, true);
        assert_eq!(dialer.poll_output(10 * S), None);
        dialer.disconnected(10 * S, peer, true);
        assert!(dialer.poll_output(11 * S).is_some());
    }

    #[test]
    fn a_dial_that_lost_the_race_against_an_inbound_connection_is_not_lost_count_of() {
        let (mut dialer, peer) = dialer();
        dialer.found(S, peer, vec![tcp(1)], Source::Ledger);
        let dial = dialer.poll_output(S).unwrap();
        dialer.connected(peer, true);
        assert_eq!(dialer.failed(S, &dial.target), None);
        assert_eq!(dialer.dialling, 0);
        assert_eq!(dialer.poll_timeout(), None, "it is connected, so there is nothing to do");
    }

    #[test]
    fn a_connected_peer_that_is_heard_of_is_not_dialled() {
        let (mut dialer, peer) = dialer();
        dialer.connected(peer, true);
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

    /// The same for the same number.
    fn member(number: usize) -> PeerId {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        libp2p::identity::Keypair::ed25519_from_bytes(secret).unwrap().public().to_peer_id()
    }

    /// A dialer that the ledger has told of so many others, and their ids.
    fn in_network_of(others: usize) -> (Dialer, Vec<PeerId>) {
        let peers: Vec<_> = (0..others).map(member).collect();
        let mut dialer = Dialer::new(member(10_000), 1);
        peers.iter().for_each(|peer| dialer.found(S, *peer, vec![tcp(1)], Source::Ledger));
        (dialer, peers)
    }

    /// Dials whatever is due at `now`; each dial succeeds where `reaches` says so.
    fn run(dialer: &mut Dialer, now: Duration, reaches: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        let mut dialled = Vec::new();
        while let Some(dial) = dialer.poll_output(now) {
            let Target::Peer(peer) = dial.target else { continue };
            dialled.push(peer);
            if reaches(&peer) {
                dialer.connected(peer, true);
                dialer.succeeded(&dial.target, peer);
            } else {
                dialer.failed(now, &dial.target);
            }
        }
        dialled
    }

    #[test]
    fn in_a_small_network_everybody_is_dialled_and_in_a_large_one_a_few() {
        for (others, dialled) in [(SMALL - 1, SMALL - 1), (SMALL, PICKED), (500, PICKED)] {
            let (mut dialer, _) = in_network_of(others);
            assert_eq!(run(&mut dialer, 2 * S, |_| true).len(), dialled, "{others} others");
            assert_eq!(dialer.poll_timeout(), None);
        }
    }

    #[test]
    fn neighbours_that_are_lost_or_out_of_reach_are_replaced_and_still_tried() {
        let (mut dialer, peers) = in_network_of(100);
        let (dead, alive) = peers.split_at(60);
        let dialled = run(&mut dialer, 2 * S, |peer| alive.contains(peer));
        assert_eq!(dialled.iter().filter(|peer| alive.contains(peer)).count(), PICKED);
        assert!(dialled.iter().any(|peer| dead.contains(peer)));
        let lost = *dialled.iter().find(|peer| alive.contains(peer)).unwrap();
        dialer.disconnected(3 * S, lost, true);
        let again = run(&mut dialer, 60 * S, |peer| alive.contains(peer) && *peer != lost);
        assert!(again.contains(&lost) && again.iter().any(|peer| dead.contains(peer)));
        assert_eq!(dialer.company(), PICKED);
    }

    #[test]
    fn connections_that_others_made_count_as_neighbours() {
        let (mut dialer, peers) = in_network_of(100);
        peers.iter().for_each(|peer| dialer.connected(*peer, true));
        assert_eq!(dialer.poll_timeout(), None);
        let unneeded = dialer.unneeded();
        assert_eq!(unneeded.len(), 100 - PICKED);
        for peer in &unneeded {
            dialer.disconnected(2 * S, *peer, true);
        }
        assert_eq!(dialer.poll_timeout(), None, "what was closed because nobody needs it is not dialled again");
    }

    #[test]
    fn who_is_wanted_is_dialled_and_kept_in_addition() {
        let (mut dialer, peers) = in_network_of(100);
        run(&mut dialer, 2 * S, |_| true);
        let idle: Vec<_> =
            peers.iter().filter(|peer| !dialer.connected.contains_key(*peer)).take(20).copied().collect();
        dialer.want(idle.iter().copied().collect());
        let mut dialled = run(&mut dialer, 2 * S, |_| true);
        dialled.sort();
        let mut wanted = idle.clone();
        wanted.sort();
        assert_eq!(dialled, wanted);
        assert!(!dialer.unneeded().iter().any(|peer| idle.contains(peer)));
        dialer.want(BTreeSet::new());
        assert_eq!(dialer.unneeded().len(), 20);
        dialer.keep(idle.into_iter().collect());
        assert_eq!(dialer.unneeded(), []);
    }

    #[test]
    fn a_bootstrap_peer_is_one_of_many_once_there_are_neighbours_and_the_ledger_knows_it() {
        let (mut dialer, _) = in_network_of(100);
        let hub = member(1000);
        dialer.bootstrap(S, tcp(1).with(Protocol::P2p(hub)));
        run(&mut dialer, 2 * S, |peer| *peer != hub);
        let again = run(&mut dialer, 3 * S, |_| true);
        assert_eq!(again, [hub], "the ledger does not know it: it is expected back");
        dialer.disconnected(4 * S, hub, true);
        dialer.found(4 * S, hub, vec![tcp(1)], Source::Ledger);
        assert_eq!(run(&mut dialer, 60 * S, |_| true), []);
        dialer.unlist(60 * S, hub);
        assert_eq!(run(&mut dialer, 60 * S, |_| true), [hub]);
    }

    #[test]
    fn of_those_that_the_dht_tells_of_only_the_unknown_are_met_once_there_are_neighbours() {
        let (mut dialer, peers) = in_network_of(100);
        let (last, unknown) = (*peers.last().unwrap(), member(1000));
        assert!(dialer.is_worth_meeting(S, &last), "alone");
        run(&mut dialer, 2 * S, |_| true);
        assert!(!dialer.is_worth_meeting(2 * S, &last) && dialer.is_worth_meeting(2 * S, &unknown));
        dialer.bar([(unknown, 9 * S)].into());
        assert!(!dialer.is_worth_meeting(8 * S, &unknown) && dialer.is_worth_meeting(9 * S, &unknown));
    }

    #[test]
    fn whom_the_ledger_does_not_know_for_a_minute_is_looked_for() {
        let (mut dialer, _) = in_network_of(100);
        run(&mut dialer, 2 * S, |_| true);
        let heard: Vec<_> = (1000..1050).map(member).collect();
        heard.iter().for_each(|peer| dialer.found(3 * S, *peer, vec![tcp(1)], Source::Heard));
        let picked = run(&mut dialer, 4 * S, |_| true).len();
        assert!(picked < PICKED, "those that come before the neighbours in this node's order: {picked}");
        heard[10..].iter().for_each(|peer| dialer.found(5 * S, *peer, vec![tcp(1)], Source::Ledger));
        assert!(run(&mut dialer, 62 * S, |_| true).is_empty());
        let scouted = run(&mut dialer, 63 * S, |_| true);
        assert!(!scouted.is_empty() && scouted.iter().all(|peer| heard[..10].contains(peer)), "{scouted:?}");
    }
}
