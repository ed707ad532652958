//! What it costs two ledgers to find out where they differ: ways to reconcile sets, side by side.
//!
//! Two sides hold N owners; at d of them one side has an older record than the other. An *element* says of one owner
//! which record a side has: 20 bytes. Where all is said, the dialler knows which elements only one side has. A method's
//! cost is the bytes both ways, the round trips, and the time that both sides work, their sets lying there sorted. The
//! hello that all methods have in common, which ends a comparison of equal sets, is not counted; nor are the records that
//! follow.
//!
//! `make reconcile` prints the table that decision 0018 is made from.

// A measurement reads the clock, wants an unordered set where the measured crates have one, and stops at the first fault.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::expect_used, clippy::panic, missing_docs)]

// What is private to the ledger is compiled anew here.
#[path = "../../ledger/src/dice.rs"]
#[allow(dead_code, reason = "the ledger uses more of it")]
mod dice;
#[path = "../../ledger/src/sketch.rs"]
#[allow(dead_code, reason = "the ledger uses more of it")]
mod sketch;

use std::{
    collections::BTreeSet,
    io::{self, Write, stdout},
    time::{Duration, Instant},
};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use sketch::{ELEMENT, Peeler, SYMBOL, Sketch};

/// Owners, and how many of them differ; 41 of 1000 and 170 of 10 000 are what an interval of leases leaves apart.
const SIZES: [usize; 4] = [10, 100, 1000, 10_000];
const DIFFERENCES: [usize; 6] = [0, 1, 10, 41, 170, 1000];
/// Each cell is the mean of so many pairs of sets, and its time the least of them.
const PAIRS: u64 = 5;
/// Symbols asked for first by who does not know how many are usual; then half as many as there are.
const FIRST: usize = 8;
/// What asks for symbols or for the digest: its kind, a salt, two numbers, and its length before it.
const ASK: usize = 17;
/// Seconds between two records of one owner.
const RENEWAL: u64 = 120;

/// What one side says of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Element {
    bytes: [u8; ELEMENT],
    /// When the record was signed. No part of the element; negentropy may sort by it.
    issued: u64,
}

/// Two sides, each sorted.
struct Pair {
    differing: usize,
    dialler: Vec<Element>,
    responder: Vec<Element>,
}

/// What a method took.
struct Cost {
    bytes: usize,
    round_trips: usize,
    /// Elements found at one side only.
    found: BTreeSet<[u8; ELEMENT]>,
}

type Method = fn(&Pair) -> Cost;

const METHODS: [(&str, Method); 5] = [
    ("digest", digest),
    ("negentropy, by id", |pair| negentropy(pair, |_| 0)),
    ("negentropy, by time", |pair| negentropy(pair, |element| element.issued)),
    ("sketch, at first", |pair| sketch(pair, FIRST)),
    ("sketch, as usual", |pair| sketch(pair, usual(pair.differing))),
];

fn main() -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "| owners | differing | method | bytes | round trips | time µs | bytes / digest | time / digest |")?;
    writeln!(out, "|---:|---:|---|---:|---:|---:|---:|---:|")?;
    for owners in SIZES {
        for differing in DIFFERENCES.into_iter().filter(|differing| *differing <= owners) {
            let pairs: Vec<_> = (1..=PAIRS).map(|seed| Pair::new(owners, differing, seed)).collect();
            let mut base = None;
            for (name, method) in METHODS {
                let (bytes, round_trips, time) = measure(&pairs, method);
                let (base_bytes, base_time) = *base.get_or_insert((bytes, time));
                writeln!(
                    out,
                    "| {owners} | {differing} | {name} | {bytes:.0} | {round_trips:.1} | {:.0} | {:.2} | {:.1} |",
                    time.as_secs_f64() * 1e6,
                    bytes / base_bytes,
                    time.as_secs_f64() / base_time.as_secs_f64(),
                )?;
            }
        }
    }
    Ok(())
}

/// Mean bytes and round trips, and the shortest time.
fn measure(pairs: &[Pair], method: Method) -> (f64, f64, Duration) {
    let (mut bytes, mut round_trips, mut least) = (0, 0, Duration::MAX);
    for pair in pairs {
        let started = Instant::now();
        let cost = method(pair);
        least = least.min(started.elapsed());
        assert_eq!(cost.found, pair.difference(), "what differs was not found");
        bytes += cost.bytes;
        round_trips += cost.round_trips;
    }
    (bytes as f64 / pairs.len() as f64, round_trips as f64 / pairs.len() as f64, least)
}

