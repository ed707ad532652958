//! The messages of libp2p's pubsub (specs, `pubsub/README.md`), as far as floodsub knows them.
//!
//! Of an RPC, subscriptions and messages are read, and what gossipsub adds is not. A message counts only with its author's
//! signature (the policy *StrictSign*): of `libp2p-pubsub:` and the protobuf of author, data, number and topic.

use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, SigningError},
};
use prost::{
    DecodeError, Message as _,
    encoding::{DecodeContext, decode_key, skip_field},
};

/// What precedes the bytes that are signed.
const PREFIX: &[u8] = b"libp2p-pubsub:";

/// Bytes of an author's id and of a number at most; more would be no id.
const MAX_ID: usize = 128;

/// Subscriptions and messages in one RPC; a node of edgevpn's sends a few. One of empty ones would take a hundred times its own
/// size when it is read.
const MAX_PARTS: usize = 4096;

/// One RPC.
#[derive(Clone, Debug, Default)]
pub(super) struct Rpc(wire::Rpc);

/// A peer wants what is said on a topic, or no longer does.
#[derive(Clone, Debug)]
pub(super) struct Subscription(wire::Subscription);

/// A message and its author's signature, which may be wrong until it was verified.
#[derive(Clone, Debug)]
pub(super) struct SignedMessage {
    wire: wire::Message,
    author: Option<PeerId>,
}

/// What tells messages apart: the author's bytes and the number's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MessageId(Vec<u8>);

#[cfg(test)]
impl MessageId {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is wrong with an RPC or a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    #[error("it is no RPC of pubsub: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("it has more than {MAX_PARTS} parts")]
    TooManyParts,
    #[error("its author is no peer")]
    Author,
    #[error("its number has not eight bytes")]
    Number,
    #[error("its key is not its author's")]
    Key,
    #[error("its signature is wrong")]
    Signature,
}

impl Rpc {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RpcError> {
        match parts(bytes)? > MAX_PARTS {
            true => Err(RpcError::TooManyParts),
            false => Ok(Self(wire::Rpc::decode(bytes)?)),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    pub(super) fn subscribing(subscriptions: Vec<Subscription>) -> Self {
        let subscriptions = subscriptions.into_iter().map(|subscription| subscription.0).collect();
        Self(wire::Rpc { subscriptions, publish: Vec::new() })
    }

    pub(super) fn saying(message: SignedMessage) -> Self {
        Self(wire::Rpc { subscriptions: Vec::new(), publish: vec![message.wire] })
    }

    pub(super) fn subscriptions(&self) -> impl Iterator<Item = Subscription> + '_ {
        self.0.subscriptions.iter().cloned().map(Subscription)
    }

