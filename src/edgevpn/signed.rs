//! Entries that their owners have signed, as edgevpn ≥ 0.35 wants them where it enforces ownership.
//!
//! An entry's owner is whom its bucket says: the peer in the value, or the key. Whoever else writes there is not believed, as
//! long as the owner lives by its heartbeat. In all other buckets, LocalAI's among them, anybody writes, and the higher version
//! counts.

use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, SigningError},
};

use super::{
    block::Storage,
    entry::{Entry, Seal},
    values::{self, HEALTHCHECK, SERVICES, USERS},
};

/// Seconds that an owner lives after its last heartbeat: four of edgevpn's periods.
const TTL: i64 = 480;

/// Seconds that a deleted entry is kept: three of edgevpn's longest periods. It does not come back then, because only what is
/// there can be deleted.
const TOMBSTONE: i64 = 2700;

/// Bytes of a peer id's text that is looked at.
const MAX_OWNER: usize = 128;

/// Who owns the entries of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The peer that the value names.
    Value,
    /// The peer that is the key.
    Key,
    /// Who signs it first.
    First,
    /// Nobody.
    Open,
}

fn rule(bucket: &str) -> Rule {
    match bucket {
        "machines" | SERVICES | "files" => Rule::Value,
        USERS | HEALTHCHECK | "egress" => Rule::Key,
        "dns" => Rule::First,
        _ => Rule::Open,
    }
}

/// An entry that this node writes, after `before`; one without a value takes it away.
pub(super) fn sign(
    keypair: &Keypair,
    (bucket, key): (&str, &str),
    value: Option<&str>,
    before: Option<&Entry>,
    unix_ns: u64,
) -> Result<Entry, SigningError> {
    let version = before.and_then(|entry| entry.seal.as_ref()).map_or(0, |seal| seal.version);
    let mut seal = Seal {
        owner: keypair.public().to_peer_id().to_string(),
        version: unix_ns.max(version.saturating_add(1)),
        updated_at: i64::try_from(unix_ns / 1_000_000_000).unwrap_or(i64::MAX),
        deleted: value.is_none(),
        signature: Vec::new(),
    };
    let value = value.unwrap_or_default().to_owned();
    seal.signature = keypair.sign(&canonical(bucket, key, &value, &seal))?;
    Ok(Entry { value, seal: Some(seal) })
}

/// Whether `new` takes the place of what `storage` holds, at `unix_s`.
pub(super) fn accepts(storage: &Storage, (bucket, key): (&str, &str), new: &Entry, unix_s: i64) -> bool {
    let old = storage.get(bucket).and_then(|entries| entries.get(key));
    if old == Some(new) {
        return false;
    }
    let version = |entry: &Entry| entry.seal.as_ref().map_or(0, |seal| seal.version);
    if rule(bucket) == Rule::Open {
        return old.is_none_or(|old| version(new) > version(old));
    }
    let Some(seal) = &new.seal else { return false };
    // A signature takes longer to check than all the rest, and most entries of a block are old.
    may_write(storage, (bucket, key), new, seal, old, unix_s) && is_signed(bucket, key, &new.value, seal)
}

/// Whether whoever has signed `new` may write it, if the signature is right.
fn may_write(
    storage: &Storage,
    (bucket, key): (&str, &str),
    new: &Entry,
    seal: &Seal,
    old: Option<&Entry>,
    unix_s: i64,
) -> bool {
    let version = |entry: &Entry| entry.seal.as_ref().map_or(0, |seal| seal.version);
    let may_take = |old: &Entry| match owner(bucket, key, old) {
        Some(owner) if owner == seal.owner => true,
        owner => has_expired(storage, bucket, owner.as_deref(), old, unix_s),
    };
    if seal.deleted {
        return old.is_some_and(|old| may_take(old) && seal.version > version(old));
    }
    if declared(bucket, key, &new.value).is_some_and(|declared| declared != seal.owner) {
        return false;
    }
    let Some(old) = old else { return true };
    if old.is_deleted() {
        return seal.version > version(old);
    }
    let rank = |seal: &Seal| (seal.version, seal.owner.clone(), seal.signature.clone());
    may_take(old) && old.seal.as_ref().is_none_or(|old| rank(seal) > rank(old))
}

/// Whether an entry is `peer`'s by what its bucket goes by.
pub(super) fn is_of(peer: &str, (bucket, key): &(String, String), value: &str) -> bool {
    declared(bucket, key, value).is_some_and(|owner| owner == peer)
}

/// Who owns an entry: who has signed it, or whom an unsigned one names.
fn owner(bucket: &str, key: &str, entry: &Entry) -> Option<String> {
    match &entry.seal {
        Some(seal) if !seal.owner.is_empty() => Some(seal.owner.clone()),
        _ => declared(bucket, key, &entry.value),
    }
}