impl Pair {
    /// Owners whose ids are random; each signed within the last interval, the differing ones just now and an interval
    /// before. Half of the newer records are at either side.
    fn new(owners: usize, differing: usize, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let now = 1_800_000_000;
        let (mut dialler, mut responder) = (Vec::new(), Vec::new());
        for owner in 0..owners {
            let prefix = dice.next();
            if owner < differing {
                let issued = now - dice.next() % 5;
                let new = Element::new(prefix, issued, &mut dice);
                let old = Element::new(prefix, issued - RENEWAL, &mut dice);
                let (ours, theirs) = if owner % 2 == 0 { (new, old) } else { (old, new) };
                dialler.push(ours);
                responder.push(theirs);
            } else {
                let same = Element::new(prefix, now - 5 - dice.next() % RENEWAL, &mut dice);
                dialler.push(same);
                responder.push(same);
            }
        }
        dialler.sort_unstable();
        responder.sort_unstable();
        Self { differing, dialler, responder }
    }

    fn difference(&self) -> BTreeSet<[u8; ELEMENT]> {
        let bytes = |side: &[Element]| side.iter().map(|element| element.bytes).collect::<BTreeSet<_>>();
        &bytes(&self.dialler) ^ &bytes(&self.responder)
    }
}

impl Element {
    fn new(prefix: u64, issued: u64, dice: &mut Dice) -> Self {
        let tag = dice.next().to_be_bytes();
        let mut bytes = [0; ELEMENT];
        bytes[..8].copy_from_slice(&prefix.to_be_bytes());
        bytes[8..12].copy_from_slice(&tag[..4]);
        bytes[12..].copy_from_slice(&(issued * 1000).to_be_bytes());
        Self { bytes, issued }
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

// === methods ===

/// The responder says all it has.
fn digest(pair: &Pair) -> Cost {
    let said: Vec<u8> = pair.responder.iter().flat_map(|element| element.bytes).collect();
    let (heard, _) = said.as_chunks::<ELEMENT>();
    let mut found = BTreeSet::new();
    let (mut ours, mut theirs) = (pair.dialler.iter().map(|element| element.bytes).peekable(), heard.iter().peekable());
    loop {
        match (ours.peek(), theirs.peek()) {
            (Some(our), Some(their)) if our == *their => {
                ours.next();
                theirs.next();
            }
            (Some(our), their) if their.is_none_or(|their| our < *their) => found.extend(ours.next()),
            (_, Some(_)) => found.extend(theirs.next().copied()),
            (_, None) => break,
        }
    }
    Cost { bytes: said.len() + ASK, round_trips: 1, found }
}

/// Fingerprints of ranges, sixteen of each range that differs; its ids have 32 bytes.
fn negentropy(pair: &Pair, at: fn(&Element) -> u64) -> Cost {
    let store = |side: &[Element]| {
        let mut store = NegentropyStorageVector::with_capacity(side.len());
        for element in side {
            let mut id = [0; 32];
            id[..ELEMENT].copy_from_slice(&element.bytes);
            store.insert(at(element), Id::from_byte_array(id)).expect("not sealed yet");
        }
        store.seal().expect("sealed once");
        store
    };
    let mut dialler = Negentropy::owned(store(&pair.dialler), 0).expect("no limit");
    let mut responder = Negentropy::owned(store(&pair.responder), 0).expect("no limit");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let (mut bytes, mut round_trips) = (0, 0);
    let mut question = Some(dialler.initiate().expect("begins"));
    while let Some(asked) = question {
        let answer = responder.reconcile(&asked).expect("a valid question");
        bytes += asked.len() + answer.len();
        round_trips += 1;
        question = dialler.reconcile_with_ids(&answer, &mut have, &mut need).expect("a valid answer");
    }
    let element = |id: &Id| *id.as_bytes().first_chunk().expect("32 bytes");
    Cost { bytes, round_trips, found: have.iter().chain(&need).map(element).collect() }
}

/// Symbols that a difference of so many owners takes, by and large.
fn usual(differing: usize) -> usize {
    (differing * 29 / 10).max(FIRST)
}

/// Rateless symbols, as the ledger asks for them.
fn sketch(pair: &Pair, first: usize) -> Cost {
    let bytes = |side: &[Element]| side.iter().map(|element| element.bytes).collect::<Vec<_>>();
    let mut theirs = Sketch::new(bytes(&pair.responder), 7);
    let mut ours = Peeler::new(bytes(&pair.dialler), 7);
    let (mut round_trips, mut count) = (0, first);
    loop {
        round_trips += 1;
        if let Some(difference) = ours.take(&theirs.next(count)).expect("symbols of a set") {
            let found = difference.here.into_iter().chain(difference.there).collect();
            return Cost { bytes: ours.taken() * SYMBOL + round_trips * ASK, round_trips, found };
        }
        count = ours.taken().div_ceil(2);
    }
}
