//! How many inbound connections may be proving themselves at once.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Unproven inbound connections in total. Each may hold one stream's window; members need milliseconds.
const TOTAL: usize = 32;

/// From one address. Several nodes behind one router arrive at once; a scanner is held to these.
const PER_ADDRESS: usize = 4;

/// From the loopback addresses: all processes of this host share them.
const PER_LOOPBACK: usize = 16;

/// Counts inbound connections that have not proved the token yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Held for a few map operations, never across an `.await`.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Pending {
    /// A place for one more connection from `address`, or none. Dropping the place gives it back.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = if address.is_loopback() { PER_LOOPBACK } else { PER_ADDRESS };
        let here = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.total >= TOTAL || here >= allowed {
            return None;
        }
        counts.total += 1;
        counts.by_address.insert(address, here + 1);
        Some(Place { pending: Arc::clone(self), address })
    }
}

/// One connection's place among the pending.
#[derive(Debug)]
pub(super) struct Place {
    pending: Arc<Pending>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.pending.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_four_and_all_together_thirty_two() {
        let pending = Arc::new(Pending::default());
        let one: IpAddr = "203.0.113.1".parse().unwrap();
        let mut places: Vec<_> = (0..4).map(|_| pending.enter(one).unwrap()).collect();
        assert!(pending.enter(one).is_none());
        for host in 2..9 {
            places.extend((0..4).map(|_| pending.enter(IpAddr::from([203, 0, 113, host])).unwrap()));
        }
        assert!(pending.enter("203.0.113.99".parse().unwrap()).is_none(), "the 33rd");
        places.clear();
        assert!(pending.enter(one).is_some());
        assert!(pending.counts.lock().unwrap().by_address.is_empty());
    }
}
