//! The same worker for the same key: rendezvous hashing (Thaler and Ravishankar, 1998) in proportion to the weights, with
//! bounded loads.
//!
//! Each worker draws a number from the key and its own id; the least over the weight is the key's worker, the next its
//! second, and so on. Every front draws the same numbers, so all of them send a key to the same worker, and one that leaves
//! moves only its own keys. One that would have more than its bound is passed over.

use crate::{
    balance::{contender::Contender, selection::Room},
    ledger::NodeId,
};

/// What puts one beyond its bound behind all others: more than any draw.
const BEHIND: f64 = 1e6;

pub(super) fn score(field: &mut [Contender<'_>], key: u64) {
    let room = Room::of(field);
    for contender in field {
        let draw = draw(key, contender.node) / contender.weight;
        contender.score = if room.bounds(contender) { draw } else { BEHIND + draw };
    }
}

/// Exponentially distributed, so that the least over the weights falls to each in proportion to its weight.
fn draw(key: u64, node: NodeId) -> f64 {
    let words = node.as_bytes().chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let hash = words.fold(mix(key), |hash, word| mix(hash ^ word));
    // 53 bits, never zero.
    let part = ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -part.ln()
}

/// The last step of SplitMix64 (Steele, Lea and Flood, 2014): each bit of what goes in moves half of what comes out.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
