//! Follows what the network's issuer decides: who is locked out, and the newest generation.
//!
//! ```text
//! decree in force ─▶ ban its nodes, revoke its invitations
//!                 └▶ a new generation? open the secret sealed to this node ─▶ keep it ─▶ record of that generation
//!                                                                          └▶ prove it to every connected member
//! every few seconds: prove it again to those that have not moved; part with whom nothing holds any more
//! ```
//!
//! A connection outlives a rotation: both ends prove the new generation on it. When the grace is over, a peer that has not
//! is parted with, and so is one whose invitation has expired or was revoked.
//!
//! Not here: which records count. The ledger follows the same decree by itself.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    gossip::{Edict, Gossip},
    identity::{Identity, StateDir},
    ledger::{NodeId, Rotation, Serial, View},
    net::{Guests, Net},
    token::{GenerationSecret, Token, seal},
};

/// How often members that have not moved are asked again, and invitations are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A member that was told of a new generation moves within a second; after this one that has not is not going to.
const MOVING: Duration = Duration::from_secs(10);

/// Proofs of a new generation under way at once.
const PROVING: usize = 16;

/// What the task holds.
pub(super) struct Membership {
    pub(super) net: Net,
    pub(super) gossip: Gossip,
    pub(super) guests: Guests,
    pub(super) identity: Identity,
    pub(super) state: Arc<StateDir>,
    pub(super) token: Arc<Token>,
    pub(super) stop: CancellationToken,
}

/// When the generation before the newest one ends for connections.
#[derive(Clone, Copy, Debug)]
enum Older {
    /// There is none.
    None,
    /// Its members may stay until then.
    Until(Instant),
}

impl Membership {
    /// The token of the newest generation that this node was given: in `token`, or by an issuer since.
    pub(super) fn newest(token: Token, state: &StateDir) -> Token {
        match state.load_generation() {
            Some((generation, secret)) if generation > token.generation() => {
                let newest = token.with_generation(generation, GenerationSecret::from_bytes(*secret));
                newest.unwrap_or_else(|error| {
                    tracing::warn!(%error, generation, "the generation kept here is of no use, going by the token");
                    token
                })
            }
            _ => token,
        }
    }

    /// The task.
    pub(super) async fn follow(mut self) -> &'static str {
        let mut edicts = self.gossip.edicts();
        let mut views = self.gossip.views();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        let mut older = Older::None;
        edicts.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = edicts.changed() => {
                    let edict = edicts.borrow_and_update().clone();
                    if let Some(edict) = edict {
                        older = self.obey(&edict, older).await;
                    }
                }
                Ok(()) = views.changed() => {
                    let view = Arc::clone(&views.borrow_and_update());
                    self.guests.learn(used(&view)).await;
                }
                _ = looks.tick() => {
                    self.prove().await;
                    self.part(older).await;
                }
                // The ledger's task has ended, and with it the node.
                else => {
                    stop.cancelled().await;
                    break;
                }
            }
        }
        "membership"
    }

    async fn obey(&mut self, edict: &Edict, older: Older) -> Older {
        let decree = edict.decree.decree();
        tracing::info!(
            number = decree.number,
            banned = decree.banned.len(),
            revoked = decree.revoked.len(),
            generation = decree.rotation.as_ref().map(|rotation| rotation.generation),
            "decree of the issuer in force"
        );
        if decree.banned.contains(&self.net.node()) {
            tracing::error!("the network's issuer has banned this node: no member talks to it any more");
        }
        self.net.ban(decree.banned.iter().copied().filter(|node| *node != self.net.node()).collect()).await;
        self.guests.revoke(decree.revoked.clone());
        let moved = match &decree.rotation {
            Some(rotation) if rotation.generation > self.net.generation() => self.advance(rotation, edict).await,
            _ => None,
        };
        self.part(older).await;
        moved.unwrap_or(older)
    }

    /// Moves to a new generation, if its secret is there for this node.
    async fn advance(&mut self, rotation: &Rotation, edict: &Edict) -> Option<Older> {
        let generation = rotation.generation;
        let opened = seal::open(rotation, self.token.network_id(), &self.identity.signing_key());
        let moved = opened.map_err(|error| error.to_string()).and_then(|secret| {
            let token = self.token.with_generation(generation, secret.clone()).map_err(|error| error.to_string())?;
            Ok((secret, token))
        });
        let (secret, token) = match moved {
            Ok(moved) => moved,
            Err(error) => {
                let hours = rotation.grace.as_secs_f64() / 3600.0;
                tracing::error!(
                    error,
                    generation,
                    grace_hours = format!("{hours:.1}"),
                    "the issuer began a new generation without this node: get a new token for it before the grace ends"
                );
                return None;
            }
        };
        let state = Arc::clone(&self.state);
        let kept = tokio::task::spawn_blocking(move || state.save_generation(generation, secret.as_bytes())).await;
        if let Ok(Err(error)) = kept {
            tracing::error!(%error, generation, "the new generation's secret is not kept: a restart needs the new token");
        }
        let now = Instant::now();
        let until = if rotation.grace.is_zero() { now } else { edict.grace_ends.unwrap_or(now) };
        self.net.advance(&token, until);
        self.token = Arc::new(token);
        tracing::info!(generation, "moved to a new generation of the network");
        self.gossip.move_to(generation).await;
        self.prove().await;
        Some(Older::Until(until.max(now + MOVING)))
    }

    /// Proves the newest generation to all connected members that have not proved it here.
    async fn prove(&self) {
        let behind = self.behind();
        stream::iter(behind)
            .for_each_concurrent(PROVING, |node| async move {
                if let Err(error) = self.net.renew(&node).await {
                    // It has not moved yet, and comes itself when it has.
                    tracing::debug!(peer = node.short(), %error, "newer generation not proved");
                }
            })
            .await;
    }

    /// Connected members that have not proved the newest generation.
    fn behind(&self) -> Vec<NodeId> {
        let newest = self.net.generation();
        let peers = self.net.peers().borrow().clone();
        let is_behind = |node: &NodeId| self.net.generation_of(node).is_some_and(|generation| generation < newest);
        peers.connected.keys().copied().filter(is_behind).collect()
    }

    /// Closes the connections to whom neither a generation nor an invitation holds any more.
    async fn part(&self, older: Older) {
        let behind: BTreeSet<NodeId> = match older {
            Older::Until(until) if until <= Instant::now() => self.behind().into_iter().collect(),
            _ => BTreeSet::new(),
        };
        let peers = self.net.peers().borrow().clone();
        for node in peers.connected.keys().filter(|node| behind.contains(node) || self.guests.is_over(node)) {
            tracing::info!(peer = node.short(), "member no longer admitted");
            self.net.disconnect(*node).await;
        }
    }
}

/// Invitations for one machine that the ledger shows to be used.
fn used(view: &View) -> Vec<(Serial, NodeId, u64)> {
    let shown = view.nodes.iter().filter_map(|(node, entry)| Some((*node, entry.record.credential.as_ref()?)));
    let once =
        shown.map(|(node, credential)| (node, credential.invitation())).filter(|(_, invitation)| invitation.once);
    once.map(|(node, invitation)| (invitation.serial, node, invitation.expires_unix_s)).collect()
}
