//! The replicated map of signed records, as a state machine.
//!
//! The driver feeds what happened ([`Input`]) and what time it is ([`Moment`]), then takes what is to be done
//! ([`Output`]) until there is nothing left, and comes back at [`Ledger::poll_timeout`]. The ledger itself touches
//! nothing outside: the same inputs give the same outputs, byte for byte.
//!
//! **Changes** are pushed at once: the owner signs, persists the number, broadcasts; each node that finds the record
//! valid and new lets gossip pass it on. **Leases** say nothing new, so they are not pushed; they travel with the
//! sync. **Sync** repairs what gossip lost. A change first learnt by sync is broadcast once, so that after a partition
//! one session tells a whole side; a node that just started keeps quiet until its first sync is done, because to it
//! everything is new.
//!
//! A node that just started lets one peer at a time bring it the bulk of the ledger, and declines that of all others.
//!
//! **Invariants.** A node writes only its own record; for each owner the number held never decreases. `Persist` comes
//! before the `Broadcast` it belongs to. [`View::revision`] only grows.
//!
//! What it deliberately does not do: decide who is alive. The ledger nominates; whoever uses a worker finds out.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::SigningKey;

use crate::{
    Config, Counters, Credential, Input, Moment, NodeId, Offence, Output, SignedDecree, SignedRecord, Statement,
    UnverifiedDecree, Verdict, View, WireError,
    bucket::Bucket,
    conduct::Conduct,
    dice::Dice,
    frame::Frame,
    own::{Echo, Own, Spoken},
    peers::{Leave, Peers},
    replica::{Outcome, Refusal, Replica, Restored},
    rules::Enacted,
    rumour::{RUMOUR_MAX, Rumour, tell, tell_decree},
    sync::{Opening, Session},
};

/// Sessions at once. Each has at most two frames in memory and 48 bytes for each owner, so 8 MiB in all and 3 KiB for each
/// owner.
const SESSIONS_MAX: usize = 64;
/// While a peer said something within this time, it may be left to bring the bulk of the ledger alone.
const LIVELY: Duration = Duration::from_secs(2);
/// Symbols that a sync asks for first, before any told how many are usual.
const SYMBOLS_AT_FIRST: usize = 8;
/// Records learnt by sync that are told on: 20 a second, and a hundred at once, which is well within what peers let
/// one sender pass on. The rest is left to further syncs.
const RETELL: Bucket = Bucket::new(Duration::from_millis(50), 100);

/// One node's ledger. See the module's page for how to drive it.
pub struct Ledger {
    config: Config,
    me: NodeId,
    own: Own,
    replica: Replica,
    peers: Peers,
    conduct: Conduct,
    sessions: BTreeMap<u64, Session>,
    /// Symbols that the last syncs took, on average.
    usual_symbols: usize,
    retell: Bucket,
    /// A sync was completed since the start.
    synced: bool,
    dice: Dice,
    outputs: VecDeque<Output>,
    view: Arc<View>,
    counters: Counters,
}

/// How a rumour came here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Gossip,
    Sync,
}

// === impl Ledger: the grammar ===

impl Ledger {
    /// An empty ledger of the node with this key. Settings out of their bounds are clamped (see [`Config::check`]).
    ///
    /// `persisted_seq` is what the last [`Output::Persist`] said, if it is known; `seed` feeds jitter and the choice
    /// of peers.
    pub fn new(config: Config, key: SigningKey, persisted_seq: Option<u64>, now: Moment, seed: u64) -> Self {
        let config = config.clamped();
        let own = Own::new(key, config.generation, persisted_seq, now.unix_ms);
        let me = own.id();
        Self {
            config,
            me,
            own,
            replica: Replica::new(config, me),
            peers: Peers::new(&config, me),
            conduct: Conduct::default(),
            sessions: BTreeMap::new(),
            usual_symbols: SYMBOLS_AT_FIRST,
            retell: RETELL,
            synced: false,
            dice: Dice::new(seed),
            outputs: VecDeque::new(),
            view: Arc::default(),
            counters: Counters::default(),
        }
    }

    /// Shows this credential in the node's records. To be said before the first input, in a network with an issuer.
    pub fn show(&mut self, credential: Credential) {
        self.own.show(credential);
    }

