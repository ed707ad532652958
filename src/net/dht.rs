//! The DHT as a meeting place: the public one, or one that members serve among themselves.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, StreamProtocol, kad, multiaddr::Protocol};

use super::Dht;

/// The DHT's protocol: that of the public one, which edgevpn uses as well.
const KADEMLIA: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// Providers kept for one rendezvous: the nodes of one network.
const PROVIDERS_MAX: usize = 256;

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
        // Members alone ever ask: the transport admits nobody else inbound.
        Dht::Private => kad::Mode::Server,
    };
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_query_timeout(LOOKUP_LIMIT)
        // A rendezvous is advertised by hand in each round; the library would republish those of old windows.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None);
    let store = kad::store::MemoryStoreConfig {
        // The DHT is a meeting place; values are nobody's business here.
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: PROVIDERS_MAX,
        max_provided_keys: 16,
    };
    let mut kademlia = kad::Behaviour::with_config(local, kad::store::MemoryStore::with_config(local, store), config);
    kademlia.set_mode(Some(mode));
    if dht == Dht::Public {
        for (peer, address) in entries() {
            kademlia.add_address(&peer, address);
        }
    }
    Some(kademlia)
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
