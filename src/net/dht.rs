//! The DHT as a meeting place: the public one, or one that members serve among themselves.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, StreamProtocol, kad, multiaddr::Protocol};

use super::Dht;

/// The DHT's protocol: that of the public one, which edgevpn uses as well.
pub(super) const KADEMLIA: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// Rendezvous kept by a member: the windows of one network, a quarter of an hour of them; and providers of each: its nodes.
const KEYS_MAX: usize = 64;
const PROVIDERS_MAX: usize = 256;

/// The same of an open relay, for all the networks that meet there: some tens of MB.
const OPEN_KEYS_MAX: usize = 1024;
const OPEN_PROVIDERS_MAX: usize = 64;

/// A lookup in the public DHT that has not ended by then is not going to.
const LOOKUP_LIMIT: Duration = Duration::from_secs(60);

/// Where the public DHT is entered: the entry points that its operators publish, which edgevpn and LocalAI use as well.
const ENTRIES: [&str; 5] = [
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
];

/// Kademlia as `dht` wants it, with the entries of the public DHT where that is meant; none where there is to be no DHT.
pub(super) fn behaviour(local: PeerId, dht: Dht) -> Option<kad::Behaviour<kad::store::MemoryStore>> {
    let mode = match dht {
        Dht::Off => return None,
        Dht::Public => kad::Mode::Client,
        // The transport admits members alone inbound, and in a compat network nodes of edgevpn's, which are told apart where
        // they want something kept.
        Dht::Private => kad::Mode::Server,
    };
    let mut kademlia = kademlia(local, store_for_members(), mode);
    if dht == Dht::Public {
        for (peer, address) in entries() {
            kademlia.add_address(&peer, address);
        }
    }
    Some(kademlia)
}

/// Kademlia of an open relay.
pub(super) fn open_behaviour(local: PeerId) -> kad::Behaviour<kad::store::MemoryStore> {
    kademlia(local, store(OPEN_KEYS_MAX, OPEN_PROVIDERS_MAX), kad::Mode::Server)
}

/// What others tell is told as an event, and kept by [`super::providers`].
fn kademlia(
    local: PeerId,
    store: kad::store::MemoryStoreConfig,
    mode: kad::Mode,
) -> kad::Behaviour<kad::store::MemoryStore> {
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_query_timeout(LOOKUP_LIMIT)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // A rendezvous is advertised by hand in each round; the library would republish those of old windows.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None);
    let mut kademlia = kad::Behaviour::with_config(local, kad::store::MemoryStore::with_config(local, store), config);
    kademlia.set_mode(Some(mode));
    kademlia
}

/// What a member keeps.
pub(super) fn store_for_members() -> kad::store::MemoryStoreConfig {
    store(KEYS_MAX, PROVIDERS_MAX)
}

fn store(max_provided_keys: usize, max_providers_per_key: usize) -> kad::store::MemoryStoreConfig {
    kad::store::MemoryStoreConfig {
        // The DHT is a meeting place; values are nobody's business here.
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key,
        max_provided_keys,
    }
}

fn entries() -> impl Iterator<Item = (PeerId, Multiaddr)> {
    ENTRIES.iter().filter_map(|text| {
        let mut address: Multiaddr = text.parse().ok()?;
        match address.pop() {
            Some(Protocol::P2p(peer)) => Some((peer, address)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_an_address_of_a_peer() {
        assert_eq!(entries().count(), ENTRIES.len());
    }
}
