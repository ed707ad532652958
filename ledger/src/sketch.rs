//! The difference of two sets, found at a cost of its own size: rateless invertible Bloom lookup tables (Yang, Gilad,
//! Alizadeh, "Practical Rateless Set Reconciliation", SIGCOMM 2024).
//!
//! One side turns its set into an endless sequence of **symbols**; the other subtracts those of its own set and **peels**
//! what is left: a symbol that covers one element gives it away, and that element is taken out of all others. Whatever
//! the sizes of the sets, about 1.4 to 1.8 symbols per differing element are enough, and nobody needs to know that
//! number before: the reader asks for more until nothing is left.
//!
//! An element takes part in symbol 0 and then ever more rarely: from symbol *i* it goes on to
//! *i + ⌈(i + 1.5)·(u^−½ − 1)⌉*, or at least to the next one, with *u* uniform in (0, 1], drawn from a generator that the
//! element seeds. So it takes part in symbol *i* with probability 1/(1 + i/2).
//!
//! Elements are hashed with a **salt** that the reader draws for each session. Without it a member could choose records
//! that take part in the same symbols, which nobody could then peel apart.
//!
//! # Wire format
//!
//! A symbol is `sum[20] ‖ check u32 ‖ count u16`: the exclusive or of its elements and of the first four bytes of their
//! hashes, and how many they are, modulo 2^16. The hash of an element is SHA-256(`"p2p-fed/sketch/v1" ‖ 0x00 ‖ salt u64 ‖
//! element`); its next eight bytes seed the element's generator, which is SplitMix64. A *u* is its next number without the
//! last eleven bits, plus one, in steps of 2^−53.
//!
//! **Bounds.** Peeling takes at most as many elements as there are symbols, so symbols that somebody made up end in
//! [`Garbled`] or leave a rest, but never loop.

use sha2::{Digest as _, Sha256};

use crate::dice::Dice;

/// Bytes of an element.
pub(crate) const ELEMENT: usize = 20;
/// Bytes of a symbol.
pub(crate) const SYMBOL: usize = ELEMENT + 4 + 2;

/// One member of a set.
pub(crate) type Bytes = [u8; ELEMENT];

/// Some elements laid on top of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbol {
    sum: Bytes,
    check: u32,
    /// Modulo 2^16; where two sets are subtracted, what only the subtracted one has counts as -1.
    count: u16,
}

/// The symbols are of no set: peeling does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbled;

/// An element on its way through the sequence.
#[derive(Clone, Debug)]
struct Walker {
    element: Bytes,
    check: u32,
    dice: Dice,
    /// The next symbol it takes part in.
    next: usize,
}

/// A set as a sequence of symbols.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    walkers: Vec<Walker>,
    made: usize,
}

/// What one set has and the other has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Here alone.
    pub(crate) here: Vec<Bytes>,
    /// There alone.
    pub(crate) there: Vec<Bytes>,
}

/// Finds the difference between the set here and the one there whose symbols come in.
#[derive(Debug)]
pub(crate) struct Peeler {
    salt: u64,
    own: Sketch,
    symbols: Vec<Symbol>,
    /// Elements found, which symbols still to come have to be rid of as well.
    found: Vec<(Walker, Side)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Here,
    There,
}

// === impl Symbol ===

impl Symbol {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.sum);
        bytes.extend_from_slice(&self.check.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
    }

    /// Reads one symbol off the front.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (sum, rest) = bytes.split_first_chunk()?;
        let (check, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        Some((Self { sum: *sum, check: u32::from_be_bytes(*check), count: u16::from_be_bytes(*count) }, rest))
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lays one element more on top, or takes one away: for the sum that is the same.
    fn toggle(&mut self, walker: &Walker, count: u16) {
        self.sum.iter_mut().zip(walker.element).for_each(|(sum, byte)| *sum ^= byte);
        self.check ^= walker.check;
        self.count = self.count.wrapping_add(count);
    }

    fn subtract(self, other: Self) -> Self {
        let mut sum = self.sum;
        sum.iter_mut().zip(other.sum).for_each(|(sum, byte)| *sum ^= byte);
        Self { sum, check: self.check ^ other.check, count: self.count.wrapping_sub(other.count) }
    }

    /// The only element it covers, and whose that is.
    fn only(&self, salt: u64) -> Option<(Walker, Side)> {
        let side = match self.count {
            1 => Side::There,
            u16::MAX => Side::Here,
            _ => return None,
        };
        let walker = Walker::new(self.sum, salt);
        (walker.check == self.check).then_some((walker, side))
    }
}

