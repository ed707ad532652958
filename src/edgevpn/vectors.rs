//! What edgevpn itself has written, byte for byte: `tests/interop/vectors/` says how it was taken.
//!
//! Both versions are read: the one inside LocalAI, and the first whose entries are signed. Tests of other modules read the
//! document too, where it speaks of what is theirs.

use std::{collections::BTreeMap, slice, time::Duration};

use libp2p::identity::Keypair;
use serde::Deserialize;

use super::{
    block::{Block, Storage},
    entry::Entry,
    envelope,
    replica::{Moment, Replica},
    rpc::{Rpc, SignedMessage, Subscription},
    signed, values,
};
use crate::token::Token;

/// What edgevpn of one version has written.
#[derive(Deserialize)]
pub(crate) struct Vectors {
    edgevpn: String,
    keys: Vec<Key>,
    pub(crate) tokens: Vec<Derived>,
    pub(crate) one_time: Vec<OneTime>,
    sealed: Vec<Sealed>,
    envelopes: Vec<Enveloped>,
    genesis: Hashed,
    blocks: Vec<Hashed>,
    values: Vec<Value>,
    entries: Vec<Signed>,
    rules: Vec<Rule>,
    merges: Vec<Merge>,
    adoptions: Vec<Adoption>,
    wire: Vec<Wire>,
    pub(crate) mdns: Mdns,
}

#[derive(Deserialize)]
struct Key {
    private: String,
    peer: String,
}

#[derive(Deserialize)]
pub(crate) struct Derived {
    pub(crate) token: String,
    pub(crate) unix_s: u64,
    pub(crate) rendezvous: String,
    pub(crate) dht_key: String,
    topic: String,
    sealing_key: String,
    mdns: String,
    max_message_size: usize,
}

#[derive(Deserialize)]
pub(crate) struct OneTime {
    pub(crate) key: String,
    pub(crate) interval: u64,
    pub(crate) length: usize,
    pub(crate) unix_s: u64,
    pub(crate) text: String,
    pub(crate) md5: String,
}

#[derive(Deserialize)]
struct Sealed {
    key: String,
    plain: String,
    sealed: String,
}

#[derive(Deserialize)]
struct Enveloped {
    message: String,
    json: String,
}

#[derive(Deserialize)]
struct Hashed {
    #[serde(default)]
    what: String,
    #[serde(default)]
    unix_ns: u64,
    json: String,
    hash: String,
    hashed: String,
}

#[derive(Deserialize)]
struct Value {
    what: String,
    json: String,
}

#[derive(Deserialize)]
struct Signed {
    what: String,
    bucket: String,
    key: String,
    unix_ns: u64,
    json: String,
    refused: String,
}

#[derive(Deserialize)]
struct Rule {
    what: String,
    before: Storage,
    bucket: String,
    key: String,
    entry: Entry,
    unix_s: i64,
    taken: bool,
}

#[derive(Deserialize)]
struct Merge {
    what: String,
    before: Storage,
    heard: Storage,
    unix_s: u64,
    after: Vec<Storage>,
}

#[derive(Deserialize)]
struct Adoption {
    what: String,
    held: String,
    heard: String,
    taken: bool,
}

#[derive(Deserialize)]
struct Wire {
    ownership: String,
    of: Derived,
    protocols: Vec<String>,
    subscribing: String,
    publishing: String,
    id: String,
    seqno: u64,
    envelope: String,
    zipped: String,
    block: String,
}

#[derive(Deserialize)]
pub(crate) struct Mdns {
    pub(crate) name: String,
    pub(crate) peer: String,
    pub(crate) listens: Vec<String>,
    pub(crate) packets: Vec<String>,
}

/// Of each version.
pub(crate) fn both() -> [Vectors; 2] {
    [
        include_str!("../../tests/interop/vectors/edgevpn-0.34.json"),
        include_str!("../../tests/interop/vectors/edgevpn-0.35.json"),
    ]
    .map(|text| serde_json::from_str(text).unwrap())
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    envelope::unhex(text).unwrap()
}

impl Vectors {
    fn keypair(&self, n: usize) -> Keypair {
        Keypair::from_protobuf_encoding(&unhex(&self.keys[n].private)).unwrap()
    }
}

