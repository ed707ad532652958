//! What the ledger costs and how fast it is, at ten to ten thousand nodes.
//!
//! Up to a thousand nodes, every node is real and holds all others. Ten thousand nodes that each hold ten thousand
//! owners do not fit into one machine, so that size is measured twice: a **deep** run, in which a hundred real nodes
//! also speak for ninety-nine real owners each (see `guests`), tells what ledgers of that size cost; and a **wide** run,
//! in which ten thousand real nodes hold the few owners that say anything, tells how a change spreads.

use std::{collections::BTreeMap, time::Duration};

use p2p_fed_ledger::{NodeId, SignedRecord};

use crate::{
    cost::{Bytes, Kind, since, total},
    scenario::{Act, Disk, Scenario, ms, s, scenario},
    world::{Followed, World},
};

pub(crate) const SEED: u64 = 1;
/// From the start of the nodes until something is measured.
const SETTLED: Duration = s(30);
/// As long as a renewal takes to come round.
const IDLE: Duration = s(144);
/// Changes whose way is followed, and how long each is.
const CHANGES: usize = 100;
const CHANGE_WITHIN: Duration = s(3);
/// A network is in two for so long, and in each half so many of a hundred owners change.
const SPLIT: Duration = s(30);
const CHANGED_PERCENT: usize = 5;
/// Nodes that join at the end, one after the other.
const JOINERS: usize = 3;
/// What takes longer is not waited for.
const GIVE_UP: Duration = s(60);
/// Clocks are off by up to this, and jump as far: each minute those of one node in twenty.
const CLOCKS: Duration = s(3600);
const JUMPERS: usize = 20;
/// How often it is looked who seems to be gone, and until when at least.
const SAMPLE: Duration = s(10);
const SAMPLED: Duration = s(600);
/// From so many nodes on, they don't all hold all; and how many do in a deep run.
const FULL: usize = 10_000;
const DEEP: usize = 100;
/// Nodes that say something in a wide run.
const SPEAKERS: usize = 20;

/// What is measured of one size.
#[derive(Default)]
pub(crate) struct Row {
    pub size: usize,
    /// Bytes per second that nodes sent while nothing changed, per node, in order; and of the one in the middle by kind.
    pub idle: Vec<u64>,
    pub idle_kinds: Bytes,
    /// Until 99 % and 100 % of the nodes had a change, in order; none where they did not.
    pub most: Vec<Option<Duration>>,
    pub all: Vec<Option<Duration>>,
    /// Bytes that each node sent for each change, in order.
    pub change_bytes: Vec<u64>,
    /// Owners that changed while the network was in two; from its healing until all nodes knew all; bytes that a node
    /// sent meanwhile.
    pub changed: usize,
    pub heal: Option<Duration>,
    pub heal_bytes: u64,
    /// Until joiners knew all, in order; and what the one that moved most bytes sent and got meanwhile.
    pub joins: Vec<Option<Duration>>,
    pub join_bytes: Bytes,
    /// How often it was asked whether somebody who is alive seems to be gone, and how often that was so.
    pub samples: u64,
    pub gone: u64,
    pub sampled: Duration,
}

/// A world that is measured.
struct Lab {
    world: World,
    /// The nodes that are there from the beginning.
    nodes: usize,
    row: Row,
    next_sample: Duration,
    next_jump: Duration,
}

fn measured(name: &'static str, nodes: usize) -> Scenario {
    scenario(name).nodes(nodes).loss(0.01).skew(CLOCKS)
}

// === impl Lab ===

impl Lab {
    fn new(scenario: Scenario, nodes: usize, size: usize) -> Self {
        let world = World::new(scenario, SEED, false);
        let row = Row { size, ..Row::default() };
        Self { world, nodes, row, next_sample: Duration::MAX, next_jump: Duration::MAX }
    }

    /// Every node holds every other one.
    fn whole(nodes: usize) -> Self {
        let mut lab = Self::new(measured("whole", nodes + JOINERS), nodes, nodes);
        lab.world.start_knowing(nodes);
        lab.settle()
    }

    /// A few nodes that hold many owners.
    fn deep(nodes: usize, size: usize) -> Self {
        let mut lab = Self::new(measured("deep", nodes + JOINERS), nodes, size);
        lab.world.invite(nodes, size / nodes - 1);
        lab.world.start_knowing(nodes);
        lab.settle()
    }

