//! This node's copy of edgevpn's ledger, and its own word in it. Pure: time is an argument.
//!
//! In the **legacy** form (edgevpn ≤ 0.34, LocalAI) the higher block replaces the lower one as a whole, and of two at one height
//! the one with the greater hash; so whatever one of two writers says at the same moment is lost. This node says its own word
//! again as soon as it sees that it is missing, in one block, after a moment that differs from node to node so that not all
//! who lost something write at once.
//!
//! In the **signed** form (edgevpn ≥ 0.35 where it enforces ownership) entries are merged one by one ([`super::signed`]).
//!
//! Which of them is in force is seen from the others: signed, if their blocks hold signed entries and none of late held
//! unsigned ones alone. A node of LocalAI's refuses a block for one signed entry in it, so in a mixed network the legacy form
//! it is. Nodes of this program follow, so their blocks are no evidence.
//!
//! **Invariant.** A block is made only if it differs from the current one in this node's own word.

use std::{collections::BTreeMap, time::Duration};

use libp2p::identity::Keypair;
use sha2::{Digest, Sha256};

use super::{
    block::{Block, Storage},
    entry::Entry,
    signed,
};

/// A node that has heard nothing yet waits so long before it writes: what it writes at height 1 is erased by the first block
/// that it hears.
const JOIN: Duration = Duration::from_secs(3);

/// Between two blocks of this node at least.
const GAP: Duration = Duration::from_millis(500);

/// How long a lost word waits to be said again, at most; it depends on the node and the block.
const PATIENCE_MS: u64 = 400;

/// A key that others have given another value, between tries to have it back: first, and at most.
const FIRST_TRUCE: Duration = Duration::from_secs(2);
const LONGEST_TRUCE: Duration = Duration::from_secs(60);

/// How long a block of either form is evidence of that form.
const EVIDENCE: Duration = Duration::from_secs(300);

/// A height that is so much above this node's was not counted to.
const MAX_JUMP: i64 = 1 << 32;

/// Entries that are merged into one ledger, and bytes of each: blocks replace each other, but what was merged stays.
const MERGED: usize = 16_384;
const VALUE: usize = 16 << 10;

/// Words that were taken back and are remembered, so that they stay gone; more are forgotten, oldest key first.
const WITHDRAWN: usize = 256;

/// When something happens, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since the node started.
    pub(super) now: Duration,
    /// Nanoseconds since 1970.
    pub(super) unix_ns: u64,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Legacy,
    Signed,
}

/// What came of a block that was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The ledger holds something else now.
    pub(super) changed: bool,
    /// It was not believed, for this reason.
    pub(super) refused: Option<&'static str>,
}

/// The state machine.
pub(super) struct Replica {
    keypair: Keypair,
    /// Its id, as entries name it.
    peer: String,
    block: Block,
    form: Form,
    own: BTreeMap<(String, String), Word>,
    /// What others may still hold as this node's word: what it wrote last.
    withdrawn: BTreeMap<(String, String), String>,
    /// When blocks of others were last heard: signed, and not.
    signed_at: Option<Duration>,
    legacy_at: Option<Duration>,
    heard_any: bool,
    wrote_at: Option<Duration>,
    /// When what is missing is said again.
    due: Option<Duration>,
}

#[derive(Debug)]
struct Word {
    value: String,
    /// What was written last, which is another until the next block.
    written: Option<String>,
    /// How often in a row others have given the key another value.
    lost: u32,
    not_before: Duration,
}

impl Replica {
    pub(super) fn new(keypair: Keypair) -> Self {
        Self {
            peer: keypair.public().to_peer_id().to_string(),
            keypair,
            block: Block::genesis(),
            form: Form::Legacy,
            own: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            signed_at: None,
            legacy_at: None,
            heard_any: false,
            wrote_at: None,
            due: None,
        }
    }