    pub(super) fn into_messages(self) -> impl Iterator<Item = SignedMessage> {
        self.0.publish.into_iter().map(SignedMessage::of)
    }
}

/// How many parts an RPC has; none of them is taken apart.
fn parts(mut bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (tag, kind) = decode_key(&mut bytes)?;
        skip_field(kind, tag, &mut bytes, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

impl Subscription {
    pub(super) fn new(topic: String, wants: bool) -> Self {
        Self(wire::Subscription { subscribe: Some(wants), topic_id: Some(topic) })
    }

    pub(super) fn topic(&self) -> &str {
        self.0.topic_id()
    }

    pub(super) fn wants(&self) -> bool {
        self.0.subscribe()
    }
}

impl SignedMessage {
    /// A message of this node's; `seqno` is its number, never used twice.
    pub(super) fn sign(keypair: &Keypair, seqno: u64, topic: &str, data: Vec<u8>) -> Result<Self, SigningError> {
        let mut wire = wire::Message {
            from: Some(keypair.public().to_peer_id().to_bytes()),
            data: Some(data),
            seqno: Some(seqno.to_be_bytes().to_vec()),
            topic: Some(topic.to_owned()),
            signature: None,
            key: None,
        };
        wire.signature = Some(keypair.sign(&signed(&wire))?);
        Ok(Self::of(wire))
    }

    fn of(wire: wire::Message) -> Self {
        let author =
            Some(wire.from()).filter(|from| from.len() <= MAX_ID).and_then(|from| PeerId::from_bytes(from).ok());
        Self { wire, author }
    }

    /// Whether its author has signed it.
    pub(super) fn verify(&self) -> Result<(), RpcError> {
        let author = self.author.ok_or(RpcError::Author)?;
        if self.wire.seqno().len() != size_of::<u64>() {
            return Err(RpcError::Number);
        }
        // The key is in the author's id, unless that is a hash of it.
        let key = match &self.wire.key {
            Some(key) if !key.is_empty() => PublicKey::try_decode_protobuf(key).map_err(|_| RpcError::Key)?,
            _ => PublicKey::try_decode_protobuf(author.as_ref().digest()).map_err(|_| RpcError::Key)?,
        };
        if key.to_peer_id() != author {
            return Err(RpcError::Key);
        }
        match key.verify(&signed(&self.wire), self.wire.signature()) {
            true => Ok(()),
            false => Err(RpcError::Signature),
        }
    }

    /// Who says that it is theirs.
    pub(super) fn author(&self) -> Option<PeerId> {
        self.author
    }

    /// Its number among those of its author.
    pub(super) fn seqno(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.wire.seqno().try_into().ok()?))
    }

    pub(super) fn topic(&self) -> &str {
        self.wire.topic()
    }

    pub(super) fn data(&self) -> &[u8] {
        self.wire.data()
    }

    pub(super) fn id(&self) -> MessageId {
        let from = self.wire.from().iter().take(MAX_ID);
        MessageId(from.chain(self.wire.seqno().iter().take(MAX_ID)).copied().collect())
    }
}

fn signed(message: &wire::Message) -> Vec<u8> {
    let bare = wire::Message { signature: None, key: None, ..message.clone() };
    [PREFIX, &bare.encode_to_vec()].concat()
}

/// As on the wire.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Rpc {
        #[prost(message, repeated, tag = "1")]
        pub(super) subscriptions: Vec<Subscription>,
        #[prost(message, repeated, tag = "2")]
        pub(super) publish: Vec<Message>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Subscription {
        #[prost(bool, optional, tag = "1")]
        pub(super) subscribe: Option<bool>,
        #[prost(string, optional, tag = "2")]
        pub(super) topic_id: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Message {
        #[prost(bytes = "vec", optional, tag = "1")]
        pub(super) from: Option<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "2")]
        pub(super) data: Option<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "3")]
        pub(super) seqno: Option<Vec<u8>>,
        #[prost(string, optional, tag = "4")]
        pub(super) topic: Option<String>,
        #[prost(bytes = "vec", optional, tag = "5")]
        pub(super) signature: Option<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "6")]
        pub(super) key: Option<Vec<u8>>,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> SignedMessage {
        SignedMessage::sign(&Keypair::generate_ed25519(), 7, "topic", b"data".to_vec()).unwrap()
    }

    #[test]
    fn a_message_survives_the_wire_with_its_signature() {
        let message = message();
        let rpc = Rpc::decode(&Rpc::saying(message.clone()).encode()).unwrap();
        let read = rpc.into_messages().next().unwrap();
        read.verify().unwrap();
        assert_eq!((read.id(), read.topic(), read.data()), (message.id(), "topic", &b"data"[..]));
        assert_eq!(read.author(), message.author());
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let changes: [fn(&mut wire::Message); 6] = [
            |wire| wire.data = Some(b"dada".to_vec()),
            |wire| wire.topic = Some("tropic".into()),
            |wire| wire.seqno = Some(vec![0; 7]),
            |wire| wire.from = Some(Keypair::generate_ed25519().public().to_peer_id().to_bytes()),
            |wire| wire.key = Some(Keypair::generate_ed25519().public().encode_protobuf()),
            |wire| wire.signature = None,
        ];
        for change in changes {
            let mut wire = message().wire;
            change(&mut wire);
            assert!(SignedMessage::of(wire).verify().is_err());
        }
    }

    #[test]
    fn the_key_may_be_said_beside_the_id() {
        let keypair = Keypair::generate_ed25519();
        let mut wire = SignedMessage::sign(&keypair, 1, "t", Vec::new()).unwrap().wire;
        wire.key = Some(keypair.public().encode_protobuf());
        SignedMessage::of(wire).verify().unwrap();
    }

    #[test]
    fn subscriptions_survive_the_wire() {
        let rpc = Rpc::subscribing(vec![Subscription::new("a".into(), true), Subscription::new("b".into(), false)]);
        let rpc = Rpc::decode(&rpc.encode()).unwrap();
        let read: Vec<_> = rpc.subscriptions().map(|one| (one.topic().to_owned(), one.wants())).collect();
        assert_eq!(read, [("a".to_owned(), true), ("b".to_owned(), false)]);
    }

    #[test]
    fn an_rpc_of_empty_parts_is_refused_before_it_grows() {
        let empty = |count: usize| [2 << 3 | 2, 0].repeat(count);
        assert!(Rpc::decode(&empty(MAX_PARTS)).is_ok());
        assert!(matches!(Rpc::decode(&empty(MAX_PARTS + 1)), Err(RpcError::TooManyParts)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(rpc) = Rpc::decode(&bytes) {
                rpc.subscriptions().for_each(drop);
                rpc.into_messages().for_each(|message| { let _ = (message.verify(), message.id()); });
            }
        }
    }
}
