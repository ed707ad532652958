//! Edgevpn's ledger as it is said: one block, which is all there is. Nobody keeps the ones before.
//!
//! `Hash` is SHA-256 of the fields as Go prints them, and of a map it prints `map[key:value key:value]` in order of the
//! keys. Nobody verifies it; it decides between two blocks of one height.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::entry::Entry;

/// Entries of a block at most. A network of 500 nodes has some 2000.
const MAX_ENTRIES: usize = 65_536;

/// Blocks of this height and more are refused: nobody gets there by counting, and edgevpn's own counter overflows at twice
/// of it, which stops its network for good.
const MAX_INDEX: i64 = 1 << 62;

/// Bucket → key → entry.
pub(super) type Storage = BTreeMap<String, BTreeMap<String, Entry>>;

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Block {
    /// Its height.
    pub(super) index: i64,
    /// When it was made, as Go prints it; read by nobody.
    #[serde(default)]
    pub(super) timestamp: String,
    /// Go writes `null` for none.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) storage: Storage,
    #[serde(default)]
    pub(super) hash: String,
    #[serde(default)]
    pub(super) prev_hash: String,
}

/// Why a text is no block.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlockError {
    #[error("it is not the JSON of a block: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its height {0} is not one that was counted to")]
    Index(i64),
    #[error("it has {0} entries; {MAX_ENTRIES} is the most")]
    Entries(usize),
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Storage, D::Error> {
    let storage: Option<BTreeMap<String, Option<BTreeMap<String, Entry>>>> = Deserialize::deserialize(deserializer)?;
    let buckets = storage.unwrap_or_default().into_iter();
    Ok(buckets.map(|(name, bucket)| (name, bucket.unwrap_or_default())).collect())
}

impl Block {
    pub(super) fn parse(text: &[u8]) -> Result<Self, BlockError> {
        let block: Self = serde_json::from_slice(text)?;
        if !(0..MAX_INDEX).contains(&block.index) {
            return Err(BlockError::Index(block.index));
        }
        let entries: usize = block.storage.values().map(BTreeMap::len).sum();
        match entries > MAX_ENTRIES || block.storage.len() > MAX_ENTRIES {
            true => Err(BlockError::Entries(entries.max(block.storage.len()))),
            false => Ok(block),
        }
    }

    pub(super) fn to_json(&self) -> String {
        // Texts, numbers and maps with texts for keys always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a node begins with.
    pub(super) fn genesis() -> Self {
        let hash = sha256("0map[]");
        Self { index: 0, timestamp: String::new(), storage: Storage::new(), hash, prev_hash: String::new() }
    }

    /// The block after this one.
    pub(super) fn next(&self, unix_ns: u64, storage: Storage) -> Self {
        let timestamp = go_time(unix_ns);
        let index = self.index.saturating_add(1);
        let is_signed = storage.values().any(|bucket| bucket.values().any(|entry| entry.seal.is_some()));
        let printed = printed(&storage, is_signed);
        let hash = sha256(&format!("{index}{timestamp}{printed}{}", self.hash));
        Self { index, timestamp, storage, hash, prev_hash: self.hash.clone() }
    }

    /// Whether any entry is signed.
    pub(super) fn is_signed(&self) -> bool {
        self.storage.values().any(|bucket| bucket.values().any(|entry| entry.seal.is_some()))
    }
}

/// A storage as Go's `Sprint` prints it; as structs, where nodes of ≥ 0.35 do.
pub(super) fn printed(storage: &Storage, as_structs: bool) -> String {
    let mut text = String::from("map[");
    for (n, (bucket, entries)) in storage.iter().enumerate() {
        let _ = write!(text, "{}{bucket}:map[", if n == 0 { "" } else { " " });
        for (n, (key, entry)) in entries.iter().enumerate() {
            let _ = write!(text, "{}{key}:", if n == 0 { "" } else { " " });
            match as_structs {
                false => text.push_str(&entry.value),
                true => print_struct(&mut text, entry),
            }
        }
        text.push(']');
    }
    text.push(']');
    text
}

fn print_struct(text: &mut String, entry: &Entry) {
    let nobody = super::entry::Seal::default();
    let seal = entry.seal.as_ref().unwrap_or(&nobody);
    let (value, owner) = (&entry.value, &seal.owner);
    let _ = write!(text, "{{{value} {owner} {} {} {} [", seal.version, seal.updated_at, seal.deleted);
    for (n, byte) in seal.signature.iter().enumerate() {
        let _ = write!(text, "{}{byte}", if n == 0 { "" } else { " " });
    }
    text.push_str("]}");
}

/// An instant as Go's `Time.String` prints it in UTC: with as many digits of a second as there are.
fn go_time(unix_ns: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(unix_ns.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let fraction = format!(".{:09}", at.nanosecond());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction} +0000 UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::entry::Seal, *};

