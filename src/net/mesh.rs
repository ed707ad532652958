//! libp2p's gossipsub as the ledger needs it: small, bounded, and hard on whoever passes on what is not valid.
//!
//! **Words.** The *mesh* are the handful of peers to which rumours are pushed. What the others might have missed is
//! advertised to a few of them; sync repairs the rest. A peer's *score* is zero, or negative while what it did wrong is
//! remembered: below zero it is out of the mesh, further down nothing is sent to it, and then nothing is heard from it.
//!
//! **Invariant.** A message is a topic and a payload, nothing else: whoever published it does not sign it, because a rumour
//! is signed by its owner, and who passed it on is known from the connection. Its id is the hash of the payload, so the
//! same rumour from many nodes is one message, and no field is left that a relay could fill with what it likes.
//!
//! **Invariant.** Nothing is passed on before the ledger has found it valid and new.
//!
//! It counts no addresses ([`ip_colocation_factor_weight`](gossipsub::PeerScoreParams) is zero): members prove the token,
//! many live behind one router or on one host, and who makes many identities is held by the ledger's quota and by
//! expulsion.

use std::{collections::BTreeMap, io, time::Duration};

use libp2p::{PeerId, gossipsub};

use super::{
    meter::Meter,
    topics::{Allowed, Filter},
};
use crate::ledger::RUMOUR_MAX;

/// The number is that of the form of messages; the library's own name stands for one with the publisher's signature.
const PROTOCOL: &str = "/p2p-fed/gossip/1";

/// The largest frame. The library compares it with what was read, in which up to 8 KiB of the next frame may be; the rest
/// is for the topic and the frame's own fields.
const FRAME_MAX: usize = RUMOUR_MAX + 8 * 1024 + 1024;

/// Peers in the mesh of a topic: at least, wanted, at most. A change costs a node so many times its rumour, less the one
/// from whom it came; with four, a random graph of a thousand nodes holds together and news crosses it in five hops.
const MESH: (usize, usize, usize) = (4, 5, 7);

/// Peers outside of the mesh that hear of a rumour's id, once, with the next heartbeat: enough to find what the mesh lost
/// within a second, and a sixth of what the rumour itself costs.
const ADVERTISED_TO: usize = 3;

/// Payloads in one frame: this library sends one.
const PAYLOADS_PER_FRAME: usize = 8;

/// Ids that a peer may advertise or ask for between two heartbeats (one second). The ledger hears 50 rumours a second from
/// a peer, and 200 at once.
const IDS_PER_BEAT: usize = 500;

/// Advertisements that a peer may send between two heartbeats: one for each of its topics, and as many again where two
/// heartbeats meet.
const ADVERTISEMENTS_PER_BEAT: usize = 6;

/// Frames that wait to be sent to one peer: the burst after a partition heals. Of the largest they are 14 MiB, for a
/// second, after which they are given up.
const QUEUE: usize = 256;

/// How long an id is remembered. A rumour crosses the network within seconds; the ledger ignores one that comes later.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What an invalid message costs its sender. One is no accident: a node passes on only what it found valid.
const INVALID: f64 = -10.0;

/// After one invalid message nothing is advertised, asked for or published.
const GOSSIP_BELOW: f64 = -5.0;
const PUBLISH_BELOW: f64 = -5.0;

/// After the fifth within a minute or two nothing is heard from it any more. The ledger expels it at about the same time;
/// this is for what it does not see.
const GRAYLIST_BELOW: f64 = -45.0;

/// What is left of a score after a second: half after seventy.
const DECAY: f64 = 0.99;

/// A score that is this close to zero is forgotten: four minutes after one invalid message.
const FORGOTTEN: f64 = -1.0;

/// Peers whose scores are remembered, connected or not, 48 bytes each; the worst stay.
const SCORED: usize = 1024;

/// Gossip as this node runs it.
pub(super) type Gossipsub = gossipsub::Behaviour<Bare, Filter>;

/// Gossip that takes subscriptions to `topics`.
pub(super) fn behaviour(topics: Allowed, meter: Meter) -> io::Result<Gossipsub> {
    let (mesh_low, mesh, mesh_high) = MESH;
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id(PROTOCOL, gossipsub::Version::V1_1)
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| gossipsub::MessageId::new(&crate::ledger::message_id(&message.data)))
        .duplicate_cache_time(REMEMBERED)
        .max_transmit_size(FRAME_MAX)
        .max_publish_messages(PAYLOADS_PER_FRAME)
        .max_control_messages_sent(IDS_PER_BEAT)
        .max_ihave_messages_heartbeat(ADVERTISEMENTS_PER_BEAT)
        .connection_handler_queue_len(QUEUE)
        .mesh_n_low(mesh_low)
        .mesh_n(mesh)
        .mesh_n_high(mesh_high)
        .gossip_lazy(ADVERTISED_TO)
        .gossip_factor(0.0)
        .history_gossip(1)
        // To the mesh, topped up while it is not in place. To all peers, a change would cost as much as there are.
        .flood_publish(false)
        .build()
        .map_err(io::Error::other)?;
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter_and_transform(
        gossipsub::MessageAuthenticity::Anonymous,
        config,
        topics.filter(),
        Bare { meter },
    )
    .map_err(io::Error::other)?;
    let thresholds = gossipsub::PeerScoreThresholds {
        gossip_threshold: GOSSIP_BELOW,
        publish_threshold: PUBLISH_BELOW,
        graylist_threshold: GRAYLIST_BELOW,
        ..gossipsub::PeerScoreThresholds::default()
    };
    gossip.with_peer_score(score_params(), thresholds).map_err(io::Error::other)?;
    Ok(gossip)
}