    /// Takes in what happened. Outputs are to be taken out before the next call: that bounds their number.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Publish(statement) => self.publish(statement),
            Input::Decree(decree) => {
                if self.enact(now, *decree) == Outcome::Enacted {
                    self.outputs.extend(self.replica.rules.decree().map(tell_decree).map(Output::Broadcast));
                }
            }
            Input::Generation(generation) => self.own.move_to(generation),
            Input::Gossip { ticket, from, bytes } => {
                let verdict = self.hear(now, from, &bytes);
                self.outputs.push_back(Output::Judge { ticket, verdict });
            }
            Input::PeerUp(peer) => {
                if self.peers.up(now.mono, peer, &mut self.dice) {
                    self.replica.connect(peer);
                }
            }
            Input::PeerDown(peer) => self.peer_down(&peer),
            Input::SessionOpened { session, peer, dialled } => self.session_opened(now, session, peer, dialled),
            Input::SessionFrame { session, bytes } => self.session_frame(now, session, &bytes),
            Input::SessionClosed { session } => self.session_closed(session),
        }
        self.speak(now);
    }

    /// Does what is due. To be called when [`poll_timeout`](Self::poll_timeout) has come; earlier calls do no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.replica.end_grace(now);
        self.replica.expire(now.mono);
        self.speak(now);
        self.end_stalled(now.mono);
        for peer in self.peers.due(now.mono, &mut self.dice) {
            self.open(now.mono, peer);
        }
    }

    /// The next thing to be done outside. A changed view comes last.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| {
            self.replica.take_changed().then(|| {
                self.view = Arc::new(View { revision: self.view.revision + 1, nodes: self.replica.entries() });
                Output::View(Arc::clone(&self.view))
            })
        })
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), as [`Moment::mono`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        let stalled = self.sessions.values().map(Session::deadline).min();
        [self.replica.deadline(), self.own.deadline(), self.peers.deadline(), stalled].into_iter().flatten().min()
    }
}

// === impl Ledger: over a restart ===

impl Ledger {
    /// What is worth keeping for [`restore`](Self::restore), as items of at most [`FRAME_MAX`](crate::FRAME_MAX) bytes. Each
    /// stands for itself: one that is lost costs no other.
    pub fn snapshot(&self, now: Moment) -> impl Iterator<Item = Vec<u8>> {
        self.replica.snapshot(now)
    }

    /// Takes back an item of a [`snapshot`](Self::snapshot); to be done before the first input. `false`: it was of no use,
    /// because it is damaged, of another network, or outdated.
    pub fn restore(&mut self, now: Moment, item: &[u8]) -> bool {
        match self.replica.restore(now, item) {
            Restored::Other => true,
            Restored::Own { number } => {
                self.own.resume(number);
                true
            }
            Restored::Nothing => false,
        }
    }
}

// === impl Ledger: what it knows ===

impl Ledger {
    /// The view that was last put out.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.me
    }

    /// The settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How often what happened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Fresh records and the sum of their ids: equal at nodes that agree.
    pub fn fingerprint(&self) -> (u32, u128) {
        self.replica.summary()
    }

    /// The decree in force.
    pub fn decree(&self) -> Option<&SignedDecree> {
        self.replica.rules.decree()
    }

    /// When records of the generation before the newest stop counting, as [`Moment::mono`].
    pub fn grace_ends(&self) -> Option<Duration> {
        self.replica.rules.grace_ends()
    }

    /// The signed record held of a node.
    pub fn record(&self, owner: &NodeId) -> Option<&SignedRecord> {
        self.replica.get(owner)
    }

    /// The number of the newest word of a node: its record's, or that of the lease which renewed it.
    pub fn number(&self, owner: &NodeId) -> Option<u64> {
        self.replica.number(owner)
    }

    /// What each peer did against the rules, and how often.
    pub fn offences(&self) -> impl Iterator<Item = (NodeId, &BTreeMap<Offence, u64>)> {
        self.conduct.sheets()
    }

    /// Nodes held, fresh or not; at most [`Config::owners_max`].
    pub fn owners(&self) -> usize {
        self.replica.owners()
    }

    /// Bytes of records and evidence held; at most [`Config::bytes_max`], and this node's own record.
    pub fn bytes(&self) -> usize {
        self.replica.bytes()
    }

    /// Sync sessions that are open.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a sync was completed since the start.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}

// === impl Ledger: own record ===

