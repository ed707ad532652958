//! What a sync asks of a replica: its elements, who lacks what of the difference, and the rumours that fill it.

use std::{collections::BTreeMap, ops::Bound};

use sha2::{Digest as _, Sha256};

use super::{Held, Replica};
use crate::{
    NodeId,
    frame::{Frame, Prefix, Records, What},
    rumour::{Evidence, Rumour, tell, tell_decree, tell_lease, tell_leased},
    signed::RecordId,
    sketch::{self, Sketch},
};

/// What a ledger holds of one owner, in the few bytes that tell two ledgers apart. For the form see `frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) prefix: Prefix,
    tag: [u8; 4],
    number: u64,
}

/// Which side of a sync lacks how much about one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) here: Option<What>,
    pub(crate) there: Option<What>,
}

// === impl Element ===

impl Element {
    fn of(owner: &NodeId, held: &Held) -> Self {
        let (prefix, tag) = (owner.prefix(), first(&held.saying.signed.id().0));
        let mut element = Self { prefix, tag, number: held.saying.number() };
        if held.evidence.is_some() {
            element.mark(owner);
        }
        element
    }

    /// The elements of a ledger that told these rumours: records with what belongs to them.
    pub(crate) fn told(rumours: &[Rumour]) -> BTreeMap<Prefix, Self> {
        let mut told = BTreeMap::new();
        for rumour in rumours {
            let Some(owner) = rumour.owner() else { continue };
            let prefix = owner.prefix();
            match rumour {
                Rumour::Record(pair) => {
                    let number = pair.1.map_or(pair.0.record().seq, |lease| lease.lease().seq);
                    told.insert(prefix, Self { prefix, tag: first(&pair.0.id().0), number });
                }
                Rumour::Evidence(_) => {
                    if let Some(element) = told.get_mut(&prefix) {
                        element.mark(&owner);
                    }
                }
                Rumour::Lease(_) | Rumour::Decree(_) => {}
            }
        }
        told
    }

    /// Shows that `owner` is quarantined.
    fn mark(&mut self, owner: &NodeId) {
        self.tag.iter_mut().zip(quarantine_mark(owner)).for_each(|(byte, mark)| *byte ^= mark);
    }

