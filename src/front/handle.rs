//! The handle on a front.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Config, End, Error, Listener,
    budget::Budget,
    client::Client,
    crowd::Crowd,
    http::Pool,
    inference::Tokens,
    journal::{Entry, Journal},
    replay::Replay,
    scorer::Scorer,
    tls::Tls,
    udp::{Loss, Losses},
};
use crate::{
    balance::{Balancer, Connected, EndpointStatus, InFlight, Outcome},
    ledger::View,
    tunnel::{self, Dial},
};

/// Longest deadline of a drain; a longer one could not be added to the clock.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A cheap handle on a bound front. Its work is done by [`Listener::run`].
#[derive(Clone)]
pub struct Front {
    shared: Arc<Shared>,
}

/// The balancer's time passes so often while somebody waits for it.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What a front has done and is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// HTTP requests and opaque connections so far.
    pub requests_total: u64,
    /// Those under way.
    pub in_flight: usize,
    /// Requests that were sent again after a worker may have got them.
    pub retries_total: u64,
    /// Those that would have been, had there not been too many.
    pub retries_refused_total: u64,
    /// Tokens that model servers said they read.
    pub tokens_read_total: u64,
    /// Tokens that they said they made.
    pub tokens_made_total: u64,
    /// Pieces of streams that said nothing of their tokens: about as many more were made.
    pub tokens_estimated_total: u64,
    /// Datagrams that were dropped, whyever.
    pub datagrams_dropped_total: u64,
}

impl Front {
    /// Binds the listener; clients may connect from here on and are served once [`Listener::run`] runs. Needs a tokio
    /// runtime. The front is the balancer's only clock: nobody else may call it with a `now` of its own.
    ///
    /// # Errors
    /// Its certificate can't be used, or the address can't be bound. Nothing is left behind.
    pub fn bind(config: Config, dial: Arc<dyn Dial>, balancer: Balancer) -> Result<(Self, Listener), Error> {
        let tls = config.tls.as_ref().map(|certificate| Tls::load(certificate, config.mode).map(Arc::new)).transpose();
        let tls = tls.map_err(|source| Error::Certificate { service: config.service.clone(), source })?;
        let (door, address) = Listener::bind(&config)?;
        let scorer = config.scorer.clone().map(Scorer::new);
        let shared = Arc::new(Shared {
            config,
            address,
            tls,
            crowd: Arc::default(),
            balancer,
            scorer,
            dial,
            pool: Pool::default(),
            journal: Journal::default(),
            reconciled: Notify::new(),
            budget: Budget::default(),
            replay: Replay::default(),
            tokens: TokenTotals::default(),
            losses: Losses::default(),
            ticked: AtomicU64::new(0),
            origin: Instant::now(),
            requests_total: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            drain: watch::Sender::new(None),
            ended: watch::Sender::new(None),
            cut: CancellationToken::new(),
        });
        Ok((Self { shared: Arc::clone(&shared) }, Listener::new(door, shared)))
    }

    /// The service that it balances.
    pub fn service(&self) -> &str {
        &self.shared.config.service
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Takes over who offers the service and who is connected. Call it on each new view and each change of connections;
    /// the front's own node belongs among the connected. Idle tunnels to workers that are gone or came back on another
    /// connection are dropped.
    pub fn reconcile(&self, view: &View, connected: &Connected) {
        self.shared.balancer.reconcile(self.shared.now(), view, connected);
        self.shared.pool.sweep(&self.shared);
        self.shared.reconciled.notify_waiters();
    }

    /// Its workers, in order of their ids.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.shared.balancer.endpoints(self.shared.now())
    }

    /// How it picks.
    pub fn balancer(&self) -> &Balancer {
        &self.shared.balancer
    }

    /// What it has done and is doing.
    pub fn counters(&self) -> Counters {
        Counters {
            requests_total: self.shared.requests_total.load(Ordering::Relaxed),
            in_flight: self.shared.in_flight(),
            retries_total: self.shared.budget.granted_total(),
            retries_refused_total: self.shared.budget.refused_total(),
            tokens_read_total: self.shared.tokens.read.load(Ordering::Relaxed),
            tokens_made_total: self.shared.tokens.made.load(Ordering::Relaxed),
            tokens_estimated_total: self.shared.tokens.estimated.load(Ordering::Relaxed),
            datagrams_dropped_total: self.shared.losses.total(),
        }
    }

    /// For each reason, how many datagrams were dropped.
    pub fn datagrams_dropped(&self) -> impl Iterator<Item = (Loss, u64)> {
        self.shared.losses.counted()
    }

    /// The newest requests and connections that ended, at most `count`, oldest first.
    pub fn journal(&self, count: usize) -> Vec<Arc<Entry>> {
        self.shared.journal.newest(count)
    }

