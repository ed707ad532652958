//! A scenario is data: how many nodes on what network, what happens when, and what must hold.

use std::{fmt, ops::Range, time::Duration};

use p2p_fed_ledger::{Config, NetworkId};

use crate::{network::DEGREE, puppet::Lie, world::World};

pub(crate) const NETWORK: NetworkId = NetworkId([0x51; 16]);

/// Bytes per second that a node can send: 100 Mbit/s.
const UPLINK: u64 = 12_500_000;

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
    /// The snapshot before the last one. The number is kept by itself, and not old.
    Old,
    /// A snapshot with half of its items damaged.
    Corrupt,
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

    // --- machines ---
    /// The node is gone without a word.
    Crash(usize),
    /// It crashes between two outputs, the next time it has more than one to execute.
    CrashMidway(usize),
    /// It is back, its wall clock off by so many milliseconds from where it was.
    Restart(usize, Disk, i64),
    /// Its disk takes no more writes until it restarts.
    DiskFails(usize),
    /// Its wall clock steps by so many milliseconds.
    Jump(usize, i64),
    /// It processes nothing for a while, and does not know.
    Pause(usize, Duration),

    // --- the network ---
    /// The first half and the second half of the nodes don't hear each other.
    Split,
    /// Nodes with smaller numbers than this and the others don't hear each other.
    SplitAt(usize),
    /// What nodes with smaller numbers than this send does not arrive at the others; the other way it does.
    Deafen(usize),
    /// Nothing that the first sends arrives at the second; the other way it does.
    CutOneWay(usize, usize),
    /// The node hears nobody and nobody hears it.
    Isolate(usize),
    /// What was cut around the node is not any more.
    Mend(usize),
    /// All cuts are gone.
    Heal,
    /// All connections of the node end, and begin anew.
    Reset(usize),

    // --- lies ---
    /// The first says something in the name of the second.
    Forge(usize, usize),
    /// The node sends again what anybody once said.
    Replay(usize),
    /// The node signs two records with one number, and tells each to half of its peers.
    Equivocate(usize),
    /// The node sends broken messages.
    Garble(usize),
    /// The node sends messages longer than any may be.
    Oversize(usize),
    /// The node sends more than it may.
    Flood(usize),
    /// The node signs a record dated ten years from now, and one of an owner that nobody ever saw.
    Predate(usize),
    /// The node signs a record with the last number there is, and one of an owner that nobody ever saw.
    Overflow(usize),
    /// The node tells of so many owners that nobody ever saw; their keys are its own.
    Sybils(usize, usize),
    /// The first accuses the second of all that it can think of, a hundred times.
    Accuse(usize, usize),
    /// The node lies in its sessions from now on.
    Lie(usize, Lie),
}

/// Whether something holds; if not, what is wrong.
pub(crate) type Check = fn(&World) -> Result<(), String>;

#[derive(Clone)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub nodes: usize,
    /// Neighbours of each node.
    pub degree: usize,
    pub config: Config,
    pub delay: Range<Duration>,
    pub loss: f64,
    pub duplicate: f64,
    /// Bytes per second that a node can send.
    pub uplink: u64,
    /// Wall clocks are off by up to this.
    pub skew: Duration,
    /// Only so many nodes say anything about themselves.
    pub speakers: usize,
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
        degree: DEGREE,
        config: Config::new(NETWORK, 0),
        delay: ms(10)..ms(90),
        loss: 0.0,
        duplicate: 0.0,
        uplink: UPLINK,
        skew: Duration::ZERO,
        speakers: usize::MAX,
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

    pub(crate) fn degree(mut self, degree: usize) -> Self {
        self.degree = degree;
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

    /// The act once every `period`, from `range.start` on.
    pub(crate) fn every(mut self, period: Duration, range: Range<Duration>, act: &Act) -> Self {
        let mut when = range.start;
        while when < range.end {
            self.acts.push((when, act.clone()));
            when += period;
        }
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

/// What it takes, with the seed, to run it again.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nodes, degree, delay, loss, duplicate, uplink, skew, acts, .. } = self;
        write!(f, "scenario={name:?} nodes={nodes} degree={degree} delay={delay:?} loss={loss} duplicate={duplicate}")?;
        write!(f, " uplink={uplink} skew={skew:?} acts={}", acts.len())
    }
}
