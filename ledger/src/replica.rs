//! This node's copy of the map: owner → newest record.
//!
//! **Join.** What an owner says has a number: that of its record, or of the lease that renewed the record last. Of two
//! sayings of one owner the one with the greater `(number, record id)` stays. That is commutative, associative and
//! idempotent, so the order in which they arrive, and how often, changes nothing.
//!
//! **Freshness.** An owner is fresh until the TTL of what it said has passed on this node's own monotonic clock since
//! that arrived. Only a greater number makes it fresh again. Only what is fresh is offered to others, so a record that
//! nobody renews dies out instead of going round. Some time later the owner is **forgotten**: its record goes, its number
//! stays as a **floor** under which nothing is taken, until even its date would refuse a replay.
//!
//! **Evidence.** Two different records with one number, both signed by the owner, are kept as evidence; the owner is
//! then *quarantined*. Evidence spreads like a record, and any evidence against an owner is as good as another.
//!
//! **Quota.** When the map is full, owners that were never connected to this node go first, the newest of them first;
//! then those once connected. This node itself and connected peers never go. A newcomer that is not connected would be
//! the first to go, so it is not taken in.
//!
//! **Invariants.** Every record and lease held was signed by its owner (a [`SignedRecord`] can't be had otherwise). The
//! number held for an owner, as record, lease or floor, never decreases. All sums (`fingerprint`, `fresh`, `bytes`) are
//! those of what is held.

mod element;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    Config, Entry, Moment, NodeId, Record,
    bucket::Bucket,
    decree::UnverifiedDecree,
    floors::Floors,
    lease::{LEASE, SignedLease, UnverifiedLease},
    rules::{Enacted, Rules},
    rumour::Evidence,
    signed::{RecordId, SignedRecord, Unverified},
};

/// How far ahead of this node's wall clock (in ms) a sequence number may be: 35 years. Numbers start from the wall
/// clock and count up, so no honest one gets there, and no owner can lock itself out by using up all numbers.
const SEQ_AHEAD_MAX: u64 = 1 << 40;
/// Changes of one owner taken from gossip: ten a minute, and sixteen at once. Owners pace themselves a little slower.
/// Faster ones are left to the sync.
const OWNER_PERIOD: Duration = Duration::from_secs(6);
const OWNER_BURST: u32 = 16;
/// A floor takes a fraction of a record, so four times as many floors as owners are cheap, and outlast churn.
const FLOORS_PER_OWNER: usize = 4;

pub(crate) use element::Element;
pub(crate) use snapshot::Restored;

/// What became of a record or of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is now held. `changed`: it says something else than what was held before.
    Newer { changed: bool },
    /// The decree is now in force.
    Enacted,
    /// Nothing new.
    Known,
    /// The owner is now quarantined; `evidence` is the rumour that proves it. `newer`: the record is now held as well.
    Conflict { evidence: Vec<u8>, newer: bool },
    /// This node's own record, not older than the one it holds: someone else has a copy of a former life, or the key.
    /// `evidence`: the two conflict, so this node is now quarantined.
    Mine { seq: u64, evidence: Option<Vec<u8>> },
    /// Not taken, and nobody's fault that passed it on.
    Refused(Refusal),
    /// Not signed by its owner.
    Forged,
    /// Of another network.
    Foreign,
}

/// Why a signed record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another generation of the token.
    Generation,
    /// First seen, and dated too far from now.
    Date,
    /// Its number is too high.
    Sequence,
    /// The owner changes too often.
    Pace,
    /// The ledger is full.
    Full,
    /// A lease of a record that is not held here.
    Unfounded,
    /// Without a credential of the network's issuer.
    Credential,
    /// It offers more than its credential grants.
    Role,
    /// The issuer banned its owner.
    Banned,
    /// The issuer revoked its owner's invitation.
    Revoked,
    /// Its owner's credential has expired.
    Expired,
}