impl Ledger {
    fn publish(&mut self, statement: Statement) {
        if let Err(error) = self.own.want(statement) {
            self.outputs.push_back(Output::Refused(error));
        }
    }

    /// Signs and puts out what is due to be said.
    fn speak(&mut self, now: Moment) {
        match self.own.speak(now, &self.config, self.replica.owners(), &mut self.dice) {
            None => {}
            Some(Err(error)) => self.outputs.push_back(Output::Refused(error)),
            Some(Ok(Spoken::Changed(signed))) => {
                self.outputs.push_back(Output::Persist { seq: signed.record().seq });
                self.outputs.push_back(Output::Broadcast(tell(&signed)));
                self.counters.published += 1;
                self.replica.publish(signed);
            }
            Some(Ok(Spoken::Anew(signed))) => {
                self.outputs.push_back(Output::Persist { seq: signed.record().seq });
                self.counters.renewed += 1;
                self.replica.publish(signed);
            }
            Some(Ok(Spoken::Lease(lease))) => {
                self.outputs.push_back(Output::Persist { seq: lease.lease().seq });
                self.counters.renewed += 1;
                self.replica.publish_lease(lease);
            }
        }
    }
}

// === impl Ledger: rumours ===

impl Ledger {
    /// Judges a gossip message.
    fn hear(&mut self, now: Moment, from: NodeId, bytes: &[u8]) -> Verdict {
        let verdict = match self.peers.charge(now.mono, &from) {
            Leave::Granted if bytes.len() <= RUMOUR_MAX => match Rumour::decode(bytes) {
                Ok(rumour) if rumour.is_gossip() => self.weigh(now, from, rumour),
                Ok(_) => self.reject(now, from, Offence::OutOfTurn),
                Err(WireError::Unsupported { .. }) => Verdict::Ignore,
                Err(_) => self.reject(now, from, Offence::Malformed),
            },
            Leave::Granted => self.reject(now, from, Offence::Malformed),
            Leave::Exceeded { told } => {
                self.counters.dropped_sender += 1;
                if told {
                    self.blame(now.mono, from, Offence::Flood);
                }
                Verdict::Ignore
            }
            Leave::Stranger => Verdict::Ignore,
        };
        match verdict {
            Verdict::Accept => self.counters.gossip_accepted += 1,
            Verdict::Ignore => self.counters.gossip_ignored += 1,
            Verdict::Reject => self.counters.gossip_rejected += 1,
        }
        verdict
    }

    fn weigh(&mut self, now: Moment, from: NodeId, rumour: Rumour) -> Verdict {
        let is_evidence = matches!(rumour, Rumour::Evidence(..));
        match self.learn(now, rumour, By::Gossip) {
            Outcome::Newer { .. } | Outcome::Enacted => Verdict::Accept,
            Outcome::Conflict { .. } | Outcome::Mine { evidence: Some(_), .. } if is_evidence => Verdict::Accept,
            Outcome::Conflict { evidence, newer } => {
                self.outputs.push_back(Output::Broadcast(evidence));
                if newer { Verdict::Accept } else { Verdict::Ignore }
            }
            Outcome::Mine { evidence, .. } => {
                self.outputs.extend(evidence.map(Output::Broadcast));
                Verdict::Ignore
            }
            Outcome::Known | Outcome::Refused(_) => Verdict::Ignore,
            Outcome::Forged => self.reject(now, from, Offence::Forged),
            Outcome::Foreign => self.reject(now, from, Offence::Foreign),
        }
    }

    /// Takes a rumour that came by sync. Whether it told anything new.
    fn learn_by_sync(&mut self, now: Moment, rumour: Rumour) -> Result<bool, Offence> {
        let owner = rumour.owner();
        let told = match self.learn(now, rumour, By::Sync) {
            Outcome::Known => return Ok(false),
            Outcome::Refused(_) => return Ok(true),
            Outcome::Forged => return Err(Offence::Forged),
            Outcome::Foreign => return Err(Offence::Foreign),
            Outcome::Newer { changed: false } => None,
            Outcome::Newer { changed: true } => owner.and_then(|owner| self.replica.get(&owner)).map(tell),
            Outcome::Enacted => self.replica.rules.decree().map(tell_decree),
            Outcome::Conflict { evidence, .. } => Some(evidence),
            Outcome::Mine { evidence, .. } => evidence,
        };
        self.counters.synced += 1;
        if let Some(told) = told
            && self.synced
            && self.retell.take(now.mono)
        {
            self.counters.retold += 1;
            self.outputs.push_back(Output::Broadcast(told));
        }
        Ok(true)
    }

