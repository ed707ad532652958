//! An export at work: how its backend is, and what it carries.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Export, Health, ModelServer, Target,
    models::Catalogue,
    probe::{Ailment, Pulse, probe},
    tally::Tally,
};
use crate::ledger::{Model, Protocol, Service};

/// One export, its counters, and the state of its backend.
///
/// **Invariant.** `counters.in_flight` is the number of living [`Permit`]s. Counters and tally outlive a change of the
/// export, and permits outlive its removal.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) export: Export,
    pub(super) counters: Arc<Counters>,
    /// What is under way, and what fronts are told of it.
    pub(super) tally: Arc<Tally>,
    /// What the probes say. A tiny critical section: read and replaced, never held across a wait.
    condition: Mutex<Condition>,
    /// Whether the condition is well, for who asks the backend more.
    well: watch::Sender<bool>,
    /// What the backend says of itself. Like the condition.
    catalogue: Mutex<Catalogue>,
    /// Wakes the probe before its time.
    doubt: Notify,
    /// Ends the probe.
    pub(super) retired: CancellationToken,
}

#[derive(Clone, Debug)]
enum Condition {
    /// No probe has come back yet.
    Unknown,
    Well,
    Ailing(Ailment),
}

/// What was done for one service since it is offered.
#[derive(Debug, Default)]
pub(super) struct Counters {
    in_flight: AtomicU32,
    total: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    /// A datagram was lost here.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Leave to connect to the backend, up to the cap: dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit(Arc<Counters>);

/// One service as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportStatus {
    /// The service's name.
    pub service: String,
    /// Its backend.
    pub target: Target,
    /// How the backend is probed.
    pub health: Health,
    /// The backend is well, and offered unless the worker drains.
    pub is_healthy: bool,
    /// Why it is not.
    pub why_not: Option<String>,
    /// Tunnels to the backend now.
    pub in_flight: u32,
    /// Requests under way there, and connections that nobody can look into.
    pub busy: u32,
    /// How many of those it works on at once; 0 where nobody knows.
    pub slots: u32,
    /// Which model server it is, if it was found to be one.
    pub model_server: Option<ModelServer>,
    /// Its models, as they are announced unless those of other services need the room.
    pub models: Vec<Model>,
    /// Tunnels accepted since the service is offered.
    pub total: u64,
    /// Tunnels refused since then, for whatever reason.
    pub refused: u64,
    /// Datagrams dropped since then: longer than the backend's path or the tunnel takes, or refused there.
    pub dropped: u64,
}

impl Offering {
    pub(super) fn new(export: Export, retired: CancellationToken) -> Self {
        let condition = match export.health {
            Health::Off => Condition::Well,
            _ => Condition::Unknown,
        };
        let tally = Tally::new();
        tally.learn(|facts| facts.slots = export.slots(0));
        Self {
            export,
            counters: Arc::default(),
            tally: Arc::new(tally),
            well: watch::Sender::new(matches!(condition, Condition::Well)),
            condition: Mutex::new(condition),
            catalogue: Mutex::default(),
            doubt: Notify::new(),
            retired,
        }
    }

    /// The same service after a change of its export: the counters go on, and what is known of the backend does where it is
    /// still the one that was asked.
    pub(super) fn changed(&self, export: Export, retired: CancellationToken) -> Self {
        let same_target = export.target == self.export.target;
        let same_probe = same_target && export.health == self.export.health;
        let mut fresh = Self::new(export, retired);
        fresh.counters = Arc::clone(&self.counters);
        fresh.tally = Arc::clone(&self.tally);
        if same_probe {
            fresh.set_condition(self.condition());
        }
        if !same_target {
            self.tally.forget_backend();
        }
        // What was said is believed until it is asked again.
        let is_asked = same_target && fresh.is_inspected();
        fresh.learn(if is_asked { self.catalogue() } else { Catalogue::default() });
        fresh
    }

    fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_condition(&self, condition: Condition) {
        self.well.send_replace(matches!(condition, Condition::Well));
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
    }

    pub(super) fn is_well(&self) -> bool {
        matches!(self.condition(), Condition::Well)
    }

    /// Follows [`Self::is_well`].
    pub(super) fn well(&self) -> watch::Receiver<bool> {
        self.well.subscribe()
    }

    /// Whether the backend is asked what it is.
    pub(super) fn is_inspected(&self) -> bool {
        self.export.inspect && self.export.target.protocol() == Protocol::Http
    }

