//! A simulated machine: a ledger, its disk, its clocks, and gossip's memory of what it has seen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use p2p_fed_ledger::{Config, Input, Ledger, Moment, NodeId, Protocol, Service, SignedRecord, Statement, message_id};

use crate::{
    chance::Chance,
    puppet::Lie,
    scenario::{Disk, s},
};

/// All wall clocks that are right start here.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// How long gossip remembers a message.
const SEEN_FOR: Duration = s(60);

/// A gossip payload, and what gossip knows it by.
pub(crate) struct Message {
    pub id: [u8; 16],
    pub bytes: Vec<u8>,
}

pub(crate) struct Node {
    pub id: NodeId,
    pub key: SigningKey,
    /// None while it is down.
    pub ledger: Option<Ledger>,
    /// The number on disk.
    pub seq: Option<u64>,
    /// The newest snapshot on disk, and the one before it.
    pub saved: [Vec<Vec<u8>>; 2],
    saved_at: Option<Duration>,
    /// Its disk takes no writes.
    pub disk_fails: bool,
    /// How far its wall clock is off, in milliseconds.
    offset_ms: i64,
    /// Counts its starts.
    pub life: u32,
    /// When it last started: its monotonic clock counts from there.
    booted: Duration,
    /// Until when it processes nothing.
    pub paused_until: Option<Duration>,
    /// What it wants to say.
    pub statement: Statement,
    /// The highest number held of each owner in this life.
    pub highest: BTreeMap<NodeId, u64>,
    /// When it is to be woken; an earlier event leaves this as it is.
    pub wake_at: Option<Duration>,
    /// Dies after its next output but the last.
    pub dies_midway: bool,
    /// How it lies in sessions, if it does.
    pub lie: Option<Lie>,
    seen: BTreeSet<[u8; 16]>,
    seen_in_order: VecDeque<(Duration, [u8; 16])>,
    seed: u64,
}

/// A service of the usual size.
pub(crate) fn offering(service: &str) -> Service {
    let (name, labels) = (service.to_owned(), BTreeMap::from([("model".to_owned(), "7b-q4".to_owned())]));
    Service { slots: 8, labels, ..Service::new(name, Protocol::Http) }
}

// === impl Message ===

impl Message {
    pub(crate) fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { id: message_id(&bytes), bytes })
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn new(number: usize, skew: Duration, chance: &mut Chance) -> Self {
        let key = chance.key();
        let statement = Statement {
            name: format!("node-{number}"),
            addresses: vec![
                format!("/ip4/10.{}.{}.{}/tcp/4001", number >> 16, number >> 8 & 255, number & 255),
                format!("/ip4/10.{}.{}.{}/udp/4001/quic-v1", number >> 16, number >> 8 & 255, number & 255),
            ],
            ..Statement::default()
        };
        Self {
            id: key.verifying_key().into(),
            key,
            ledger: None,
            seq: None,
            saved: Default::default(),
            saved_at: None,
            disk_fails: false,
            offset_ms: chance.around_zero(i64::try_from(skew.as_millis()).expect("a short skew")),
            life: 0,
            booted: Duration::ZERO,
            paused_until: None,
            statement,
            highest: BTreeMap::new(),
            wake_at: None,
            dies_midway: false,
            lie: None,
            seen: BTreeSet::new(),
            seen_in_order: VecDeque::new(),
            seed: chance.next(),
        }
    }

    /// What its clocks say.
    pub(crate) fn moment(&self, now: Duration) -> Moment {
        let true_ms = START_MS + u64::try_from(now.as_millis()).expect("a short run");
        Moment { mono: now - self.booted, unix_ms: true_ms.saturating_add_signed(self.offset_ms) }
    }

    /// When its ledger is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.ledger.as_ref()?.poll_timeout().map(|due| due + self.booted)
    }

    pub(crate) fn step_clock(&mut self, by_ms: i64) {
        self.offset_ms += by_ms;
    }

    /// Starts with what is left on the disk.
    pub(crate) fn boot(&mut self, now: Duration, config: Config, disk: Disk, chance: &mut Chance) {
        self.life += 1;
        self.booted = now;
        self.paused_until = None;
        self.forget_seen();
        self.highest.clear();
        self.wake_at = None;
        self.dies_midway = false;
        self.disk_fails = false;
        if disk == Disk::Lost {
            self.seq = None;
            self.saved = Default::default();
        }
        let seed = self.seed ^ u64::from(self.life);
        let moment = self.moment(now);
        let mut ledger = Ledger::new(config, self.key.clone(), self.seq, moment, seed);
        let [newest, older] = &self.saved;
        for item in if disk == Disk::Old { older } else { newest } {
            let mut item = item.clone();
            if disk == Disk::Corrupt && chance.hits(0.5) {
                chance.garble(&mut item);
            }
            ledger.restore(moment, &item);
        }
        self.ledger = Some(ledger);
    }

    /// The record that it will publish when it starts now for the first time.
    pub(crate) fn first_record(&self, now: Duration, config: Config) -> SignedRecord {
        let moment = Moment { mono: Duration::ZERO, ..self.moment(now) };
        let mut ledger = Ledger::new(config, self.key.clone(), None, moment, 0);
        ledger.handle(moment, Input::Publish(self.statement.clone()));
        ledger.record(&self.id).expect("it said something").clone()
    }

    /// Writes a snapshot if the last one is that old.
    pub(crate) fn save(&mut self, now: Duration, period: Duration) {
        let moment = self.moment(now);
        let due = self.saved_at.is_none_or(|at| now >= at + period);
        if due
            && !self.disk_fails
            && self.paused(now).is_none()
            && let Some(ledger) = &self.ledger
        {
            self.saved_at = Some(now);
            self.saved.swap(0, 1);
            self.saved[0] = ledger.snapshot(moment).collect();
        }
    }

    /// Until when it processes nothing.
    pub(crate) fn paused(&self, now: Duration) -> Option<Duration> {
        self.paused_until.filter(|until| now < *until)
    }

    /// Whether others can connect to it. What was kept back while it was paused comes first.
    pub(crate) fn answers(&self, now: Duration) -> bool {
        self.ledger.is_some() && self.paused_until.is_none_or(|until| until < now)
    }

    pub(crate) fn offer(&mut self, service: &str) {
        if self.statement.services.iter().all(|offered| offered.name != service) {
            self.statement.services.push(offering(service));
            self.statement.services.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    /// Whether gossip sees this for the first time in a while.
    pub(crate) fn sees(&mut self, now: Duration, message: &Message) -> bool {
        while let Some((at, old)) = self.seen_in_order.front()
            && *at + SEEN_FOR <= now
        {
            self.seen.remove(old);
            self.seen_in_order.pop_front();
        }
        let new = self.seen.insert(message.id);
        if new {
            self.seen_in_order.push_back((now, message.id));
        }
        new
    }

    /// Whether gossip knows it already.
    pub(crate) fn has_seen(&self, message: &Message) -> bool {
        self.seen.contains(&message.id)
    }

    fn forget_seen(&mut self) {
        self.seen.clear();
        self.seen_in_order.clear();
    }
}
