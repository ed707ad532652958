//! What a node keeps of its ledger over a restart.
//!
//! # Format
//!
//! A snapshot is any number of items, each on its own, so that a damaged one costs no other. Integers are big-endian;
//! times are milliseconds since 1970 **by the node's own wall clock**, which only this node compares.
//!
//! | first byte | item  | rest |
//! |------------|-------|------|
//! | 1          | owner | until when it is fresh u64, 0 if it is not ‖ was once connected u8 ‖ any number of (length u16 ‖ rumour) |
//! | 2          | floor | owner 32 bytes ‖ number u64 ‖ until when it is kept u64 |
//! | 3          | decree | when the grace of its rotation ends u64 ‖ signed decree; comes first, because it judges the rest |
//!
//! A restored record is as fresh as it would be had the node gone on, so a restart brings nobody back to life. Where the
//! wall clock says that its time is over, the clock may have jumped: it is fresh again if others still offer it. Numbers
//! and floors come back, so what was forgotten stays so. Everything is verified anew: the disk is trusted with nothing but
//! freshness.

use std::time::Duration;

use super::{Held, Replica, Saying};
use crate::{
    Moment, NodeId, UnverifiedDecree,
    frame::What,
    lease::UnverifiedLease,
    record::TTL_MAX,
    rules::Enacted,
    rumour::{Evidence, Rumour},
};

const OWNER: u8 = 1;
const FLOOR: u8 = 2;
const DECREE: u8 = 3;

/// What an item brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restored {
    /// Something about another node.
    Other,
    /// The number of this node's own last word.
    Own { number: u64 },
    /// Nothing: not valid, of another network or generation, or not needed.
    Nothing,
}

impl Replica {
    /// Everything worth keeping.
    pub(crate) fn snapshot(&self, now: Moment) -> impl Iterator<Item = Vec<u8>> {
        let owners = self.held.values().map(move |held| {
            let until = held.deadline.filter(|_| held.fresh).map_or(0, |deadline| unix_ms(now, deadline));
            let mut item = vec![OWNER];
            item.extend_from_slice(&until.to_be_bytes());
            item.push(u8::from(held.met));
            for rumour in super::element::rumours(held, What::All) {
                item.extend_from_slice(&u16::try_from(rumour.len()).unwrap_or(u16::MAX).to_be_bytes());
                item.extend_from_slice(&rumour);
            }
            item
        });
        let floors = self.floors.iter().map(move |(owner, number, until)| {
            [&[FLOOR][..], owner.as_bytes(), &number.to_be_bytes(), &unix_ms(now, until).to_be_bytes()].concat()
        });
        let decree = self.rules.decree().map(|decree| {
            let until = self.rules.grace_ends().map_or(0, |at| unix_ms(now, at));
            [&[DECREE][..], &until.to_be_bytes(), decree.bytes()].concat()
        });
        decree.into_iter().chain(owners).chain(floors)
    }

    /// Takes back an item. To be done before anything is heard from others.
    pub(crate) fn restore(&mut self, now: Moment, item: &[u8]) -> Restored {
        let restored = match item {
            [OWNER, rest @ ..] => self.restore_owner(now, rest),
            [FLOOR, rest @ ..] => self.restore_floor(now, rest),
            [DECREE, rest @ ..] => self.restore_decree(now, rest),
            _ => None,
        };
        restored.unwrap_or(Restored::Nothing)
    }

    fn restore_owner(&mut self, now: Moment, bytes: &[u8]) -> Option<Restored> {
        let (until, rest) = bytes.split_first_chunk()?;
        let (met, mut rest) = rest.split_first()?;
        let mut rumours = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk() {
            let (rumour, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            rumours.push(Rumour::decode(rumour).ok()?);
            rest = tail;
        }
        let mut rumours = rumours.into_iter();
        let Some(Rumour::Record(pair)) = rumours.next() else { return None };
        let evidence = match rumours.next() {
            Some(Rumour::Evidence(pair)) => Evidence::of(pair.0.verify().ok()?, pair.1.verify().ok()?),
            Some(_) => return None,
            None => None,
        };
        let lease = pair.1.map(UnverifiedLease::verify).transpose().ok()?;
        let saying = Saying { signed: pair.0.verify().ok()?, lease };
        let record = saying.signed.record();
        let owner = record.owner;
        let mine = owner == self.me;
        let admitted = mine || self.rules.judge(now, record).is_ok();
        let belongs = record.network == self.config.network && self.rules.counts(record.generation);
        if !belongs || !admitted || self.held.contains_key(&owner) || self.floors.get(&owner).is_some() {
            return None;
        }
        if mine {
            return Some(Restored::Own { number: saying.number() });
        }
        let until = u64::from_be_bytes(*until);
        let left = remaining(now, until).min(saying.ttl());
        let fresh = !left.is_zero();
        let doubtful = until != 0 && !fresh;
        let deadline = Some(now.mono + if fresh { left } else { self.config.forget_after });
        let held = Held { evidence, fresh, doubtful, deadline, met: *met == 1, ..self.first(saying) };
        if !self.make_room(held.cost(), self.victim_rank(&owner, &held)) {
            return None;
        }
        self.put(owner, held);
        self.changed = true;
        Some(Restored::Other)
    }

    fn restore_floor(&mut self, now: Moment, bytes: &[u8]) -> Option<Restored> {
        let (owner, rest) = bytes.split_first_chunk()?;
        let (number, until) = rest.split_first_chunk()?;
        let owner = NodeId::from_bytes(*owner);
        let longest = self.config.issued_ahead_max + self.config.issued_age_max + TTL_MAX;
        let left = remaining(now, u64::from_be_bytes(until.try_into().ok()?)).min(longest);
        if left.is_zero() || self.held.contains_key(&owner) {
            return None;
        }
        self.floors.set(owner, u64::from_be_bytes(*number), now.mono + left);
        Some(Restored::Other)
    }
}

impl Replica {
    fn restore_decree(&mut self, now: Moment, bytes: &[u8]) -> Option<Restored> {
        let (until, decree) = bytes.split_first_chunk()?;
        let decree = UnverifiedDecree::decode(decree).ok()?;
        let left = remaining(now, u64::from_be_bytes(*until));
        (self.rules.resume(now.mono, decree, left) == Enacted::Newer).then_some(Restored::Other)
    }
}

/// When `at` is by the wall clock.
fn unix_ms(now: Moment, at: Duration) -> u64 {
    now.unix_ms.saturating_add(super::millis(at.saturating_sub(now.mono)))
}

/// How long it is until then by the wall clock.
fn remaining(now: Moment, unix_ms: u64) -> Duration {
    Duration::from_millis(unix_ms.saturating_sub(now.unix_ms))
}