    pub(crate) fn encode(&self) -> sketch::Bytes {
        let mut bytes = [0; sketch::ELEMENT];
        let parts = self.prefix.into_iter().chain(self.tag).chain(self.number.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(crate) fn decode(bytes: &sketch::Bytes) -> Self {
        let part = |from: usize| bytes.iter().skip(from).copied();
        let number = part(12).fold(0, |number, byte| number << 8 | u64::from(byte));
        let (mut prefix, mut tag) = (Prefix::default(), [0; 4]);
        prefix.iter_mut().zip(part(0)).for_each(|(to, from)| *to = from);
        tag.iter_mut().zip(part(8)).for_each(|(to, from)| *to = from);
        Self { prefix, tag, number }
    }
}

/// The part of the fingerprint that is due to what is held of one owner.
pub(super) fn summand(held: &Held) -> u128 {
    let (number, RecordId(id)) = held.saying.rank();
    let digest = Sha256::new()
        .chain_update(b"p2p-fed/summand/v1\0")
        .chain_update(id)
        .chain_update(number.to_be_bytes())
        .chain_update([u8::from(held.evidence.is_some())])
        .finalize();
    u128::from_be_bytes(first(&digest.into()))
}

/// What quarantine changes in a tag: the same for any evidence against `owner`.
fn quarantine_mark(owner: &NodeId) -> [u8; 4] {
    let digest = Sha256::new().chain_update(b"p2p-fed/quarantine/v1\0").chain_update(owner.as_bytes()).finalize();
    first(&digest.into())
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut start = [0; N];
    start.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    start
}

/// The smallest and the greatest owner with this prefix.
fn with_prefix(prefix: Prefix) -> std::ops::RangeInclusive<NodeId> {
    let end = |fill| {
        let mut bytes = [fill; 32];
        bytes.iter_mut().zip(prefix).for_each(|(to, from)| *to = from);
        NodeId::from_bytes(bytes)
    };
    end(0)..=end(u8::MAX)
}

// === impl Replica ===

impl Replica {
    /// How a session begins.
    pub(crate) fn hello(&self) -> Frame {
        let (count, fingerprint) = self.summary();
        Frame::Hello { count, fingerprint, decree: self.rules.number() }
    }

    /// The elements as they are now, for symbols.
    pub(crate) fn sketch(&self, salt: u64) -> Sketch {
        Sketch::new(self.elements().map(|element| element.encode()), salt)
    }

    /// One element for each fresh owner.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Element> {
        self.held.iter().filter(|(_, held)| held.fresh).map(|(owner, held)| Element::of(owner, held))
    }

    /// The element of the fresh owner with this prefix. Of several, which nobody makes who wants to be heard, the first.
    pub(crate) fn element(&self, prefix: Prefix) -> Option<Element> {
        let mut owners = self.held.range(with_prefix(prefix)).filter(|(_, held)| held.fresh);
        owners.next().map(|(owner, held)| Element::of(owner, held))
    }

    /// Who lacks what, where the other side's element of an owner is `theirs`.
    pub(crate) fn lack(&self, prefix: Prefix, theirs: Option<&Element>) -> Lack {
        let mine = self.element(prefix);
        match (mine, theirs) {
            (None, None) => Lack::default(),
            (Some(_), None) => Lack { here: None, there: Some(What::All) },
            (None, Some(theirs)) => Lack { here: self.takes(theirs).then_some(What::All), there: None },
            (Some(mine), Some(theirs)) => {
                let what = if mine.tag == theirs.tag { What::Lease } else { What::All };
                // With equal numbers and different tags there is a conflict, or one side knows of one.
                let differs = mine != *theirs;
                Lack {
                    here: (differs && mine.number <= theirs.number).then_some(what),
                    there: (differs && mine.number >= theirs.number).then_some(what),
                }
            }
        }
    }

    /// Whether an element of an owner that is not fresh here would be taken: it is above what is known of the owner, and
    /// there is room.
    fn takes(&self, theirs: &Element) -> bool {
        let owners = || with_prefix(theirs.prefix);
        let is_old = |held: &Held| {
            let number = held.saying.number();
            number > theirs.number || (number == theirs.number && !held.doubtful)
        };
        let old = self.held.range(owners()).any(|(_, held)| is_old(held))
            || self.floors.range(owners()).any(|number| number >= theirs.number);
        let full = self.held.len() >= self.config.owners_max || self.bytes >= self.config.bytes_max;
        !old && (!full || self.connected.range(owners()).next().is_some())
    }

    /// Adds what there is to be told of the fresh owners with this prefix, if it fits.
    pub(crate) fn tell(&self, prefix: Prefix, what: What, records: &mut Records) -> bool {
        if what == What::Decree {
            return records.add(self.rules.decree().map(tell_decree).into_iter());
        }
        let owners = self.held.range(with_prefix(prefix)).filter(|(_, held)| held.fresh);
        records.add(owners.flat_map(|(_, held)| rumours(held, what)))
    }

    /// All that there is to be told of the fresh owners after `after`, as much as fits. The last owner of the page, if it
    /// is not the last of all.
    pub(crate) fn page(&self, after: Option<NodeId>) -> (Option<NodeId>, Records) {
        let (mut records, mut last) = (Records::default(), None);
        for (owner, held) in self.fresh_after(after) {
            if !records.add(rumours(held, What::All)) {
                return (last, records);
            }
            last = Some(*owner);
        }
        (None, records)
    }

    /// The fresh owners after `after` and up to `until` of whom the other side lacks something, if `theirs` is all that it
    /// has there.
    pub(crate) fn lacking(
        &self,
        after: Option<NodeId>,
        until: Option<NodeId>,
        theirs: &BTreeMap<Prefix, Element>,
    ) -> impl Iterator<Item = Prefix> {
        self.fresh_after(after)
            .map(|(owner, _)| *owner)
            .take_while(move |owner| until.is_none_or(|until| *owner <= until))
            .map(|owner| owner.prefix())
            .filter(|prefix| self.lack(*prefix, theirs.get(prefix)).there.is_some())
    }

    fn fresh_after(&self, after: Option<NodeId>) -> impl Iterator<Item = (&NodeId, &Held)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.held.range((from, Bound::Unbounded)).filter(|(_, held)| held.fresh)
    }
}

/// What there is to be told of one owner: its record, or its lease alone, and evidence against it.
pub(super) fn rumours(held: &Held, what: What) -> impl Iterator<Item = Vec<u8>> {
    let saying = &held.saying;
    let evidence = held.evidence.as_ref().filter(|_| what == What::All).map(Evidence::tell);
    let said = match (what, &saying.lease) {
        (What::Lease, Some(lease)) => tell_lease(lease),
        (_, Some(lease)) => tell_leased(&saying.signed, lease),
        (_, None) => tell(&saying.signed),
    };
    [said].into_iter().chain(evidence)
}
