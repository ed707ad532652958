//! One run: events in virtual time, one after the other, each followed by the checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use p2p_fed_ledger::{Input, NodeId, Offence, Output, RecordId, Verdict};

use crate::{
    chance::Chance,
    checks,
    cost::{Bytes, Costs},
    network::{Cut, Network, Parcel, Side},
    node::{Message, Node},
    queue::Queue,
    scenario::{Act, Disk, Scenario, ms, s},
};

/// How often links are looked at, and what must hold eventually is tried.
const TICK: Duration = ms(250);
/// How long a parcel waits on a link that is cut before it is tried again.
const RETRY: Duration = ms(500);
/// Messages kept for replays.
const ARCHIVE: usize = 256;
/// How long a node has nothing to do with a peer that its ledger expelled.
const REFUSED_FOR: Duration = s(600);
/// How often a node writes its snapshot, where a scenario looks at disks.
const SAVE: Duration = s(10);
/// Up to so many nodes, what must always hold is tried after every step, and all owners are looked at; in larger worlds
/// with every tick, and only some owners.
const SMALL: usize = 64;
const WATCHED: usize = 8;

enum Event {
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
    /// Every record that each owner ever signed.
    pub signed: BTreeMap<NodeId, BTreeSet<RecordId>>,
    /// The owners that are looked at after each step.
    pub watched: BTreeSet<NodeId>,
    /// Who did what an honest node does not, and what it may be blamed for.
    pub attackers: BTreeMap<NodeId, BTreeSet<Offence>>,
    /// Whose key says two things at once, by an attack or by a lost disk that could not be helped.
    pub two_tongues: BTreeSet<NodeId>,
    /// Gossip messages once sent.
    pub archive: Vec<Arc<Message>>,
    /// Offences told of each node.
    pub offences: BTreeMap<NodeId, BTreeMap<Offence, usize>>,
    /// For what each node was expelled.
    pub expelled: BTreeMap<NodeId, BTreeSet<Offence>>,
    /// Messages that wait for a verdict: who passed them on.
    tickets: BTreeMap<u64, (usize, Arc<Message>)>,
    ticket: u64,
    /// The nodes whose disks the scenario will look at.
    saved: BTreeSet<usize>,
    /// When the uplink of each node is free.
    uplinks: Vec<Duration>,
    queue: Queue<Event>,
    steps: u64,
    log: Option<String>,
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
            signed: BTreeMap::new(),
            attackers: BTreeMap::new(),
            two_tongues: BTreeSet::new(),
            archive: Vec::new(),
            offences: BTreeMap::new(),
            expelled: BTreeMap::new(),
            tickets: BTreeMap::new(),
            ticket: 0,
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
            Event::Tick => {
                self.settle_links();
                self.save();
                self.queue.push(self.now + TICK, Event::Tick);
            }
            Event::Wake { node, life } if self.nodes[node].life == life => self.wake(node),
            Event::Late { node, life, input } if self.nodes[node].life == life => self.give(node, input),
            Event::Parcel { to, life, from, parcel } if self.nodes[to].life == life => {
                if let Some(until) = self.nodes[to].paused(self.now) {
                    return self.queue.push(until, Event::Parcel { to, life, from, parcel });
                }
                self.arrive(to, from, parcel);
            }
            Event::Wake { .. } | Event::Late { .. } | Event::Parcel { .. } => {}
        }
    }
}

// === impl World: nodes ===

impl World {
    /// Gives a node an input and does what it says.
    pub(crate) fn give(&mut self, node: usize, input: Input) {
        if let Some(until) = self.nodes[node].paused(self.now) {
            let life = self.nodes[node].life;
            return self.queue.push(until, Event::Late { node, life, input });
        }
        self.note(|| format!("{node} <- {}", brief(&format!("{input:?}"))));
        let moment = self.nodes[node].moment(self.now);
        if let Some(ledger) = &mut self.nodes[node].ledger {
            ledger.handle(moment, input);
            self.execute(node);
        }
    }

