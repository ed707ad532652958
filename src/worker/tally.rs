//! What is under way at one backend, and for whom: what a report says.
//!
//! **Busy** are requests under way, and connections that nobody can look into, over all fronts. It is not the number of
//! tunnels: a front keeps some open for the requests to come. Each tunnel has an [`Account`] that begins and ends what goes
//! through it; dropping the account ends whatever is left.
//!
//! **Invariant.** `busy` is the sum of what all living accounts have under way, and the shares of the fronts add up to it,
//! except for fronts that found no place in the map.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, futures::Notified, watch},
    time::Instant,
};

use super::rate::Rate;
use crate::{ledger::NodeId, tunnel::Load};

/// Fronts that are kept apart at most. Each takes some hundred bytes. Beyond, the one at rest that was not heard for the
/// longest time gives way, and is told of fewer requests received when it comes back.
const FRONTS_MAX: usize = 4096;

/// Subscriptions of one front's node to one service at most: it has as many as it has listeners for it.
const SUBSCRIPTIONS_MAX: u32 = 8;

/// Reports for each millisecond of wall clock between two starts of a worker, so that the first number of a run is above
/// the last one of the run before: more than anybody can make.
const REPORTS_PER_MS: u64 = 1 << 20;

/// How often a response that is still coming is charged to the rate.
const CHARGE_EVERY: Duration = Duration::from_millis(100);

/// What is under way for one service.
#[derive(Debug)]
pub(super) struct Tally {
    /// Tiny critical sections: once per beginning, end and report. Never held across a wait.
    state: Mutex<State>,
    /// Grows with whatever fronts should hear soon: no slot is free, or one is again, another number of slots, a drain.
    urgent: watch::Sender<u64>,
    /// Something began while nothing was under way.
    woken: Notify,
}

#[derive(Debug)]
struct State {
    busy: u32,
    fronts: BTreeMap<NodeId, Share>,
    /// Requests and connections so far.
    total: u64,
    /// Of the last report.
    number: u64,
    rate: Rate,
    facts: Facts,
}

/// What is known of a service beside what the tunnels show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How many requests the backend works on at once; 0 where nobody knows.
    pub(super) slots: u32,
    /// Requests that the backend works on for others than fronts, as it says.
    pub(super) foreign: u16,
    /// Requests that wait inside the backend.
    pub(super) queued: u16,
    /// Share of its cache memory in use, 0 to 100.
    pub(super) cache: Option<u8>,
    /// The worker takes no new work.
    pub(super) draining: bool,
}

/// One front's part.
#[derive(Debug)]
struct Share {
    busy: u32,
    received: u64,
    subscriptions: u32,
    heard: Instant,
}

/// What one tunnel has under way.
#[derive(Debug)]
pub(super) struct Account {
    tally: Arc<Tally>,
    from: NodeId,
    busy: u32,
    /// Those whose time counts: their requests are complete, and the backend is at work on them.
    working: u32,
    stalled: bool,
    /// When `time` was brought up to date.
    since: Instant,
    /// Time of slots and bytes of responses that were not charged yet.
    time: Duration,
    bytes: u64,
}

