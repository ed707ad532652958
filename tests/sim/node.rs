//! A simulated machine: a ledger, its disk, its wall clock, and gossip's memory of what it has seen.

use std::{collections::BTreeMap, time::Duration};

use ed25519_dalek::SigningKey;
use p2p_fed_ledger::{Config, Ledger, Moment, NodeId, Protocol, Service, Statement, message_id};

use crate::chance::Chance;

/// All wall clocks that are right start here.
const START_MS: u64 = 1_800_000_000_000;
/// How long gossip remembers a message.
const SEEN_FOR: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub id: NodeId,
    pub key: SigningKey,
    /// None while it is down.
    pub ledger: Option<Ledger>,
    /// The number on disk.
    pub disk: Option<u64>,
    /// How far its wall clock is off, in milliseconds.
    offset_ms: i64,
    /// Counts its starts.
    pub life: u32,
    /// What it wants to say.
    pub statement: Statement,
    /// The highest number held of each owner in this life.
    pub highest: BTreeMap<NodeId, u64>,
    /// When it is to be woken; an earlier event leaves this as it is.
    pub wake_at: Option<Duration>,
    /// Dies after its next output but the last.
    pub dies_midway: bool,
    seen: BTreeMap<[u8; 16], Duration>,
    seed: u64,
}

impl Node {
    pub(crate) fn new(number: usize, skew: Duration, chance: &mut Chance) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&chance.next().to_be_bytes());
        let key = SigningKey::from_bytes(&secret);
        Self {
            id: key.verifying_key().into(),
            key,
            ledger: None,
            disk: None,
            offset_ms: chance.around_zero(i64::try_from(skew.as_millis()).expect("a short skew")),
            life: 0,
            statement: Statement { name: format!("node-{number}"), ..Statement::default() },
            highest: BTreeMap::new(),
            wake_at: None,
            dies_midway: false,
            seen: BTreeMap::new(),
            seed: chance.next(),
        }
    }

    /// What its clocks say.
    pub(crate) fn moment(&self, now: Duration) -> Moment {
        let true_ms = START_MS + u64::try_from(now.as_millis()).expect("a short run");
        Moment { mono: now, unix_ms: true_ms.saturating_add_signed(self.offset_ms) }
    }

    pub(crate) fn step_clock(&mut self, by_ms: i64) {
        self.offset_ms += by_ms;
    }

    pub(crate) fn boot(&mut self, now: Duration, config: Config) {
        self.life += 1;
        self.seen.clear();
        self.highest.clear();
        self.wake_at = None;
        self.dies_midway = false;
        let seed = self.seed ^ u64::from(self.life);
        self.ledger = Some(Ledger::new(config, self.key.clone(), self.disk, self.moment(now), seed));
    }

    pub(crate) fn offer(&mut self, service: &str) {
        if self.statement.services.iter().all(|offered| offered.name != service) {
            let (name, labels) = (service.to_owned(), BTreeMap::new());
            self.statement.services.push(Service { name, protocol: Protocol::Http, weight: 100, slots: 0, labels });
            self.statement.services.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    /// Whether gossip sees this for the first time in a while.
    pub(crate) fn sees(&mut self, now: Duration, bytes: &[u8]) -> bool {
        self.seen.retain(|_, at| now < *at + SEEN_FOR);
        self.seen.insert(message_id(bytes), now).is_none()
    }
}