/// Whom the bucket's rule names: a peer without a name, hence nobody who could sign, where the value holds none.
fn declared(bucket: &str, key: &str, value: &str) -> Option<String> {
    match rule(bucket) {
        Rule::Value => Some(values::read::<values::Service>(value).unwrap_or_default().peer),
        Rule::Key => Some(key.to_owned()),
        Rule::First | Rule::Open => None,
    }
}

/// Whether an owner is gone: by the text of its heartbeat, whoever has signed that; one without a heartbeat is. A heartbeat itself
/// is as old as its signature says. (So edgevpn's own ledger decides.)
fn has_expired(storage: &Storage, bucket: &str, owner: Option<&str>, old: &Entry, unix_s: i64) -> bool {
    let last = match bucket {
        HEALTHCHECK => old.seal.as_ref().map(|seal| seal.updated_at),
        _ => owner.and_then(|owner| storage.get(HEALTHCHECK)?.get(owner)).and_then(|entry| values::beat(&entry.value)),
    };
    is_over(last, unix_s)
}

/// Takes away what was deleted so long ago that nobody brings it back.
pub(super) fn prune(storage: &mut Storage, unix_s: i64) {
    let is_old = |entry: &Entry| {
        entry.seal.as_ref().is_some_and(|seal| seal.deleted && seal.updated_at.saturating_add(TOMBSTONE) < unix_s)
    };
    storage.values_mut().for_each(|entries| entries.retain(|_, entry| !is_old(entry)));
}

/// Whether an owner whose last sign of life is of that second lives no longer.
fn is_over(beat: Option<i64>, unix_s: i64) -> bool {
    beat.is_none_or(|beat| beat.saturating_add(TTL) <= unix_s)
}

pub(super) fn is_signed(bucket: &str, key: &str, value: &str, seal: &Seal) -> bool {
    if seal.owner.len() > MAX_OWNER {
        return false;
    }
    let Ok(owner) = seal.owner.parse::<PeerId>() else { return false };
    // An Ed25519 id holds the key itself; one that hashes it can't be verified by it.
    let Ok(public) = PublicKey::try_decode_protobuf(owner.as_ref().digest()) else { return false };
    public.to_peer_id() == owner && public.verify(&canonical(bucket, key, value, seal), &seal.signature)
}

