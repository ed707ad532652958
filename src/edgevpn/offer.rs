//! What this node offers to edgevpn's nodes, and what it writes into their ledger about it. Pure: time is an argument.
//!
//! A stream of theirs does not say which service it is for, so a node can offer them one alone: LocalAI's (`federated` before
//! others) if this node exposes one, or else the first by name. It is written under names that they look for:
//!
//! * a service of LocalAI's as one of its instances would: with a name of ten letters in `services`, and under the same name
//!   in the service's own bucket, with a `LastSeen` that stays fresh;
//! * under its own name in `services`, as `edgevpn service-add` would. One node alone can hold that name: the first does,
//!   and when it is gone another takes over.

use std::time::{Duration, SystemTime};

use libp2p::PeerId;
use sha2::{Digest, Sha256};

use super::{
    LocalAi,
    values::{self, HEALTHCHECK, NodeData, SERVICES, USERS, User, localai_bucket},
};
use crate::ledger::{self, Protocol};

/// How often a worker of LocalAI's says that it is there. It is believed for 40 s.
const LAST_SEEN: Duration = Duration::from_secs(20);

/// How often a node's heartbeat is written: LocalAI's period. edgevpn takes a node for gone after 15 minutes, and where it
/// enforces ownership after four of its own periods, 120 s at least.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Letters in the name of a LocalAI worker.
const LETTERS: usize = 10;

/// A statement in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// Who this node is to edgevpn's ledger.
#[derive(Debug)]
pub(super) struct Offer {
    peer: PeerId,
    host: String,
    localai: LocalAi,
    /// This node has a front, and so uses services.
    is_user: bool,
    /// Written once: a fresh one each time would be another block each time.
    began: String,
    heartbeat: Beat,
    last_seen: Beat,
}

/// A timestamp that is a new one once in each period, and not in between, however often it is asked for.
#[derive(Debug)]
struct Beat {
    period: Duration,
    text: fn(SystemTime) -> String,
    last: Option<(u128, String)>,
}

impl Beat {
    fn new(period: Duration, text: fn(SystemTime) -> String) -> Self {
        Self { period, text, last: None }
    }

    fn at(&mut self, since: Duration, clock: SystemTime) -> String {
        let number = since.as_nanos() / self.period.as_nanos();
        match &self.last {
            Some((last, text)) if *last == number => text.clone(),
            _ => {
                let text = (self.text)(clock);
                self.last = Some((number, text.clone()));
                text
            }
        }
    }
}

/// Which of its services a node offers to edgevpn's nodes.
pub(super) fn offered(services: &[ledger::Service]) -> Option<&ledger::Service> {
    let streams = || services.iter().filter(|service| service.protocol != Protocol::Udp);
    let rank = |service: &&ledger::Service| (localai_bucket(&service.name).is_none(), service.name.clone());
    streams().min_by_key(rank)
}

impl Offer {
    pub(super) fn new(peer: PeerId, host: String, localai: LocalAi, is_user: bool, now: SystemTime) -> Self {
        Self {
            peer,
            host,
            localai,
            is_user,
            began: values::timestamp(now),
            heartbeat: Beat::new(HEARTBEAT, values::heartbeat),
            last_seen: Beat::new(LAST_SEEN, values::timestamp),
        }
    }

    /// Whether this node uses services of others.
    pub(super) fn is_user(&self) -> bool {
        self.is_user
    }

    /// What is to be in the ledger while `service` is offered. `may_hold` says whether the service's own name is free, or
    /// this node's.
    pub(super) fn said(
        &mut self,
        since: Duration,
        clock: SystemTime,
        service: Option<&ledger::Service>,
        is_draining: bool,
        may_hold: bool,
    ) -> Vec<Said> {
        let peer = self.peer.to_string();
        let said = |bucket: &str, key: &str, value| Said { bucket: bucket.to_owned(), key: key.to_owned(), value };
        let beat = self.heartbeat.at(since, clock);
        let mut all = vec![said(HEALTHCHECK, &peer, values::text(&beat))];
        if self.is_user {
            let user = User { peer: peer.clone(), timestamp: self.began.clone() };
            all.push(said(USERS, &peer, values::text(&user)));
        }
        let Some(service) = service else { return all };
        let exposed = |name: &str| {
            said(SERVICES, name, values::text(&values::Service { peer: peer.clone(), name: name.to_owned() }))
        };
        if let Some(bucket) = localai_bucket(&service.name) {
            let name = self.letters();
            all.push(exposed(&name));
            if !is_draining {
                let data = NodeData {
                    id: format!("{}-{name}", self.host),
                    last_seen: self.last_seen.at(since, clock),
                    name: name.clone(),
                    ..NodeData::default()
                };
                all.push(said(&self.localai.bucket(bucket), &name, values::text(&data)));
            }
        }
        if may_hold && !is_draining {
            all.push(exposed(&service.name));
        }
        all
    }