    /// Joins a rumour into the replica, however it came.
    fn learn(&mut self, now: Moment, rumour: Rumour, by: By) -> Outcome {
        let outcome = match rumour {
            Rumour::Record(pair) => self.replica.observe(now, pair.0, pair.1, by == By::Gossip),
            Rumour::Lease(lease) => self.replica.renew(now, *lease),
            Rumour::Evidence(pair) => self.replica.accuse(now, pair.0, pair.1),
            Rumour::Decree(decree) => self.enact(now, *decree),
        };
        let counters = &mut self.counters;
        match &outcome {
            Outcome::Conflict { .. } => counters.quarantined += 1,
            Outcome::Mine { seq, evidence } => {
                counters.quarantined += u64::from(evidence.is_some());
                match self.own.echo(now.mono, *seq) {
                    Echo::Old => {}
                    Echo::Former => counters.echoes += 1,
                    Echo::Shared => {
                        counters.echoes += 1;
                        self.outputs.push_back(Output::KeyShared);
                    }
                }
            }
            Outcome::Refused(Refusal::Pace) => counters.refused_pace += 1,
            Outcome::Refused(Refusal::Generation) => counters.refused_generation += 1,
            Outcome::Refused(Refusal::Date) => counters.refused_date += 1,
            Outcome::Refused(Refusal::Sequence) => counters.refused_sequence += 1,
            Outcome::Refused(Refusal::Full) => counters.refused_full += 1,
            Outcome::Refused(Refusal::Unfounded) => counters.refused_unfounded += 1,
            Outcome::Refused(Refusal::Credential) => counters.refused_credential += 1,
            Outcome::Refused(Refusal::Role) => counters.refused_role += 1,
            Outcome::Refused(Refusal::Banned) => counters.refused_banned += 1,
            Outcome::Refused(Refusal::Revoked) => counters.refused_revoked += 1,
            Outcome::Refused(Refusal::Expired) => counters.refused_expired += 1,
            Outcome::Newer { .. } | Outcome::Enacted | Outcome::Known | Outcome::Forged | Outcome::Foreign => {}
        }
        outcome
    }

    /// Puts a decree in force if it is the issuer's and newer.
    fn enact(&mut self, now: Moment, decree: UnverifiedDecree) -> Outcome {
        match self.replica.enact(now, decree) {
            Enacted::Newer => {
                self.counters.decrees += 1;
                self.outputs.extend(self.replica.rules.decree().cloned().map(Output::Decree));
                Outcome::Enacted
            }
            Enacted::Known => Outcome::Known,
            Enacted::Forged => Outcome::Forged,
            Enacted::Foreign => Outcome::Foreign,
        }
    }

    fn reject(&mut self, now: Moment, peer: NodeId, offence: Offence) -> Verdict {
        self.blame(now.mono, peer, offence);
        Verdict::Reject
    }

    fn blame(&mut self, now: Duration, peer: NodeId, offence: Offence) {
        self.counters.offences += 1;
        self.outputs.push_back(Output::Misbehaved { peer, offence });
        if self.conduct.note(now, peer, offence) {
            self.counters.expelled += 1;
            self.outputs.push_back(Output::Expel { peer, offence });
        }
    }
}

// === impl Ledger: sessions ===

impl Ledger {
    fn peer_down(&mut self, peer: &NodeId) {
        if self.peers.down(peer) {
            self.replica.disconnect(peer);
            let theirs: Vec<_> = self.session_with(peer).into_iter().collect();
            theirs.into_iter().for_each(|session| self.close(session));
        }
    }

    /// Asks for a stream, unless there is one.
    fn open(&mut self, now: Duration, peer: NodeId) {
        let free = self.sessions.len() < SESSIONS_MAX && self.session_with(&peer).is_none();
        if free && self.peers.opening(now, &peer) {
            self.outputs.push_back(Output::OpenSession { peer });
        }
    }