    /// Many nodes that hold a few owners.
    fn wide(nodes: usize) -> Self {
        let mut scenario = measured("wide", nodes);
        scenario.speakers = SPEAKERS;
        let mut lab = Self::new(scenario, nodes, nodes);
        (0..nodes).for_each(|node| lab.world.boot(node, Disk::Kept));
        lab.settle()
    }

    fn settle(mut self) -> Self {
        let now = self.world.now;
        (self.next_sample, self.next_jump) = (now + SETTLED, now + SETTLED);
        self.run(SETTLED);
        self
    }

    /// Lets time pass, looks who seems to be gone, and sets clocks wrong.
    fn run(&mut self, time: Duration) {
        let until = self.world.now + time;
        while self.next_sample.min(self.next_jump) <= until {
            self.world.run_until(self.next_sample.min(self.next_jump));
            if self.next_jump <= self.world.now {
                self.next_jump += s(60);
                for _ in 0..self.nodes.div_ceil(JUMPERS) {
                    let node = self.world.chance.below(self.nodes);
                    let step = self.world.chance.around_zero(i64::try_from(CLOCKS.as_millis()).expect("an hour"));
                    self.world.act(&Act::Jump(node, step));
                }
            }
            if self.next_sample <= self.world.now {
                self.next_sample += SAMPLE;
                self.sample();
            }
        }
        self.world.run_until(until);
    }

    /// Each node is asked about each owner.
    fn sample(&mut self) {
        let mut alive: Vec<NodeId> = self.world.guests.iter().map(|guest| guest.id).collect();
        alive.extend(self.world.nodes[..self.nodes.min(self.world.scenario.speakers)].iter().map(|node| node.id));
        alive.sort_unstable();
        for node in &self.world.nodes[..self.nodes] {
            let Some(ledger) = &node.ledger else { continue };
            let view = ledger.view();
            let mut fresh = view.nodes.iter().filter(|(_, entry)| entry.fresh).map(|(id, _)| id).peekable();
            for id in &alive {
                while fresh.next_if(|there| *there < id).is_some() {}
                self.row.samples += 1;
                self.row.gone += u64::from(fresh.peek() != Some(&id));
            }
        }
        self.row.sampled += SAMPLE;
    }

    fn sent(&mut self) -> Vec<Bytes> {
        let now = self.world.now;
        (0..self.nodes).map(|node| self.world.costs.sent(now, node)).collect()
    }

    fn idle(&mut self) {
        let before = self.sent();
        self.run(IDLE);
        let mut spent: Vec<Bytes> =
            before.into_iter().zip(self.sent()).map(|(before, now)| since(before, now)).collect();
        spent.sort_unstable_by_key(total);
        let per_second = |bytes: u64| bytes / IDLE.as_secs();
        self.row.idle = spent.iter().map(|kinds| per_second(total(kinds))).collect();
        self.row.idle_kinds = spent[spent.len() / 2].map(per_second);
    }

    /// Follows changes, each of another owner, one after the other.
    fn changes(&mut self) {
        let speakers = self.nodes.min(self.world.scenario.speakers);
        for change in 0..CHANGES {
            let before = self.sent();
            let start = self.world.now;
            let node = change % speakers;
            // No owner says more than the others let it.
            let id = self.world.nodes[node].id;
            let number = self.world.number(node) + 1;
            self.world.followed = Some(Followed { owner: id, number, arrived: BTreeMap::new() });
            self.world.toggle(node);
            self.run(CHANGE_WITHIN);
            let followed = self.world.followed.take().expect("it was followed");
            let mut arrived: Vec<_> = followed.arrived.values().map(|at| *at - start).collect();
            arrived.sort_unstable();
            let most = (self.nodes * 99).div_ceil(100);
            self.row.most.push(arrived.get(most - 1).copied());
            self.row.all.push(arrived.get(self.nodes - 1).copied());
            let spent = before.iter().zip(self.sent()).map(|(before, now)| since(*before, now)[Kind::Gossip as usize]);
            self.row.change_bytes.extend(spent);
        }
        self.row.change_bytes.sort_unstable();
        self.row.most.sort_unstable_by_key(|time| time.unwrap_or(Duration::MAX));
        self.row.all.sort_unstable_by_key(|time| time.unwrap_or(Duration::MAX));
    }

