//! The task that speaks edgevpn's gossip, and keeps what is told of it.
//!
//! It waits for one of: stop, something said by a peer, a change of the members' ledger, of the connections or of what this
//! node offers, the clock. It never waits for a peer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use libp2p::{PeerId, identity::Keypair};
use rand::RngExt;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Account, Mood,
    block::Block,
    envelope,
    offer::{Offer, Said, offered},
    presence::Presence,
    pubsub::{
        feeds::Feeds,
        link::{self, Link, Place, Room, Topics},
        router::{Passed, Router},
    },
    replica::{Form, Moment, Replica},
    rpc::{Rpc, SignedMessage},
    serve::Users,
    values::{SERVICES, USERS},
    view::merged,
};
use crate::{
    ledger::{NetworkId, NodeId, Service, View},
    net::{Inbound, Path, Peer, Peers, Streams, node_of, peer_of},
    token::Token,
};

/// How often windows, statements and what is remembered are looked at.
const TICK: Duration = Duration::from_millis(500);

/// How often the whole block is said again, give or take half: edgevpn's own period. It is what repairs losses.
const SYNC: Duration = Duration::from_secs(10);

/// Others that said the very same block since the last time save this node the trouble, so many times in a row.
const SYNCS_SAVED: u32 = 3;

/// Messages of peers that wait for this task; while they are full, whoever sends more waits.
const HEARD: usize = 64;

/// Streams of pubsub that peers may have open to this node: one each, of all connections there may be.
const READERS: usize = 2048;

/// A node that hears nothing for so long is the first; until then, others may hold what it would take.
const JOIN: Duration = Duration::from_secs(4);

/// A stream is not opened anew again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a block needs to be read by whom it was sent to.
const SPREADS: Duration = Duration::from_millis(500);

/// From the first block that was heard until a name that nobody holds is taken.
const LISTEN: Duration = Duration::from_secs(3);

/// A node that was connected and is no more is gone after so long: a connection that broke has been made anew by then.
const TAKEN_OVER: Duration = Duration::from_secs(8);

/// Nodes remembered as having been connected; nodes of LocalAI's are others at each start. Beyond, those that
/// are gone are forgotten.
const MET: usize = 65_536;

/// Legacy nodes in a view, those that are connected before others: twice as many as can be connected.
const NOMINEES: usize = 1024;

/// Between complaints about messages that could not be opened.
const COMPLAIN: Duration = Duration::from_secs(600);

/// What a reader tells.
#[derive(Debug)]
enum Told {
    Began(PeerId),
    /// With its place, which it keeps until it was dealt with.
    Said(PeerId, Rpc, Option<Place>),
}

/// What the task reads.
#[derive(Debug)]
pub(super) struct Inlets {
    pub(super) pubsub: mpsc::Receiver<Inbound>,
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) members: watch::Receiver<Arc<Peers>>,
    pub(super) legacy: watch::Receiver<Arc<Peers>>,
    pub(super) offers: watch::Receiver<Arc<Vec<Service>>>,
    pub(super) mood: watch::Receiver<Mood>,
}

/// What the task tells.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) views: watch::Sender<Arc<View>>,
    pub(super) peers: watch::Sender<Arc<Peers>>,
    pub(super) users: watch::Sender<Users>,
    pub(super) offered: watch::Sender<Option<Service>>,
    pub(super) account: watch::Sender<Account>,
}

/// The task.
pub(super) struct Actor {
    pub(super) keypair: Keypair,
    pub(super) node: NodeId,
    pub(super) network: NetworkId,
    pub(super) token: Arc<Token>,
    pub(super) clock_ahead: Duration,
    pub(super) streams: Streams,
    pub(super) offer: Offer,
    pub(super) inlets: Inlets,
    pub(super) outlets: Outlets,
    pub(super) stop: CancellationToken,
}

/// What changes while it runs.
struct State {
    started: Instant,
    router: Router,
    replica: Replica,
    presence: Presence,
    links: HashMap<PeerId, Linked>,
    /// Those of them that are members.
    members: BTreeSet<PeerId>,
    feeds: Feeds,
    topics: Topics,
    /// Since when each peer has probably known that this node is a user.
    told: HashMap<PeerId, Duration>,
    /// Whoever was connected since this node started, and when that was so last.
    met: HashMap<NodeId, Duration>,
    /// Who has subscribed since the block was said last.
    newcomers: BTreeSet<PeerId>,
    /// What is in the replica as this node's word.
    said: BTreeSet<Said>,
    seqno: u64,
    next_sync: Duration,
    saved: u32,
    heard_same: bool,
    account: Account,
    complained: Option<Duration>,
    outgrown: Option<Duration>,
    told_one: Option<String>,
    tasks: JoinSet<()>,
    readers: HashMap<PeerId, AbortHandle>,
    telling: mpsc::Sender<Told>,
    room: Room,
}