    /// What the ledger is now.
    pub(super) fn current(&self) -> &Block {
        &self.block
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.block.storage
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// This node's word from now on.
    pub(super) fn state(&mut self, bucket: &str, key: &str, value: String) {
        let at = (bucket.to_owned(), key.to_owned());
        let written = self.withdrawn.remove(&at);
        match self.own.get_mut(&at) {
            Some(word) => word.value = value,
            None => {
                self.own.insert(at, Word { value, written, lost: 0, not_before: Duration::ZERO });
            }
        }
        self.due.get_or_insert(Duration::ZERO);
    }

    /// No longer: taken out of the ledger, unless somebody else has given the key another value.
    pub(super) fn withdraw(&mut self, bucket: &str, key: &str) {
        let at = (bucket.to_owned(), key.to_owned());
        if let Some(Word { written: Some(value), .. }) = self.own.remove(&at) {
            if self.withdrawn.len() >= WITHDRAWN {
                self.withdrawn.pop_first();
            }
            self.withdrawn.insert(at, value);
            self.due.get_or_insert(Duration::ZERO);
        }
    }

    /// Somebody else's block, which says something of the form unless a node of this program has made it (`is_kin`).
    pub(super) fn hear(&mut self, at: Moment, block: Block, is_kin: bool) -> Heard {
        let Moment { now, .. } = at;
        let is_signed = block.is_signed();
        if !is_kin && !block.storage.is_empty() {
            *if is_signed { &mut self.signed_at } else { &mut self.legacy_at } = Some(now);
        }
        self.heard_any |= block.index > 0;
        let form = self.evident(now);
        if form != self.form {
            self.form = form;
            self.due = Some(now);
        }
        match self.form {
            Form::Legacy if is_signed => {
                Heard { refused: Some("it is signed, and others here can't read that"), changed: false }
            }
            Form::Legacy => self.adopt(now, block),
            Form::Signed => Heard { changed: self.merge(at, &block), refused: None },
        }
    }

    fn evident(&self, now: Duration) -> Form {
        let lately = |at: Option<Duration>| at.is_some_and(|at| now < at + EVIDENCE);
        match (lately(self.signed_at), lately(self.legacy_at)) {
            (true, false) => Form::Signed,
            (_, true) => Form::Legacy,
            (false, false) => self.form,
        }
    }

    fn adopt(&mut self, now: Duration, block: Block) -> Heard {
        if block.index > self.block.index.saturating_add(MAX_JUMP) {
            return Heard { changed: false, refused: Some("its height was not counted to") };
        }
        if (block.index, &block.hash) <= (self.block.index, &self.block.hash) {
            return Heard::default();
        }
        let before = std::mem::replace(&mut self.block, block);
        for (at, word) in &mut self.own {
            match get(&self.block.storage, at) {
                Some(entry) if entry.value == word.value => word.lost = 0,
                // Others have written something of their own.
                Some(entry)
                    if get(&before.storage, at).is_some_and(|mine| mine.value == word.value && mine != entry) =>
                {
                    word.lost = word.lost.saturating_add(1);
                    let truce = FIRST_TRUCE.saturating_mul(1 << word.lost.saturating_sub(1).min(16)).min(LONGEST_TRUCE);
                    word.not_before = if word.lost > 1 { now + truce } else { now };
                }
                _ => {}
            }
        }
        let patience = self.patience();
        self.due.get_or_insert(now + patience);
        Heard { changed: true, refused: None }
    }

    fn merge(&mut self, at: Moment, block: &Block) -> bool {
        let unix_s = i64::try_from(at.unix_ns / 1_000_000_000).unwrap_or(i64::MAX);
        let mut storage = self.block.storage.clone();
        signed::prune(&mut storage, unix_s);
        let mut count: usize = storage.values().map(BTreeMap::len).sum();
        let mut changed = false;
        for (bucket, entries) in &block.storage {
            for (key, entry) in entries {
                // By the heartbeats from before the block: those in it save nobody from what is beside them.
                let is_known = self.block.storage.get(bucket).is_some_and(|entries| entries.contains_key(key));
                let has_room = is_known || count < MERGED && entry.value.len() <= VALUE;
                if has_room && signed::accepts(&self.block.storage, (bucket, key), entry, unix_s) {
                    count += usize::from(!is_known);
                    storage.entry(bucket.clone()).or_default().insert(key.clone(), entry.clone());
                    changed = true;
                }
            }
        }
        if changed {
            self.block = self.block.next(at.unix_ns, storage);
            let patience = self.patience();
            self.due.get_or_insert(at.now + patience);
        }
        changed
    }

    /// Differs from node to node and from block to block, so that those who lost their words say them one after another.
    fn patience(&self) -> Duration {
        let mut digest = Sha256::new();
        digest.update(self.peer.as_bytes());
        digest.update(self.block.hash.as_bytes());
        let [high, low, ..] = <[u8; 32]>::from(digest.finalize());
        Duration::from_millis(u64::from(u16::from_be_bytes([high, low])) % PATIENCE_MS)
    }

    /// The block to be said now, where this node's own word differs from what the ledger holds.
    pub(super) fn poll_block(&mut self, at: Moment) -> Option<Block> {
        let Moment { now, unix_ns } = at;
        if self.due? > now || !self.heard_any && now < JOIN || self.wrote_at.is_some_and(|wrote| now < wrote + GAP) {
            return None;
        }
        self.due = None;
        let mut storage = self.block.storage.clone();
        let mut changed = self.form == Form::Legacy && strip(&mut storage);
        let mut waiting: Option<Duration> = None;
        let mut written = Vec::new();
        for (key, word) in &self.own {
            if is_said(get(&storage, key), word, self.form) {
                written.push(key.clone());
                continue;
            }
            if word.not_before > now {
                waiting = Some(waiting.map_or(word.not_before, |at| at.min(word.not_before)));
                continue;
            }
            if let Some(entry) = self.entry(key, Some(&word.value), get(&storage, key), unix_ns) {
                put(&mut storage, key, entry);
                written.push(key.clone());
                changed = true;
            }
        }
        for key in written {
            if let Some(word) = self.own.get_mut(&key) {
                word.written = Some(word.value.clone());
            }
        }
        for (key, value) in &self.withdrawn {
            let is_ours = |entry: &&Entry| entry.value == *value || signed::is_of(&self.peer, key, &entry.value);
            let Some(entry) = get(&storage, key).filter(|entry| !entry.is_deleted()).filter(is_ours) else {
                continue;
            };
            changed = true;
            match self.form {
                Form::Legacy => take(&mut storage, key),
                Form::Signed => {
                    if let Some(gone) = self.entry(key, None, Some(entry), unix_ns) {
                        put(&mut storage, key, gone);
                    }
                }
            }
        }
        self.due = waiting;
        if !changed {
            return None;
        }
        self.wrote_at = Some(now);
        self.block = self.block.next(unix_ns, storage);
        Some(self.block.clone())
    }

    fn entry(
        &self,
        (bucket, key): &(String, String),
        value: Option<&str>,
        before: Option<&Entry>,
        unix_ns: u64,
    ) -> Option<Entry> {
        match self.form {
            Form::Legacy => Some(Entry::legacy(value?.to_owned())),
            Form::Signed => signed::sign(&self.keypair, (bucket, key), value, before, unix_ns).ok(),
        }
    }
}

fn is_said(entry: Option<&Entry>, word: &Word, form: Form) -> bool {
    entry.is_some_and(|entry| {
        entry.value == word.value && !entry.is_deleted() && (form == Form::Legacy || entry.seal.is_some())
    })
}

/// Takes all signatures off, and away what was deleted.
fn strip(storage: &mut Storage) -> bool {
    let mut changed = false;
    for entries in storage.values_mut() {
        entries.retain(|_, entry| !entry.is_deleted());
        for entry in entries.values_mut() {
            changed |= entry.seal.take().is_some();
        }
    }
    changed
}

fn get<'a>(storage: &'a Storage, (bucket, key): &(String, String)) -> Option<&'a Entry> {
    storage.get(bucket)?.get(key)
}