// === impl Walker ===

impl Walker {
    fn new(element: Bytes, salt: u64) -> Self {
        let hash = Sha256::new()
            .chain_update(b"p2p-fed/sketch/v1\0")
            .chain_update(salt.to_be_bytes())
            .chain_update(element)
            .finalize();
        let part = |from: usize, len: usize| {
            hash.iter().skip(from).take(len).fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        let check = u32::try_from(part(0, 4)).unwrap_or_default();
        Self { element, check, dice: Dice::new(part(4, 8)), next: 0 }
    }

    /// Goes on to the next symbol. All operations are exact or correctly rounded (IEEE 754), so every machine goes the
    /// same way.
    fn step(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "symbols are counted in thousands")]
        let here = self.next as f64;
        let jump = ((here + 1.5) * (1.0 / self.dice.part().sqrt() - 1.0)).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; too far is far enough"
        )]
        let jump = jump as usize;
        self.next = self.next.saturating_add(jump.max(1));
    }
}

// === impl Sketch ===

impl Sketch {
    pub(crate) fn new(elements: impl IntoIterator<Item = Bytes>, salt: u64) -> Self {
        Self { walkers: elements.into_iter().map(|element| Walker::new(element, salt)).collect(), made: 0 }
    }

    /// Symbols made so far.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// The next `count` symbols.
    pub(crate) fn next(&mut self, count: usize) -> Vec<Symbol> {
        let mut symbols = vec![Symbol::default(); count];
        for walker in &mut self.walkers {
            while let Some(symbol) = walker.next.checked_sub(self.made).and_then(|at| symbols.get_mut(at)) {
                symbol.toggle(walker, 1);
                walker.step();
            }
        }
        self.made += count;
        symbols
    }
}

// === impl Peeler ===

impl Peeler {
    pub(crate) fn new(elements: impl IntoIterator<Item = Bytes>, salt: u64) -> Self {
        Self { salt, own: Sketch::new(elements, salt), symbols: Vec::new(), found: Vec::new() }
    }

    /// Symbols taken so far.
    pub(crate) fn taken(&self) -> usize {
        self.symbols.len()
    }

    /// Takes the next symbols of the other set. The difference once they are enough.
    ///
    /// # Errors
    /// [`Garbled`] if they can't be those of a set.
    pub(crate) fn take(&mut self, symbols: &[Symbol]) -> Result<Option<Difference>, Garbled> {
        let from = self.symbols.len();
        let own = self.own.next(symbols.len());
        self.symbols.extend(symbols.iter().zip(own).map(|(theirs, own)| theirs.subtract(own)));
        let mut touched: Vec<usize> = (from..self.symbols.len()).collect();
        for (walker, side) in &mut self.found {
            clear(&mut self.symbols, walker, *side, &mut Vec::new());
        }
        while let Some(at) = touched.pop() {
            let Some((mut walker, side)) = self.symbols.get(at).and_then(|symbol| symbol.only(self.salt)) else {
                continue;
            };
            if self.found.len() >= self.symbols.len() {
                return Err(Garbled);
            }
            clear(&mut self.symbols, &mut walker, side, &mut touched);
            self.found.push((walker, side));
        }
        Ok(self.symbols.iter().all(Symbol::is_empty).then(|| self.difference()))
    }

    fn difference(&self) -> Difference {
        let of = |wanted: Side| {
            self.found.iter().filter(move |(_, side)| *side == wanted).map(|(walker, _)| walker.element).collect()
        };
        Difference { here: of(Side::Here), there: of(Side::There) }
    }
}

