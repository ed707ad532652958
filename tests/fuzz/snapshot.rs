//! What a disk gives back.

use p2p_fed::identity::Snapshot;

/// Bytes of a file before its items, and of an item before its own.
const HEADER: usize = 17;
const HEAD: usize = 8;

pub(crate) fn check(bytes: &[u8]) {
    let Some(snapshot) = Snapshot::decode(bytes.to_vec()) else { return };
    let whole: usize = snapshot.items().map(|item| HEAD + item.len()).sum();
    assert!(HEADER + whole <= bytes.len(), "no byte is in two items");
    assert_eq!(snapshot.damaged() == 0, HEADER + whole == bytes.len(), "what is no item is damage");
    assert!(snapshot.items().all(|item| !item.is_empty()));
}