fn put(storage: &mut Storage, (bucket, key): &(String, String), entry: Entry) {
    storage.entry(bucket.clone()).or_default().insert(key.clone(), entry);
}

fn take(storage: &mut Storage, (bucket, key): &(String, String)) {
    if let Some(entries) = storage.get_mut(bucket) {
        entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment { now: Duration::from_millis(ms), unix_ns: (1_767_225_600_000 + ms) * 1_000_000 }
    }

    fn replica() -> Replica {
        Replica::new(Keypair::generate_ed25519())
    }

    fn value<'a>(replica: &'a Replica, bucket: &str, key: &str) -> Option<&'a str> {
        replica.storage().get(bucket)?.get(key).filter(|entry| !entry.is_deleted()).map(|entry| entry.value.as_str())
    }

    #[test]
    fn a_node_alone_writes_after_a_while_and_only_what_is_news() {
        let mut one = replica();
        one.state("b", "k", "1".into());
        assert!(one.poll_block(at(0)).is_none(), "it would be erased by the first block heard");
        let block = one.poll_block(at(3000)).unwrap();
        assert_eq!((block.index, one.current()), (1, &block));
        one.state("b", "k", "1".into());
        assert!(one.poll_block(at(9000)).is_none());
        one.state("b", "k", "2".into());
        one.state("b", "l", "3".into());
        assert_eq!(one.poll_block(at(9000)).unwrap().storage["b"].len(), 2, "one block for both");
        one.state("b", "k", "4".into());
        assert!(one.poll_block(at(9100)).is_none(), "not so soon again");
        assert!(one.poll_block(at(9500)).is_some());
    }

    #[test]
    fn the_higher_block_counts_and_then_the_greater_hash() {
        let mut one = replica();
        let block = |index, hash: &str| Block { index, hash: hash.into(), ..Block::genesis() };
        for (index, hash, adopted) in
            [(5, "b", true), (4, "c", false), (5, "a", false), (5, "b", false), (5, "c", true), (6, "a", true)]
        {
            assert_eq!(one.hear(at(0), block(index, hash), false).changed, adopted, "{index} {hash}");
        }
        assert!(one.hear(at(0), block(1 << 40, "x"), false).refused.is_some());
        assert_eq!(one.current().index, 6);
    }

    #[test]
    fn a_word_that_was_lost_is_said_again_soon() {
        let (mut one, mut other) = (replica(), replica());
        one.state("b", "one", "1".into());
        other.state("b", "other", "2".into());
        let (first, second) = (one.poll_block(at(3000)).unwrap(), other.poll_block(at(3000)).unwrap());
        one.hear(at(3010), second, false);
        other.hear(at(3010), first, false);
        let mut rounds = 0;
        while value(&one, "b", "other").is_none() || value(&other, "b", "one").is_none() {
            rounds += 1;
            let now = at(3010 + rounds * 100);
            let said = (one.poll_block(now), other.poll_block(now));
            if let Some(block) = said.1 {
                one.hear(now, block, false);
            }
            if let Some(block) = said.0 {
                other.hear(now, block, false);
            }
            assert!(rounds < 20, "within two seconds");
        }
        assert_eq!(one.storage(), other.storage());
    }

    #[test]
    fn two_that_want_one_key_do_not_write_all_the_time() {
        let (mut one, mut other) = (replica(), replica());
        one.state("services", "x", "1".into());
        other.state("services", "x", "2".into());
        let mut written = 0;
        for tick in 30..6000 {
            let now = at(tick * 100);
            if let Some(block) = one.poll_block(now) {
                written += 1;
                other.hear(now, block, false);
            }
            if let Some(block) = other.poll_block(now) {
                written += 1;
                one.hear(now, block, false);
            }
        }
        assert!((4..60).contains(&written), "{written} in ten minutes");
    }

    #[test]
    fn what_is_withdrawn_goes_and_stays_gone_but_nobody_elses() {
        let (mut one, mut other) = (replica(), replica());
        one.state("b", "k", "1".into());
        let before = one.poll_block(at(3000)).unwrap();
        one.withdraw("b", "k");
        let after = one.poll_block(at(4000)).unwrap();
        assert!(after.storage["b"].is_empty());
        let back = Block { index: 9, hash: "z".into(), ..before };
        assert!(one.hear(at(5000), back, false).changed);
        assert!(one.poll_block(at(6000)).unwrap().storage["b"].is_empty());
        other.state("b", "k", "2".into());
        other.hear(at(6000), one.current().clone(), false);
        let others = other.poll_block(at(7000)).unwrap();
        one.hear(at(7000), others, false);
        assert!(one.poll_block(at(9000)).is_none(), "the key is somebody else's now");
    }

    /// A replica that is in the signed form, and the block that has told it so.
    fn signed_pair() -> (Replica, Replica) {
        let mut one = replica();
        one.form = Form::Signed;
        one.state("healthcheck", &one.keypair.public().to_peer_id().to_string(), "\"x\"".into());
        let told = one.poll_block(at(3000)).unwrap();
        let mut other = replica();
        other.hear(at(3000), told, false);
        (one, other)
    }

    #[test]
    fn a_network_that_signs_is_found_out_by_one_block_and_spoken_to_in_its_form() {
        let (mut one, mut other) = signed_pair();
        assert_eq!(other.form(), Form::Signed);
        other.state("federated", "abc", "1".into());
        let block = other.poll_block(at(4000)).unwrap();
        assert!(block.storage["federated"]["abc"].seal.is_some());
        assert!(one.hear(at(4000), block, false).changed);
        assert_eq!(value(&one, "federated", "abc"), Some("1"));
        other.state("federated", "abc", "2".into());
        one.hear(at(5000), other.poll_block(at(5000)).unwrap(), false);
        assert_eq!(value(&one, "federated", "abc"), Some("2"));
        other.withdraw("federated", "abc");
        one.hear(at(6000), other.poll_block(at(6000)).unwrap(), false);
        assert_eq!(value(&one, "federated", "abc"), None);
    }

    #[test]
    fn a_block_is_judged_by_the_heartbeats_from_before_it() {
        let [owner, thief] = [(); 2].map(|()| Keypair::generate_ed25519());
        let peer = owner.public().to_peer_id().to_string();
        let Moment { unix_ns, .. } = at(0);
        let (mut replica, mut held, mut heard) = (replica(), Storage::new(), Storage::new());
        let sign = |keypair: &Keypair, (bucket, key): (&str, &str), value: &str, ns| {
            signed::sign(keypair, (bucket, key), Some(value), None, ns).unwrap()
        };
        // One bucket before that of heartbeats and one after it.
        for bucket in ["files", "services"] {
            let value = |keypair: &Keypair| format!(r#"{{"PeerID":"{}"}}"#, keypair.public().to_peer_id());
            let key = (bucket.to_owned(), "k".to_owned());
            put(&mut held, &key, sign(&owner, (bucket, "k"), &value(&owner), unix_ns));
            put(&mut heard, &key, sign(&thief, (bucket, "k"), &value(&thief), unix_ns + 1));
        }
        let beat = sign(&owner, ("healthcheck", &peer), "\"2026-01-01T00:00:00Z\"", unix_ns);
        put(&mut heard, &("healthcheck".into(), peer.clone()), beat);
        replica.hear(at(0), Block::genesis().next(unix_ns, held), false);
        replica.hear(at(1), Block::genesis().next(unix_ns, heard.clone()), false);
        assert_eq!(replica.storage(), &heard, "the owner had given no sign of life before");
    }

    #[test]
    fn where_some_cannot_read_signatures_nobody_signs_and_kin_are_no_evidence() {
        let (one, mut other) = signed_pair();
        let mut legacy = replica();
        legacy.state("b", "k", "1".into());
        let plain = legacy.poll_block(at(3000)).unwrap();
        other.hear(at(4000), plain.clone(), true);
        assert_eq!(other.form(), Form::Signed, "another node of this program has not found out yet");
        other.state("b", "mine", "2".into());
        assert!(other.poll_block(at(5000)).unwrap().is_signed());
        other.hear(at(6000), plain.clone(), false);
        assert_eq!(other.form(), Form::Legacy);
        assert!(other.hear(at(6100), one.current().clone(), false).refused.is_some());
        let block = other.poll_block(at(7000)).unwrap();
        assert!(!block.is_signed() && block.storage["b"].contains_key("mine"));
        let later = at(6000 + u64::try_from(EVIDENCE.as_millis()).unwrap());
        other.hear(later, one.current().clone(), false);
        assert_eq!(other.form(), Form::Signed, "those that could not are gone");
    }

    proptest! {
        #[test]
        fn whatever_happens_each_ends_with_its_own_word_in_one_ledger(
            events in proptest::collection::vec((0usize..3, 0u8..4, 0usize..3), 1..40), signed: bool,
        ) {
            let mut all = [replica(), replica(), replica()];
            if signed {
                all.iter_mut().for_each(|one| one.form = Form::Signed);
            }
            let mut now = 3000;
            let keys: Vec<_> = all.iter().map(|one| one.keypair.public().to_peer_id().to_string()).collect();
            for (who, what, to) in events {
                now += 100;
                match what {
                    0 => all[who].state("users", &keys[who], format!("\"{now}\"")),
                    1 => all[who].withdraw("users", &keys[who]),
                    // Said to one alone, as if it were lost on the way to the other.
                    2 => if let Some(block) = all[who].poll_block(at(now)) { all[to].hear(at(now), block, true); },
                    _ => { let block = all[who].current().clone(); all[to].hear(at(now), block, true); },
                }
            }
            for _ in 0..60 {
                now += 100;
                for who in 0..3 {
                    let said = all[who].poll_block(at(now)).unwrap_or_else(|| all[who].current().clone());
                    for (to, other) in all.iter_mut().enumerate() {
                        if to != who { other.hear(at(now), said.clone(), true); }
                    }
                }
            }
            for (one, key) in all.iter().zip(&keys) {
                let word = one.own.get(&("users".to_owned(), key.clone())).map(|word| word.value.as_str());
                prop_assert!(all.iter().all(|other| value(other, "users", key) == word));
                let shown = |one: &Replica| keys.iter().map(|key| value(one, "users", key).map(str::to_owned)).collect::<Vec<_>>();
                prop_assert_eq!(shown(one), shown(&all[0]));
            }
        }
    }
}
