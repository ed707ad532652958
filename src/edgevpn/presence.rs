//! What edgevpn's ledger says of the nodes that are there, as this node believes it. Pure: time is an argument.
//!
//! The ledger is one block that everybody replaces as a whole, so entries vanish and come back; entries of dead nodes stay
//! for ever; and its timestamps are of clocks that nobody compares here. So what counts is when a value *changed*, by this
//! node's own clock:
//!
//! * an entry that vanished is believed for [`REMEMBERED`] more;
//! * a worker of LocalAI's lives while its `LastSeen` changes, and any node while its heartbeat does;
//! * what was found at first says nothing: it is believed where the node is connected, and only as long.
//!
//! A front goes by its connections in any case; this only nominates.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use libp2p::PeerId;

use super::{
    LocalAi,
    block::Storage,
    entry::Entry,
    values::{self, HEALTHCHECK, LOCALAI, NodeData, SERVICES, Service, USERS},
};
use crate::{ledger::NodeId, net::node_of};

/// How long an entry that is no longer in the ledger is believed. Two nodes that write at the same moment erase one of two
/// writes, which comes back within a minute: LocalAI writes a worker's service that often.
const REMEMBERED: Duration = Duration::from_secs(90);

/// A worker of LocalAI's whose `LastSeen` has not changed for so long is gone. It is written every 20 s, give or take half,
/// and some writes are lost; LocalAI itself says 40 s.
const LAST_SEEN: Duration = Duration::from_secs(60);

/// A node whose heartbeat has not changed for so long is gone. edgevpn's come every 120 s, give or take half, and whoever
/// leads erases all of them now and then.
const HEARTBEAT: Duration = Duration::from_secs(420);

/// Entries remembered, and bytes of a value: more than any network has, and a bound to what a hostile one can make of the memory.
const ENTRIES: usize = 16_384;
const VALUE: usize = 4096;

/// One node that the ledger tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nominee {
    pub(super) node: NodeId,
    /// Its name for people, where the ledger has one.
    pub(super) name: Option<String>,
    /// Names of the services that it offers, and whether LocalAI says so.
    pub(super) services: BTreeMap<String, bool>,
    /// It is probably there.
    pub(super) fresh: bool,
}

/// What was read, and when.
#[derive(Debug, Default)]
pub(super) struct Presence {
    localai: LocalAi,
    /// By bucket and key.
    entries: HashMap<(String, String), Sighting>,
    /// When it was looked first.
    since: Option<Duration>,
}

#[derive(Debug)]
struct Sighting {
    value: String,
    /// When it was last in a block.
    seen: Duration,
    /// When it changed; none while it is what was found at first.
    changed: Option<Duration>,
}

impl Presence {
    pub(super) fn new(localai: LocalAi) -> Self {
        Self { localai, entries: HashMap::new(), since: None }
    }

    /// The ledger holds this now.
    pub(super) fn note(&mut self, now: Duration, storage: &Storage) {
        if !storage.is_empty() {
            self.since.get_or_insert(now);
        }
        let buckets = [SERVICES, USERS, HEALTHCHECK].map(str::to_owned).into_iter();
        let buckets: Vec<_> = buckets.chain(LOCALAI.iter().map(|(_, bucket)| self.localai.bucket(bucket))).collect();
        for bucket in buckets {
            let Some(entries) = storage.get(&bucket) else { continue };
            let is_fit = |entry: &Entry| !entry.is_deleted() && entry.value.len() <= VALUE;
            for (key, entry) in entries.iter().filter(|(key, entry)| key.len() <= VALUE && is_fit(entry)) {
                self.sight(now, (bucket.clone(), key.clone()), &entry.value);
            }
        }
        self.entries.retain(|_, sighting| sighting.seen + REMEMBERED > now);
    }

    fn sight(&mut self, now: Duration, at: (String, String), value: &str) {
        let is_full = self.entries.len() >= ENTRIES;
        match self.entries.get_mut(&at) {
            Some(sighting) => {
                sighting.seen = now;
                if sighting.value != value {
                    sighting.value = value.to_owned();
                    sighting.changed = Some(now);
                }
            }
            None if is_full => {}
            None => {
                self.entries.insert(at, Sighting { value: value.to_owned(), seen: now, changed: None });
            }
        }
    }