    fn catalogue(&self) -> Catalogue {
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the backend says of itself. Whether that is to be announced anew.
    pub(super) fn learn(&self, catalogue: Catalogue) -> bool {
        self.tally.learn(|facts| facts.slots = self.export.slots(catalogue.slots));
        let mut known = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != catalogue;
        *known = catalogue;
        is_news
    }

    /// What is announced of it.
    pub(super) fn offer(&self) -> Service {
        let Catalogue { models, slots, .. } = self.catalogue();
        self.export.offer(self.export.slots(slots), models)
    }

    /// A tunnel could not reach the backend: ask it now rather than in a while.
    pub(super) fn doubt(&self) {
        if self.is_well() {
            self.doubt.notify_one();
        }
    }

    /// Leave to connect, unless as many have it as may.
    pub(super) fn permit(&self) -> Option<Permit> {
        let cap = match self.export.max_connections {
            0 => u32::MAX,
            cap => cap,
        };
        let one_more = |taken: u32| taken.checked_add(1).filter(|taken| *taken <= cap);
        self.counters.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(Arc::clone(&self.counters)))
    }

    pub(super) fn count_accepted(&self) {
        self.counters.total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> ExportStatus {
        let (is_healthy, why_not) = match self.condition() {
            Condition::Unknown => (false, Some("not probed yet".to_owned())),
            Condition::Well => (true, None),
            Condition::Ailing(ailment) => (false, Some(ailment.to_string())),
        };
        let Catalogue { kind, models, .. } = self.catalogue();
        ExportStatus {
            model_server: kind,
            models,
            service: self.export.service.clone(),
            target: self.export.target.clone(),
            health: self.export.health.clone(),
            is_healthy,
            why_not,
            in_flight: self.counters.in_flight.load(Ordering::Relaxed),
            busy: self.tally.activity().0,
            slots: self.tally.facts().slots,
            total: self.counters.total.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
            dropped: self.counters.dropped(),
        }
    }

    /// Probes the backend until the export is retired, and calls `changed` whenever it becomes well or ceases to be.
    pub(super) async fn watch(&self, changed: impl Fn()) {
        if self.export.health == Health::Off {
            return;
        }
        let Export { service, target, health, .. } = &self.export;
        let mut pulse = Pulse::new(self.is_well());
        loop {
            let answer = tokio::select! {
                () = self.retired.cancelled() => return,
                answer = probe(target, health) => answer,
            };
            let is_well = pulse.heed(&answer);
            match (self.condition(), answer) {
                (Condition::Well, Ok(())) => {}
                (_, Ok(())) => {
                    self.set_condition(Condition::Well);
                    tracing::info!(%service, %target, "service offered");
                    changed();
                }
                // The first failure of a backend that was well so far may be a hiccup.
                (_, Err(_)) if is_well => {}
                (Condition::Ailing(_), Err(ailment)) => self.set_condition(Condition::Ailing(ailment)),
                (_, Err(ailment)) => {
                    tracing::warn!(%service, %target, why = %ailment, "service not offered");
                    self.set_condition(Condition::Ailing(ailment));
                    changed();
                }
            }
            tokio::select! {
                () = self.retired.cancelled() => return,
                () = tokio::time::sleep(pulse.pause()) => {}
                () = self.doubt.notified() => {}
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(max_connections: u32) -> Offering {
        let export = Export { max_connections, health: Health::Off, ..Export::new("llm", "80".parse().unwrap()) };
        Offering::new(export, CancellationToken::new())
    }

    #[test]
    fn permits_are_given_up_to_the_cap_and_come_back() {
        let offering = offering(2);
        let first = offering.permit().unwrap();
        let _second = offering.permit().unwrap();
        assert!(offering.permit().is_none());
        assert_eq!((offering.status().in_flight, offering.status().slots), (2, 2));
        drop(first);
        assert!(offering.permit().is_some());
        assert_eq!(offering.status().in_flight, 1);
    }

    #[test]
    fn without_a_cap_there_is_always_a_permit() {
        let offering = offering(0);
        let permits: Vec<_> = (0..1000).map(|_| offering.permit().unwrap()).collect();
        assert_eq!((offering.status().in_flight, offering.status().slots), (permits.len() as u32, 0));
    }

    #[test]
    fn a_change_keeps_the_counters_and_forgets_a_backend_that_was_not_asked() {
        let before = offering(1);
        let _permit = before.permit().unwrap();
        before.count_accepted();
        let reweighed = Export { weight: 5, max_connections: 2, ..before.export.clone() };
        let after = before.changed(reweighed, CancellationToken::new());
        assert!(after.is_well());
        assert_eq!((after.status().in_flight, after.status().total), (1, 1));
        assert!(after.permit().is_some());
        assert_eq!(after.status().slots, 2);

        let moved = Export { target: "81".parse().unwrap(), health: Health::Tcp, ..before.export.clone() };
        let after = before.changed(moved, CancellationToken::new());
        assert!(!after.is_well());
        assert_eq!(after.status().why_not.as_deref(), Some("not probed yet"));
        assert_eq!(after.status().total, 1);
    }
}