/// A place among those who are told. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) tally: Arc<Tally>,
    pub(super) from: NodeId,
    pub(super) urgent: watch::Receiver<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State {
            busy: 0,
            fronts: BTreeMap::new(),
            total: 0,
            number: u64::try_from(started.as_millis()).unwrap_or(0).saturating_mul(REPORTS_PER_MS),
            rate: Rate::new(),
            facts: Facts::default(),
        };
        Self { state: Mutex::new(state), urgent: watch::Sender::new(0), woken: Notify::new() }
    }

    /// A fresh report for `front`.
    pub(super) fn load(&self, front: NodeId) -> Load {
        self.state().load(front)
    }

    /// Requests and connections under way, and those so far.
    pub(super) fn activity(&self) -> (u32, u64) {
        let state = self.state();
        (state.busy, state.total)
    }

    /// Whether anything is under way for fronts.
    pub(super) fn is_busy(&self) -> bool {
        self.activity().0 > 0
    }

    /// Resolves when something begins while nothing is under way. It counts from the call on.
    pub(super) fn woken(&self) -> Notified<'_> {
        self.woken.notified()
    }

    /// Changes what is known of the service.
    pub(super) fn learn(&self, change: impl FnOnce(&mut Facts)) {
        let is_urgent = {
            let mut state = self.state();
            let before = state.facts;
            change(&mut state.facts);
            (before.slots, before.draining) != (state.facts.slots, state.facts.draining)
        };
        if is_urgent {
            self.hurry();
        }
    }

    pub(super) fn facts(&self) -> Facts {
        self.state().facts
    }

    /// It is another backend from now on: what was learned of the last one is forgotten.
    pub(super) fn forget_backend(&self) {
        let mut state = self.state();
        state.rate = Rate::new();
        state.facts = Facts { draining: state.facts.draining, ..Facts::default() };
    }

    /// A place among those who are told, if `from` may have another one.
    pub(super) fn subscribe(self: &Arc<Self>, from: NodeId) -> Option<Subscription> {
        let mut state = self.state();
        let share = state.share(from)?;
        share.subscriptions = (share.subscriptions < SUBSCRIPTIONS_MAX).then_some(share.subscriptions + 1)?;
        Some(Subscription { tally: Arc::clone(self), from, urgent: self.urgent.subscribe() })
    }

    fn hurry(&self) {
        self.urgent.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn load(&mut self, front: NodeId) -> Load {
        self.number += 1;
        let share = self.fronts.get(&front);
        Load {
            in_flight: self.under_way(),
            slots: self.facts.slots,
            number: self.number,
            yours: share.map_or(0, |share| share.busy),
            received: share.map_or(0, |share| share.received),
            queued: self.facts.queued,
            rate: self.rate.get(Instant::now()),
            cache: self.facts.cache,
            draining: self.facts.draining,
        }
    }

    /// The share of `front`; none if there is no place for it.
    fn share(&mut self, front: NodeId) -> Option<&mut Share> {
        if self.fronts.len() >= FRONTS_MAX && !self.fronts.contains_key(&front) {
            let at_rest = self.fronts.iter().filter(|(_, share)| share.busy == 0 && share.subscriptions == 0);
            let (oldest, _) = at_rest.min_by_key(|(_, share)| share.heard)?;
            let oldest = *oldest;
            self.fronts.remove(&oldest);
        }
        let now = Instant::now();
        let fresh = Share { busy: 0, received: 0, subscriptions: 0, heard: now };
        let share = self.fronts.entry(front).or_insert(fresh);
        share.heard = now;
        Some(share)
    }

    /// Whoever they are for.
    fn under_way(&self) -> u32 {
        self.busy.saturating_add(self.facts.foreign.into())
    }

    fn is_full(&self) -> bool {
        self.facts.slots > 0 && self.under_way() >= self.facts.slots
    }
}

impl Account {
    /// A tunnel from `from`, with nothing under way.
    pub(super) fn new(tally: Arc<Tally>, from: NodeId) -> Self {
        let since = Instant::now();
        Self { tally, from, busy: 0, working: 0, stalled: false, since, time: Duration::ZERO, bytes: 0 }
    }

    /// One more is under way.
    pub(super) fn begin(&mut self) {
        self.take(true);
    }

    fn take(&mut self, is_new: bool) {
        self.busy += 1;
        let mut state = self.tally.state();
        let was_full = state.is_full();
        state.busy = state.busy.saturating_add(1);
        state.total += u64::from(is_new);
        if let Some(share) = state.share(self.from) {
            share.busy += 1;
            share.received += u64::from(is_new);
        }
        let (is_first, is_full_now) = (state.busy == 1, !was_full && state.is_full());
        drop(state);
        if is_full_now {
            // Other fronts would take the last slot for free until they are told.
            self.tally.hurry();
        }
        if is_first {
            self.tally.woken.notify_waiters();
        }
    }

    /// One of them ended. What there is to tell of it.
    pub(super) fn end(&mut self) -> Load {
        let ended = self.busy.min(1);
        let left = self.working.min(self.busy - ended);
        self.works(left);
        self.charge();
        if left == 0 {
            // It brought nothing, and what it took is nobody else's.
            self.time = Duration::ZERO;
        }
        self.take_back(ended)
    }

    /// All of them ended; what there is to tell of it, if there were any.
    pub(super) fn end_all(&mut self) -> Option<Load> {
        self.works(0);
        self.charge();
        (self.busy > 0).then(|| self.take_back(self.busy))
    }

    /// Nobody can look into it any more: from now on exactly one is under way, and its time does not count, because what is a
    /// rest and what is work can't be told apart.
    pub(super) fn hold(&mut self) {
        self.works(0);
        self.charge();
        match self.busy {
            0 => self.take(false),
            busy => drop(self.take_back(busy - 1)),
        }
    }

    /// From now on the time of this many counts.
    pub(super) fn works(&mut self, working: u32) {
        if working != self.working {
            self.pass();
            self.working = working;
        }
    }

    /// The front takes nothing, or takes bytes again.
    pub(super) fn stalled(&mut self, is_stalled: bool) {
        self.pass();
        self.stalled = is_stalled;
    }

    /// Bytes of responses came.
    pub(super) fn brought(&mut self, bytes: usize) {
        if self.working == 0 {
            return;
        }
        self.bytes += bytes as u64;
        if self.since.elapsed() >= CHARGE_EVERY || self.time >= CHARGE_EVERY {
            self.charge();
        }
    }