impl Derived {
    fn token(&self) -> Token {
        Token::parse(&self.token).unwrap()
    }

    /// A token whose rendezvous stands still is refused here.
    pub(crate) fn rotates(&self) -> bool {
        Token::parse(&self.token).is_ok()
    }
}

#[test]
fn both_versions_are_there() {
    assert_eq!(both().map(|vectors| vectors.edgevpn), ["v0.34.0", "v0.35.3"]);
}

#[test]
fn keys_are_read() {
    for vectors in both() {
        for (n, key) in vectors.keys.iter().enumerate() {
            assert_eq!(vectors.keypair(n).public().to_peer_id().to_string(), key.peer);
        }
    }
}

#[test]
fn tokens_yield_the_same_topics_and_keys() {
    for vectors in both() {
        for of in vectors.tokens.iter().filter(|of| of.rotates()) {
            let token = of.token();
            assert_eq!(token.rendezvous(of.unix_s).current, of.rendezvous);
            assert_eq!(token.edgevpn_topic(of.unix_s).current, of.topic);
            assert_eq!(token.sealing_key(of.unix_s).current.as_bytes(), of.sealing_key.as_bytes());
            assert_eq!((token.mdns_name(), token.max_message_size()), (of.mdns.as_str(), of.max_message_size));
        }
    }
}

#[test]
fn only_a_token_without_a_key_for_the_dht_is_refused() {
    for vectors in both() {
        let refused = vectors.tokens.iter().filter_map(|of| Token::parse(&of.token).err()).collect::<Vec<_>>();
        assert!(matches!(refused.as_slice(), [crate::token::Error::Missing("otp.dht.key")]), "{refused:?}");
    }
}

#[test]
fn sealed_texts_open_and_seal_the_same() {
    for vectors in both() {
        for sealed in &vectors.sealed {
            let of = vectors.tokens.iter().find(|of| of.rotates() && of.sealing_key == sealed.key);
            let Some(of) = of else { continue };
            let key = of.token().sealing_key(of.unix_s).current;
            let (plain, bytes) = (unhex(&sealed.plain), unhex(&sealed.sealed));
            assert_eq!(envelope::open_bytes(&key, &bytes), Some(plain.clone()));
            let nonce = *bytes.first_chunk().unwrap();
            let expected = format!(r#"{{"Message":"{}","SenderID":"","Annotations":null}}"#, sealed.sealed);
            assert_eq!(envelope::seal_bytes(&key, nonce, plain), expected.into_bytes());
        }
    }
}

#[test]
fn envelopes_are_read() {
    for vectors in both() {
        for enveloped in &vectors.envelopes {
            assert_eq!(envelope::message(enveloped.json.as_bytes()).unwrap(), enveloped.message);
        }
    }
}

#[test]
fn the_first_block_is_the_same_but_for_its_time() {
    for vectors in both() {
        let block = Block::parse(vectors.genesis.json.as_bytes()).unwrap();
        assert_eq!(Block { timestamp: String::new(), ..block }, Block::genesis());
        assert_eq!(Block::genesis().hash, vectors.genesis.hash);
    }
}

#[test]
fn blocks_are_read_and_written() {
    for vectors in both() {
        for hashed in &vectors.blocks {
            let block = Block::parse(hashed.json.as_bytes()).unwrap();
            assert_eq!(block.hash, hashed.hash);
            // Go escapes more letters than JSON asks for.
            let json = escaped(&block.to_json());
            assert_eq!(json, hashed.json, "{}", hashed.what);
        }
    }
}

/// JSON as Go writes it.
fn escaped(json: &str) -> String {
    ['<', '>', '&', '\u{2028}', '\u{2029}']
        .into_iter()
        .fold(json.to_owned(), |json, letter| json.replace(letter, &format!("\\u{:04x}", u32::from(letter))))
}

#[test]
fn the_next_block_has_the_same_hash() {
    for vectors in both() {
        let structs = vectors.edgevpn != "v0.34.0";
        for hashed in &vectors.blocks {
            let block = Block::parse(hashed.json.as_bytes()).unwrap();
            let before = Block { index: block.index - 1, hash: block.prev_hash.clone(), ..Block::genesis() };
            let next = before.next(hashed.unix_ns, block.storage.clone());
            assert_eq!(next.timestamp, block.timestamp);
            let printed = super::block::printed(&block.storage, structs);
            assert_eq!(format!("{}{}{printed}{}", block.index, block.timestamp, block.prev_hash), hashed.hashed);
            // One of 0.35 prints structs even where nobody signs; nobody verifies it.
            if block.is_signed() || !structs {
                assert_eq!(next, block, "{}", hashed.what);
            }
        }
    }
}

#[test]
fn values_are_read_and_written() {
    fn same<T: serde::Serialize + for<'a> Deserialize<'a>>(json: &str) {
        assert_eq!(values::text(&values::read::<T>(json).unwrap()), json);
    }
    for vectors in both() {
        for value in &vectors.values {
            match value.what.as_str() {
                "service" => same::<values::Service>(&value.json),
                "user" => same::<values::User>(&value.json),
                "node_data" => same::<values::NodeData>(&value.json),
                "heartbeat" => {
                    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600);
                    assert_eq!(values::text(&values::heartbeat(at)), value.json);
                }
                what => panic!("{what}"),
            }
        }
    }
}

