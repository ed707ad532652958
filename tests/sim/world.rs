//! One run: events in virtual time, one after the other, each followed by the checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use p2p_fed_ledger::{Input, Ledger, NodeId, Offence, Output, RecordId, Verdict};

use crate::{
    chance::Chance,
    checks,
    network::{Network, Parcel},
    node::Node,
    scenario::{Act, Disk, Scenario, ms},
};

/// How often links are looked at, and what must hold eventually is tried.
const TICK: Duration = ms(250);
/// How long a parcel waits on a link that is cut before it is tried again.
const RETRY: Duration = ms(500);
/// Payloads kept for replays.
const ARCHIVE: usize = 256;

enum Event {
    Wake { node: usize, life: u32 },
    Parcel { to: usize, life: u32, from: usize, parcel: Parcel },
    Tick,
    Act(Act),
}

pub(crate) struct World {
    pub scenario: Scenario,
    seed: u64,
    pub now: Duration,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub chance: Chance,
    /// Every record that each owner ever signed.
    pub signed: BTreeMap<NodeId, BTreeSet<RecordId>>,
    /// Who did what an honest node does not.
    pub attackers: BTreeSet<NodeId>,
    /// Gossip payloads once sent.
    pub archive: Vec<Arc<[u8]>>,
    /// Offences told of each node.
    pub offences: BTreeMap<NodeId, BTreeMap<Offence, usize>>,
    /// Bytes sent by all nodes.
    pub sent: usize,
    /// Messages that wait for a verdict: who passed them on.
    tickets: BTreeMap<u64, (usize, Arc<[u8]>)>,
    ticket: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    order: u64,
    steps: u64,
    log: Option<String>,
}

/// What a run leaves.
pub(crate) struct Report {
    pub log: String,
    pub sent: usize,
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
    let _guard = Guard(format!("SEED={seed} scenario={:?}", scenario.name));
    let mut world = World::new(scenario, seed, logged);
    world.run();
    Report { log: world.log.unwrap_or_default(), sent: world.sent }
}

impl World {
    fn new(scenario: Scenario, seed: u64, logged: bool) -> Self {
        let mut chance = Chance::new(seed);
        let nodes: Vec<_> = (0..scenario.nodes).map(|number| Node::new(number, scenario.skew, &mut chance)).collect();
        let network = Network::mesh(nodes.len(), &mut chance);
        let mut world = Self {
            scenario,
            seed,
            now: Duration::ZERO,
            nodes,
            network,
            chance,
            signed: BTreeMap::new(),
            attackers: BTreeSet::new(),
            archive: Vec::new(),
            offences: BTreeMap::new(),
            sent: 0,
            tickets: BTreeMap::new(),
            ticket: 0,
            queue: BTreeMap::new(),
            order: 0,
            steps: 0,
            log: logged.then(String::new),
        };
        for (when, act) in world.scenario.acts.clone() {
            world.schedule(when, Event::Act(act));
        }
        world.schedule(Duration::ZERO, Event::Tick);
        world
    }

