//! The nodes that the workloads are about: numbered, each offering one service.

use std::{collections::BTreeMap, time::Duration};

use ed25519_dalek::SigningKey;
use p2p_fed::ledger::{NetworkId, NodeId, Protocol, Record, Service, SignedRecord, Statement};

pub(super) const NETWORK: NetworkId = NetworkId([0x11; 16]);
pub(super) const SERVICE: &str = "llm";
/// When all records were written, and what every clock says.
pub(super) const NOW_MS: u64 = 1_800_000_000_000;

pub(super) fn key(number: u32) -> SigningKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&bytes)
}

pub(super) fn node(number: u32) -> NodeId {
    key(number).verifying_key().into()
}

/// A record as long as they usually are, about 300 bytes.
pub(super) fn record(number: u32, seq: u64) -> Record {
    let service = Service {
        slots: 64,
        labels: BTreeMap::from([("model".into(), "a-model-7b".into())]),
        ..Service::new(SERVICE, Protocol::Http)
    };
    let statement = Statement {
        name: format!("node-{number}"),
        addresses: vec!["/ip4/192.0.2.1/tcp/41873".into(), "/ip4/192.0.2.1/udp/41873/quic-v1".into()],
        services: vec![service],
        ..Statement::default()
    };
    let ttl = Duration::from_secs(240);
    Record {
        network: NETWORK,
        generation: 0,
        owner: node(number),
        seq,
        issued_ms: NOW_MS,
        ttl,
        statement,
        credential: None,
    }
}

pub(super) fn signed(number: u32, seq: u64) -> SignedRecord {
    SignedRecord::sign(record(number, seq), &key(number)).expect("a valid record")
}