/// A peer that is sent to.
#[derive(Debug)]
struct Linked {
    /// Of its connection.
    number: u64,
    since: Duration,
    /// When its stream was opened anew last, because it had begun anew.
    opened: Option<Duration>,
    link: Link,
}

impl Actor {
    pub(super) async fn run(mut self, presence: Presence) {
        let (telling, mut told) = mpsc::channel(HEARD);
        let mut state = State {
            started: Instant::now(),
            router: Router::new(rand::random()),
            replica: Replica::new(self.keypair.clone()),
            presence,
            links: HashMap::new(),
            members: BTreeSet::new(),
            feeds: Feeds::default(),
            topics: Topics::default(),
            told: HashMap::new(),
            met: HashMap::new(),
            newcomers: BTreeSet::new(),
            said: BTreeSet::new(),
            seqno: 0,
            next_sync: SYNC / 4,
            saved: 0,
            heard_same: false,
            account: Account::default(),
            complained: None,
            outgrown: None,
            told_one: None,
            tasks: JoinSet::new(),
            readers: HashMap::new(),
            telling,
            room: Room::new(self.most()),
        };
        state.seqno = self.moment(&state).unix_ns;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        loop {
            self.act(&mut state);
            let due = state.router.poll_timeout().map(|at| TokioInstant::from_std(state.started + at));
            // In no order: peers that say more than this task can hear must not keep it from anything else.
            tokio::select! {
                () = stop.cancelled() => break,
                Some(told) = told.recv() => self.on_told(&mut state, told),
                Some(inbound) = self.inlets.pubsub.recv() => self.on_stream(&mut state, inbound),
                Ok(()) = self.inlets.views.changed() => self.tell(&mut state),
                Ok(()) = self.inlets.members.changed() => self.on_peers(&mut state),
                Ok(()) = self.inlets.legacy.changed() => self.on_peers(&mut state),
                Ok(()) = self.inlets.offers.changed() => self.state(&mut state),
                Ok(()) = self.inlets.mood.changed() => self.state(&mut state),
                _ = ticks.tick() => self.tick(&mut state),
                () = until(due) => {}
                Some(ended) = state.tasks.join_next() => {
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        // What was said on leaving is out by now, or late.
        state.tasks.shutdown().await;
    }

    fn moment(&self, state: &State) -> Moment {
        let since = self.clock().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { now: state.started.elapsed(), unix_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }

    fn clock(&self) -> SystemTime {
        SystemTime::now() + self.clock_ahead
    }

    fn unix_s(&self) -> u64 {
        self.clock().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    // === what happens ===

    fn on_stream(&mut self, state: &mut State, Inbound { peer, mut stream }: Inbound) {
        if state.readers.len() >= READERS && !state.readers.contains_key(&peer) {
            return tracing::debug!(%peer, "one stream of pubsub too many");
        }
        let (telling, room) = (state.telling.clone(), state.room.clone());
        let reader = state.tasks.spawn(async move {
            let mut next = Told::Began(peer);
            // The actor ends with the node.
            while telling.send(next).await.is_ok() {
                match link::read(&mut stream, &room).await {
                    Ok(Some((rpc, place))) => next = Told::Said(peer, rpc, place),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::trace!(%peer, %error, "stream of pubsub ended");
                        break;
                    }
                }
            }
        });
        // A peer has one stream: the newest.
        if let Some(before) = state.readers.insert(peer, reader) {
            before.abort();
        }
    }

    /// Bytes of one message at most.
    fn most(&self) -> usize {
        self.token.max_message_size().min(envelope::MAX_MESSAGE)
    }

    fn on_told(&mut self, state: &mut State, told: Told) {
        match told {
            Told::Began(peer) => {
                state.account.streams += 1;
                // Its stream may be here before its connection is told of.
                state.router.connected(peer, state.members.contains(&peer));
                state.router.began(&peer);
                let now = state.started.elapsed();
                // A member begins anew with another connection; and two that answered a stream with a stream would never end.
                if !state.members.contains(&peer)
                    && let Some(linked) = state.links.get_mut(&peer)
                    && linked.opened.is_none_or(|at| now > at + AGAIN)
                {
                    linked.opened = Some(now);
                    linked.link.open_again();
                }
            }
            Told::Said(peer, rpc, _place) => {
                for subscription in rpc.subscriptions() {
                    let is_news = state.router.subscribes(&peer, subscription.topic().to_owned(), subscription.wants());
                    if is_news && subscription.wants() && self.is_greeted(state, &peer) {
                        state.newcomers.insert(peer);
                    }
                }
                for message in rpc.into_messages() {
                    self.on_message(state, peer, message);
                }
            }
        }
    }

    /// A node of edgevpn's that has just started has written its entries before it heard anything, and loses them to the first
    /// block that it hears; it says them with its first sync, so it is left alone until then.
    fn is_greeted(&self, state: &State, peer: &PeerId) -> bool {
        let has_said_all = |linked: &Linked| state.started.elapsed() > linked.since + 2 * SYNC;
        state.members.contains(peer) || state.links.get(peer).is_some_and(has_said_all)
    }

    fn on_message(&mut self, state: &mut State, from: PeerId, message: SignedMessage) {
        let moment = self.moment(state);
        let id = message.id();
        if !state.router.hears(moment.now, from, &id) {
            return;
        }
        state.account.heard += 1;
        if !state.topics.contains(message.topic()) {
            return;
        }
        if let Err(error) = message.verify() {
            state.account.forged += 1;
            return tracing::debug!(peer = %from, %error, "edgevpn's gossip: a forged message");
        }
        if !state.router.learn(moment.now, from, &message) {
            state.account.replayed += 1;
            return tracing::debug!(peer = %from, "edgevpn's gossip: a message of long ago");
        }
        if let Some(author) = message.author() {
            state.feeds.heard(moment.now, author, from);
        }
        let opened = envelope::open(&self.token.sealing_key(self.unix_s()), message.data(), envelope::MAX_BLOCK);
        let (block, is_kin) = match opened {
            Ok(opened) => (Block::parse(&opened.plain).map_err(|error| error.to_string()), opened.is_kin),
            Err(error) => {
                self.complain(state, from, &error);
                return;
            }
        };
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                state.account.unread += 1;
                return tracing::debug!(peer = %from, error, "edgevpn's gossip: no block");
            }
        };
        let message_author = message.author();
        state.router.pass_on(moment.now, id, message);
        if let Some(author) = message_author.filter(|_| self.names_us(&block)) {
            state.told.entry(author).or_insert(Duration::ZERO);
        }
        state.heard_same |= block.hash == state.replica.current().hash;
        let before = state.replica.form();
        // Where entries are signed, what a block says counts only as far as its signatures were believed.
        if before == Form::Legacy {
            state.presence.note(moment.now, &block.storage);
        }
        let heard = state.replica.hear(moment, block, is_kin);
        if heard.changed && before == Form::Signed {
            state.presence.note(moment.now, state.replica.storage());
        }
        if let Some(refused) = heard.refused {
            state.account.refused += 1;
            tracing::debug!(peer = %from, why = refused, "edgevpn's gossip: a block refused");
        }
        if state.replica.form() != before {
            tracing::info!(
                signed = state.replica.form() == Form::Signed,
                "edgevpn's ledger is of the other form from now on"
            );
        }
        if heard.changed {
            self.state(state);
            self.tell(state);
        }
    }

    /// Clocks that differ by more than a window, or another token with the same room.
    fn complain(&self, state: &mut State, from: PeerId, error: &envelope::EnvelopeError) {
        state.account.sealed += 1;
        let now = state.started.elapsed();
        if state.complained.is_none_or(|at| now > at + COMPLAIN) {
            state.complained = Some(now);
            tracing::warn!(peer = %from, %error, "edgevpn's gossip can't be opened: check the clocks of both machines");
        }
    }

    fn on_peers(&mut self, state: &mut State) {
        let members = self.inlets.members.borrow_and_update().clone();
        let legacy = self.inlets.legacy.borrow_and_update().clone();
        // edgevpn's own nodes send nothing by relays.
        let direct = |(node, peer): (&NodeId, &Peer)| Some((peer_of(node)?, peer.number, peer.path != Path::Relayed));
        let members = members.connected.iter().filter_map(direct).map(|(peer, number, _)| (peer, number, true));
        let legacy = legacy.connected.iter().filter_map(direct).filter(|(.., direct)| *direct);
        let wanted: HashMap<PeerId, (u64, bool)> =
            legacy.map(|(peer, number, _)| (peer, number, false)).chain(members).map(|(p, n, m)| (p, (n, m))).collect();
        // Whoever comes back may have forgotten this node.
        state.links.retain(|peer, _| wanted.contains_key(peer));
        state.members = wanted.iter().filter(|(_, (_, is_member))| *is_member).map(|(peer, _)| *peer).collect();
        let legacy = wanted.iter().filter(|(_, (_, is_member))| !is_member).map(|(peer, _)| *peer).collect();
        state.feeds.connected(&legacy);
        state.told.retain(|peer, _| wanted.contains_key(peer));
        // Those of peers that are gone end by themselves.
        state.readers.retain(|_, reader| !reader.is_finished());
        for (peer, (number, is_member)) in wanted {
            match state.links.get_mut(&peer) {
                Some(linked) if linked.number == number => {}
                Some(linked) => {
                    (linked.number, linked.since) = (number, state.started.elapsed());
                    linked.link.open_again();
                    state.told.remove(&peer);
                }
                None => {
                    let (link, task) = Link::new(peer, self.streams.clone());
                    state.tasks.spawn(task);
                    state.links.insert(peer, Linked { number, since: state.started.elapsed(), opened: None, link });
                }
            }
            state.router.connected(peer, is_member);
        }
        let (links, readers) = (&state.links, &state.readers);
        state.router.keep(|peer| links.contains_key(peer) || readers.contains_key(peer));
        self.listen(state);
        self.tell(state);
    }

    fn tick(&mut self, state: &mut State) {
        let now = state.started.elapsed();
        self.meet(state, now);
        state.presence.note(now, state.replica.storage());
        self.listen(state);
        self.greet(state);
        self.state(state);
        self.tell(state);
        if now >= state.next_sync {
            state.next_sync = now + SYNC.mul_f64(rand::rng().random_range(0.5..1.5));
            let is_saved = std::mem::take(&mut state.heard_same) && state.saved < SYNCS_SAVED;
            state.saved = if is_saved { state.saved + 1 } else { 0 };
            if !is_saved && state.replica.current().index > 0 {
                let block = state.replica.current().clone();
                self.publish(state, &block);
            }
        }
    }

    /// Remembers who is connected.
    fn meet(&self, state: &mut State, now: Duration) {
        if state.met.len() >= MET {
            state.met.retain(|_, last| now < *last + TAKEN_OVER);
        }
        for peers in [&self.inlets.members, &self.inlets.legacy] {
            state.met.extend(peers.borrow().connected.keys().map(|node| (*node, now)));
        }
    }

    /// Subscribes, at whom this node listens to, to the topics of now and of the windows beside.
    fn listen(&self, state: &mut State) {
        let topics: BTreeSet<String> = self.token.edgevpn_topic(self.unix_s()).iter().cloned().collect();
        if *state.topics != topics {
            state.topics = Arc::new(topics);
        }
        let nothing = Topics::default();
        let chosen = state.feeds.choose(state.started.elapsed());
        for (peer, Linked { link, .. }) in &state.links {
            let is_heard = state.members.contains(peer) || chosen.contains(peer);
            link.subscribe(if is_heard { &state.topics } else { &nothing });
        }
    }

    // === what is said ===

    /// Has the replica say what this node offers now.
    fn state(&mut self, state: &mut State) {
        let offers = self.inlets.offers.borrow_and_update().clone();
        let mood = *self.inlets.mood.borrow_and_update();
        if mood == Mood::Leaving {
            return self.leave(state);
        }
        let service = offered(&offers).cloned();
        self.tell_of_one(state, &offers, service.as_ref());
        let now = state.started.elapsed();
        let may_hold = service.as_ref().is_some_and(|service| self.may_hold(state, now, &service.name));
        let said = self.offer.said(now, self.clock(), service.as_ref(), mood == Mood::Draining, may_hold);
        let said: BTreeSet<Said> = said.into_iter().collect();
        let names: BTreeSet<_> = said.iter().map(|said| (said.bucket.clone(), said.key.clone())).collect();
        for gone in state.said.iter().filter(|gone| !names.contains(&(gone.bucket.clone(), gone.key.clone()))) {
            state.replica.withdraw(&gone.bucket, &gone.key);
        }
        for new in said.difference(&state.said) {
            state.replica.state(&new.bucket, &new.key, new.value.clone());
        }
        state.said = said;
        self.outlets.offered.send_if_modified(|known| {
            let changed = *known != service;
            if changed {
                known.clone_from(&service);
            }
            changed
        });
    }

    /// Whether the name of a service is free in edgevpn's ledger, or this node's. Whoever is there holds it; of two members that
    /// took it at the same moment, the one with the smaller id.
    fn may_hold(&self, state: &State, now: Duration, service: &str) -> bool {
        let has_said = state.said.iter().any(|said| said.bucket == SERVICES && said.key == service);
        let alone = if state.links.is_empty() { JOIN } else { 3 * JOIN };
        // The first block heard may be an old one, passed on late.
        let listened_until = state.presence.since().map_or(alone, |since| since + LISTEN);
        if !has_said && now < listened_until {
            return false;
        }
        let Some((holder, beats)) = state.presence.holder(now, service) else { return true };
        let is_connected = |peers: &watch::Receiver<Arc<Peers>>| peers.borrow().connected.contains_key(&holder);
        let lives = match is_connected(&self.inlets.members) || is_connected(&self.inlets.legacy) {
            true => true,
            // The connection is the truth, where there ever was one, and it did not just break.
            false => match state.met.get(&holder) {
                Some(last) => now < *last + TAKEN_OVER,
                None => beats,
            },
        };
        let is_member = self.inlets.views.borrow().nodes.contains_key(&holder);
        holder == self.node || !lives || has_said && is_member && holder > self.node
    }

    /// Says once which of several services nodes of edgevpn get.
    fn tell_of_one(&self, state: &mut State, offers: &[Service], service: Option<&Service>) {
        let Some(service) = service else { return };
        if state.told_one.as_ref() == Some(&service.name) {
            return;
        }
        state.told_one = Some(service.name.clone());
        let localai = super::values::localai_bucket(&service.name).map(|_| self.offer.letters());
        tracing::info!(service = service.name, localai, "offered to edgevpn's nodes as well");
        if offers.len() > 1 {
            tracing::warn!(
                service = service.name,
                "nodes of edgevpn can use one service of a node: this one; for others run another node"
            );
        }
    }

    /// Sends what is due.
    fn act(&mut self, state: &mut State) {
        let moment = self.moment(state);
        if let Some(block) = state.replica.poll_block(moment) {
            let now = state.started.elapsed();
            state.presence.note(now, &block.storage);
            self.publish(state, &block);
        }
        while let Some(Passed { message, to }) = state.router.poll_output(state.started.elapsed()) {
            if !to.is_empty() {
                state.account.passed_on += to.len() as u64;
                send(&state.links, message, &to);
            }
        }
        let account = Account {
            index: state.replica.current().index,
            is_signed: state.replica.form() == Form::Signed,
            listeners: state.router.listeners(&self.token.edgevpn_topic(self.unix_s()).current),
            ..state.account.clone()
        };
        state.account = account.clone();
        self.outlets.account.send_if_modified(|told| {
            let changed = *told != account;
            *told = account;
            changed
        });
    }

    fn publish(&self, state: &mut State, block: &Block) {
        state.newcomers.clear();
        self.say(state, block, Router::publish);
    }

    /// Tells those that have just come, so that they need not wait for the next sync of anybody.
    fn greet(&self, state: &mut State) {
        let newcomers = std::mem::take(&mut state.newcomers);
        if newcomers.is_empty() || state.replica.current().index == 0 {
            return;
        }
        let block = state.replica.current().clone();
        self.say(state, &block, |router, now, message| router.greet(now, message, &newcomers));
    }

    fn say(&self, state: &mut State, block: &Block, pass: impl FnOnce(&mut Router, Duration, SignedMessage) -> Passed) {
        let unix_s = self.unix_s();
        let sealed =
            envelope::seal(&self.token.sealing_key(unix_s).current, rand::random(), block.to_json().as_bytes());
        if sealed.len() > self.most() {
            let now = state.started.elapsed();
            if state.outgrown.is_none_or(|at| now > at + COMPLAIN) {
                state.outgrown = Some(now);
                let bytes = sealed.len();
                tracing::warn!(bytes, "edgevpn's ledger has outgrown the token's max_message_size, and is not sent");
            }
            return;
        }
        state.seqno += 1;
        let topic = self.token.edgevpn_topic(unix_s).current;
        match SignedMessage::sign(&self.keypair, state.seqno, &topic, sealed) {
            Ok(message) => {
                let now = state.started.elapsed();
                let Passed { message, to } = pass(&mut state.router, now, message);
                state.account.published += 1;
                if self.names_us(block) {
                    for peer in &to {
                        state.told.entry(*peer).or_insert(now + SPREADS);
                    }
                }
                send(&state.links, message, &to);
            }
            Err(error) => tracing::warn!(%error, "edgevpn's ledger can't be signed"),
        }
    }

    /// Whether a block says that this node is a user, so that whoever has it serves this node.
    fn names_us(&self, block: &Block) -> bool {
        let users = block.storage.get(USERS);
        users.and_then(|users| users.get(&self.node.to_string())).is_some_and(|entry| !entry.is_deleted())
    }

    /// Takes back what this node said, as far as that still reaches anybody.
    fn leave(&mut self, state: &mut State) {
        for said in std::mem::take(&mut state.said) {
            state.replica.withdraw(&said.bucket, &said.key);
        }
        let later = Moment { now: state.started.elapsed() + SYNC, ..self.moment(state) };
        if let Some(block) = state.replica.poll_block(later) {
            self.publish(state, &block);
        }
    }

    // === what is told ===

    fn tell(&mut self, state: &mut State) {
        let native = self.inlets.views.borrow_and_update().clone();
        let members = self.inlets.members.borrow().clone();
        let legacy = self.inlets.legacy.borrow().clone();
        let now = state.started.elapsed();
        let is_connected = |node: &NodeId| legacy.connected.get(node).is_some_and(|peer| peer.path != Path::Relayed);
        let nominees = state.presence.nominees(now, is_connected);
        let mut nominees: Vec<_> = nominees.into_iter().filter(|nominee| nominee.node != self.node).collect();
        // Whoever writes more into the ledger than there can be is not followed further.
        nominees.sort_by_key(|nominee| (!is_connected(&nominee.node), !nominee.fresh));
        nominees.truncate(NOMINEES);
        if self.offer.is_user() {
            let knows_us =
                |node: &NodeId| peer_of(node).and_then(|peer| state.told.get(&peer)).is_some_and(|at| *at <= now);
            // One that is not connected yet is to be dialled, and can't be picked before it is.
            let is_usable = |node: &NodeId| !is_connected(node) || knows_us(node);
            nominees.iter_mut().for_each(|nominee| nominee.fresh &= is_usable(&nominee.node));
        }
        self.outlets.views.send_if_modified(|known| {
            let view = merged(self.network, known.revision + 1, &native, &nominees);
            let changed = !same(known, &view);
            if changed {
                *known = Arc::new(view);
            }
            changed
        });
        self.outlets.peers.send_if_modified(|known| {
            // A member is a member, whatever else it was.
            let both = legacy.connected.iter().chain(&members.connected);
            let both = Peers { connected: both.map(|(node, peer)| (*node, peer.clone())).collect() };
            let changed = !known.is_same(&both);
            if changed {
                *known = Arc::new(both);
            }
            changed
        });
        let links = state.links.keys().copied();
        let users: BTreeSet<PeerId> = links
            .filter(|peer| {
                state.presence.is_user(peer) || node_of(peer).is_some_and(|node| members.connected.contains_key(&node))
            })
            .collect();
        self.outlets.users.send_if_modified(|known| {
            let changed = **known != users;
            if changed {
                *known = Arc::new(users);
            }
            changed
        });
    }
}

fn send(links: &HashMap<PeerId, Linked>, message: SignedMessage, to: &[PeerId]) {
    let framed = link::framed(&Rpc::saying(message));
    for peer in to {
        if let Some(linked) = links.get(peer)
            && !linked.link.send(Arc::clone(&framed))
        {
            tracing::debug!(%peer, "edgevpn's gossip: the peer reads too slowly, or its stream is being opened");
        }
    }
}

/// Whether two views say the same, whatever their revisions.
fn same(one: &View, other: &View) -> bool {
    one.nodes.len() == other.nodes.len()
        && one.nodes.iter().zip(&other.nodes).all(|((a, one), (b, other))| {
            a == b
                && one.fresh == other.fresh
                && one.quarantined == other.quarantined
                && one.legacy == other.legacy
                && (Arc::ptr_eq(&one.record, &other.record) || one.record == other.record)
        })
}

async fn until(due: Option<TokioInstant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