/// What an owner said last: its record, and the lease that renewed it since.
#[derive(Clone, Debug)]
struct Saying {
    signed: SignedRecord,
    lease: Option<SignedLease>,
}

/// What is held of one owner.
#[derive(Debug)]
struct Held {
    saying: Saying,
    evidence: Option<Evidence>,
    fresh: bool,
    /// When it stops being fresh, or is forgotten. This node's own record has none.
    deadline: Option<Duration>,
    /// Counts up with each owner taken in.
    arrived: u64,
    /// Was connected to this node while held.
    met: bool,
    /// It was fresh when it was saved, and by the wall clock is no longer. If that jumped, the same word from others, who
    /// would not offer it if it were not fresh, says so.
    doubtful: bool,
    pace: Bucket,
    /// Its part of the fingerprint while it is fresh; kept by [`Replica::put`].
    summand: u128,
}

#[derive(Debug)]
pub(crate) struct Replica {
    config: Config,
    me: NodeId,
    held: BTreeMap<NodeId, Held>,
    deadlines: BTreeSet<(Duration, NodeId)>,
    floors: Floors,
    pub(crate) rules: Rules,
    connected: BTreeSet<NodeId>,
    arrivals: u64,
    bytes: usize,
    fresh: u32,
    fingerprint: u128,
    /// Something that a view shows changed since it was last asked.
    changed: bool,
}

// === impl Saying ===

impl Saying {
    /// The number of the newest word.
    fn number(&self) -> u64 {
        self.lease.as_ref().map_or(self.signed.record().seq, |lease| lease.lease().seq)
    }

    /// Its place among what its owner said: the greater one is the newer.
    fn rank(&self) -> (u64, RecordId) {
        (self.number(), self.signed.id())
    }

    fn ttl(&self) -> Duration {
        self.lease.as_ref().map_or(self.signed.record().ttl, |lease| lease.lease().ttl)
    }

    fn len(&self) -> usize {
        self.signed.bytes().len() + self.lease.map_or(0, |_| LEASE)
    }
}

// === impl Held ===

impl Held {
    fn cost(&self) -> usize {
        self.saying.len() + self.evidence.as_ref().map_or(0, Evidence::len)
    }
}

// === impl Replica ===

impl Replica {
    pub(crate) fn new(config: Config, me: NodeId) -> Self {
        Self {
            config,
            me,
            held: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            floors: Floors::new(config.owners_max.saturating_mul(FLOORS_PER_OWNER)),
            rules: Rules::new(config),
            connected: BTreeSet::new(),
            arrivals: 0,
            bytes: 0,
            fresh: 0,
            fingerprint: 0,
            changed: false,
        }
    }

    /// Takes what `news` says, with the lease that renewed it if there is one, if it is newer and passes every check.
    /// `paced`: it came by gossip, where owners may not change too often.
    pub(crate) fn observe(
        &mut self,
        now: Moment,
        news: Unverified,
        lease: Option<UnverifiedLease>,
        paced: bool,
    ) -> Outcome {
        let owner = news.record().owner;
        let number = lease.map_or(news.record().seq, |lease| lease.lease().seq);
        if let Some(outcome) = self.precheck(now, news.record(), news.id(), number) {
            return outcome;
        }
        let Ok(signed) = news.verify() else { return Outcome::Forged };
        let Ok(lease) = lease.map(UnverifiedLease::verify).transpose() else { return Outcome::Forged };
        if owner == self.me {
            return self.observe_mine(signed, number);
        }
        if self.is_misdated(now, signed.record()) {
            return Outcome::Refused(Refusal::Date);
        }
        if let Err(refusal) = self.rules.judge(now, signed.record()) {
            return Outcome::Refused(refusal);
        }
        let in_pace = self.held.get_mut(&owner).is_none_or(|held| !paced || held.pace.take(now.mono));
        if in_pace { self.join(now, Saying { signed, lease }) } else { Outcome::Refused(Refusal::Pace) }
    }