/// What is signed: each text with its length as eight bytes before it, numbers as eight bytes, all big-endian.
fn canonical(bucket: &str, key: &str, value: &str, seal: &Seal) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bucket.len() + key.len() + seal.owner.len() + value.len() + 49);
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    text(&mut bytes, bucket);
    text(&mut bytes, key);
    text(&mut bytes, &seal.owner);
    bytes.extend_from_slice(&seal.version.to_be_bytes());
    bytes.extend_from_slice(&seal.updated_at.to_be_bytes());
    bytes.push(u8::from(seal.deleted));
    text(&mut bytes, value);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn ns(after: u64) -> u64 {
        (NOW + after) * 1_000_000_000
    }

    fn service(keypair: &Keypair) -> String {
        let peer = keypair.public().to_peer_id().to_string();
        values::text(&values::Service { peer, name: "ssh".into() })
    }

    const SSH: (&str, &str) = (SERVICES, "ssh");

    fn put(storage: &mut Storage, (bucket, key): (&str, &str), entry: Entry) {
        storage.entry(bucket.into()).or_default().insert(key.into(), entry);
    }

    /// A storage in which `keypair` holds `ssh`, and whether it lives.
    fn held(keypair: &Keypair, lives: bool) -> Storage {
        let mut storage = Storage::new();
        put(&mut storage, SSH, sign(keypair, SSH, Some(&service(keypair)), None, ns(0)).unwrap());
        let peer = keypair.public().to_peer_id().to_string();
        let at = Duration::from_secs(NOW + if lives { 1000 } else { 0 });
        let beat = values::text(&values::heartbeat(SystemTime::UNIX_EPOCH + at));
        let beat = sign(keypair, (HEALTHCHECK, &peer), Some(&beat), None, ns(0)).unwrap();
        put(&mut storage, (HEALTHCHECK, &peer), beat);
        storage
    }

    #[test]
    fn the_owner_writes_and_nobody_else_while_it_lives() {
        let (owner, thief) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let later = i64::try_from(NOW).unwrap() + 1000;
        for lives in [true, false] {
            let storage = held(&owner, lives);
            let old = &storage[SERVICES]["ssh"];
            let stolen = sign(&thief, SSH, Some(&service(&thief)), Some(old), ns(1000)).unwrap();
            assert_eq!(accepts(&storage, SSH, &stolen, later), !lives);
            let gone = sign(&thief, SSH, None, Some(old), ns(1000)).unwrap();
            assert_eq!(accepts(&storage, SSH, &gone, later), !lives);
            let renewed = sign(&owner, SSH, Some(&service(&owner)), Some(old), ns(1000)).unwrap();
            assert!(accepts(&storage, SSH, &renewed, later));
            assert!(!accepts(&storage, SSH, old, later), "the same is no news");
        }
    }

    #[test]
    fn an_owner_lives_by_the_instant_that_its_heartbeat_names() {
        let (owner, thief) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let peer = owner.public().to_peer_id().to_string();
        for (beat, now, lives) in [
            ("\"2026-01-01T00:00:00Z\"", 479, true),
            ("\"2026-01-01T00:00:00Z\"", 480, false),
            ("\"2026-01-01T01:00:00+01:00\"", 479, true),
            ("\"2025-12-31T23:00:00Z\"", 10, false),
            ("\"2026-01-01T00:16:40Z\"", 1010, true),
            ("\"soon\"", 10, false),
        ] {
            let mut storage = held(&owner, true);
            let entry = sign(&owner, (HEALTHCHECK, &peer), Some(beat), None, ns(0)).unwrap();
            put(&mut storage, (HEALTHCHECK, &peer), entry);
            let stolen = sign(&thief, SSH, Some(&service(&thief)), None, ns(5)).unwrap();
            let now = i64::try_from(NOW).unwrap() + now;
            assert_eq!(!accepts(&storage, SSH, &stolen, now), lives, "{beat}");
            storage.entry(HEALTHCHECK.into()).or_default().insert(peer.clone(), Entry::legacy(beat.into()));
            assert_eq!(!accepts(&storage, SSH, &stolen, now), lives, "{beat}, and nobody has signed it");
        }
    }

    #[test]
    fn a_service_that_names_nobody_is_not_believed() {
        let (owner, now) = (Keypair::generate_ed25519(), i64::try_from(NOW).unwrap());
        for value in ["\"text\"", "{}", "7"] {
            let entry = sign(&owner, SSH, Some(value), None, ns(0)).unwrap();
            assert!(!accepts(&Storage::new(), SSH, &entry, now), "{value}");
        }
    }

    #[test]
    fn what_is_forged_or_claims_another_is_not_believed() {
        let (owner, thief) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let now = i64::try_from(NOW).unwrap();
        let claim = sign(&thief, SSH, Some(&service(&owner)), None, ns(0)).unwrap();
        assert!(!accepts(&Storage::new(), SSH, &claim, now), "the value names somebody else");
        let mut forged = sign(&owner, SSH, Some(&service(&owner)), None, ns(0)).unwrap();
        assert!(accepts(&Storage::new(), SSH, &forged, now));
        assert!(!accepts(&Storage::new(), (SERVICES, "web"), &forged, now), "signed for another key");
        forged.value.push(' ');
        assert!(!accepts(&Storage::new(), SSH, &forged, now));
        assert!(!accepts(&Storage::new(), SSH, &Entry::legacy(service(&owner)), now), "nobody has signed it");
        let of_key = sign(&thief, (USERS, "somebody"), Some("{}"), None, ns(0)).unwrap();
        assert!(!accepts(&Storage::new(), (USERS, "somebody"), &of_key, now));
    }

    #[test]
    fn what_was_deleted_comes_back_with_a_higher_version_alone() {
        let owner = Keypair::generate_ed25519();
        let now = i64::try_from(NOW).unwrap();
        let mut storage = held(&owner, true);
        let old = storage[SERVICES]["ssh"].clone();
        let gone = sign(&owner, SSH, None, Some(&old), ns(1)).unwrap();
        assert!(accepts(&storage, SSH, &gone, now) && !accepts(&Storage::new(), SSH, &gone, now));
        put(&mut storage, SSH, gone.clone());
        assert!(!accepts(&storage, SSH, &old, now));
        let back = sign(&owner, SSH, Some(&service(&owner)), Some(&gone), ns(0)).unwrap();
        assert!(accepts(&storage, SSH, &back, now), "its version is higher although its clock is not");
    }

    #[test]
    fn in_an_open_bucket_the_higher_version_counts_whoever_says_so() {
        let at = ("federated", "abc");
        let (now, one) = (i64::try_from(NOW).unwrap(), Keypair::generate_ed25519());
        let mut storage = Storage::new();
        let unsigned = Entry::legacy("1".into());
        assert!(accepts(&storage, at, &unsigned, now));
        put(&mut storage, at, unsigned);
        assert!(!accepts(&storage, at, &Entry::legacy("2".into()), now), "version 0 is never higher");
        let signed = sign(&one, at, Some("2"), None, ns(0)).unwrap();
        assert!(accepts(&storage, at, &signed, now));
    }

    #[test]
    fn two_of_one_version_end_the_same_way_in_either_order() {
        let owner = Keypair::generate_ed25519();
        let now = i64::try_from(NOW).unwrap();
        let one = sign(&owner, SSH, Some(&service(&owner)), None, ns(0)).unwrap();
        let other = sign(&owner, SSH, Some(&format!("{} ", service(&owner))), None, ns(0)).unwrap();
        let ends = |first: &Entry, second: &Entry| {
            let mut storage = Storage::new();
            for entry in [first, second] {
                if accepts(&storage, SSH, entry, now) {
                    put(&mut storage, SSH, entry.clone());
                }
            }
            storage
        };
        assert_eq!(ends(&one, &other), ends(&other, &one));
    }
}
