//! The gossip topic, which changes with the token's windows.
//!
//! A node is subscribed to the topics of the previous, the current and the next window and publishes under the current
//! one, so that a change finds every mesh in place already. Subscriptions of peers are accepted one window further: a peer
//! whose clock is ahead sends its subscription once, and would not be heard again.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use libp2p::gossipsub;

use crate::token::Token;

/// A peer subscribes to three windows of one topic, and four while they change.
const SUBSCRIPTIONS_MAX: usize = 8;

/// Gossip as this node runs it.
pub(super) type Gossipsub = gossipsub::Behaviour<gossipsub::IdentityTransform, Filter>;

type Filter = gossipsub::MaxCountSubscriptionFilter<Allowed>;

/// Where this node listens and publishes now.
#[derive(Debug, Default)]
pub(super) struct Topics {
    allowed: Allowed,
    subscribed: Vec<String>,
    current: Option<gossipsub::IdentTopic>,
}

impl Topics {
    /// What peers may subscribe to, as it changes.
    pub(super) fn allowed(&self) -> Allowed {
        self.allowed.clone()
    }

    /// The topic to publish under; none before the first [`Self::turn`].
    pub(super) fn current(&self) -> Option<gossipsub::IdentTopic> {
        self.current.clone()
    }

    /// Follows the windows at `unix_s`.
    pub(super) fn turn(&mut self, gossip: &mut Gossipsub, token: &Token, unix_s: u64) {
        let windows = token.gossip_topics(unix_s);
        let wanted: Vec<String> = windows.iter().cloned().collect();
        if wanted == self.subscribed {
            return;
        }
        let ahead = token.gossip_topics(token.gossip_epochs().next_change(unix_s)).next;
        self.allowed.allow(wanted.iter().chain([&ahead]).map(|text| topic(text).hash()));
        for old in self.subscribed.iter().filter(|old| !wanted.contains(old)) {
            gossip.unsubscribe(&topic(old));
        }
        for text in &wanted {
            // Neither can fail: the topic is allowed, and scoring is on with valid parameters.
            let subscribed = gossip.subscribe(&topic(text)).is_ok();
            let scored = gossip.set_topic_params(topic(text), scores()).is_ok();
            debug_assert!(subscribed && scored);
        }
        self.current = Some(topic(&windows.current));
        self.subscribed = wanted;
    }
}

fn topic(text: &str) -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(text)
}

/// Only invalid messages count: a ledger is quiet for minutes, so the rewards and penalties for traffic say nothing.
fn scores() -> gossipsub::TopicScoreParams {
    gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..gossipsub::TopicScoreParams::default()
    }
}

/// The topics that a peer may name.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// Written once per window, read for each subscription; never held across an `.await`.
    topics: Arc<RwLock<HashSet<gossipsub::TopicHash>>>,
}

impl Allowed {
    /// The filter that gossip asks.
    pub(super) fn filter(self) -> Filter {
        gossipsub::MaxCountSubscriptionFilter {
            filter: self,
            max_subscribed_topics: SUBSCRIPTIONS_MAX,
            max_subscriptions_per_request: SUBSCRIPTIONS_MAX,
        }
    }

    fn allow(&self, topics: impl IntoIterator<Item = gossipsub::TopicHash>) {
        *self.topics.write().unwrap_or_else(PoisonError::into_inner) = topics.into_iter().collect();
    }
}

impl gossipsub::TopicSubscriptionFilter for Allowed {
    fn can_subscribe(&mut self, topic: &gossipsub::TopicHash) -> bool {
        // A peer whose clock is ahead may name a window that is not known here yet; it subscribes again when it is.
        self.topics.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }
}