    /// Takes a lease of a record that is held.
    pub(crate) fn renew(&mut self, now: Moment, lease: UnverifiedLease) -> Outcome {
        let owner = lease.lease().owner;
        let Some(saying) = self.held.get(&owner).map(|held| &held.saying) else {
            return Outcome::Refused(Refusal::Unfounded);
        };
        if lease.lease().seq <= saying.number() {
            return Outcome::Known;
        }
        if !lease.lease().is_of(saying.signed.id()) {
            return Outcome::Refused(Refusal::Unfounded);
        }
        if is_too_high(now, lease.lease().seq) {
            return Outcome::Refused(Refusal::Sequence);
        }
        let signed = saying.signed.clone();
        let Ok(lease) = lease.verify() else { return Outcome::Forged };
        if owner == self.me {
            return Outcome::Mine { seq: lease.lease().seq, evidence: None };
        }
        if let Err(refusal) = self.rules.judge_again(now, signed.record()) {
            return Outcome::Refused(refusal);
        }
        self.join(now, Saying { signed, lease: Some(lease) })
    }

    /// Takes evidence: two records of one owner with one number, `first` having the smaller id.
    pub(crate) fn accuse(&mut self, now: Moment, first: Unverified, second: Unverified) -> Outcome {
        let owner = first.record().owner;
        if self.held.get(&owner).is_some_and(|held| held.evidence.is_some()) {
            return Outcome::Known;
        }
        if !self.held.contains_key(&owner)
            && let Some(outcome) = self.precheck(now, second.record(), second.id(), second.record().seq)
        {
            return outcome;
        }
        if !self.rules.counts(first.record().generation) || !self.rules.counts(second.record().generation) {
            return Outcome::Refused(Refusal::Generation);
        }
        if second.record().network != self.config.network {
            return Outcome::Foreign;
        }
        let (Ok(first), Ok(second)) = (first.verify(), second.verify()) else { return Outcome::Forged };
        if self.is_misdated(now, second.record()) {
            return Outcome::Refused(Refusal::Date);
        }
        if owner != self.me
            && let Err(refusal) = self.rules.judge(now, second.record())
        {
            return Outcome::Refused(refusal);
        }
        let seq = second.record().seq;
        let mut without_room = Outcome::Refused(Refusal::Full);
        let saying = Saying { signed: second.clone(), lease: None };
        if owner != self.me && self.held.get(&owner).is_none_or(|held| held.saying.rank() < saying.rank()) {
            match self.join(now, saying) {
                newer @ Outcome::Newer { .. } => without_room = newer,
                settled => return settled,
            }
        }
        match (self.quarantine(&owner, first, second), owner == self.me) {
            (evidence, true) => Outcome::Mine { seq, evidence },
            (Some(evidence), false) => Outcome::Conflict { evidence, newer: true },
            (None, false) => without_room,
        }
    }

    /// Holds this node's own new record.
    pub(crate) fn publish(&mut self, signed: SignedRecord) {
        let evidence = self.take(&self.me.clone()).and_then(|held| held.evidence);
        let saying = Saying { signed, lease: None };
        let own = Held { evidence, deadline: None, met: true, ..self.first(saying) };
        self.put(self.me, own);
        self.changed = true;
    }

    /// Holds the lease by which this node renews its own record.
    pub(crate) fn publish_lease(&mut self, lease: SignedLease) {
        let me = self.me;
        if let Some(mut own) = self.take(&me) {
            own.saying.lease = Some(lease);
            self.put(me, own);
        }
    }

    /// `peer` is connected now.
    pub(crate) fn connect(&mut self, peer: NodeId) {
        self.connected.insert(peer);
        if let Some(held) = self.held.get_mut(&peer) {
            held.met = true;
        }
    }

    /// `peer` is no longer connected.
    pub(crate) fn disconnect(&mut self, peer: &NodeId) {
        self.connected.remove(peer);
    }

