//! The secrets by which members know each other: that of the newest generation, and for a while that of the one before.
//!
//! A node shows that it has the newest one, and takes a peer that has either. When the issuer begins a new generation,
//! members move to it one after the other; until the grace is over, who has moved and who has not still admit each other.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use super::proof::Secret;

/// What the node holds now. Clones share.
#[derive(Clone, Debug)]
pub(in crate::net) struct Keyring {
    /// Written once per rotation, read for each admission; never held across an `.await`.
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug)]
struct Inner {
    newest: Arc<Secret>,
    /// The one before, until then.
    older: Option<(Arc<Secret>, Instant)>,
}

impl Keyring {
    pub(in crate::net) fn new(secret: Secret) -> Self {
        Self { inner: Arc::new(RwLock::new(Inner { newest: Arc::new(secret), older: None })) }
    }

    /// The newest secret, and the one before while it still counts.
    pub(super) fn secrets(&self, now: Instant) -> (Arc<Secret>, Option<Arc<Secret>>) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let older = inner.older.as_ref().filter(|(_, until)| now < *until);
        (Arc::clone(&inner.newest), older.map(|(secret, _)| Arc::clone(secret)))
    }

    /// The newest generation.
    pub(in crate::net) fn generation(&self) -> u32 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).newest.generation
    }

    /// Moves on to a newer secret; the one before counts until then. A secret that is not newer changes nothing.
    pub(in crate::net) fn advance(&self, secret: Secret, older_until: Instant) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if secret.generation > inner.newest.generation {
            let older = std::mem::replace(&mut inner.newest, Arc::new(secret));
            inner.older = Some((older, older_until));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ledger::NetworkId, token::AdmissionKey};

    fn secret(generation: u32) -> Secret {
        Secret { network: NetworkId([1; 16]), issuer: None, generation, key: AdmissionKey::from_bytes([2; 32]) }
    }

    #[test]
    fn the_older_one_counts_until_the_grace_is_over() {
        let keyring = Keyring::new(secret(0));
        let now = Instant::now();
        let held = |at| {
            let (newest, older) = keyring.secrets(at);
            (newest.generation, older.map(|older| older.generation))
        };
        assert_eq!(held(now), (0, None));
        keyring.advance(secret(2), now + Duration::from_secs(10));
        assert_eq!(held(now), (2, Some(0)));
        assert_eq!(held(now + Duration::from_secs(10)), (2, None));
        keyring.advance(secret(1), now + Duration::from_secs(99));
        assert_eq!(held(now), (2, Some(0)), "there is no way back");
        assert_eq!(keyring.generation(), 2);
    }
}
