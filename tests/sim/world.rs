//! One run: events in virtual time, one after the other, each followed by the checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use p2p_fed_ledger::{Input, NodeId, Offence, RecordId};

use crate::{
    chance::Chance,
    cost::{Bytes, Costs},
    guests::Guest,
    network::{Cut, Network, Parcel, Side},
    node::{Message, Node},
    queue::Queue,
    scenario::{Act, Disk, Scenario, ms},
};

/// How often links are looked at, and what must hold eventually is tried.
const TICK: Duration = ms(250);
/// Up to so many nodes, what must always hold is tried after every step, and all owners are looked at; in larger worlds
/// with every tick, and only some owners.
const SMALL: usize = 64;
const WATCHED: usize = 8;

pub(crate) enum Event {
    Wake {
        node: usize,
        life: u32,
    },
    Parcel {
        to: usize,
        life: u32,
        from: usize,
        parcel: Parcel,
    },
    /// Told a moment later, or kept back while the node was paused.
    Late {
        node: usize,
        life: u32,
        input: Input,
    },
    /// A heartbeat of gossip, for one message.
    Offer {
        node: usize,
        life: u32,
        message: Arc<Message>,
    },
    /// The lease of a guest is due.
    Renew(usize),
    /// A node closes its connections with another one.
    Down(usize, usize),
    Tick,
    Act(Act),
}

pub(crate) struct World {
    pub scenario: Scenario,
    seed: u64,
    pub now: Duration,
    pub nodes: Vec<Node>,
    /// The place of each node.
    pub places: BTreeMap<NodeId, usize>,
    pub network: Network,
    pub chance: Chance,
    pub costs: Costs,
    /// Owners without machines of their own.
    pub guests: Vec<Guest>,
    /// The change whose way is followed.
    pub followed: Option<Followed>,
    /// Every record that each owner ever signed.
    pub signed: BTreeMap<NodeId, BTreeSet<RecordId>>,
    /// The owners that are looked at after each step.
    pub watched: BTreeSet<NodeId>,
    /// Who did what an honest node does not, and what it may be blamed for.
    pub attackers: BTreeMap<NodeId, BTreeSet<Offence>>,
    /// Who signed two records with one number.
    pub two_tongues: BTreeSet<NodeId>,
    /// Gossip messages once sent.
    pub archive: Vec<Arc<Message>>,
    /// Offences told of each node.
    pub offences: BTreeMap<NodeId, BTreeMap<Offence, usize>>,
    /// For what each node was expelled.
    pub expelled: BTreeMap<NodeId, BTreeSet<Offence>>,
    /// Messages that wait for a verdict: who passed them on.
    pub tickets: BTreeMap<u64, (usize, Arc<Message>)>,
    /// Names given so far, to messages and streams of guests.
    pub named: u64,
    /// The nodes whose disks the scenario will look at.
    pub saved: BTreeSet<usize>,
    /// When the uplink of each node is free.
    pub uplinks: Vec<Duration>,
    pub queue: Queue<Event>,
    steps: u64,
    log: Option<String>,
}

/// A record on its way to all nodes.
pub(crate) struct Followed {
    pub owner: NodeId,
    pub number: u64,
    /// When each node had it.
    pub arrived: BTreeMap<usize, Duration>,
}

/// What a run leaves.
pub(crate) struct Report {
    pub log: String,
    /// What all nodes sent.
    pub sent: Bytes,
}

/// Names the run if it ends in a panic of somebody else.
struct Guard(String);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// Runs `scenario` with `seed` to its end.
///
/// # Panics
/// As soon as a check fails, with the line to run it again.
pub(crate) fn run(scenario: Scenario, seed: u64, logged: bool) -> Report {
    let _guard = Guard(format!("SEED={seed} {scenario}"));
    let mut world = World::new(scenario, seed, logged);
    world.run();
    let now = world.now;
    let mut sent = Bytes::default();
    for node in 0..world.nodes.len() {
        sent.iter_mut().zip(world.costs.sent(now, node)).for_each(|(all, one)| *all += one);
    }
    Report { log: world.log.unwrap_or_default(), sent }
}

// === impl World: the run ===

impl World {
    pub(crate) fn new(scenario: Scenario, seed: u64, logged: bool) -> Self {
        let mut chance = Chance::new(seed);
        let nodes: Vec<_> = (0..scenario.nodes).map(|number| Node::new(number, scenario.skew, &mut chance)).collect();
        let network = Network::new(nodes.len(), scenario.degree, &mut chance);
        let watched = if nodes.len() <= SMALL { nodes.len() } else { WATCHED };
        let disks = scenario.acts.iter().filter_map(|(_, act)| match act {
            Act::Restart(node, ..) => Some(node % scenario.nodes),
            _ => None,
        });
        let mut world = Self {
            seed,
            saved: disks.collect(),
            now: Duration::ZERO,
            places: nodes.iter().map(|node| node.id).zip(0..).collect(),
            watched: nodes.iter().take(watched).map(|node| node.id).collect(),
            network,
            chance,
            costs: Costs::new(nodes.len()),
            guests: Vec::new(),
            followed: None,
            signed: BTreeMap::new(),
            attackers: BTreeMap::new(),
            two_tongues: BTreeSet::new(),
            archive: Vec::new(),
            offences: BTreeMap::new(),
            expelled: BTreeMap::new(),
            tickets: BTreeMap::new(),
            named: 0,
            uplinks: vec![Duration::ZERO; nodes.len()],
            queue: Queue::default(),
            steps: 0,
            log: logged.then(String::new),
            nodes,
            scenario,
        };
        for (when, act) in world.scenario.acts.clone() {
            world.queue.push(when, Event::Act(act));
        }
        world.queue.push(Duration::ZERO, Event::Tick);
        world
    }