#[test]
fn entries_are_read_and_written() {
    for vectors in both() {
        for signed in &vectors.entries {
            let entry: Entry = serde_json::from_str(&signed.json).unwrap();
            assert_eq!(escaped(&serde_json::to_string(&entry).unwrap()), signed.json, "{}", signed.what);
        }
    }
}

#[test]
fn signatures_are_verified_and_made_the_same() {
    for vectors in both() {
        let owner = vectors.keypair(0);
        let mut before: BTreeMap<(&str, &str), Entry> = BTreeMap::new();
        for signed in &vectors.entries {
            let (at, what) = ((signed.bucket.as_str(), signed.key.as_str()), &signed.what);
            let entry: Entry = serde_json::from_str(&signed.json).unwrap();
            let seal = entry.seal.as_ref().unwrap();
            assert_eq!(signed::is_signed(at.0, at.1, &entry.value, seal), signed.refused.is_empty(), "{what}");
            if signed.refused.is_empty() {
                let value = Some(entry.value.as_str()).filter(|_| !entry.is_deleted());
                let ours = signed::sign(&owner, at, value, before.get(&at), signed.unix_ns).unwrap();
                assert_eq!(ours, entry, "{what}");
                before.insert(at, entry);
            }
        }
    }
}

#[test]
fn entries_are_believed_by_the_same_rules() {
    for vectors in both() {
        let wrong: Vec<_> = vectors
            .rules
            .iter()
            .filter(|rule| {
                let at = (rule.bucket.as_str(), rule.key.as_str());
                signed::accepts(&rule.before, at, &rule.entry, rule.unix_s) != rule.taken
            })
            .map(|rule| (rule.what.as_str(), rule.taken))
            // What an owner had not signed it may sign at any time, as from 0.35.4 on. Before, it is refused while it lives.
            .filter(|(what, taken)| !what.ends_with("signs an unsigned entry") || *taken)
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn blocks_are_merged_to_the_same() {
    for merge in both().iter().flat_map(|vectors| &vectors.merges) {
        let at = Moment { now: Duration::from_secs(9), unix_ns: merge.unix_s * 1_000_000_000 };
        let mut replica = Replica::new(Keypair::generate_ed25519());
        replica.hear(at, Block::genesis().next(1, merge.before.clone()), false);
        replica.hear(at, Block::genesis().next(2, merge.heard.clone()), false);
        assert_eq!(slice::from_ref(replica.storage()), merge.after, "{}", merge.what);
    }
}

#[test]
fn blocks_without_ownership_take_each_others_place_by_the_same_rules() {
    let at = Moment { now: Duration::from_secs(9), unix_ns: 1 };
    for vectors in both() {
        for adoption in &vectors.adoptions {
            let mut replica = Replica::new(Keypair::generate_ed25519());
            replica.hear(at, Block::parse(adoption.held.as_bytes()).unwrap(), false);
            let heard = Block::parse(adoption.heard.as_bytes()).ok();
            let changed = heard.clone().is_some_and(|heard| replica.hear(at, heard, false).changed);
            // 0.35 reads signed entries without ownership too; 0.34 does not, and goes first where both may be.
            let taken = adoption.taken && !heard.as_ref().is_some_and(Block::is_signed);
            assert_eq!(changed, taken, "{} to {}", adoption.what, vectors.edgevpn);
            assert_eq!(heard.as_ref() == Some(replica.current()), taken || adoption.what == "the same");
        }
    }
}

#[test]
fn subscriptions_of_a_running_node_are_read() {
    for vectors in both() {
        for wire in &vectors.wire {
            let bytes = unhex(&wire.subscribing);
            let rpc = Rpc::decode(&bytes).unwrap();
            let told: Vec<_> = rpc.subscriptions().map(|one| (one.topic().to_owned(), one.wants())).collect();
            assert_eq!(told, [(wire.of.token().edgevpn_topic(wire.of.unix_s).current, true)]);
            let ours = Rpc::subscribing(vec![Subscription::new(wire.of.topic.clone(), true)]).encode();
            // After two bytes of tag and length; what go-libp2p adds at the end is read by nobody here.
            assert!(bytes[2..].starts_with(&ours[2..]), "{bytes:?}");
            assert!(wire.protocols.iter().any(|protocol| protocol == "/floodsub/1.0.0"), "{:?}", wire.protocols);
        }
    }
}

#[test]
fn messages_of_a_running_node_are_read_and_made_the_same() {
    for vectors in both() {
        let keypair = vectors.keypair(2);
        for wire in &vectors.wire {
            let (bytes, what) = (unhex(&wire.publishing), &wire.ownership);
            let message = Rpc::decode(&bytes).unwrap().into_messages().next().unwrap();
            message.verify().unwrap();
            assert_eq!(message.author(), Some(keypair.public().to_peer_id()));
            assert_eq!(message.id().as_bytes(), unhex(&wire.id));
            assert_eq!((message.topic(), message.data()), (wire.of.topic.as_str(), wire.envelope.as_bytes()));
            let ours = SignedMessage::sign(&keypair, wire.seqno, &wire.of.topic, message.data().to_vec()).unwrap();
            assert_eq!(Rpc::saying(ours).encode(), bytes, "{what}");
        }
    }
}

#[test]
fn what_a_running_node_says_is_opened_and_believed() {
    for vectors in both() {
        let peer = vectors.keypair(2).public().to_peer_id().to_string();
        for wire in &vectors.wire {
            let keys = wire.of.token().sealing_key(wire.of.unix_s);
            let plain = envelope::open(&keys, wire.envelope.as_bytes(), envelope::MAX_BLOCK).unwrap();
            assert!(!plain.is_kin);
            assert_eq!(String::from_utf8(plain.plain.clone()).unwrap(), wire.block);
            let sealed = unhex(&envelope::message(wire.envelope.as_bytes()).unwrap());
            let ours = envelope::seal_bytes(&keys.current, *sealed.first_chunk().unwrap(), unhex(&wire.zipped));
            assert_eq!(String::from_utf8(ours).unwrap(), wire.envelope);

            let block = Block::parse(&plain.plain).unwrap();
            assert_eq!(block.to_json(), wire.block);
            assert_eq!(block.is_signed(), wire.ownership == "enforce");
            let now = i64::try_from(wire.of.unix_s).unwrap();
            let mut storage = Storage::new();
            for (bucket, entries) in &block.storage {
                for (key, entry) in entries {
                    assert!(
                        !block.is_signed() || signed::accepts(&storage, (bucket, key), entry, now),
                        "{bucket} {key}"
                    );
                    storage.entry(bucket.clone()).or_default().insert(key.clone(), entry.clone());
                }
            }
            let (name, entry) = storage[values::SERVICES].iter().next().unwrap();
            let service = values::Service { peer: peer.clone(), name: name.clone() };
            assert_eq!(entry.value, values::text(&service));
            let data: values::NodeData = values::read(&storage["federated"][name].value).unwrap();
            assert_eq!(values::text(&data), storage["federated"][name].value);
            let user: values::User = values::read(&storage[values::USERS][&peer].value).unwrap();
            assert_eq!(user.peer, peer);
            let beat: String = values::read(&storage[values::HEALTHCHECK][&peer].value).unwrap();
            assert!(beat.ends_with('Z') && beat.len() == "2026-01-01T00:00:00Z".len(), "{beat}");
        }
    }
}
