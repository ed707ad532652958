//! The beginnings of a prompt, as hashes.
//!
//! A model server keeps what it computed of earlier prompts, and a prompt that begins like one of them is answered sooner
//! there. The turns of a conversation repeat all turns before, so a hash is taken at the end of each message that no model
//! wrote: the one that ended the last turn is among those of the next. Of a long text without messages one is taken at 256 bytes, 512, 1024
//! and so on. Where a hash is taken depends on nothing that follows, so that equal beginnings have equal hashes.
//!
//! Of many, the first and the last are kept: what users have in common stands first, and what only the turn before has,
//! last.

use std::collections::VecDeque;

use crate::balance::PREFIXES_MAX;

/// The first hash of a text without messages. Less than so many bytes are computed in no time.
const BLOCK: u64 = 256;

/// Hashes kept of the beginning, and as many of the end.
const HALF: usize = PREFIXES_MAX / 2;

/// FNV-1a's constants.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Hashes over bytes that come one after another.
#[derive(Debug)]
pub(super) struct Prefixes {
    hash: u64,
    bytes: u64,
    next_block: u64,
    first: Vec<u64>,
    last: VecDeque<u64>,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { hash: BASIS, bytes: 0, next_block: BLOCK, first: Vec::new(), last: VecDeque::new() }
    }
}

impl Prefixes {
    pub(super) fn push(&mut self, byte: u8) {
        self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        self.bytes += 1;
        if self.bytes == self.next_block {
            self.next_block *= 2;
            self.mark();
        }
    }

    /// What came so far is a beginning that may be met again.
    pub(super) fn mark(&mut self) {
        if self.first.len() < HALF {
            return self.first.push(self.hash);
        }
        if self.last.len() == HALF {
            self.last.pop_front();
        }
        self.last.push_back(self.hash);
    }

    /// The hashes, the shortest beginning first. Those for one model say nothing of another.
    pub(super) fn of(&self, model: &str) -> Vec<u64> {
        let salt = model.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        self.first.iter().chain(&self.last).map(|hash| (hash ^ salt.rotate_left(32)).wrapping_mul(PRIME)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::inference::Scanner;

    fn prefixes(model: &str, messages: &[String]) -> Vec<u64> {
        let list: Vec<_> = messages.iter().map(|text| serde_json::json!({ "role": "user", "content": text })).collect();
        let mut scanner = Scanner::default();
        scanner.feed(serde_json::json!({ "messages": list, "model": model, "stream": true }).to_string().as_bytes());
        scanner.prefixes()
    }

    fn turns(n: usize) -> Vec<String> {
        (0..n).map(|turn| format!("turn {turn} }} ]")).collect()
    }

    #[test]
    fn a_turn_finds_the_one_before_however_long_the_conversation() {
        for n in [1, 2, 15, 16, 17, 100] {
            let (before, after) = (prefixes("m", &turns(n)), prefixes("m", &turns(n + 2)));
            assert!(after.contains(before.last().unwrap()), "{n}");
            assert!(after.len() <= PREFIXES_MAX);
        }
    }

    #[test]
    fn other_conversations_and_other_models_have_nothing_in_common() {
        let one = prefixes("m", &turns(9));
        let other: Vec<String> = turns(9).iter().map(|text| format!("another {text}")).collect();
        assert!(prefixes("m", &other).iter().all(|hash| !one.contains(hash)));
        assert!(prefixes("n", &turns(9)).iter().all(|hash| !one.contains(hash)));
    }

    #[test]
    fn long_texts_that_begin_alike_are_found_too() {
        let prompt = |tail: &str| {
            let mut scanner = Scanner::default();
            let text = "x".repeat(5000) + tail;
            scanner.feed(serde_json::json!({ "model": "m", "prompt": text }).to_string().as_bytes());
            scanner.prefixes()
        };
        // At 256, 512, 1024, 2048 and 4096 bytes.
        assert_eq!((prompt("a").len(), prompt("a")), (5, prompt("b")));
    }

    proptest! {
        #[test]
        fn where_a_body_is_cut_into_frames_makes_no_difference(text in "[ -~]{0,2000}", cut in any::<prop::sample::Index>()) {
            let body = serde_json::json!({ "messages": [{ "content": text }, { "content": "b" }] }).to_string();
            let (mut whole, mut cut_up) = (Scanner::default(), Scanner::default());
            whole.feed(body.as_bytes());
            let (one, two) = body.as_bytes().split_at(cut.index(body.len()));
            cut_up.feed(one);
            cut_up.feed(two);
            prop_assert_eq!(whole.prefixes(), cut_up.prefixes());
        }
    }
}
