//! Owners without machines of their own: each is spoken for by a node that holds its key.
//!
//! Ledgers of ten thousand owners at ten thousand nodes do not fit into one machine. A hundred nodes that speak for a
//! hundred owners each hold the same ledgers: every record is signed by its own key, every lease comes in its time, and
//! each is told to one node, as a peer would tell it, from where it has to reach all others.

use std::{sync::Arc, time::Duration};

use ed25519_dalek::{Signer, SigningKey};
use p2p_fed_ledger::{Config, Input, NodeId, Record, SignedRecord};

use crate::{
    attack::payload,
    node::{Message, Node, START_MS, offering},
    scenario::{Disk, NETWORK},
    world::{Event, World},
};

const HELLO: u8 = 1;
const RECORDS: u8 = 5;
const KIND_LEASE: u8 = 3;
/// Streams of guests are not those of the network.
const STREAM: u64 = 1 << 63;
/// An item of a snapshot that is an owner's.
const SNAPSHOT_OWNER: u8 = 1;

pub(crate) struct Guest {
    pub id: NodeId,
    key: SigningKey,
    /// The node that speaks for it.
    pub host: usize,
    pub record: SignedRecord,
    /// The last number that it used.
    number: u64,
}

impl World {
    /// Gives each of the first `hosts` nodes so many guests. To be done before they start.
    pub(crate) fn invite(&mut self, hosts: usize, guests_each: usize) {
        let (renew, ttl) = self.pace(hosts * (guests_each + 1));
        for number in 0..hosts * guests_each {
            let Node { key, mut statement, .. } = Node::new(hosts + number, Duration::ZERO, &mut self.chance);
            statement.services = vec![offering("web")];
            let (owner, seq, issued_ms) = (key.verifying_key().into(), START_MS, START_MS);
            let record =
                Record { network: NETWORK, generation: 0, owner, seq, issued_ms, ttl, credential: None, statement };
            let record = SignedRecord::sign(record, &key).expect("a valid record");
            self.signed.entry(owner).or_default().insert(record.id());
            let due = self.now + self.chance.between(&(Duration::ZERO..renew));
            self.queue.push(due, Event::Renew(self.guests.len()));
            self.guests.push(Guest { id: owner, key, host: number % hosts, record, number: seq });
        }
    }

    /// How often owners renew, and how long what they say is fresh, where there are so many.
    fn pace(&self, owners: usize) -> (Duration, Duration) {
        self.scenario.config.pace(owners)
    }

    /// Gives a node a disk on which these records are, of which the last word was heard up to `age` ago.
    pub(crate) fn know(&mut self, node: usize, records: &[SignedRecord], age: Duration) {
        let now_ms = self.nodes[node].moment(self.now).unix_ms;
        let items = records.iter().map(|record| {
            let left = record.record().ttl - self.chance.between(&(Duration::ZERO..age));
            let until = now_ms + u64::try_from(left.as_millis()).expect("an hour at most");
            let rumour = payload(record);
            let len = u16::try_from(rumour.len()).expect("a short record");
            [&[SNAPSHOT_OWNER][..], &until.to_be_bytes(), &[0], &len.to_be_bytes(), &rumour].concat()
        });
        self.nodes[node].saved = [items.collect(), Vec::new()];
    }

    /// Starts the first nodes, on a network that is not up yet, with ledgers in which all of them and all guests are.
    pub(crate) fn start_knowing(&mut self, nodes: usize) {
        let (renew, ttl) = self.pace(nodes + self.guests.len());
        let config = Config { ttl, ..self.scenario.config };
        let firsts = self.nodes[..nodes].iter().map(|node| node.first_record(self.now, config));
        let records: Vec<_> = firsts.chain(self.guests.iter().map(|guest| guest.record.clone())).collect();
        for record in &records {
            self.signed.entry(record.record().owner).or_default().insert(record.id());
        }
        let age = if self.guests.is_empty() { Duration::ZERO } else { renew };
        for node in 0..nodes {
            self.know(node, &records, age);
            self.boot(node, Disk::Kept);
            self.nodes[node].saved = Default::default();
        }
    }

    /// The guest's lease is due: a peer brings it to the host.
    pub(crate) fn renew_guest(&mut self, guest: usize) {
        let (renew, ttl) = self.pace(self.guests.len());
        let Guest { id, key, record, number, host } = &mut self.guests[guest];
        *number += 1;
        let ttl = u32::try_from(ttl.as_secs()).expect("an hour at most");
        let body = [&id.as_bytes()[..], &record.id().0[..16], &number.to_be_bytes(), &ttl.to_be_bytes()].concat();
        let signature = key.sign(&[b"p2p-fed/lease/v1\0", &body[..]].concat());
        let lease = [&[KIND_LEASE][..], &body, &signature.to_bytes()].concat();
        let len = u16::try_from(lease.len()).expect("a short lease");
        let host = *host;
        self.named += 1;
        let session = STREAM + self.named;
        let hello = [&[HELLO][..], &[0; 4 + 16 + 8]].concat();
        self.as_a_peer(host, |peer| {
            vec![
                Input::SessionOpened { session, peer, dialled: false },
                Input::SessionFrame { session, bytes: hello },
                Input::SessionFrame { session, bytes: [&[RECORDS][..], &len.to_be_bytes(), &lease].concat() },
                Input::SessionClosed { session },
            ]
        });
        let next = renew * 4 / 5 + self.chance.between(&(Duration::ZERO..renew * 2 / 5));
        self.queue.push(self.now + next, Event::Renew(guest));
    }

    /// The guest says something new: a peer passes it on to the host.
    pub(crate) fn change_guest(&mut self, guest: usize) {
        let Guest { id, key, record, host, number } = &self.guests[guest];
        let number = number + 1;
        let mut changed = (**record.record()).clone();
        changed.seq = number;
        let before = &changed.statement.services[0].name;
        changed.statement.services = vec![offering(if before == "web" { "llm" } else { "web" })];
        let signed = SignedRecord::sign(changed, key).expect("a valid record");
        let (id, host) = (*id, *host);
        self.signed.entry(id).or_default().insert(signed.id());
        let message = Message::new(payload(&signed));
        self.guests[guest].record = signed;
        self.guests[guest].number = number;
        let ticket = self.ticket(host, Arc::clone(&message));
        self.as_a_peer(host, |from| vec![Input::Gossip { ticket, from, bytes: message.bytes.clone() }]);
    }

    /// Somebody comes to the host, does something, and goes.
    fn as_a_peer(&mut self, host: usize, inputs: impl FnOnce(NodeId) -> Vec<Input>) {
        let peer = NodeId::from_bytes([0xff; 32]);
        self.give(host, Input::PeerUp(peer));
        inputs(peer).into_iter().for_each(|input| self.give(host, input));
        self.give(host, Input::PeerDown(peer));
    }
}