    /// Whether `peer` is among those that may use services.
    pub(super) fn is_user(&self, peer: &PeerId) -> bool {
        self.entries.contains_key(&(USERS.to_owned(), peer.to_string()))
    }

    /// When the ledger was first seen to hold something.
    pub(super) fn since(&self) -> Option<Duration> {
        self.since
    }

    /// Who holds a service's name, and whether there is reason to believe that it is still there: its heartbeat, or that this
    /// node has not looked long enough to know.
    pub(super) fn holder(&self, now: Duration, service: &str) -> Option<(NodeId, bool)> {
        let node = self.exposer(service)?;
        let is_young = self.since.is_none_or(|since| now < since + HEARTBEAT);
        Some((node, is_young || self.beats(now, &node)))
    }

    /// All nodes that offer something.
    pub(super) fn nominees(&self, now: Duration, is_connected: impl Fn(&NodeId) -> bool) -> Vec<Nominee> {
        let mut nominees: BTreeMap<NodeId, Nominee> = BTreeMap::new();
        let mut claimed = HashSet::new();
        for (service, bucket) in LOCALAI {
            let bucket = self.localai.bucket(bucket);
            for (data, changed) in self.workers(&bucket) {
                // Its random name in `services` is nothing that anybody would ask for.
                claimed.insert(data.name.clone());
                let Some(node) = self.exposer(&data.name) else { continue };
                let lives = changed.is_some_and(|at| now < at + LAST_SEEN) || changed.is_none() && is_connected(&node);
                let nominee = nominees.entry(node).or_insert_with(|| Nominee::new(node));
                nominee.services.insert(service.to_owned(), true);
                nominee.fresh |= lives;
                nominee.name.get_or_insert(data.id);
            }
        }
        for (service, _) in self.bucket(SERVICES).filter(|(name, _)| !claimed.contains(*name)) {
            let Some(node) = self.exposer(service) else { continue };
            let nominee = nominees.entry(node).or_insert_with(|| Nominee::new(node));
            nominee.services.entry(service.to_owned()).or_insert(false);
            nominee.fresh |= is_connected(&node) || self.beats(now, &node);
        }
        nominees.into_values().collect()
    }

    /// What LocalAI's workers say of themselves in `bucket`, and when that last changed.
    fn workers<'a>(&'a self, bucket: &'a str) -> impl Iterator<Item = (NodeData, Option<Duration>)> + 'a {
        self.bucket(bucket)
            .filter_map(|(_, sighting)| Some((values::read::<NodeData>(&sighting.value)?, sighting.changed)))
    }

    fn exposer(&self, service: &str) -> Option<NodeId> {
        let sighting = self.entries.get(&(SERVICES.to_owned(), service.to_owned()))?;
        let Service { peer, .. } = values::read(&sighting.value)?;
        node_of(&peer.parse().ok()?)
    }

    fn beats(&self, now: Duration, node: &NodeId) -> bool {
        let sighting = self.entries.get(&(HEALTHCHECK.to_owned(), node.to_string()));
        sighting.and_then(|sighting| sighting.changed).is_some_and(|at| now < at + HEARTBEAT)
    }

    fn bucket<'a>(&'a self, bucket: &'a str) -> impl Iterator<Item = (&'a str, &'a Sighting)> {
        let inside = self.entries.iter().filter(move |((of, _), _)| of == bucket);
        inside.map(|((_, key), sighting)| (key.as_str(), sighting))
    }
}