    fn run(&mut self) {
        for node in 0..self.nodes.len() {
            self.boot(node);
        }
        let mut open = self.scenario.eventually.clone();
        let (last_act, end) = (self.scenario.last_act(), self.scenario.end());
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.steps += 1;
            let ticked = matches!(event, Event::Tick);
            self.happen(event);
            for (after, name, check) in self.scenario.always.clone() {
                if after <= at {
                    self.verdict(name, check(self));
                }
            }
            if ticked && at > last_act {
                open.retain(|(within, name, check)| {
                    let result = check(self);
                    if result.is_err() && at >= last_act + *within {
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

    /// Ends the run if a check failed.
    fn verdict(&self, name: &str, result: Result<(), String>) {
        if let Err(reason) = result {
            let Self { seed, steps, now, scenario, .. } = self;
            if let Some(log) = &self.log {
                println!("{log}");
            }
            panic!("SEED={seed} scenario={:?} step={steps} at {now:?}: {name}: {reason}", scenario.name);
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let _infallible = writeln!(log, "{:>12?} {}", self.now, line());
        }
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(act) => self.act(&act),
            Event::Tick => {
                self.settle_links();
                self.schedule(self.now + TICK, Event::Tick);
            }
            Event::Wake { node, life } if self.nodes[node].life == life => {
                if self.nodes[node].wake_at.take_if(|at| *at <= self.now).is_some() {
                    let moment = self.nodes[node].moment(self.now);
                    if let Some(ledger) = &mut self.nodes[node].ledger {
                        ledger.handle_timeout(moment);
                        let spins = ledger.poll_timeout().is_some_and(|due| due <= self.now);
                        self.verdict(
                            "timers move on",
                            if spins { Err(format!("{node} is due again")) } else { Ok(()) },
                        );
                    }
                    self.execute(node);
                }
            }
            Event::Parcel { to, life, from, parcel } if self.nodes[to].life == life => self.arrive(to, from, parcel),
            Event::Wake { .. } | Event::Parcel { .. } => {}
        }
    }

    // --- nodes ---

    /// Gives a node an input and does what it says.
    pub(crate) fn give(&mut self, node: usize, input: Input) {
        self.note(|| format!("{node} <- {}", brief(&format!("{input:?}"))));
        let moment = self.nodes[node].moment(self.now);
        if let Some(ledger) = &mut self.nodes[node].ledger {
            ledger.handle(moment, input);
            self.execute(node);
        }
    }

    fn boot(&mut self, node: usize) {
        let (now, config) = (self.now, self.scenario.config);
        self.nodes[node].boot(now, config);
        self.give(node, Input::Publish(self.nodes[node].statement.clone()));
    }

    fn publish(&mut self, node: usize) {
        if self.nodes[node].ledger.is_some() {
            self.give(node, Input::Publish(self.nodes[node].statement.clone()));
        }
    }

    /// Executes the outputs of a node in order, then looks after its timer and the invariants.
    fn execute(&mut self, node: usize) {
        let mut outputs: Vec<_> = Vec::new();
        if let Some(ledger) = &mut self.nodes[node].ledger {
            outputs.extend(std::iter::from_fn(|| ledger.poll_output()));
        }
        if let Some(own) = self.nodes[node].ledger.as_ref().and_then(|ledger| ledger.record(&self.nodes[node].id)) {
            self.signed.entry(self.nodes[node].id).or_default().insert(own.id());
        }
        let midway =
            (self.nodes[node].dies_midway && outputs.len() > 1).then(|| 1 + self.chance.below(outputs.len() - 1));
        for (done, output) in outputs.into_iter().enumerate() {
            if midway == Some(done) {
                self.note(|| format!("{node} dies midway"));
                return self.die(node);
            }
            self.note(|| format!("{node} -> {}", brief(&format!("{output:?}"))));
            match output {
                Output::Persist { seq } => self.nodes[node].disk = Some(seq),
                Output::Broadcast(bytes) => {
                    let persisted = checks::persisted_first(self, node, &bytes);
                    self.verdict("persisted_first", persisted);
                    if self.nodes[node].sees(self.now, &bytes) {
                        self.flood(node, None, &bytes.into());
                    }
                }
                Output::Judge { ticket, verdict } => {
                    let (from, bytes) = self.tickets.remove(&ticket).expect("a message is judged once");
                    if verdict == Verdict::Accept {
                        self.flood(node, Some(from), &bytes);
                    }
                }
                Output::OpenSession { peer } => self.open(node, &peer),
                Output::Send { session, bytes } => self.send(node, session, Parcel::Frame { session, bytes }),
                Output::CloseSession { session } => {
                    self.send(node, session, Parcel::Closed { session });
                    self.network.close(session);
                }
                Output::View(_) => {
                    let seen = checks::view_is_sound(self, node);
                    self.verdict("view_is_sound", seen);
                }
                Output::Misbehaved { peer, offence } => {
                    *self.offences.entry(peer).or_default().entry(offence).or_default() += 1;
                }
                Output::Expel { peer, .. } => {
                    let honest = !self.attackers.contains(&peer);
                    let unfair = if honest { Err(format!("{node} expels {peer:?}")) } else { Ok(()) };
                    self.verdict("only attackers are expelled", unfair);
                }
                Output::Refused(error) => self.verdict("nothing valid is refused", Err(error.to_string())),
                Output::KeyShared | Output::Decree(_) => {}
            }
        }
        let bounded = checks::within_quota(self, node);
        self.verdict("within_quota", bounded);
        self.set_timer(node);
    }

    fn set_timer(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let due = state.ledger.as_ref().and_then(Ledger::poll_timeout).map(|due| due.max(self.now));
        if let Some(due) = due.filter(|due| state.wake_at.is_none_or(|at| *due < at)) {
            state.wake_at = Some(due);
            let life = state.life;
            self.schedule(due, Event::Wake { node, life });
        }
    }

    /// The node is gone, and its peers notice at once: their kernels tell them.
    fn die(&mut self, node: usize) {
        self.nodes[node].ledger = None;
        for peer in self.network.neighbours(node) {
            self.link_down(node, peer);
        }
    }

    fn act(&mut self, act: &Act) {
        self.note(|| format!("{act:?}"));
        self.network.act(act, self.nodes.len());
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
                self.schedule(self.now + ms(100), Event::Act(Act::Crash(node)));
            }
            Act::Crash(node) => self.die(node % count),
            Act::CrashMidway(node) => self.nodes[node % count].dies_midway = true,
            Act::Restart(node, disk, step_ms) => {
                let node = node % count;
                self.die(node);
                self.nodes[node].step_clock(step_ms);
                if disk == Disk::Lost {
                    self.nodes[node].disk = None;
                }
                self.boot(node);
            }
            Act::Jump(node, step_ms) => self.nodes[node % count].step_clock(step_ms),
            Act::Split | Act::CutOneWay(..) | Act::Isolate(_) | Act::Heal => {}
            Act::Forge(..) | Act::Replay(_) | Act::Equivocate(_) | Act::Garble(_) | Act::Flood(_) => self.attack(act),
        }
    }

    // --- the network ---

    fn settle_links(&mut self) {
        let alive: Vec<_> = self.nodes.iter().map(|node| node.ledger.is_some()).collect();
        let (came, went) = self.network.settle(self.now, &alive, &mut self.chance);
        for (a, b) in came {
            self.note(|| format!("{a} and {b} are linked"));
            self.give(a, Input::PeerUp(self.nodes[b].id));
            self.give(b, Input::PeerUp(self.nodes[a].id));
        }
        went.into_iter().for_each(|(a, b)| self.link_down(a, b));
    }

    fn link_down(&mut self, a: usize, b: usize) {
        self.note(|| format!("{a} and {b} are cut off"));
        let streams = self.network.down(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            let mut told: Vec<_> = streams.iter().map(|session| Input::SessionClosed { session: *session }).collect();
            told.push(Input::PeerDown(self.nodes[peer].id));
            self.chance.shuffle(&mut told);
            told.into_iter().for_each(|input| self.give(node, input));
        }
    }

    /// Sends a gossip message to all peers but the one it came from.
    fn flood(&mut self, node: usize, from: Option<usize>, bytes: &Arc<[u8]>) {
        if self.archive.len() < ARCHIVE {
            self.archive.push(Arc::clone(bytes));
        }
        for peer in self.network.neighbours(node) {
            if Some(peer) != from {
                self.pass_on(node, peer, bytes);
            }
        }
    }

    /// Sends a gossip message to one peer, as well as the network does.
    pub(crate) fn pass_on(&mut self, from: usize, to: usize, bytes: &Arc<[u8]>) {
        let copies = if self.chance.hits(self.scenario.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            self.sent += bytes.len();
            if !self.chance.hits(self.scenario.loss) {
                let at = self.now + self.chance.between(&self.scenario.delay.clone());
                let parcel = Parcel::Gossip { from, bytes: Arc::clone(bytes) };
                self.dispatch(at, from, to, parcel);
            }
        }
    }

    fn open(&mut self, node: usize, peer: &NodeId) {
        let Some(to) = self.nodes.iter().position(|node| node.id == *peer) else { return };
        if self.network.is_up(node, to) {
            let session = self.network.open(node, to);
            self.send(node, session, Parcel::Opened { session, peer: node, dialled: false });
            self.give(node, Input::SessionOpened { session, peer: *peer, dialled: true });
        }
    }

    /// Sends something along a stream; a loss costs a retransmission.
    fn send(&mut self, from: usize, session: u64, parcel: Parcel) {
        if let Parcel::Frame { bytes, .. } = &parcel {
            self.sent += bytes.len();
        }
        let lost = if self.chance.hits(self.scenario.loss) { ms(200) } else { Duration::ZERO };
        let at = self.now + lost + self.chance.between(&self.scenario.delay.clone());
        if let Some((to, at)) = self.network.along(session, from, at) {
            self.dispatch(at, from, to, parcel);
        }
    }

    fn dispatch(&mut self, at: Duration, from: usize, to: usize, parcel: Parcel) {
        let life = self.nodes[to].life;
        self.schedule(at, Event::Parcel { to, life, from, parcel });
    }

    fn arrive(&mut self, to: usize, from: usize, parcel: Parcel) {
        if !self.network.is_up(from, to) {
            return;
        }
        let carried = self.network.carries(from, to);
        match parcel {
            Parcel::Gossip { .. } if !carried => {}
            Parcel::Gossip { from, bytes } => {
                if self.nodes[to].ledger.is_some() && self.nodes[to].sees(self.now, &bytes) {
                    self.ticket += 1;
                    self.tickets.insert(self.ticket, (from, Arc::clone(&bytes)));
                    let from = self.nodes[from].id;
                    self.give(to, Input::Gossip { ticket: self.ticket, from, bytes: bytes.to_vec() });
                }
            }
            // A stream waits for its link, and keeps its order.
            Parcel::Opened { session, .. } | Parcel::Frame { session, .. } | Parcel::Closed { session } if !carried => {
                if let Some((to, at)) = self.network.along(session, from, self.now + RETRY) {
                    self.dispatch(at, from, to, parcel);
                }
            }
            Parcel::Opened { session, peer, dialled } => {
                self.give(to, Input::SessionOpened { session, peer: self.nodes[peer].id, dialled });
            }
            Parcel::Frame { session, bytes } => self.give(to, Input::SessionFrame { session, bytes }),
            Parcel::Closed { session } => self.give(to, Input::SessionClosed { session }),
        }
    }
}

/// The start of a line that may be long, and a sum of the rest.
fn brief(text: &str) -> String {
    let sum =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{} #{sum:016x}", text.chars().take(100).collect::<String>())
}