    fn session_opened(&mut self, now: Moment, session: u64, peer: NodeId, dialled: bool) {
        if dialled {
            self.peers.opened(&peer);
        } else if self.peers.is_up(&peer) && !self.peers.may_open(now.mono, &peer) {
            self.outputs.push_back(Output::CloseSession { session });
            return self.blame(now.mono, peer, Offence::Excess);
        }
        let has_place = self.peers.is_up(&peer) && !self.sessions.contains_key(&session);
        if !has_place || !self.prevails(&peer, dialled) || self.sessions.len() >= SESSIONS_MAX {
            self.counters.sessions_declined += 1;
            return self.outputs.push_back(Output::CloseSession { session });
        }
        self.counters.sessions_opened += 1;
        let state = if dialled {
            let opening = Opening { salt: self.dice.next(), symbols: self.usual_symbols };
            let (state, first) = Session::dial(now.mono, peer, opening, &self.replica);
            self.outputs.push_back(Output::Send { session, bytes: first.encode() });
            state
        } else {
            Session::accept(now.mono, peer)
        };
        self.sessions.insert(session, state);
    }

    /// One session per peer: when both sides opened one, the one that the smaller id opened stays. Both decide alike.
    fn prevails(&mut self, peer: &NodeId, dialled: bool) -> bool {
        let Some(other) = self.session_with(peer) else { return true };
        let crossed = self.sessions.get(&other).is_some_and(|session| session.is_dialled() != dialled);
        let stays = crossed && dialled == (self.me < *peer);
        if stays {
            self.close(other);
        }
        stays
    }

    fn session_frame(&mut self, now: Moment, session: u64, bytes: &[u8]) {
        let Some(peer) = self.sessions.get(&session).map(|state| state.peer) else { return };
        match self.converse(now, session, bytes) {
            Ok(_) if self.is_served(now.mono, session) => {
                self.counters.sessions_declined += 1;
                self.close(session);
            }
            Ok(Some(frame)) => self.outputs.push_back(Output::Send { session, bytes: frame.encode() }),
            Ok(None) => {
                let symbols = self.sessions.remove(&session).and_then(|state| state.symbols());
                self.usual_symbols = symbols.map_or(self.usual_symbols, |last| (3 * self.usual_symbols + last) / 4);
                self.synced = true;
                self.counters.sessions_completed += 1;
                self.outputs.push_back(Output::CloseSession { session });
            }
            Err(offence) => {
                self.close(session);
                self.blame(now.mono, peer, offence);
            }
        }
    }

    /// Joins what a frame brings; the frame that follows.
    fn converse(&mut self, now: Moment, session: u64, bytes: &[u8]) -> Result<Option<Frame>, Offence> {
        let Some(state) = self.sessions.get_mut(&session) else { return Ok(None) };
        let mut useless = 0;
        for rumour in state.take(now.mono, bytes)? {
            useless += usize::from(!self.learn_by_sync(now, rumour)?);
        }
        let Some(state) = self.sessions.get_mut(&session) else { return Ok(None) };
        state.count_useless(useless)?;
        state.answer(&self.replica)
    }

    /// Whether this session would bring the bulk of the ledger to a node that is new, while an older one already does.
    fn is_served(&self, now: Duration, session: u64) -> bool {
        let is_bulk = self.sessions.get(&session).is_some_and(Session::is_bulk);
        let mut older = self.sessions.range(..session).map(|(_, state)| state);
        !self.synced && is_bulk && older.any(|state| state.is_bulk() && state.is_lively(now, LIVELY))
    }

    fn session_closed(&mut self, session: u64) {
        if let Some(state) = self.sessions.remove(&session) {
            // The dialler closes when both sides hold the same.
            self.synced |= !state.is_dialled() && state.has_worked();
            self.counters.sessions_ended += 1;
        }
    }

    /// Ends the sessions whose peers said nothing for too long.
    fn end_stalled(&mut self, now: Duration) {
        let stalled: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, state)| state.deadline() <= now)
            .map(|(id, state)| (*id, state.peer))
            .collect();
        for (session, peer) in stalled {
            self.close(session);
            self.blame(now, peer, Offence::Stalled);
        }
    }

    fn close(&mut self, session: u64) {
        if self.sessions.remove(&session).is_some() {
            self.counters.sessions_ended += 1;
            self.outputs.push_back(Output::CloseSession { session });
        }
    }

    fn session_with(&self, peer: &NodeId) -> Option<u64> {
        self.sessions.iter().find(|(_, state)| state.peer == *peer).map(|(session, _)| *session)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("node", &self.me)
            .field("owners", &self.owners())
            .field("sessions", &self.sessions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
