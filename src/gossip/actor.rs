//! The task that owns the ledger.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant as TokioInstant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Account, Command, Edict,
    expulsions::Expulsions,
    keeper::Keeper,
    session::{self, Event},
};
use crate::{
    identity::{Identity, StateDir},
    ledger::{
        self, Credential, Entry, Input, Ledger, Moment, NodeId, Offence, Output, Record, SignedDecree, Verdict, View,
    },
    net::{Acceptance, Frame, Inbound, Net, Peers, Receipt, SYNC, Stream, peer_of},
};

/// Frames of all sessions waiting for the ledger: each session has at most one frame in hand, so beyond this they wait
/// and with them their peers.
const EVENTS: usize = 256;

/// Frames waiting to be sent on one session. A peer that does not read them loses the session, and the next one starts
/// over; the ledger's own bound on a session is lower.
const OUTGOING: usize = 64;

/// Opening a stream to a connected peer.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// Sessions at once. Each neighbour has one at a time; a hundred neighbours that all connect at once are served in turn.
const SESSIONS: usize = 64;

/// The account is told again no sooner: people read it, and under load it changes with each frame.
const ACCOUNT_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Actor {
    ledger: Ledger,
    started: Instant,
    keeper: Keeper,
    net: Net,
    views: watch::Sender<Arc<View>>,
    edicts: watch::Sender<Option<Edict>>,
    commands: mpsc::Receiver<Command>,
    frames: mpsc::Receiver<Frame>,
    syncs: mpsc::Receiver<Inbound>,
    events: mpsc::Receiver<(u64, Event)>,
    events_in: mpsc::Sender<(u64, Event)>,
    opened: mpsc::Receiver<Opened>,
    opened_in: mpsc::Sender<Opened>,
    sessions: HashMap<u64, mpsc::Sender<Vec<u8>>>,
    session_count: u64,
    tickets: HashMap<u64, Receipt>,
    ticket_count: u64,
    known: BTreeMap<NodeId, u64>,
    /// What the network was told of.
    listed: BTreeMap<NodeId, Arc<Record>>,
    expulsions: Expulsions,
    account: watch::Sender<Arc<Account>>,
    account_told: Instant,
    /// Something happened since.
    account_is_old: bool,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

/// What the task tells.
pub(super) struct Outlets {
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) account: watch::Receiver<Arc<Account>>,
    pub(super) edicts: watch::Receiver<Option<Edict>>,
}

/// A stream that the ledger asked for; none where it could not be opened.
struct Opened {
    peer: NodeId,
    stream: Option<Stream>,
}

