//! A scenario is data: how many nodes on what network, what happens when, and what must hold.

use std::{ops::Range, time::Duration};

use p2p_fed_ledger::{Config, NetworkId};

use crate::{chance::Chance, world::World};

pub(crate) const NETWORK: NetworkId = NetworkId([0x51; 16]);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What is left of a node's disk after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Kept,
    Lost,
}

/// Something that happens. Nodes are numbers, taken modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The node offers one more service.
    Publish(usize, &'static str),
    /// The node offers nothing any more.
    Withdraw(usize),
    /// The node says it leaves, and is gone a moment later.
    Leave(usize),
    /// The node is gone without a word.
    Crash(usize),
    /// It crashes between two outputs, the next time it has more than one to execute.
    CrashMidway(usize),
    /// It is back, its wall clock off by so many milliseconds from where it was.
    Restart(usize, Disk, i64),
    /// Its wall clock steps by so many milliseconds.
    Jump(usize, i64),
    /// The first half and the second half of the nodes don't hear each other.
    Split,
    /// Nothing that the first sends arrives at the second; the other way it does.
    CutOneWay(usize, usize),
    /// The node hears nobody and nobody hears it.
    Isolate(usize),
    /// All cuts are gone.
    Heal,
    /// The first says something in the name of the second.
    Forge(usize, usize),
    /// The node sends again what anybody once said.
    Replay(usize),
    /// The node signs two records with one number, and tells each to half of its peers.
    Equivocate(usize),
    /// The node sends broken messages, in gossip and in sessions.
    Garble(usize),
    /// The node sends more than it may.
    Flood(usize),
}

/// Whether something holds; if not, what is wrong.
pub(crate) type Check = fn(&World) -> Result<(), String>;

#[derive(Clone)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub nodes: usize,
    pub config: Config,
    pub delay: Range<Duration>,
    pub loss: f64,
    pub duplicate: f64,
    /// Wall clocks are off by up to this.
    pub skew: Duration,
    pub acts: Vec<(Duration, Act)>,
    /// Hold after every step.
    pub always: Vec<(Duration, &'static str, Check)>,
    /// Hold at some moment within this time after the last act.
    pub eventually: Vec<(Duration, &'static str, Check)>,
    /// Hold at the end.
    pub finally: Vec<(&'static str, Check)>,
}

pub(crate) fn scenario(name: &'static str) -> Scenario {
    Scenario {
        name,
        nodes: 8,
        config: Config::new(NETWORK, 0),
        delay: ms(10)..ms(90),
        loss: 0.0,
        duplicate: 0.0,
        skew: Duration::ZERO,
        acts: Vec::new(),
        always: Vec::new(),
        eventually: Vec::new(),
        finally: Vec::new(),
    }
}

/// A check by its own name.
#[macro_export]
macro_rules! check {
    ($check:path) => {
        (stringify!($check), $check as $crate::scenario::Check)
    };
}

impl Scenario {
    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    pub(crate) fn link(mut self, delay: Range<Duration>) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    pub(crate) fn duplicate(mut self, duplicate: f64) -> Self {
        self.duplicate = duplicate;
        self
    }

    pub(crate) fn skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) fn at(mut self, when: Duration, act: Act) -> Self {
        self.acts.push((when, act));
        self
    }

    /// From `after` on.
    pub(crate) fn always(mut self, after: Duration, (name, check): (&'static str, Check)) -> Self {
        self.always.push((after, name, check));
        self
    }

    pub(crate) fn eventually(mut self, within: Duration, (name, check): (&'static str, Check)) -> Self {
        self.eventually.push((within, name, check));
        self
    }

    pub(crate) fn finally(mut self, (name, check): (&'static str, Check)) -> Self {
        self.finally.push((name, check));
        self
    }

    /// When the last act takes place.
    pub(crate) fn last_act(&self) -> Duration {
        self.acts.iter().map(|(when, _)| *when).max().unwrap_or_default()
    }

    /// When the run ends: all that must hold eventually had its time.
    pub(crate) fn end(&self) -> Duration {
        self.last_act() + self.eventually.iter().map(|(within, ..)| *within).max().unwrap_or_default() + s(1)
    }
}

const SERVICES: [&str; 4] = ["web", "llm", "ssh", "db"];

/// A scenario made up from a seed: a network of 3 to 30 nodes, half a minute of faults, then quiet.
pub(crate) fn made_up(chance: &mut Chance) -> Scenario {
    let mostly_small = chance.below(3).min(chance.below(3));
    let nodes = 3 + chance.below(9) + 9 * mostly_small;
    let mut made = scenario("made up").nodes(nodes);
    made.loss = [0.0, 0.01, 0.1][chance.below(3)];
    made.duplicate = [0.0, 0.05][chance.below(2)];
    made.delay = [ms(1)..ms(5), ms(10)..ms(90), ms(100)..ms(600)][chance.below(3)].clone();
    // Together with all jumps below a day apart: whoever restarts sees everybody for the first time, and looks at
    // dates.
    made.skew = [Duration::ZERO, s(60), s(5 * 3600)][chance.below(3)];
    let faults = 4 + chance.below(16);
    for _ in 0..faults {
        let when = chance.between(&(s(3)..s(33)));
        let (a, b) = (chance.below(nodes), chance.below(nodes));
        let minutes = 20 * 60 * 1000;
        let act = match chance.below(19) {
            0..3 => Act::Publish(a, SERVICES[chance.below(SERVICES.len())]),
            3 => Act::Withdraw(a),
            4 => Act::Leave(a),
            5 => Act::Crash(a),
            6 => Act::CrashMidway(a),
            7 => Act::Restart(a, Disk::Kept, 0),
            8 => Act::Restart(a, Disk::Lost, chance.around_zero(60_000)),
            9 => Act::Jump(a, chance.around_zero(minutes)),
            10 => Act::Split,
            11 => Act::CutOneWay(a, b),
            12 => Act::Isolate(a),
            13 => Act::Heal,
            14 => Act::Forge(a, b),
            15 => Act::Replay(a),
            16 => Act::Equivocate(a),
            17 => Act::Garble(a),
            _ => Act::Flood(a),
        };
        made.acts.push((when, act));
    }
    made.at(s(34), Act::Heal)
}