    /// A report for the tunnel's front.
    pub(super) fn load(&self) -> Load {
        self.tally.load(self.from)
    }

    fn pass(&mut self) {
        let now = Instant::now();
        if !self.stalled {
            self.time += now.saturating_duration_since(self.since).saturating_mul(self.working);
        }
        self.since = now;
    }

    /// Charges what bytes have come for. Time without any waits for them.
    fn charge(&mut self) {
        self.pass();
        if self.bytes > 0 {
            let (bytes, time) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.time));
            let mut state = self.tally.state();
            let busy = state.busy;
            state.rate.charge(self.since, bytes, time, busy);
        }
    }

    fn take_back(&mut self, ended: u32) -> Load {
        self.busy -= ended;
        let mut state = self.tally.state();
        let was_full = state.is_full();
        state.busy = state.busy.saturating_sub(ended);
        if let Some(share) = state.fronts.get_mut(&self.from) {
            share.busy = share.busy.saturating_sub(ended);
        }
        let is_free_again = was_full && !state.is_full();
        let load = state.load(self.from);
        drop(state);
        if is_free_again {
            self.tally.hurry();
        }
        load
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.charge();
        if self.busy > 0 {
            self.take_back(self.busy);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(share) = self.tally.state().fronts.get_mut(&self.from) {
            share.subscriptions = share.subscriptions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn front(id: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn fronts_are_forgotten_only_when_there_is_no_room_and_nothing_of_theirs_is_left() {
        let tally = Arc::new(Tally::new());
        let mut busy = Account::new(Arc::clone(&tally), front(0));
        busy.begin();
        let _told = tally.subscribe(front(1)).unwrap();
        for id in 2..=FRONTS_MAX as u16 + 50 {
            let mut account = Account::new(Arc::clone(&tally), front(id));
            account.begin();
            account.end();
        }
        assert_eq!(tally.state().fronts.len(), FRONTS_MAX);
        assert_eq!((tally.load(front(0)).yours, tally.load(front(0)).received), (1, 1));
        assert!(tally.state().fronts.contains_key(&front(1)));
        assert_eq!(tally.load(front(2)).received, 0, "the one that was not heard for the longest time");
        assert_eq!(tally.load(front(FRONTS_MAX as u16 + 50)).received, 1);
    }

    #[test]
    fn more_fronts_than_fit_are_counted_all_the_same() {
        let tally = Arc::new(Tally::new());
        let mut accounts: Vec<_> =
            (0..=FRONTS_MAX as u16).map(|id| Account::new(Arc::clone(&tally), front(id))).collect();
        accounts.iter_mut().for_each(Account::begin);
        let last = tally.load(front(FRONTS_MAX as u16));
        assert_eq!((last.in_flight as usize, last.yours), (FRONTS_MAX + 1, 0));
        drop(accounts);
        assert_eq!(tally.activity().0, 0);
    }

    #[test]
    fn another_backend_has_another_rate() {
        let tally = Arc::new(Tally::new());
        tally.state().rate.charge(Instant::now(), 1000, Duration::from_secs(1), 1);
        tally.learn(|facts| *facts = Facts { slots: 4, foreign: 3, queued: 2, cache: Some(9), draining: true });
        assert_eq!(tally.load(front(0)).rate, 1000.0);
        tally.forget_backend();
        let load = tally.load(front(0));
        assert_eq!((load.rate, load.slots, load.in_flight), (0.0, 0, 0));
        assert_eq!((load.queued, load.cache, load.draining), (0, None, true));
    }

    proptest! {
        #[test]
        fn shares_add_up_and_numbers_grow(acts in prop::collection::vec((0..6u8, 0..4usize), 0..200)) {
            let tally = Arc::new(Tally::new());
            let mut accounts: Vec<_> = (0..4).map(|id| Account::new(Arc::clone(&tally), front(id % 3))).collect();
            let mut number = 0;
            for (act, which) in acts {
                match act {
                    0 | 1 => accounts[which].begin(),
                    2 if accounts[which].busy > 0 => drop(Box::new(accounts[which].end())),
                    3 => accounts[which].hold(),
                    4 => accounts[which] = Account::new(Arc::clone(&tally), front(which as u16 % 3)),
                    _ => accounts[which].works(1),
                }
                let busy: u32 = accounts.iter().map(|account| account.busy).sum();
                let loads: Vec<_> = (0..3).map(|id| tally.load(front(id))).collect();
                prop_assert_eq!(loads[0].in_flight, busy);
                prop_assert_eq!(loads.iter().map(|load| load.yours).sum::<u32>(), busy);
                for load in loads {
                    prop_assert!(load.number > number);
                    number = load.number;
                }
            }
        }
    }
}