    fn wake(&mut self, node: usize) {
        if let Some(until) = self.nodes[node].paused(self.now) {
            let life = self.nodes[node].life;
            return self.queue.push(until, Event::Wake { node, life });
        }
        if self.nodes[node].wake_at.take_if(|at| *at <= self.now).is_some() {
            let moment = self.nodes[node].moment(self.now);
            if let Some(ledger) = &mut self.nodes[node].ledger {
                ledger.handle_timeout(moment);
                let spins = ledger.poll_timeout().is_some_and(|due| due <= moment.mono);
                self.verdict("timers move on", if spins { Err(format!("{node} is due again")) } else { Ok(()) });
            }
            self.execute(node);
        }
    }

    /// The node starts, with what is left on its disk.
    pub(crate) fn boot(&mut self, node: usize, disk: Disk) {
        let (now, config) = (self.now, self.scenario.config);
        self.nodes[node].boot(now, config, disk, &mut self.chance);
        self.network.awake(now, node);
        if node < self.scenario.speakers {
            self.publish(node);
        }
    }

    pub(crate) fn publish(&mut self, node: usize) {
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
        if outputs.iter().any(|output| matches!(output, Output::Persist { .. })) {
            self.register(node);
        }
        let midway =
            (self.nodes[node].dies_midway && outputs.len() > 1).then(|| 1 + self.chance.below(outputs.len() - 1));
        for (done, output) in outputs.into_iter().enumerate() {
            if midway == Some(done) {
                self.note(|| format!("{node} dies midway"));
                return self.die(node);
            }
            self.note(|| format!("{node} -> {}", brief(&format!("{output:?}"))));
            self.execute_one(node, output);
        }
        let bounded = checks::within_quota(self, node);
        self.verdict("within_quota", bounded);
        self.set_timer(node);
    }

    fn execute_one(&mut self, node: usize, output: Output) {
        match output {
            Output::Persist { .. } if self.nodes[node].disk_fails => {}
            Output::Persist { seq } => self.nodes[node].seq = Some(seq),
            Output::Broadcast(bytes) => {
                let persisted = checks::persisted_first(self, node, &bytes);
                self.verdict("persisted_first", persisted);
                let message = Message::new(bytes);
                if self.nodes[node].sees(self.now, &message) {
                    self.flood(node, None, &message);
                }
            }
            Output::Judge { ticket, verdict } => {
                let (from, message) = self.tickets.remove(&ticket).expect("a message is judged once");
                if verdict == Verdict::Accept {
                    self.flood(node, Some(from), &message);
                }
            }
            Output::OpenSession { peer } => {
                let place = self.places.get(&peer).copied();
                if let Some(session) = place.and_then(|to| self.open_stream(node, to)) {
                    let (life, input) = (self.nodes[node].life, Input::SessionOpened { session, peer, dialled: true });
                    self.queue.push(self.now, Event::Late { node, life, input });
                }
            }
            Output::Send { session, bytes } => self.send_frame(node, session, bytes),
            Output::CloseSession { session } => self.close_stream(node, session),
            Output::View(_) => {
                let seen = checks::view_is_sound(self, node);
                self.verdict("view_is_sound", seen);
            }
            Output::Misbehaved { peer, offence } => {
                *self.offences.entry(peer).or_default().entry(offence).or_default() += 1;
            }
            Output::Expel { peer, offence } => self.expel(node, peer, offence),
            Output::Refused(error) => self.verdict("nothing valid is refused", Err(error.to_string())),
            Output::KeyShared | Output::Decree(_) => {}
        }
    }

