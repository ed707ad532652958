use super::*;

/// Inputs made of each target's seeds.
const TRIES: u32 = 2000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    /// Some bytes of one input and some of another, with some changed, lost or put in between.
    fn mix(&mut self, one: &[u8], other: &[u8]) -> Vec<u8> {
        let mut mixed = one.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(mixed.len() + 1);
            match self.below(5) {
                0 => mixed.truncate(at),
                1 => drop(mixed.drain(at..(at + 1 + self.below(8)).min(mixed.len()))),
                2 => mixed.insert(at, self.below(256) as u8),
                3 => drop(mixed.splice(at.., other[self.below(other.len() + 1).min(other.len())..].iter().copied())),
                _ => mixed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
        mixed
    }
}

fn try_out(name: &str) {
    let target = Target::named(name).unwrap();
    let seeds: Vec<_> = target.seeds().collect();
    seeds.iter().for_each(|seed| (target.check)(seed));
    let mut dice = Dice(1);
    for _ in 0..TRIES {
        let (one, other) = (&seeds[dice.below(seeds.len())], &seeds[dice.below(seeds.len())]);
        let mixed = dice.mix(one, other);
        let tried = std::panic::catch_unwind(|| (target.check)(&mixed));
        let digits = || mixed.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(tried.is_ok(), "{name} fails on {}", digits());
    }
}

macro_rules! try_out {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            try_out($name);
        })*

        #[test]
        fn every_target_is_tried() {
            assert_eq!(TARGETS.map(|target| target.name), [$($name),*]);
        }
    };
}

try_out! {
    credential "credential"
    datagrams "datagrams"
    decree "decree"
    gossip "gossip"
    header "header"
    record "record"
    restore "restore"
    session "session"
    snapshot "snapshot"
    token "token"
    token_yaml "token-yaml"
    verdict "verdict"
}