/// Takes an element out of all symbols there are from where it stands; notes which ones those were.
fn clear(symbols: &mut [Symbol], walker: &mut Walker, side: Side, touched: &mut Vec<usize>) {
    while let Some(symbol) = symbols.get_mut(walker.next) {
        symbol.toggle(walker, if side == Side::There { u16::MAX } else { 1 });
        touched.push(walker.next);
        walker.step();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SALT: u64 = 5;

    fn element(n: u64) -> Bytes {
        let mut element = [0; ELEMENT];
        element[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        element[12..].copy_from_slice(&n.to_be_bytes());
        element
    }

    /// The difference, and the symbols that it took when asked for one at a time.
    fn found(here: &[u64], there: &[u64]) -> (Difference, usize) {
        let mut peeler = Peeler::new(here.iter().copied().map(element), SALT);
        let mut sketch = Sketch::new(there.iter().copied().map(element), SALT);
        loop {
            if let Some(difference) = peeler.take(&sketch.next(1)).unwrap() {
                return (difference, sketch.made());
            }
        }
    }

    fn set(elements: &[Bytes]) -> BTreeSet<Bytes> {
        elements.iter().copied().collect()
    }

    #[test]
    fn the_difference_is_found_at_the_cost_of_its_size() {
        let common: Vec<u64> = (0..2000).collect();
        for size in [0_u64, 1, 2, 10, 100, 1000] {
            let (mine, theirs) = (10_000..10_000 + size / 2, 20_000..20_000 + (size - size / 2));
            let here: Vec<_> = common.iter().copied().chain(mine.clone()).collect();
            let there: Vec<_> = common.iter().copied().chain(theirs.clone()).collect();
            let (difference, symbols) = found(&here, &there);
            assert_eq!(set(&difference.here), mine.map(element).collect());
            assert_eq!(set(&difference.there), theirs.map(element).collect());
            assert!(symbols <= 2 * size as usize + 6, "{symbols} symbols for {size}");
        }
    }

    #[test]
    fn empty_sets_and_equal_sets_take_one_symbol() {
        assert_eq!(found(&[], &[]), (Difference::default(), 1));
        assert_eq!(found(&[1, 2, 3], &[3, 2, 1]), (Difference::default(), 1));
        assert_eq!(found(&[], &[7]).0.there, [element(7)]);
        assert_eq!(found(&[7], &[]).0.here, [element(7)]);
    }

    #[test]
    fn more_symbols_after_the_first_ones_go_on_where_those_ended() {
        let there: Vec<_> = (0..300).map(element).collect();
        let mut whole = Sketch::new(there.clone(), SALT);
        let mut parts = Sketch::new(there, SALT);
        let joined = [parts.next(8), parts.next(1), parts.next(40)].concat();
        assert_eq!(whole.next(49), joined);
    }

    #[test]
    fn an_element_takes_part_ever_more_rarely() {
        let mut symbols = Sketch::new((0..10_000).map(element), SALT).next(100).into_iter().map(|symbol| symbol.count);
        assert_eq!(symbols.next(), Some(10_000));
        for (at, count) in (1_u32..).zip(symbols) {
            let expected = 10_000.0 / (1.0 + f64::from(at) / 2.0);
            assert!((f64::from(count) - expected).abs() < 6.0 * expected.sqrt(), "{count} in symbol {at}");
        }
    }

    #[test]
    fn made_up_symbols_never_loop() {
        let mut dice = Dice::new(3);
        for round in 0..300 {
            let mut peeler = Peeler::new((0..50).map(element), SALT);
            // Symbols that look like single elements, some of them true ones, in places where those do not belong.
            for _ in 0..20 {
                let symbols: Vec<_> = (0..16)
                    .map(|_| {
                        let walker = Walker::new(element(dice.next() % 8), SALT);
                        let count = if round % 2 == 0 { 1 } else { u16::MAX };
                        Symbol { sum: walker.element, check: walker.check, count }
                    })
                    .collect();
                if peeler.take(&symbols).is_err() {
                    break;
                }
                assert!(peeler.found.len() <= peeler.taken());
            }
        }
    }

    #[test]
    fn another_salt_is_another_sketch() {
        let symbols = |salt| Sketch::new((0..9).map(element), salt).next(20);
        assert_ne!(symbols(1), symbols(2));
        let mut peeler = Peeler::new((0..9).map(element), 1);
        assert_ne!(peeler.take(&symbols(2)), Ok(Some(Difference::default())));
    }

    #[test]
    fn symbols_come_back_from_their_bytes() {
        let mut bytes = Vec::new();
        let symbols = Sketch::new((0..9).map(element), SALT).next(3);
        symbols.iter().for_each(|symbol| symbol.encode(&mut bytes));
        assert_eq!(bytes.len(), 3 * SYMBOL);
        let mut rest = &bytes[..];
        for symbol in symbols {
            let (read, tail) = Symbol::decode(rest).unwrap();
            assert_eq!(read, symbol);
            rest = tail;
        }
        assert_eq!(Symbol::decode(rest), None);
    }
}
