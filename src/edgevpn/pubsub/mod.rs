//! Gossip among the nodes of a compat network: libp2p's pubsub in its simplest form, written to outlive edgevpn's rotation.
//!
//! At each change of the topic a node of edgevpn throws its pubsub away and starts another on the same connections: it opens
//! a new stream to each peer, and resets the one that the peer opened to it, together with what was sent there last. So
//!
//! * a new stream from a peer means that it began anew: the stream to it is opened again as well, with all subscriptions on it
//!   ([`link`]), and what it had subscribed to is forgotten;
//! * the topics of the windows before and after are subscribed beside the current one, so that nothing is missed where clocks
//!   differ.
//!
//! Of a large network, a few are enough to listen to ([`feeds`]).
//!
//! Floodsub (libp2p specs, `pubsub/`) asks for nothing but subscriptions: a router of gossipsub sends a peer that speaks it
//! every message of its topics. What this node passes on in turn is a little late ([`router`]), and so mostly nothing: whoever has
//! sent it a message meanwhile need not be sent it.

pub(super) mod feeds;
pub(super) mod link;
mod replays;
pub(super) mod router;
