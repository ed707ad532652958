//! How many connections each client has.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The clients that are connected. As many entries as connections at most.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Held to count one up or down.
    counts: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One connection of a client, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// Counts a connection of `client`; `None` if it has `limit` already.
    pub(super) fn enter(crowd: &Arc<Self>, client: IpAddr, limit: usize) -> Option<Place> {
        let client = customer(client);
        let mut counts = crowd.counts();
        let count = counts.entry(client).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { crowd: Arc::clone(crowd), client })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        // Nothing in here panics half way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// Whoever has one IPv6 address has the 2⁶⁴ beside it.
fn customer(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_limit_and_leaves_nothing_behind() {
        let crowd = Arc::new(Crowd::default());
        let enter = |address: &str| Crowd::enter(&crowd, address.parse().unwrap(), 2);
        let (first, second) = (enter("10.0.0.1").unwrap(), enter("::ffff:10.0.0.1").unwrap());
        assert!(enter("10.0.0.1").is_none());
        let other = enter("10.0.0.2").unwrap();
        drop(first);
        let third = enter("10.0.0.1").unwrap();
        let neighbours = [enter("2001:db8::1").unwrap(), enter("2001:db8::ffff").unwrap()];
        assert!(enter("2001:db8::2").is_none());
        assert!(enter("2001:db8:0:1::2").is_some());
        drop((second, third, other, neighbours));
        assert!(crowd.counts().is_empty());
    }
}
