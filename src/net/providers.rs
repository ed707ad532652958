//! Who told a server of the DHT that it can be found under a key, and when that is forgotten.
//!
//! Rendezvous rotate, so that keys grow old every few minutes and new ones come. The library's store takes so many keys and
//! no more, and forgets the old ones only where records are published anew by it, which ours are not: after some windows it was full
//! of what nobody looks for, and took no new one. So keys are swept out here.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use libp2p::kad::{
    self, RecordKey,
    store::{MemoryStore, RecordStore},
};

/// How long a provider is kept that does not tell again. Nodes tell each five minutes at least.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(60);

/// Addresses of one provider that are kept.
const PLACES: usize = 8;

/// Keeps what others tell in the store of this node.
#[derive(Debug)]
pub(super) struct Providers {
    keys: HashSet<RecordKey>,
    swept: Instant,
}

impl Providers {
    pub(super) fn new(now: Instant) -> Self {
        Self { keys: HashSet::new(), swept: now }
    }

    /// A peer can be found under a key.
    pub(super) fn tell(&mut self, now: Instant, store: &mut MemoryStore, record: kad::ProviderRecord) {
        self.sweep(now, store);
        let mut record = kad::ProviderRecord { expires: Some(now + LIFE), ..record };
        record.addresses.truncate(PLACES);
        let key = record.key.clone();
        match store.add_provider(record) {
            Ok(()) => drop(self.keys.insert(key)),
            Err(error) => tracing::debug!(%error, "a rendezvous was not kept"),
        }
    }

    /// Forgets what is old. Its cost is that of one look at everything, so it is done now and then.
    fn sweep(&mut self, now: Instant, store: &mut MemoryStore) {
        if now < self.swept + SWEEP {
            return;
        }
        self.swept = now;
        self.keys.retain(|key| {
            let (old, fresh): (Vec<_>, Vec<_>) =
                store.providers(key).into_iter().partition(|provider| provider.is_expired(now));
            for provider in &old {
                store.remove_provider(key, &provider.provider);
            }
            !fresh.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use libp2p::{Multiaddr, PeerId};

    use super::*;
    use crate::net::dht;

    fn record(key: u32, provider: PeerId) -> kad::ProviderRecord {
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        kad::ProviderRecord::new(key.to_be_bytes().to_vec(), provider, vec![address; 100])
    }

    /// A relay was no meeting place any more after sixteen windows, an hour and a half.
    #[test]
    fn the_thousandth_window_is_kept_like_the_first() {
        let mut now = Instant::now();
        let mut store = MemoryStore::with_config(PeerId::random(), dht::store_for_members());
        let mut providers = Providers::new(now);
        let members: Vec<_> = (0..5).map(|_| PeerId::random()).collect();
        for window in 0..1000u32 {
            for member in &members {
                providers.tell(now, &mut store, record(window, *member));
                // Another's clock is behind.
                providers.tell(now, &mut store, record(window.saturating_sub(1), *member));
            }
            let kept = store.providers(&RecordKey::from(window.to_be_bytes().to_vec()));
            assert_eq!(kept.len(), members.len(), "window {window}");
            assert!(kept.iter().all(|provider| provider.addresses.len() == PLACES));
            now += Duration::from_secs(360);
        }
    }
}