    /// The name of this node's worker: ten letters that stay the same for as long as its key does, so that a restart leaves
    /// nothing behind.
    pub(super) fn letters(&self) -> String {
        const ALPHABET: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let digest = Sha256::digest(self.peer.to_bytes());
        digest.iter().take(LETTERS).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Service;

    const S: Duration = Duration::from_secs(1);

    fn offer(is_user: bool) -> Offer {
        Offer::new(PeerId::random(), "gpu1".into(), "lab".parse().unwrap(), is_user, SystemTime::UNIX_EPOCH)
    }

    fn at(since: Duration) -> (Duration, SystemTime) {
        (since, SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600) + since)
    }

    fn keys(said: &[Said]) -> Vec<(&str, &str)> {
        said.iter().map(|said| (said.bucket.as_str(), said.key.as_str())).collect()
    }

    #[test]
    fn a_federated_worker_is_written_as_localais_is_and_under_its_own_name() {
        let (mut offer, service) = (offer(false), Service::new("federated", Protocol::Http));
        let (since, clock) = at(3 * S);
        let said = offer.said(since, clock, Some(&service), false, true);
        let (peer, name) = (offer.peer.to_string(), offer.letters());
        assert_eq!(
            keys(&said),
            [("healthcheck", peer.as_str()), ("services", &name), ("lab_federated", &name), ("services", "federated")]
        );
        let data: NodeData = values::read(&said[2].value).unwrap();
        assert_eq!(data.id, format!("gpu1-{name}"));
        assert_eq!(data.last_seen, "2026-01-01T00:00:03Z");
        assert!(name.len() == LETTERS && name.chars().all(|c| c.is_ascii_alphabetic()));
    }

    #[test]
    fn what_is_said_changes_once_in_a_period() {
        let (mut offer, service) = (offer(false), Service::new("worker", Protocol::Tcp));
        let mut changes = 0;
        let mut before = None;
        for n in 0..600 {
            let (since, clock) = at(n * S / 5);
            let said = offer.said(since, clock, Some(&service), false, true);
            changes += u32::from(before.replace(said.clone()).is_some_and(|before| before != said));
        }
        // 120 s: 5 periods of 20 s and 3 of 30 s begin, of which one pair together.
        assert_eq!(changes, 7);
    }

    #[test]
    fn a_node_that_drains_is_offered_no_more_but_still_found() {
        let (mut offer, service) = (offer(true), Service::new("federated", Protocol::Http));
        let (since, clock) = at(S);
        let said = offer.said(since, clock, Some(&service), true, true);
        let (peer, name) = (offer.peer.to_string(), offer.letters());
        assert_eq!(keys(&said), [("healthcheck", peer.as_str()), ("users", &peer), ("services", &name)]);
        assert_eq!(offer.said(since, clock, None, false, true).len(), 2);
    }

    #[test]
    fn one_service_is_offered_and_localais_first() {
        let services = |names: &[(&str, Protocol)]| {
            names.iter().map(|(name, protocol)| Service::new(*name, *protocol)).collect::<Vec<_>>()
        };
        let name = |services: &[Service]| offered(services).map(|service| service.name.clone());
        assert_eq!(name(&services(&[("a", Protocol::Tcp), ("federated", Protocol::Http)])), Some("federated".into()));
        assert_eq!(name(&services(&[("dns", Protocol::Udp), ("ssh", Protocol::Tcp)])), Some("ssh".into()));
        assert_eq!(name(&services(&[("dns", Protocol::Udp)])), None);
    }
}
