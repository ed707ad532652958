//! The gossip topic, which changes with the token's windows.
//!
//! A node is subscribed to the topics of the previous, the current and the next window and publishes under the current
//! one, so that a change finds every mesh in place already. What peers say of their subscriptions is heard for two windows
//! more on either side: one whose clock is ahead subscribes early and says so once, one whose clock is behind unsubscribes
//! late, and a subscription whose end is not heard would count for ever.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use libp2p::gossipsub;

use super::mesh::Gossipsub;
use crate::token::Token;

/// A peer subscribes to three windows of one topic, and four while they change; clocks apart make it one more.
const SUBSCRIPTIONS_MAX: usize = 8;

/// Windows on either side of the current one in which a peer may be.
const WINDOWS_ASIDE: u64 = 2;

/// What gossip asks before it takes a subscription.
pub(super) type Filter = gossipsub::MaxCountSubscriptionFilter<Allowed>;

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
        let aside = WINDOWS_ASIDE.saturating_mul(token.gossip_epochs().interval_s());
        let around = [unix_s.saturating_sub(aside), unix_s, unix_s.saturating_add(aside)];
        let topics = around.map(|at| token.gossip_topics(at));
        self.allowed.allow(topics.iter().flat_map(|windows| windows.iter()).map(|text| topic(text).hash()));
        for old in self.subscribed.iter().filter(|old| !wanted.contains(old)) {
            gossip.unsubscribe(&topic(old));
        }
        for text in &wanted {
            // It cannot fail: the topic is allowed.
            let subscribed = gossip.subscribe(&topic(text)).is_ok();
            debug_assert!(subscribed);
        }
        self.current = Some(topic(&windows.current));
        self.subscribed = wanted;
    }
}

fn topic(text: &str) -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(text)
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
    /// Asked for the end of a subscription as well.
    fn can_subscribe(&mut self, topic: &gossipsub::TopicHash) -> bool {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }
}

#[cfg(test)]
mod tests;