    /// The node has nothing to do with the peer for a while.
    fn expel(&mut self, node: usize, peer: NodeId, offence: Offence) {
        let unfair = if self.attackers.contains_key(&peer) {
            Ok(())
        } else {
            Err(format!("{node} expels {peer:?} for {offence:?}: {:?}", self.offences.get(&peer)))
        };
        self.verdict("only attackers are expelled", unfair);
        self.expelled.entry(peer).or_default().insert(offence);
        if let Some(other) = self.places.get(&peer).copied() {
            self.network.refuse(node, other, self.now + REFUSED_FOR);
            // The outputs of one input are executed before the next input.
            self.queue.push(self.now, Event::Down(node, other));
        }
    }

    /// Notes that the node signed its record.
    fn register(&mut self, node: usize) {
        let id = self.nodes[node].id;
        if let Some(own) = self.nodes[node].ledger.as_ref().and_then(|ledger| ledger.record(&id)) {
            self.signed.entry(id).or_default().insert(own.id());
        }
    }

    fn set_timer(&mut self, node: usize) {
        let now = self.now;
        let state = &mut self.nodes[node];
        let due = state.due().map(|due| due.max(now));
        if let Some(due) = due.filter(|due| state.wake_at.is_none_or(|at| *due < at)) {
            state.wake_at = Some(due);
            let life = state.life;
            self.queue.push(due, Event::Wake { node, life });
        }
    }

    /// The node is gone, and its peers notice at once: their kernels tell them.
    pub(crate) fn die(&mut self, node: usize) {
        self.nodes[node].ledger = None;
        for peer in self.network.neighbours(node) {
            self.link_down(node, peer);
        }
    }

