//! What a member of the network can do that an honest node does not.

use std::sync::Arc;

use p2p_fed_ledger::{Record, SignedRecord, Statement};

use crate::{scenario::Act, world::World};

/// The first byte of the gossip payload of a record.
const KIND_RECORD: u8 = 1;
/// Messages of a flood: twice what one may send at once.
const FLOOD: usize = 400;

fn payload(signed: &SignedRecord) -> Arc<[u8]> {
    [&[KIND_RECORD], signed.bytes()].concat().into()
}

impl World {
    pub(crate) fn attack(&mut self, act: &Act) {
        let count = self.nodes.len();
        let by = match *act {
            Act::Forge(by, _) | Act::Replay(by) | Act::Equivocate(by) | Act::Garble(by) | Act::Flood(by) => by % count,
            _ => return,
        };
        let Some(own) = self.nodes[by].ledger.as_ref().and_then(|ledger| ledger.record(&self.nodes[by].id)) else {
            return;
        };
        let own = own.clone();
        self.attackers.insert(self.nodes[by].id);
        match *act {
            Act::Forge(_, victim) => self.forge(by, victim % count, &own),
            Act::Replay(_) => {
                for _ in 0..8 {
                    let old = self.archive.get(self.chance.below(self.archive.len())).cloned();
                    old.into_iter().for_each(|old| self.tell_all(by, &old));
                }
            }
            Act::Equivocate(_) => self.equivocate(by, &own),
            Act::Garble(_) => (0..8).for_each(|_| {
                let garbled = self.garbled(&payload(&own));
                self.tell_all(by, &garbled);
            }),
            _ => (0..FLOOD).for_each(|_| {
                let noise: Arc<[u8]> = self.chance.next().to_be_bytes().into();
                self.tell_all(by, &noise);
            }),
        }
    }

    fn tell_all(&mut self, by: usize, bytes: &Arc<[u8]>) {
        self.network.neighbours(by).into_iter().for_each(|peer| self.pass_on(by, peer, bytes));
    }

    /// A record in the victim's name with the attacker's signature, a newer one than there is.
    fn forge(&mut self, by: usize, victim: usize, own: &SignedRecord) {
        if by == victim {
            return;
        }
        let seq = own.record().seq + (1 << 30);
        let statement = Statement { name: "forged".into(), ..Statement::default() };
        let record = Record { seq, statement, ..(**own.record()).clone() };
        let signed = SignedRecord::sign(record, &self.nodes[by].key).expect("a valid record");
        let mut bytes = payload(&signed).to_vec();
        let (me, them) = (self.nodes[by].id, self.nodes[victim].id);
        let at = bytes.windows(32).position(|window| window == me.as_bytes()).expect("the owner is in it");
        bytes[at..at + 32].copy_from_slice(them.as_bytes());
        self.tell_all(by, &bytes.into());
    }

    /// Two records with one number, one to every other peer.
    fn equivocate(&mut self, by: usize, own: &SignedRecord) {
        let seq = own.record().seq + 1;
        let told: Vec<_> = ["one", "other"]
            .into_iter()
            .map(|name| {
                let statement = Statement { name: name.into(), ..own.record().statement.clone() };
                let record = Record { seq, statement, ..(**own.record()).clone() };
                SignedRecord::sign(record, &self.nodes[by].key).expect("a valid record")
            })
            .collect();
        let id = self.nodes[by].id;
        self.signed.entry(id).or_default().extend(told.iter().map(SignedRecord::id));
        for (peer, signed) in self.network.neighbours(by).into_iter().zip(told.iter().cycle()) {
            self.pass_on(by, peer, &payload(signed));
        }
    }

    /// The bytes with something wrong.
    fn garbled(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        let mut bytes = bytes.to_vec();
        let at = self.chance.below(bytes.len());
        match self.chance.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << self.chance.below(8),
            _ => bytes.extend_from_within(..at),
        }
        bytes.into()
    }
}