/// To how many peers a payload goes that is published under `topic` now.
pub(super) fn recipients(gossip: &Gossipsub, topic: &gossipsub::TopicHash) -> usize {
    let (_, wanted, _) = MESH;
    let is_good = |peer| gossip.peer_score(peer).is_none_or(|score| score >= PUBLISH_BELOW);
    let subscribed = gossip.all_peers().filter(|(peer, topics)| topics.contains(&topic) && is_good(peer));
    gossip.mesh_peers(topic).count().max(subscribed.count().min(wanted))
}

/// Only misdeeds count: a ledger is quiet for minutes, so rewards and penalties for traffic would say nothing.
fn score_params() -> gossipsub::PeerScoreParams {
    gossipsub::PeerScoreParams {
        // No topic is scored. The library would keep a counter for each peer and each window for ever; [`Scores`] counts
        // invalid messages in its place, and this is their weight.
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        // Advertised and not sent, or grafted against the rules. A node that was frozen in the middle of a burst owes
        // some, and one that was restarted does not know whom it may not graft yet: ten are free.
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 10.0,
        behaviour_penalty_decay: 0.9,
        // A slow link is no offence. Its queue is bounded, and sync goes at its pace.
        slow_peer_weight: 0.0,
        // What is remembered of a peer that went; it cannot begin anew by coming back.
        retain_score: Duration::from_secs(600),
        ..gossipsub::PeerScoreParams::default()
    }
}

/// Takes payloads as they are, and nothing beside them; counts them, those that came before included.
#[derive(Clone, Debug)]
pub(super) struct Bare {
    meter: Meter,
}

impl gossipsub::DataTransform for Bare {
    fn inbound_transform(&self, raw: gossipsub::RawMessage) -> io::Result<gossipsub::Message> {
        self.meter.gossip_received(raw.data.len());
        if raw.key.is_some() {
            // The library passes it on unread.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message with a key"));
        }
        let gossipsub::RawMessage { source, data, sequence_number, topic, .. } = raw;
        Ok(gossipsub::Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &gossipsub::TopicHash, payload: Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(payload)
    }
}

/// The scores of peers that passed on invalid messages. Pure: the caller says when a second has passed.
#[derive(Debug, Default)]
pub(super) struct Scores {
    below_zero: BTreeMap<PeerId, f64>,
}

impl Scores {
    /// What `peer` passed on was not valid; returns its score.
    pub(super) fn invalid(&mut self, peer: PeerId) -> f64 {
        if self.below_zero.len() >= SCORED && !self.below_zero.contains_key(&peer) {
            let best = self.below_zero.iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
            if let Some(best) = best.map(|(peer, _)| *peer) {
                self.below_zero.remove(&best);
            }
        }
        let score = self.below_zero.entry(peer).or_default();
        *score += INVALID;
        *score
    }

    /// A second has passed. All scores that changed; one that is forgotten is zero.
    pub(super) fn decay(&mut self) -> Vec<(PeerId, f64)> {
        let changed = self.below_zero.iter_mut().map(|(peer, score)| {
            *score *= DECAY;
            if *score > FORGOTTEN {
                *score = 0.0;
            }
            (*peer, *score)
        });
        let changed = changed.collect();
        self.below_zero.retain(|_, score| *score < 0.0);
        changed
    }

    /// The score of a peer that comes back, if there is one.
    pub(super) fn of(&self, peer: &PeerId) -> Option<f64> {
        self.below_zero.get(peer).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_invalid_message_keeps_a_peer_out_for_minutes_and_five_silence_it() {
        let (mut scores, peer) = (Scores::default(), PeerId::random());
        assert_eq!(scores.of(&peer), None);
        let first = scores.invalid(peer);
        assert!(first < PUBLISH_BELOW && first > GRAYLIST_BELOW);
        let seconds = std::iter::from_fn(|| (!scores.decay().is_empty()).then_some(())).count();
        assert!((120..300).contains(&seconds), "{seconds}");
        assert_eq!(scores.of(&peer), None, "forgotten");
        for _ in 0..5 {
            scores.invalid(peer);
        }
        assert!(scores.of(&peer).unwrap() < GRAYLIST_BELOW);
    }

    #[test]
    fn the_last_that_is_told_of_a_forgotten_score_is_zero() {
        let (mut scores, peer) = (Scores::default(), PeerId::random());
        scores.invalid(peer);
        let last = std::iter::from_fn(|| scores.decay().pop()).last();
        assert_eq!(last, Some((peer, 0.0)));
    }

    #[test]
    fn beyond_the_bound_the_best_score_goes() {
        let (mut scores, worst) = (Scores::default(), PeerId::random());
        for _ in 0..3 {
            scores.invalid(worst);
        }
        for _ in 0..2 * SCORED {
            scores.invalid(PeerId::random());
        }
        assert_eq!(scores.below_zero.len(), SCORED);
        assert!(scores.of(&worst).is_some());
    }

    #[test]
    fn what_is_beside_a_payload_is_refused() {
        use gossipsub::DataTransform;
        let bare = Bare { meter: Meter::default() };
        let raw = |key| gossipsub::RawMessage {
            source: None,
            data: vec![7],
            sequence_number: None,
            topic: gossipsub::TopicHash::from_raw("topic"),
            signature: None,
            key,
            validated: false,
        };
        assert_eq!(bare.inbound_transform(raw(None)).unwrap().data, [7]);
        assert!(bare.inbound_transform(raw(Some(vec![0; 9]))).is_err());
    }
}