    /// No bytes of requests are kept.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.shared.replay.is_whole()
    }

    /// Why its scorer is not asked now, if there is one and it fails.
    pub fn scorer_trouble(&self) -> Option<String> {
        self.shared.scorer.as_ref().and_then(Scorer::trouble)
    }

    /// Returns once some worker is connected and takes new work.
    pub async fn available(&self) {
        // It can't fail: the sender lives as long as the balancer, which we hold.
        let _ = self.shared.balancer.watch().wait_for(|available| *available).await;
    }

    /// Stops accepting, lets what is in flight end, and cuts off the rest after `deadline`. Returns once that is done and
    /// says which end it had. May be called again, also while another call waits: the earlier deadline counts, so a
    /// deadline of zero ends the wait. Dropping the future leaves the front draining.
    pub async fn drain(&self, deadline: Duration) -> End {
        let until = Instant::now() + deadline.min(FOREVER);
        self.shared
            .drain
            .send_modify(|drain| *drain = Some(drain.map_or(until, |earlier: Instant| earlier.min(until))));
        let mut ended = self.shared.ended.subscribe();
        // It can't fail: the sender is in `shared`, which we hold.
        ended.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(End::Drained)
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("service", &self.service())
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// What the tasks of one front share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) balancer: Balancer,
    /// Of the policy `external:URL`.
    pub(super) scorer: Option<Scorer>,
    pub(super) dial: Arc<dyn Dial>,
    pub(super) pool: Pool,
    pub(super) journal: Journal,
    /// Tells that the table may have changed.
    pub(super) reconciled: Notify,
    budget: Budget,
    pub(super) replay: Replay,
    tokens: TokenTotals,
    /// Datagrams that were dropped.
    pub(super) losses: Losses,
    /// When the balancer's time last passed, in milliseconds since `origin`.
    ticked: AtomicU64,
    pub(super) origin: Instant,
    requests_total: AtomicU64,
    in_flight: AtomicUsize,
    /// When the drain ends; `None` while there is none.
    pub(super) drain: watch::Sender<Option<Instant>>,
    pub(super) ended: watch::Sender<Option<End>>,
    /// Cancelled when the drain's deadline has passed.
    pub(super) cut: CancellationToken,
}

/// Tokens of all answers so far.
#[derive(Default)]
struct TokenTotals {
    read: AtomicU64,
    made: AtomicU64,
    estimated: AtomicU64,
}

impl Shared {
    /// Time since the front was bound: the balancer's `now`.
    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Requests and connections under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether one more request may be sent again.
    pub(super) fn may_retry(&self) -> bool {
        self.budget.withdraw(self.now(), self.requests_total.load(Ordering::Relaxed), self.in_flight() as u64)
    }

    /// Counts the tokens of an answer that has ended.
    pub(super) fn count_tokens(&self, tokens: &Tokens) {
        let (read, made) = tokens.counted().unwrap_or_default();
        self.tokens.read.fetch_add(read, Ordering::Relaxed);
        self.tokens.made.fetch_add(made, Ordering::Relaxed);
        self.tokens.estimated.fetch_add(tokens.estimated(), Ordering::Relaxed);
    }

    /// Lets go of what is idle for too long. Called every few seconds.
    pub(super) fn sweep(&self) {
        self.pool.sweep(self);
        self.budget.pass(self.now(), self.requests_total.load(Ordering::Relaxed));
    }

    /// Lets the balancer's time pass. Everybody who waits calls it, and it does something for one of them.
    pub(super) fn tick(&self) {
        let now = self.now();
        let (due, now_ms) = (self.ticked.load(Ordering::Relaxed) + TICK.as_millis() as u64, now.as_millis() as u64);
        // A little early is in time, or the next one would come a whole tick later.
        if now_ms + 1 >= due && self.ticked.fetch_max(now_ms, Ordering::Relaxed) < now_ms {
            self.balancer.tick(now);
        }
    }

    /// Returns once a drain has begun.
    pub(super) async fn draining(&self) {
        // It can't fail: the sender is ours.
        let _ = self.drain.subscribe().wait_for(Option::is_some).await;
    }

    /// Returns once a drain's deadline has passed.
    pub(super) async fn overdue(&self) {
        let mut drain = self.drain.subscribe();
        loop {
            let until = *drain.borrow_and_update();
            let passes = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = drain.changed() => {}
                () = passes => return,
            }
        }
    }

    /// Ends a charge. Idle tunnels to a worker that failed are not worth keeping.
    pub(super) fn finish(&self, flight: InFlight, outcome: Outcome) {
        let node = flight.node();
        flight.finish(self.now(), outcome);
        if matches!(outcome, Outcome::Failed | Outcome::Unreachable) && self.balancer.way_to(self.now(), node).is_none()
        {
            self.pool.forget(node);
        }
    }

    /// Ends the charge of bytes that were spliced. The client is reset unless both directions ended, and only a broken
    /// tunnel is held against the worker.
    pub(super) fn conclude(&self, flight: InFlight, client: &Client, end: &tunnel::End) {
        if !end.is_complete() {
            client.reset().set();
        }
        match end {
            tunnel::End::Complete | tunnel::End::Idle => self.finish(flight, Outcome::Ok),
            tunnel::End::Tunnel(_) => self.finish(flight, Outcome::Failed),
            tunnel::End::Cancelled | tunnel::End::Local(_) => drop(flight),
        }
    }

    /// Counts one request or connection until the guard is dropped.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        self.requests_total.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }
}

/// One request or connection under way.
pub(super) struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
