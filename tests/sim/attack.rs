//! What a member of the network can say by gossip that an honest node does not.

use std::{collections::BTreeSet, sync::Arc};

use p2p_fed_ledger::{Offence, RUMOUR_MAX, Record, SignedRecord, Statement, Unverified};

use crate::{
    node::{Message, START_MS},
    scenario::{Act, NETWORK},
    world::World,
};

/// The first byte of the gossip payload of a record, of evidence, and of something that no version has.
const KIND_RECORD: u8 = 1;
const KIND_EVIDENCE: u8 = 2;
const KIND_UNKNOWN: u8 = 0x77;
/// Messages of a flood: twice what one may send at once.
const FLOOD: usize = 400;
/// Messages that are repeated a few times, so that somebody counts them together.
const FEW: usize = 8;
/// Accusations in a second.
const ACCUSATIONS: usize = 100;
/// Ten years, in milliseconds.
const TEN_YEARS: u64 = 10 * 365 * 24 * 3600 * 1000;

pub(crate) fn payload(signed: &SignedRecord) -> Vec<u8> {
    [&[KIND_RECORD], signed.bytes()].concat()
}

impl World {
    pub(crate) fn attack(&mut self, act: &Act) {
        let count = self.nodes.len();
        let (by, blamed): (usize, &[Offence]) = match *act {
            Act::Lie(by, lie) => return self.lie(by % count, lie),
            Act::Forge(by, _) => (by, &[Offence::Forged]),
            Act::Garble(by) => (by, &[Offence::Malformed, Offence::Forged]),
            Act::Oversize(by) => (by, &[Offence::Malformed]),
            Act::Flood(by) => (by, &[Offence::Flood]),
            Act::Accuse(by, _) => (by, &[Offence::Forged, Offence::Malformed, Offence::Flood]),
            Act::Sybils(by, _) => (by, &[Offence::Flood]),
            Act::Replay(by) | Act::Equivocate(by) | Act::Predate(by) | Act::Overflow(by) => (by, &[]),
            _ => return,
        };
        let by = by % count;
        let id = self.nodes[by].id;
        let Some(own) = self.nodes[by].ledger.as_ref().and_then(|ledger| ledger.record(&id)).cloned() else { return };
        self.attackers.entry(id).or_default().extend(blamed);
        match *act {
            Act::Forge(_, victim) => {
                let victim = self.nodes[victim % count].id;
                if victim != id {
                    let forged = self.forged_rumour(by, victim, &own);
                    self.tell_all(by, forged);
                }
            }
            Act::Replay(_) => {
                for _ in 0..FEW {
                    let old = self.archive.get(self.chance.below(self.archive.len())).cloned();
                    old.into_iter().for_each(|old| self.pass_on_to_all(by, &old));
                }
            }
            Act::Equivocate(_) => self.equivocate(by, &own),
            Act::Garble(_) => (0..FEW).for_each(|_| {
                let mut garbled = payload(&own);
                self.chance.garble(&mut garbled);
                self.tell_all(by, garbled);
            }),
            Act::Oversize(_) => (0..FEW).for_each(|at| {
                let long = [payload(&own), vec![at as u8; RUMOUR_MAX]].concat();
                self.tell_all(by, long);
            }),
            // Whoever takes the sybil's holds what is not registered as signed, and the checks find it.
            Act::Predate(_) => {
                let signed = self.say_as(by, &own, |record| record.issued_ms += TEN_YEARS);
                self.signed.entry(id).or_default().insert(signed.id());
                let sybil = self.sybil(|record| record.issued_ms += TEN_YEARS);
                [signed, sybil].iter().for_each(|signed| self.tell_all(by, payload(signed)));
            }
            Act::Overflow(_) => {
                let signed = self.say_as(by, &own, |record| record.seq = u64::MAX);
                let sybil = self.sybil(|record| record.seq = u64::MAX);
                [signed, sybil].iter().for_each(|signed| self.tell_all(by, payload(signed)));
            }
            Act::Sybils(_, sybils) => self.bring_sybils(by, sybils),
            Act::Accuse(_, victim) => self.accuse(by, victim % count, &own),
            _ => (0..FLOOD).for_each(|_| {
                let noise = self.chance.bytes(8);
                self.tell_all(by, noise);
            }),
        }
    }

    /// Sends a payload to each neighbour.
    fn tell_all(&mut self, by: usize, bytes: Vec<u8>) {
        self.pass_on_to_all(by, &Message::new(bytes));
    }