    fn run(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.boot(node, Disk::Kept));
        let mut open = self.scenario.eventually.clone();
        let (last_act, end) = (self.scenario.last_act(), self.scenario.end());
        let always = self.scenario.always.clone();
        while let Some(ticked) = self.step(end) {
            let now = self.now;
            if ticked || self.nodes.len() <= SMALL {
                always.iter().filter(|(after, ..)| *after <= now).for_each(|(_, name, check)| {
                    self.verdict(name, check(self));
                });
            }
            if ticked && now > last_act {
                open.retain(|(within, name, check)| {
                    let result = check(self);
                    if result.is_err() && now >= last_act + *within {
                        self.verdict(name, result.clone());
                    }
                    result.is_err()
                });
            }
        }
        for (name, check) in self.scenario.finally.clone() {
            self.verdict(name, check(self));
        }
    }

    /// Lets all happen until then.
    pub(crate) fn run_until(&mut self, until: Duration) {
        while self.step(until).is_some() {}
        self.now = until;
    }

    /// Lets the next thing happen, if it does until then. Whether it was a tick.
    pub(crate) fn step(&mut self, until: Duration) -> Option<bool> {
        let (at, event) = self.queue.pop(until)?;
        self.now = at;
        self.steps += 1;
        let ticked = matches!(event, Event::Tick);
        self.happen(event);
        Some(ticked)
    }

    /// Ends the run if a check failed.
    pub(crate) fn verdict(&self, name: &str, result: Result<(), String>) {
        if let Err(reason) = result {
            let Self { seed, steps, now, scenario, .. } = self;
            if let Some(log) = &self.log {
                println!("{log}");
            }
            panic!("SEED={seed} {scenario} step={steps} at {now:?}: {name}: {reason}");
        }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let _infallible = writeln!(log, "{:>12?} {}", self.now, line());
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(act) => self.act(&act),
            Event::Down(a, b) => self.link_down(a, b),
            Event::Renew(guest) => self.renew_guest(guest),
            Event::Tick => {
                self.settle_links();
                self.save();
                self.queue.push(self.now + TICK, Event::Tick);
            }
            Event::Wake { node, life } if self.nodes[node].life == life => self.wake(node),
            Event::Late { node, life, input } if self.nodes[node].life == life => self.give(node, input),
            Event::Offer { node, life, message }
                if self.nodes[node].life == life && self.nodes[node].answers(self.now) =>
            {
                self.offer(node, &message);
            }
            Event::Parcel { to, life, from, parcel } if self.nodes[to].life == life => {
                if let Some(until) = self.nodes[to].paused(self.now) {
                    return self.queue.push(until, Event::Parcel { to, life, from, parcel });
                }
                self.arrive(to, from, parcel);
            }
            Event::Wake { .. } | Event::Late { .. } | Event::Offer { .. } | Event::Parcel { .. } => {}
        }
    }
}

// === impl World: acts ===

impl World {
    pub(crate) fn act(&mut self, act: &Act) {
        self.note(|| format!("{act:?}"));
        let count = self.nodes.len();
        match *act {
            Act::Publish(node, service) => {
                self.nodes[node % count].offer(service);
                self.publish(node % count);
            }
            Act::Withdraw(node) => {
                self.nodes[node % count].statement.services.clear();
                self.publish(node % count);
            }
            Act::Leave(node) => {
                let farewell = self.nodes[node % count].statement.farewell();
                self.give(node % count, Input::Publish(farewell));
                self.queue.push(self.now + ms(100), Event::Act(Act::Crash(node)));
            }
            Act::Crash(node) => self.die(node % count),
            Act::CrashMidway(node) => self.nodes[node % count].dies_midway = true,
            Act::Restart(node, disk, step_ms) => {
                let node = node % count;
                self.die(node);
                self.nodes[node].step_clock(step_ms);
                self.boot(node, disk);
            }
            Act::DiskFails(node) => self.nodes[node % count].disk_fails = true,
            Act::Jump(node, step_ms) => self.nodes[node % count].step_clock(step_ms),
            Act::Pause(node, pause) => {
                self.nodes[node % count].paused_until = Some(self.now + pause);
                self.network.disturb(node % count);
            }
            Act::Reset(node) => {
                for peer in self.network.neighbours(node % count) {
                    self.link_down(node % count, peer);
                }
                self.network.awake(self.now, node % count);
            }
            Act::Split => self.act(&Act::SplitAt(count / 2)),
            Act::SplitAt(at) => {
                let (a, b) = (Side::Below(at), Side::From(at));
                self.network.cut([Cut(a, b), Cut(b, a)]);
            }
            Act::Deafen(node) => self.network.cut([Cut(Side::Below(node % count), Side::From(node % count))]),
            Act::CutOneWay(a, b) => self.network.cut([Cut(Side::One(a % count), Side::One(b % count))]),
            Act::Isolate(node) => {
                let one = Side::One(node % count);
                self.network.cut([Cut(one, Side::All), Cut(Side::All, one)]);
            }
            Act::Mend(node) => self.network.mend(node % count),
            Act::Heal => self.network.heal(),
            _ => self.attack(act),
        }
    }
}

/// The start of a line that may be long, and a sum of the rest.
pub(crate) fn brief(text: &str) -> String {
    let sum =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{} #{sum:016x}", text.chars().take(100).collect::<String>())
}
