//! The machines of a world: what is given to their ledgers, and how they execute what those say.

use std::time::Duration;

use p2p_fed_ledger::{Input, NodeId, Offence, Output, Verdict};

use crate::{
    checks,
    node::Message,
    scenario::{Disk, s},
    world::{Event, World, brief},
};

/// How long a node has nothing to do with a peer that its ledger expelled.
const REFUSED_FOR: Duration = s(600);
/// How often a node writes its snapshot, where a scenario looks at disks.
const SAVE: Duration = s(10);

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

    pub(crate) fn wake(&mut self, node: usize) {
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

    /// The node offers one more service, or one less.
    pub(crate) fn toggle(&mut self, node: usize) {
        let services = &mut self.nodes[node].statement.services;
        match services.iter().position(|service| service.name == "extra") {
            Some(at) => drop(services.remove(at)),
            None => self.nodes[node].offer("extra"),
        }
        self.publish(node);
    }

    /// The number of the newest word of a node.
    pub(crate) fn number(&self, node: usize) -> u64 {
        let node = &self.nodes[node];
        node.ledger.as_ref().and_then(|ledger| ledger.number(&node.id)).unwrap_or_default()
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
            Output::View(view) => {
                let now = self.now;
                if let Some(followed) = &mut self.followed
                    && view.nodes.get(&followed.owner).is_some_and(|entry| entry.record.seq >= followed.number)
                {
                    followed.arrived.entry(node).or_insert(now);
                }
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

    /// Nodes write what they hold, where the scenario will look at their disks.
    pub(crate) fn save(&mut self) {
        for node in self.saved.clone() {
            self.nodes[node].save(self.now, SAVE);
        }
    }
}