    /// Splits the network, lets owners change on both sides, and waits until all know all.
    fn heal(&mut self) {
        let split = self.world.now;
        self.world.act(&Act::SplitAt(self.nodes / 2));
        let guests = self.world.guests.len();
        let owners = if guests > 0 { guests } else { self.nodes };
        let of_side = (owners / 2 * CHANGED_PERCENT).div_ceil(100);
        let mut changed = Vec::new();
        for at in 0..2 * of_side {
            // Owners are spread over the nodes in turn.
            let owner = if guests > 0 { at * (guests / (2 * of_side)) } else { at % 2 * (self.nodes / 2) + at / 2 };
            let when = split
                + SPLIT * u32::try_from(at).expect("not that many")
                    / u32::try_from(2 * of_side + 1).expect("not that many");
            let wait = when - self.world.now;
            self.run(wait);
            if guests > 0 {
                self.world.change_guest(owner)
            } else {
                self.world.toggle(owner)
            }
            changed.push(owner);
        }
        let wait = split + SPLIT - self.world.now;
        self.run(wait);
        let said: Vec<SignedRecord> = changed.iter().map(|owner| self.says(*owner)).collect();
        self.row.changed = said.len();
        let (healed, before) = (self.world.now, self.sent());
        self.world.act(&Act::Heal);
        let mut behind: Vec<usize> = (0..self.nodes).collect();
        while !behind.is_empty() && self.world.now < healed + GIVE_UP {
            self.run(ms(50));
            let nodes = &self.world.nodes;
            behind.retain(|node| {
                let ledger = nodes[*node].ledger.as_ref().expect("nobody dies");
                said.iter().any(|said| ledger.record(&said.record().owner).map(SignedRecord::id) != Some(said.id()))
            });
        }
        self.row.heal = behind.is_empty().then(|| self.world.now - healed);
        let bytes: u64 =
            before.into_iter().zip(self.sent()).map(|(before, now)| since(before, now).iter().sum::<u64>()).sum();
        self.row.heal_bytes = bytes / self.nodes as u64;
        self.run(s(20));
    }

    /// The newest record of an owner.
    fn says(&self, owner: usize) -> SignedRecord {
        match self.world.guests.get(owner) {
            Some(guest) => guest.record.clone(),
            None => {
                let node = &self.world.nodes[owner];
                node.ledger.as_ref().and_then(|ledger| ledger.record(&node.id)).expect("it said something").clone()
            }
        }
    }

    fn joins(&mut self) {
        for joiner in self.nodes..self.nodes + JOINERS {
            let (start, before) = (self.world.now, self.world.costs.moved(self.world.now, joiner));
            self.world.boot(joiner, Disk::Lost);
            let owners = self.world.guests.len() + joiner + 1;
            let knows = |world: &World| world.nodes[joiner].ledger.as_ref().is_some_and(|l| l.owners() >= owners);
            while !knows(&self.world) && self.world.now < start + GIVE_UP {
                self.run(ms(20));
            }
            self.row.joins.push(knows(&self.world).then(|| self.world.now - start));
            // What is still on its way to it counts.
            self.run(s(5));
            let now = self.world.now;
            let moved = since(before, self.world.costs.moved(now, joiner));
            self.row.join_bytes = std::cmp::max_by_key(self.row.join_bytes, moved, total);
        }
        self.row.joins.sort_unstable_by_key(|time| time.unwrap_or(Duration::MAX));
    }

    /// All of it.
    fn measure(mut self) -> Row {
        self.idle();
        self.changes();
        self.heal();
        self.joins();
        let left = SAMPLED.saturating_sub(self.row.sampled);
        self.run(left);
        self.row
    }
}

/// Measures one size.
pub(crate) fn measure(size: usize) -> Row {
    if size < FULL { Lab::whole(size).measure() } else { deep_and_wide(size) }
}

fn deep_and_wide(nodes: usize) -> Row {
    let wide = {
        let mut lab = Lab::wide(nodes);
        lab.changes();
        lab.row
    };
    let Row { most, all, change_bytes, .. } = wide;
    Row { most, all, change_bytes, ..Lab::deep(DEEP, nodes).measure() }
}