    fn act(&mut self, act: &Act) {
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
            Act::Split => {
                let (a, b) = (Side::Below(count / 2), Side::From(count / 2));
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

    /// Nodes write what they hold, where the scenario will look at their disks.
    fn save(&mut self) {
        for node in self.saved.clone() {
            self.nodes[node].save(self.now, SAVE);
        }
    }
}

// === impl World: the network ===

impl World {
    fn settle_links(&mut self) {
        let (now, nodes) = (self.now, &self.nodes);
        let settled = self.network.settle(now, |node| nodes[node].answers(now), &mut self.chance);
        for (a, b) in settled.came {
            self.note(|| format!("{a} and {b} are linked"));
            self.costs.link(self.now, a, b, true);
            self.give(a, Input::PeerUp(self.nodes[b].id));
            self.give(b, Input::PeerUp(self.nodes[a].id));
        }
        settled.went.into_iter().for_each(|(a, b)| self.link_down(a, b));
    }

    pub(crate) fn link_down(&mut self, a: usize, b: usize) {
        if !self.network.is_up(a, b) {
            return;
        }
        self.note(|| format!("{a} and {b} are cut off"));
        self.costs.link(self.now, a, b, false);
        let streams = self.network.down(self.now, a, b);
        for (node, peer) in [(a, b), (b, a)] {
            let mut told: Vec<_> = streams.iter().map(|session| Input::SessionClosed { session: *session }).collect();
            told.push(Input::PeerDown(self.nodes[peer].id));
            self.chance.shuffle(&mut told);
            told.into_iter().for_each(|input| self.give(node, input));
        }
    }

    /// Sends a gossip message along the mesh, but not back.
    fn flood(&mut self, node: usize, from: Option<usize>, message: &Arc<Message>) {
        if self.archive.len() < ARCHIVE {
            self.archive.push(Arc::clone(message));
        }
        let (mesh, others) = self.network.mesh(node);
        self.costs.offer(node, &others);
        for peer in mesh {
            if Some(peer) != from {
                self.pass_on(node, peer, message);
            }
        }
    }

    /// Sends a gossip message to one peer, as well as the network does.
    pub(crate) fn pass_on(&mut self, from: usize, to: usize, message: &Arc<Message>) {
        let copies = if self.chance.hits(self.scenario.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            self.costs.gossip(from, to, message.bytes.len());
            if !self.chance.hits(self.scenario.loss) {
                let at = self.leaves(from, message.bytes.len()) + self.chance.between(&self.scenario.delay.clone());
                self.dispatch(at, from, to, Parcel::Gossip(Arc::clone(message)));
            }
        }
    }

    /// When the last of so many bytes has left the node.
    fn leaves(&mut self, node: usize, bytes: usize) -> Duration {
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.scenario.uplink);
        self.uplinks[node] = self.uplinks[node].max(self.now) + takes;
        self.uplinks[node]
    }

    /// Opens a sync stream and tells the other end; it is for this one to be told.
    pub(crate) fn open_stream(&mut self, node: usize, to: usize) -> Option<u64> {
        let session = self.network.open(node, to)?;
        self.costs.stream(node, to);
        self.send(node, session, Parcel::Opened { session, peer: node, dialled: false });
        Some(session)
    }

    pub(crate) fn send_frame(&mut self, node: usize, session: u64, bytes: Vec<u8>) {
        if let Some(to) = self.network.other_end(session, node) {
            self.costs.frame(node, to, bytes.len());
            self.send(node, session, Parcel::Frame { session, bytes });
        }
    }

    pub(crate) fn close_stream(&mut self, node: usize, session: u64) {
        self.send(node, session, Parcel::Closed { session });
    }

    /// Sends something along a stream; a loss costs a retransmission.
    fn send(&mut self, from: usize, session: u64, parcel: Parcel) {
        let bytes = if let Parcel::Frame { bytes, .. } = &parcel { bytes.len() } else { 0 };
        let lost = if self.chance.hits(self.scenario.loss) { ms(200) } else { Duration::ZERO };
        let at = self.leaves(from, bytes) + lost + self.chance.between(&self.scenario.delay.clone());
        if let Some((to, at)) = self.network.along(session, from, at) {
            self.dispatch(at, from, to, parcel);
        }
    }

    fn dispatch(&mut self, at: Duration, from: usize, to: usize, parcel: Parcel) {
        let life = self.nodes[to].life;
        self.queue.push(at, Event::Parcel { to, life, from, parcel });
    }

    fn arrive(&mut self, to: usize, from: usize, parcel: Parcel) {
        if !self.network.is_up(from, to) {
            return;
        }
        let carried = self.network.carries(from, to);
        match parcel {
            Parcel::Opened { session, .. } | Parcel::Frame { session, .. } | Parcel::Closed { session }
                if self.network.other_end(session, from) != Some(to) => {}
            Parcel::Gossip(_) if !carried => {}
            Parcel::Gossip(message) => {
                if self.nodes[to].ledger.is_some() && self.nodes[to].sees(self.now, &message) {
                    self.ticket += 1;
                    self.tickets.insert(self.ticket, (from, Arc::clone(&message)));
                    let from = self.nodes[from].id;
                    self.give(to, Input::Gossip { ticket: self.ticket, from, bytes: message.bytes.clone() });
                }
            }
            // A stream waits for its link, and keeps its order.
            Parcel::Opened { session, .. } | Parcel::Frame { session, .. } | Parcel::Closed { session } if !carried => {
                if let Some((to, at)) = self.network.along(session, from, self.now + RETRY) {
                    self.dispatch(at, from, to, parcel);
                }
            }
            Parcel::Closed { session } => {
                self.network.close(session);
                self.give(to, Input::SessionClosed { session });
            }
            Parcel::Opened { .. } if self.nodes[to].lie.is_some() => {}
            Parcel::Frame { session, bytes } if self.nodes[to].lie.is_some() => {
                self.answer_with_a_lie(to, session, &bytes);
            }
            Parcel::Opened { session, peer, dialled } => {
                self.give(to, Input::SessionOpened { session, peer: self.nodes[peer].id, dialled });
            }
            Parcel::Frame { session, bytes } => self.give(to, Input::SessionFrame { session, bytes }),
        }
    }
}

/// The start of a line that may be long, and a sum of the rest.
fn brief(text: &str) -> String {
    let sum =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{} #{sum:016x}", text.chars().take(100).collect::<String>())
}