impl Actor {
    #[expect(
        clippy::too_many_arguments,
        reason = "a task's inlets, each of another kind; a struct would only rename them"
    )]
    pub(super) fn new(
        config: ledger::Config,
        identity: &Identity,
        credential: Option<Credential>,
        state: Arc<StateDir>,
        net: Net,
        frames: mpsc::Receiver<Frame>,
        syncs: mpsc::Receiver<Inbound>,
        commands: mpsc::Receiver<Command>,
        cancel: CancellationToken,
    ) -> (Self, Outlets) {
        let started = Instant::now();
        let now = moment(started);
        let mut ledger = Ledger::new(config, identity.signing_key(), state.load_seq(), now, rand::random());
        credential.into_iter().for_each(|credential| ledger.show(credential));
        let keeper = Keeper::new(state);
        keeper.restore(&mut ledger, now);
        let (views, seen) = watch::channel(ledger.view());
        let restored = ledger.decree().cloned().map(|decree| edict(decree, &ledger, started));
        let (edicts, edicts_seen) = watch::channel(restored);
        let (account, account_seen) = watch::channel(Arc::default());
        let (events_in, events) = mpsc::channel(EVENTS);
        let (opened_in, opened) = mpsc::channel(SESSIONS);
        let actor = Self {
            ledger,
            started,
            keeper,
            net,
            views,
            edicts,
            commands,
            frames,
            syncs,
            events,
            events_in,
            opened,
            opened_in,
            sessions: HashMap::new(),
            session_count: 0,
            tickets: HashMap::new(),
            ticket_count: 0,
            known: BTreeMap::new(),
            listed: BTreeMap::new(),
            expulsions: Expulsions::default(),
            account,
            account_told: started,
            account_is_old: false,
            tasks: JoinSet::new(),
            cancel,
        };
        (actor, Outlets { views: seen, account: account_seen, edicts: edicts_seen })
    }

    pub(super) async fn run(mut self) {
        let mut peers = self.net.peers();
        let cancel = self.cancel.clone();
        // What was restored is shown and dialled before anything else happens.
        self.execute().await;
        loop {
            let due = self.due();
            let mut done = None;
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(command) = self.commands.recv() => {
                    let (input, told) = match command {
                        Command::Publish(statement, told) => (Input::Publish(statement), told),
                        Command::Decree(decree, told) => (Input::Decree(decree), told),
                        Command::Generation(generation, told) => (Input::Generation(generation), told),
                    };
                    self.handle(input);
                    done = Some(told);
                }
                Ok(()) = peers.changed() => {
                    let now = Arc::clone(&peers.borrow_and_update());
                    self.on_peers(&now);
                }
                Some((session, event)) = self.events.recv() => self.on_event(session, event),
                Some(opened) = self.opened.recv() => self.on_opened(opened),
                Some(Inbound { peer, stream }) = self.syncs.recv() => {
                    if let Some(peer) = crate::net::node_of(&peer) {
                        self.open(peer, stream, false);
                    }
                }
                Some(frame) = self.frames.recv() => self.on_frame(frame),
                Some(_) = self.tasks.join_next() => {}
                () = sleep_until(due) => {
                    let now = self.now();
                    self.ledger.handle_timeout(now);
                }
                () = self.keeper.wait() => {}
            }
            self.execute().await;
            self.keeper.look(&self.ledger, moment(self.started));
            self.tell_account();
            if let Some(told) = done {
                // Whoever waited may have gone.
                let _: Result<(), ()> = oneshot::Sender::send(told, ());
            }
        }
        self.tasks.shutdown().await;
        self.keeper.finish(&self.ledger, moment(self.started)).await;
    }

    fn due(&self) -> Option<TokioInstant> {
        let ledger = self.ledger.poll_timeout().map(|at| self.started + at);
        let account = self.account_is_old.then(|| self.account_told + ACCOUNT_EVERY);
        ledger.into_iter().chain(account).min().map(TokioInstant::from_std)
    }

    fn now(&self) -> Moment {
        moment(self.started)
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.ledger.handle(now, input);
    }

    // === inputs ===

    /// A new number is a new connection, also where the peer was never seen to be gone.
    fn on_peers(&mut self, peers: &Peers) {
        let now: BTreeMap<_, _> = peers.connected.iter().map(|(node, peer)| (*node, peer.number)).collect();
        let before = std::mem::replace(&mut self.known, now.clone());
        for (node, number) in &before {
            if now.get(node) != Some(number) {
                self.handle(Input::PeerDown(*node));
            }
        }
        for (node, number) in &now {
            if before.get(node) != Some(number) {
                self.handle(Input::PeerUp(*node));
            }
        }
    }

    fn on_frame(&mut self, Frame { from, bytes, receipt }: Frame) {
        self.ticket_count += 1;
        let ticket = self.ticket_count;
        self.tickets.insert(ticket, receipt);
        self.handle(Input::Gossip { ticket, from, bytes });
    }

    fn on_event(&mut self, session: u64, event: Event) {
        match event {
            Event::Frame(bytes) => {
                // Frames of a session that the ledger has closed meanwhile are of no interest to it.
                if self.sessions.contains_key(&session) {
                    self.handle(Input::SessionFrame { session, bytes });
                }
            }
            Event::Closed => {
                if self.sessions.remove(&session).is_some() {
                    self.handle(Input::SessionClosed { session });
                }
            }
        }
    }

    fn on_opened(&mut self, Opened { peer, stream }: Opened) {
        match stream {
            Some(stream) => self.open(peer, stream, true),
            // The next sync asks again, or another peer.
            None => tracing::trace!(peer = peer.short(), "sync stream not opened"),
        }
    }

    fn open(&mut self, peer: NodeId, stream: Stream, dialled: bool) {
        if self.sessions.len() >= SESSIONS {
            // Dropping the stream resets it; the peer tries again with its next sync.
            return;
        }
        self.session_count += 1;
        let session = self.session_count;
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        self.sessions.insert(session, sender);
        let (events, meter) = (self.events_in.clone(), self.net.meter().clone());
        self.tasks.spawn(session::run(session, stream, events, outgoing, meter, self.cancel.clone()));
        self.handle(Input::SessionOpened { session, peer, dialled });
    }

    // === outputs ===

    /// Executes all outputs in order.
    async fn execute(&mut self) {
        while let Some(output) = self.ledger.poll_output() {
            match output {
                Output::Persist { seq } => self.keeper.persist(seq).await,
                Output::Broadcast(bytes) => self.net.publish(bytes).await,
                Output::Judge { ticket, verdict } => self.judge(ticket, verdict).await,
                Output::OpenSession { peer } => self.dial(peer),
                Output::Send { session, bytes } => {
                    let full = self.sessions.get(&session).is_some_and(|outgoing| outgoing.try_send(bytes).is_err());
                    if full && self.sessions.remove(&session).is_some() {
                        tracing::debug!(session, "sync peer does not read");
                        self.handle(Input::SessionClosed { session });
                    }
                }
                Output::CloseSession { session } => {
                    self.sessions.remove(&session);
                }
                Output::View(view) => {
                    self.list(&view).await;
                    self.views.send_replace(view);
                }
                Output::Misbehaved { peer, offence } => {
                    tracing::warn!(peer = peer.short(), %offence, "peer misbehaved");
                }
                Output::Decree(decree) => self.tell_decree(decree),
                Output::Expel { peer, offence } => self.expel(peer, offence).await,
                Output::Refused(error) => tracing::error!(%error, "own record refused"),
                Output::KeyShared => tracing::error!(
                    "another node uses this node's identity: give each process its own --identity or --state-dir"
                ),
            }
        }
    }

    /// Parts with a peer that went too far, for a while.
    async fn expel(&mut self, peer: NodeId, offence: Offence) {
        let length = self.expulsions.expel(Instant::now(), peer);
        self.net.bar(peer, length, offence.to_string()).await;
    }

    fn tell_account(&mut self) {
        let counters = self.ledger.counters();
        self.account_is_old |= self.account.borrow().counters != counters;
        if self.account_is_old && self.account_told.elapsed() >= ACCOUNT_EVERY {
            self.account_told = Instant::now();
            self.account_is_old = false;
            let offences = self.ledger.offences().map(|(member, counts)| (member, counts.clone())).collect();
            self.account.send_replace(Arc::new(Account { counters, offences, expulsions: self.expulsions.times() }));
        }
    }

    fn tell_decree(&self, decree: SignedDecree) {
        self.edicts.send_replace(Some(edict(decree, &self.ledger, self.started)));
    }

    async fn judge(&mut self, ticket: u64, verdict: Verdict) {
        let Some(receipt) = self.tickets.remove(&ticket) else { return };
        let acceptance = match verdict {
            Verdict::Accept => Acceptance::Accept,
            Verdict::Ignore => Acceptance::Ignore,
            Verdict::Reject => Acceptance::Reject,
        };
        self.net.judge(receipt, acceptance).await;
    }

    fn dial(&mut self, node: NodeId) {
        let (net, opened, cancel) = (self.net.clone(), self.opened_in.clone(), self.cancel.clone());
        self.tasks.spawn(async move {
            let opening = async {
                let peer = peer_of(&node)?;
                timeout(OPEN_LIMIT, net.streams().open(peer, SYNC)).await.ok()?.ok()
            };
            if let Some(stream) = cancel.run_until_cancelled(opening).await {
                // A closed queue means that the node is stopping.
                let _ = opened.send(Opened { peer: node, stream }).await;
            }
        });
    }

    /// The nodes of the ledger may be dialled until they leave. Says what changed since the last view.
    async fn list(&mut self, view: &View) {
        let staying = |(node, entry): &(&NodeId, &Entry)| **node != self.net.node() && !entry.record.statement.leaving;
        let now: BTreeMap<_, _> =
            view.nodes.iter().filter(staying).map(|(node, entry)| (*node, Arc::clone(&entry.record))).collect();
        let is_new = |(node, record): &(&NodeId, &Arc<Record>)| {
            self.listed.get(*node).is_none_or(|known| known.statement.addresses != record.statement.addresses)
        };
        let listed = now.iter().filter(is_new).map(|(node, record)| (*node, record.statement.addresses.clone()));
        let listed: Vec<_> = listed.collect();
        let gone: Vec<_> = self.listed.keys().filter(|node| !now.contains_key(*node)).copied().collect();
        self.listed = now;
        if !listed.is_empty() || !gone.is_empty() {
            self.net.list(listed, gone).await;
        }
    }
}

fn edict(decree: SignedDecree, ledger: &Ledger, started: Instant) -> Edict {
    Edict { decree, grace_ends: ledger.grace_ends().map(|at| started + at) }
}

fn moment(started: Instant) -> Moment {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Moment { mono: started.elapsed(), unix_ms }
}

async fn sleep_until(due: Option<TokioInstant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