    pub(super) fn storage(entries: &[(&str, &str, &str)]) -> Storage {
        let mut storage = Storage::new();
        for (bucket, key, value) in entries {
            storage.entry((*bucket).into()).or_default().insert((*key).into(), Entry::legacy((*value).into()));
        }
        storage
    }

    #[test]
    fn the_first_block_has_edgevpns_hash() {
        assert_eq!(Block::genesis().hash, "993c923422cd134b6aad0235ebfd4290a7b27b83d1bcd6b1fb2addc4b45b2fa6");
    }

    #[test]
    fn storage_prints_as_go_prints_it() {
        let storage = storage(&[("users", "b", r#"{"x":1}"#), ("users", "a", "\"hi\""), ("dns", "z", "1")]);
        assert_eq!(printed(&storage, false), r#"map[dns:map[z:1] users:map[a:"hi" b:{"x":1}]]"#);
        assert_eq!(
            printed(&storage, true),
            r#"map[dns:map[z:{1  0 0 false []}] users:map[a:{"hi"  0 0 false []} b:{{"x":1}  0 0 false []}]]"#
        );
        let seal = Seal { owner: "12D".into(), version: 7, updated_at: 5, deleted: true, signature: vec![1, 255] };
        let mut text = String::new();
        print_struct(&mut text, &Entry { value: String::new(), seal: Some(seal) });
        assert_eq!(text, "{ 12D 7 5 true [1 255]}");
    }

    #[test]
    fn an_instant_prints_as_go_prints_it() {
        assert_eq!(go_time(1_767_225_600_500_000_000), "2026-01-01 00:00:00.5 +0000 UTC");
        assert_eq!(go_time(1_767_225_600_000_000_000), "2026-01-01 00:00:00 +0000 UTC");
        assert_eq!(go_time(1_767_225_600_000_000_001), "2026-01-01 00:00:00.000000001 +0000 UTC");
    }

    #[test]
    fn the_next_block_hashes_what_it_holds() {
        let before = Block { hash: "abcd".into(), index: 6, ..Block::genesis() };
        let storage = storage(&[("users", "b", r#"{"x":1}"#), ("users", "a", "\"hi\"")]);
        let block = before.next(1_767_225_600_500_000_000, storage);
        let printed = r#"72026-01-01 00:00:00.5 +0000 UTCmap[users:map[a:"hi" b:{"x":1}]]abcd"#;
        assert_eq!((block.hash.as_str(), block.prev_hash.as_str()), (sha256(printed).as_str(), "abcd"));
    }

    #[test]
    fn heights_that_nobody_counts_to_are_refused() {
        for (index, good) in [("0", true), ("9", true), ("-1", false), ("4611686018427387904", false), ("1e30", false)]
        {
            assert_eq!(Block::parse(format!(r#"{{"Index":{index}}}"#).as_bytes()).is_ok(), good, "{index}");
        }
        assert!(Block::parse(br#"{"Index":1,"Storage":null}"#).is_ok());
        assert!(Block::parse(br#"{"Index":1,"Storage":{"a":null}}"#).unwrap().storage["a"].is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(index in 0i64..MAX_INDEX, value in "\\PC{0,20}", key in "\\PC{0,9}") {
            let block = Block { index, ..Block::genesis() }.next(1, storage(&[("b", &key, &value)]));
            let block = Block { index, ..block };
            prop_assert_eq!(Block::parse(block.to_json().as_bytes()).unwrap(), block);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|\\{\"Index\":[0-9]{1,22},\"Storage\":\\{\"a\":[\"{}:a-c]{0,20}\\}\\}") {
            let _ = Block::parse(text.as_bytes());
        }
    }
}