    /// Puts a decree in force, and lets go whom it excludes.
    pub(crate) fn enact(&mut self, now: Moment, decree: UnverifiedDecree) -> Enacted {
        let enacted = self.rules.enact(now.mono, decree);
        if enacted == Enacted::Newer {
            self.sweep(now);
        }
        enacted
    }

    /// Lets the grace of an old generation end if it is time, and then its records go.
    pub(crate) fn end_grace(&mut self, now: Moment) {
        if self.rules.expire(now.mono) {
            self.sweep(now);
        }
    }

    /// Lets go of all owners that the rules no longer let in.
    fn sweep(&mut self, now: Moment) {
        let out = |held: &Held| self.rules.judge_again(now, held.saying.signed.record()).is_err();
        let out: Vec<_> =
            self.held.iter().filter(|(owner, held)| **owner != self.me && out(held)).map(|(owner, _)| *owner).collect();
        for owner in out {
            if let Some(held) = self.take(&owner) {
                self.set_floor(now.mono, owner, &held.saying);
                self.changed = true;
            }
        }
    }

    /// Lets pass what is due.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some((deadline, owner)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.changed = true;
            match self.take(&owner) {
                Some(held) if held.fresh => {
                    let deadline = Some(now + self.config.forget_after);
                    self.put(owner, Held { fresh: false, deadline, ..held });
                }
                Some(held) => self.set_floor(now, owner, &held.saying),
                None => {
                    self.deadlines.remove(&(deadline, owner));
                }
            }
        }
        self.floors.expire(now);
    }

    /// Whether something that a view shows changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let first = self.deadlines.first().map(|(at, _)| *at);
        [first, self.floors.deadline(), self.rules.grace_ends()].into_iter().flatten().min()
    }

    /// The nodes of a view.
    pub(crate) fn entries(&self) -> BTreeMap<NodeId, Entry> {
        let entry = |held: &Held| Entry {
            record: Arc::clone(held.saying.signed.record()),
            fresh: held.fresh,
            quarantined: held.evidence.is_some(),
            legacy: false,
        };
        self.held.iter().map(|(owner, held)| (*owner, entry(held))).collect()
    }

    /// The record held of `owner`.
    pub(crate) fn get(&self, owner: &NodeId) -> Option<&SignedRecord> {
        self.held.get(owner).map(|held| &held.saying.signed)
    }

    /// The number of what `owner` said last.
    pub(crate) fn number(&self, owner: &NodeId) -> Option<u64> {
        self.held.get(owner).map(|held| held.saying.number())
    }

    /// Owners held, fresh or not.
    pub(crate) fn owners(&self) -> usize {
        self.held.len()
    }

    /// Bytes held, as they travel.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the decree in force; 0 without one.
    pub(crate) fn decree(&self) -> u64 {
        self.rules.number()
    }

    /// Fresh owners, and the fingerprint of what is held of them: equal where two nodes agree.
    pub(crate) fn summary(&self) -> (u32, u128) {
        (self.fresh, self.fingerprint)
    }

    // --- steps of a join ---

    /// What can be said without looking at the signature. `number` is that of the record or of the lease it came with.
    fn precheck(&self, now: Moment, record: &Record, id: RecordId, number: u64) -> Option<Outcome> {
        if record.network != self.config.network {
            return Some(Outcome::Foreign);
        }
        if !self.rules.counts(record.generation) {
            return Some(Outcome::Refused(Refusal::Generation));
        }
        let known = match self.held.get(&record.owner) {
            Some(held) => {
                let saying = &held.saying;
                // Another record with the same number would be evidence, and evidence is needed once.
                let conflict = record.seq == saying.signed.record().seq && id != saying.signed.id();
                let confirms = held.doubtful && (number, id) == saying.rank();
                (number, id) <= saying.rank() && !confirms && (!conflict || held.evidence.is_some())
            }
            None => self.floors.get(&record.owner).is_some_and(|floor| number <= floor),
        };
        if known {
            return Some(Outcome::Known);
        }
        is_too_high(now, number).then_some(Outcome::Refused(Refusal::Sequence))
    }

    /// First seen, and dated too far from now. Owners already known are never judged by a clock.
    fn is_misdated(&self, now: Moment, record: &Record) -> bool {
        let owner = &record.owner;
        let first_seen = *owner != self.me && !self.held.contains_key(owner) && self.floors.get(owner).is_none();
        first_seen
            && (millis(self.config.issued_ahead_max) < record.issued_ms.saturating_sub(now.unix_ms)
                || millis(self.config.issued_age_max) < now.unix_ms.saturating_sub(record.issued_ms))
    }

    fn observe_mine(&mut self, signed: SignedRecord, seq: u64) -> Outcome {
        let evidence = match self.get(&self.me) {
            Some(own) if own.record().seq == signed.record().seq => {
                let own = own.clone();
                self.quarantine(&self.me.clone(), own, signed)
            }
            _ => None,
        };
        Outcome::Mine { seq, evidence }
    }

    /// Joins what passed every check.
    fn join(&mut self, now: Moment, saying: Saying) -> Outcome {
        let owner = saying.signed.record().owner;
        let Some(held) = self.take(&owner) else { return self.take_in(now, saying) };
        if held.doubtful && held.saying.rank() == saying.rank() {
            let deadline = Some(now.mono + saying.ttl());
            self.put(owner, Held { fresh: true, doubtful: false, deadline, ..held });
            self.changed = true;
            return Outcome::Newer { changed: false };
        }
        let newer = held.saying.rank() < saying.rank();
        let same = held.saying.signed.id() == saying.signed.id();
        let conflict = (!same && held.saying.signed.record().seq == saying.signed.record().seq)
            .then(|| (held.saying.signed.clone(), saying.signed.clone()));
        if !newer && conflict.is_none() {
            self.put(owner, held);
            return Outcome::Known;
        }
        let cost = held.cost() - held.saying.len() + saying.len();
        if newer && !self.make_room(cost, self.victim_rank(&owner, &held)) {
            self.put(owner, held);
            return Outcome::Refused(Refusal::Full);
        }
        let changed = held.saying.signed.record().says_other(saying.signed.record());
        self.changed |= newer && (!same || !held.fresh);
        let joined = if !newer {
            held
        } else if held.saying.number() == saying.number() {
            // A second record with the same number is no sign of life.
            Held { saying, ..held }
        } else {
            let deadline = Some(now.mono + saying.ttl());
            Held { saying, fresh: true, doubtful: false, deadline, ..held }
        };
        self.put(owner, joined);
        match conflict.and_then(|(before, rival)| self.quarantine(&owner, before, rival)) {
            Some(evidence) => Outcome::Conflict { evidence, newer },
            None if newer => Outcome::Newer { changed },
            None => Outcome::Known,
        }
    }

    /// Holds the first saying of an owner.
    fn take_in(&mut self, now: Moment, saying: Saying) -> Outcome {
        let owner = saying.signed.record().owner;
        let met = self.connected.contains(&owner);
        let rank = if met { None } else { Some((true, u64::MAX)) };
        if !self.make_room(saying.len(), rank) {
            return Outcome::Refused(Refusal::Full);
        }
        self.floors.remove(&owner);
        let deadline = Some(now.mono + saying.ttl());
        let first = Held { deadline, met, ..self.first(saying) };
        self.put(owner, first);
        self.changed = true;
        Outcome::Newer { changed: true }
    }

    /// Something held for the first time.
    fn first(&mut self, saying: Saying) -> Held {
        self.arrivals += 1;
        let pace = Bucket::new(OWNER_PERIOD, OWNER_BURST);
        let arrived = self.arrivals;
        Held {
            saying,
            evidence: None,
            fresh: true,
            deadline: None,
            arrived,
            met: false,
            doubtful: false,
            pace,
            summand: 0,
        }
    }

    /// Keeps evidence against an owner that is held and has none yet. The rumour to tell, if it was kept.
    fn quarantine(&mut self, owner: &NodeId, one: SignedRecord, other: SignedRecord) -> Option<Vec<u8>> {
        let evidence = Evidence::of(one, other)?;
        let held = self.take(owner)?;
        let cost = held.cost() + evidence.len();
        if held.evidence.is_some() || !self.make_room(cost, self.victim_rank(owner, &held)) {
            self.put(*owner, held);
            return None;
        }
        let rumour = evidence.tell();
        self.put(*owner, Held { evidence: Some(evidence), ..held });
        self.changed = true;
        Some(rumour)
    }

    // --- quota ---

    /// The place in the order in which owners go, the greatest first; none for those that never go.
    fn victim_rank(&self, owner: &NodeId, held: &Held) -> Option<(bool, u64)> {
        let stays = *owner == self.me || self.connected.contains(owner);
        (!stays).then_some((!held.met, held.arrived))
    }

    /// Makes room for one owner more (who is not in the map now) that costs `cost` bytes and would go at `rank`.
    /// `false` if it would itself be the first to go, or nobody may.
    fn make_room(&mut self, cost: usize, rank: Option<(bool, u64)>) -> bool {
        while self.held.len() >= self.config.owners_max || self.bytes + cost > self.config.bytes_max {
            let ranked = self.held.iter().filter_map(|(owner, held)| Some((self.victim_rank(owner, held)?, *owner)));
            let Some((first, victim)) = ranked.max() else { return false };
            if rank.is_some_and(|rank| rank >= first) {
                return false;
            }
            let Some(held) = self.take(&victim) else { return false };
            // The date of a floor counts from the last moment the record was taken; now is later, which is safe.
            let now = held.deadline.unwrap_or_default();
            self.set_floor(now, victim, &held.saying);
            self.changed = true;
        }
        true
    }

    /// Keeps the number of an owner that goes, until the date of its record would refuse a replay.
    fn set_floor(&mut self, now: Duration, owner: NodeId, saying: &Saying) {
        let until = now + self.config.issued_ahead_max + self.config.issued_age_max + saying.ttl();
        self.floors.set(owner, saying.number(), until);
    }

    // --- the only two ways in and out of the map; they keep the sums ---

    fn put(&mut self, owner: NodeId, mut held: Held) {
        held.summand = if held.fresh { element::summand(&held) } else { 0 };
        self.bytes += held.cost();
        self.fresh += u32::from(held.fresh);
        self.fingerprint = self.fingerprint.wrapping_add(held.summand);
        if let Some(deadline) = held.deadline {
            self.deadlines.insert((deadline, owner));
        }
        self.held.insert(owner, held);
        debug_assert!(self.sums_hold());
    }

    fn take(&mut self, owner: &NodeId) -> Option<Held> {
        let held = self.held.remove(owner)?;
        self.bytes -= held.cost();
        self.fresh -= u32::from(held.fresh);
        self.fingerprint = self.fingerprint.wrapping_sub(held.summand);
        if let Some(deadline) = held.deadline {
            self.deadlines.remove(&(deadline, *owner));
        }
        Some(held)
    }

    /// Compared in debug builds after each change, while the map is small enough for it.
    fn sums_hold(&self) -> bool {
        const SMALL: usize = 64;
        self.held.len() > SMALL
            || (self.bytes == self.held.values().map(Held::cost).sum::<usize>()
                && self.fingerprint == self.held.values().fold(0, |sum: u128, held| sum.wrapping_add(held.summand))
                && usize::try_from(self.fresh) == Ok(self.held.values().filter(|held| held.fresh).count())
                && self.deadlines.len() == self.held.values().filter(|held| held.deadline.is_some()).count()
                && self.held.keys().all(|owner| self.floors.get(owner).is_none()))
    }
}

/// No honest owner counts that far.
fn is_too_high(now: Moment, number: u64) -> bool {
    number > now.unix_ms.saturating_add(SEQ_AHEAD_MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