impl Nominee {
    fn new(node: NodeId) -> Self {
        Self { node, name: None, services: BTreeMap::new(), fresh: false }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    fn storage(entries: &[(&str, &str, String)]) -> Storage {
        let mut storage = Storage::new();
        for (bucket, key, value) in entries {
            let bucket = storage.entry((*bucket).to_owned()).or_default();
            bucket.insert((*key).to_owned(), Entry { value: value.clone(), seal: None });
        }
        storage
    }

    fn service(peer: PeerId, name: &str) -> (&'static str, &str, String) {
        (SERVICES, name, values::text(&Service { peer: peer.to_string(), name: name.to_owned() }))
    }

    fn worker(name: &str, last_seen: &str) -> (&'static str, String) {
        let data = NodeData {
            name: name.to_owned(),
            id: format!("gpu1-{name}"),
            last_seen: last_seen.to_owned(),
            ..NodeData::default()
        };
        ("federated", values::text(&data))
    }

    fn localai(peer: PeerId, last_seen: &str) -> Storage {
        let (bucket, value) = worker("abcDEFghij", last_seen);
        storage(&[service(peer, "abcDEFghij"), (bucket, "abcDEFghij", value)])
    }

    #[test]
    fn a_worker_lives_while_its_last_seen_changes_whatever_it_says() {
        let (mut presence, peer) = (Presence::default(), peer());
        let fresh = |presence: &Presence, now, connected| {
            let nominees = presence.nominees(now, |_| connected);
            assert_eq!(nominees.len(), 1);
            assert_eq!(nominees[0].name.as_deref(), Some("gpu1-abcDEFghij"));
            assert_eq!(nominees[0].services, BTreeMap::from([("federated".to_owned(), true)]));
            nominees[0].fresh
        };
        presence.note(S, &localai(peer, "1999-01-01T00:00:00Z"));
        assert!(!fresh(&presence, S, false), "what was found at first may be years old");
        assert!(fresh(&presence, S, true), "but a connection is the truth");
        presence.note(20 * S, &localai(peer, "1999-01-01T00:00:20Z"));
        assert!(fresh(&presence, 79 * S, false));
        presence.note(79 * S, &localai(peer, "1999-01-01T00:00:20Z"));
        assert!(!fresh(&presence, 80 * S, true), "a node that says nothing new has stopped to offer");
    }

    #[test]
    fn a_block_that_lost_entries_takes_nobody_out() {
        let (mut presence, peer) = (Presence::default(), peer());
        presence.note(S, &localai(peer, "a"));
        presence.note(2 * S, &localai(peer, "b"));
        presence.note(3 * S, &Storage::new());
        assert!(presence.nominees(3 * S, |_| false)[0].fresh);
        presence.note(2 * S + REMEMBERED, &Storage::new());
        assert!(presence.nominees(2 * S + REMEMBERED, |_| true).is_empty());
    }

    #[test]
    fn a_service_of_edgevpns_lives_by_its_heartbeat_or_its_connection() {
        let (mut presence, peer) = (Presence::default(), peer());
        let with = |beat: &str| storage(&[service(peer, "ssh"), (HEALTHCHECK, &peer.to_string(), values::text(&beat))]);
        presence.note(S, &with("a"));
        let fresh = |presence: &Presence, now, connected| presence.nominees(now, |_| connected)[0].fresh;
        assert!(!fresh(&presence, S, false) && fresh(&presence, S, true));
        presence.note(60 * S, &with("b"));
        assert!(fresh(&presence, 61 * S, false));
        for n in 1..9 {
            presence.note(60 * S * n, &with("b"));
        }
        assert!(!fresh(&presence, 480 * S, false));
        let holder = |presence: &Presence, n: u32| presence.holder(n * S, "ssh").map(|(_, lives)| lives);
        assert_eq!(
            (holder(&presence, 100), holder(&presence, 479), holder(&presence, 480)),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!(presence.holder(480 * S, "web"), None);
    }

    #[test]
    fn networks_of_localai_are_told_apart_by_their_id() {
        let mut presence = Presence::new("lab".parse().unwrap());
        presence.note(S, &localai(peer(), "a"));
        assert!(presence.nominees(S, |_| true)[0].services.contains_key("abcDEFghij"), "a service like any other");
        let one = peer();
        let (_, value) = worker("abcDEFghij", "a");
        presence.note(2 * S, &storage(&[service(one, "abcDEFghij"), ("lab_federated", "abcDEFghij", value)]));
        assert!(presence.nominees(2 * S, |_| true)[0].services.contains_key("federated"));
    }

    #[test]
    fn users_are_remembered() {
        let (mut presence, peer) = (Presence::default(), peer());
        assert!(!presence.is_user(&peer));
        presence.note(S, &storage(&[(USERS, &peer.to_string(), "{}".to_owned())]));
        presence.note(60 * S, &Storage::new());
        assert!(presence.is_user(&peer));
        presence.note(120 * S, &Storage::new());
        assert!(!presence.is_user(&peer));
    }
}
