//! An export at work: how its backend is, and what it carries.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Export, Health, Target,
    probe::{Ailment, Pulse, probe},
};
use crate::tunnel::Load;

/// One export, its counters, and the state of its backend.
///
/// **Invariant.** `counters.in_flight` is the number of living [`Slot`]s. The counters outlive a change of the export,
/// and slots outlive its removal.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) export: Export,
    pub(super) counters: Arc<Counters>,
    /// What the probes say. A tiny critical section: read and replaced, never held across a wait.
    condition: Mutex<Condition>,
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
}

/// A place at the backend: dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot(Arc<Counters>);

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
    /// Tunnels that it takes at once; 0 without a cap.
    pub slots: u32,
    /// Tunnels accepted since the service is offered.
    pub total: u64,
    /// Tunnels refused since then, for whatever reason.
    pub refused: u64,
}

impl Offering {
    pub(super) fn new(export: Export, retired: CancellationToken) -> Self {
        let condition = match export.health {
            Health::Off => Condition::Well,
            _ => Condition::Unknown,
        };
        Self { export, counters: Arc::default(), condition: Mutex::new(condition), doubt: Notify::new(), retired }
    }

    /// The same service after a change of its export: the counters go on, and what is known of the backend does where it is
    /// still the one that was asked.
    pub(super) fn changed(&self, export: Export, retired: CancellationToken) -> Self {
        let same_probe = export.target == self.export.target && export.health == self.export.health;
        let fresh = Self::new(export, retired);
        let condition = if same_probe { Mutex::new(self.condition()) } else { fresh.condition };
        Self { counters: Arc::clone(&self.counters), condition, ..fresh }
    }

    fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_condition(&self, condition: Condition) {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
    }

    pub(super) fn is_well(&self) -> bool {
        matches!(self.condition(), Condition::Well)
    }

    /// A tunnel could not reach the backend: ask it now rather than in a while.
    pub(super) fn doubt(&self) {
        if self.is_well() {
            self.doubt.notify_one();
        }
    }

    /// A place at the backend, unless all are taken.
    pub(super) fn slot(&self) -> Option<Slot> {
        let cap = match self.export.max_connections {
            0 => u32::MAX,
            cap => cap,
        };
        let one_more = |taken: u32| taken.checked_add(1).filter(|taken| *taken <= cap);
        self.counters.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Slot(Arc::clone(&self.counters)))
    }

    pub(super) fn load(&self) -> Load {
        let in_flight = self.counters.in_flight.load(Ordering::Relaxed);
        Load { in_flight, slots: self.export.max_connections, ..Load::default() }
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
        ExportStatus {
            service: self.export.service.clone(),
            target: self.export.target.clone(),
            health: self.export.health.clone(),
            is_healthy,
            why_not,
            in_flight: self.counters.in_flight.load(Ordering::Relaxed),
            slots: self.export.max_connections,
            total: self.counters.total.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
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

impl Drop for Slot {
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
    fn slots_are_taken_up_to_the_cap_and_given_back() {
        let offering = offering(2);
        let first = offering.slot().unwrap();
        let _second = offering.slot().unwrap();
        assert!(offering.slot().is_none());
        assert_eq!(offering.load(), Load { in_flight: 2, slots: 2, ..Load::default() });
        drop(first);
        assert!(offering.slot().is_some());
        assert_eq!(offering.load().in_flight, 1);
    }

    #[test]
    fn without_a_cap_there_is_always_a_slot() {
        let offering = offering(0);
        let slots: Vec<_> = (0..1000).map(|_| offering.slot().unwrap()).collect();
        assert_eq!(offering.load(), Load { in_flight: slots.len() as u32, ..Load::default() });
    }

    #[test]
    fn a_change_keeps_the_counters_and_forgets_a_backend_that_was_not_asked() {
        let before = offering(1);
        let _slot = before.slot().unwrap();
        before.count_accepted();
        let reweighed = Export { weight: 5, max_connections: 2, ..before.export.clone() };
        let after = before.changed(reweighed, CancellationToken::new());
        assert!(after.is_well());
        assert_eq!((after.status().in_flight, after.status().total), (1, 1));
        assert!(after.slot().is_some());

        let moved = Export { target: "81".parse().unwrap(), health: Health::Tcp, ..before.export.clone() };
        let after = before.changed(moved, CancellationToken::new());
        assert!(!after.is_well());
        assert_eq!(after.status().why_not.as_deref(), Some("not probed yet"));
        assert_eq!(after.status().total, 1);
    }
}