    fn pass_on_to_all(&mut self, by: usize, message: &Arc<Message>) {
        self.network.neighbours(by).into_iter().for_each(|peer| self.pass_on(by, peer, message));
    }

    /// Another record after `own`, signed with the node's own key.
    pub(crate) fn say_as(&self, by: usize, own: &SignedRecord, change: impl FnOnce(&mut Record)) -> SignedRecord {
        let mut record = (**own.record()).clone();
        record.seq += 1;
        change(&mut record);
        SignedRecord::sign(record, &self.nodes[by].key).expect("a valid record")
    }

    /// Two records with one number, one to every other peer.
    fn equivocate(&mut self, by: usize, own: &SignedRecord) {
        let told = ["one", "other"].map(|name| self.say_as(by, own, |record| record.statement.name = name.into()));
        let id = self.nodes[by].id;
        self.two_tongues.insert(id);
        self.signed.entry(id).or_default().extend(told.iter().map(SignedRecord::id));
        for (peer, signed) in self.network.neighbours(by).into_iter().zip(told.iter().cycle()) {
            self.pass_on(by, peer, &Message::new(payload(signed)));
        }
    }

    /// Records of owners that were never there.
    fn bring_sybils(&mut self, by: usize, sybils: usize) {
        for _ in 0..sybils {
            let signed = self.sybil(|_| {});
            self.signed.insert(signed.record().owner, BTreeSet::from([signed.id()]));
            self.tell_all(by, payload(&signed));
        }
    }

    /// A record of an owner that nobody ever saw.
    fn sybil(&mut self, change: impl FnOnce(&mut Record)) -> SignedRecord {
        let key = self.chance.key();
        let now_ms = START_MS + u64::try_from(self.now.as_millis()).expect("a short run");
        let mut record = Record {
            network: NETWORK,
            generation: 0,
            owner: key.verifying_key().into(),
            seq: now_ms,
            issued_ms: now_ms,
            ttl: self.scenario.config.ttl,
            credential: None,
            statement: Statement { name: "sybil".into(), ..Statement::default() },
        };
        change(&mut record);
        SignedRecord::sign(record, &key).expect("a valid record")
    }

    /// Evidence that the victim's key says two things, none of it true, and words that no version has.
    fn accuse(&mut self, by: usize, victim: usize, own: &SignedRecord) {
        if by == victim {
            return;
        }
        let (me, victim) = (self.nodes[by].id, self.nodes[victim].id);
        let held = self.nodes[by].ledger.as_ref().and_then(|ledger| ledger.record(&victim)).cloned();
        let Some(held) = held else { return };
        let forged = ["one", "other"].map(|name| {
            let signed = self.say_as(by, own, |record| {
                record.seq = held.record().seq;
                record.statement.name = name.into();
            });
            replace(signed.bytes(), me.as_bytes(), victim.as_bytes())
        });
        let seq = held.record().seq.to_be_bytes();
        for _ in 0..ACCUSATIONS {
            let noise = self.chance.bytes(8);
            let bytes = match self.chance.below(4) {
                // A true record against itself, with another signature.
                0 => {
                    let (body, _) = held.bytes().split_last_chunk::<8>().expect("a record is longer");
                    evidence([held.bytes().to_vec(), [body, &noise].concat()])
                }
                // A true record against a forged one.
                1 => {
                    let (body, _) = forged[0].split_last_chunk::<8>().expect("a record is longer");
                    evidence([held.bytes().to_vec(), [body, &noise].concat()])
                }
                2 => [&[KIND_UNKNOWN], &victim.as_bytes()[..], &noise].concat(),
                // Two forged ones with a number that nobody has used.
                _ => evidence(forged.clone().map(|bytes| replace(&bytes, &seq, &[&[0, 0], &noise[..6]].concat()))),
            };
            self.tell_all(by, bytes);
        }
    }
}

/// The bytes with other ones in place of some.
pub(crate) fn replace(bytes: &[u8], some: &[u8], other: &[u8]) -> Vec<u8> {
    let at = bytes.windows(some.len()).position(|window| window == some).expect("they are in there");
    [&bytes[..at], other, &bytes[at + some.len()..]].concat()
}

/// Two records as evidence, in the order in which it has to be.
fn evidence(mut two: [Vec<u8>; 2]) -> Vec<u8> {
    two.sort_by_key(|bytes| Unverified::decode(bytes).map(|record| record.id().0).ok());
    let len = u16::try_from(two[0].len()).expect("a short record").to_be_bytes();
    [&[KIND_EVIDENCE][..], &len, &two[0], &two[1]].concat()
}
