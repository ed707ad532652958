//! Networks with an issuer: who was invited, and to do what.
//!
//! After both ends have proved the token, each shows its credential. It has to follow from the issuer's key, belong to the
//! node at the other end, be neither expired nor revoked, and, if it was for one machine, not be that of another one.
//!
//! **Once.** An invitation for one machine is *spent* on the first node that shows it here, on disk before that node is let
//! in; of two that show it at the same time, one gets it. What others admitted is learnt from the ledger, whose records
//! carry credentials, so within a second or so the invitation is spent everywhere. What this can't prevent: two nodes that
//! do not hear each other, because of that second or of a partition, may each admit another machine. Both stay then, and
//! are shown, for the issuer to ban the wrong one.
//!
//! **Invariant.** [`Guests::granted`] knows a peer's grant only if that peer showed it to this process.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use dashmap::DashMap;
use tokio::sync::Mutex;

use crate::{
    identity::SpentFile,
    ledger::{Credential, Grant, IssuerKey, NetworkId, NodeId, Serial},
};

/// Peers whose grants are remembered, as many as their standings.
const REMEMBERED: usize = super::REMEMBERED;

/// What this node shows and asks for in a network with an issuer. Clones share.
#[derive(Clone, Debug)]
pub struct Guests {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    issuer: IssuerKey,
    network: NetworkId,
    own: Vec<u8>,
    grants: DashMap<NodeId, Grant>,
    /// Written with each decree, read for each admission; never held across an `.await`.
    revoked: RwLock<BTreeSet<Serial>>,
    /// Locked while an invitation is spent, the disk included, so that two admissions can't spend one.
    spent: Mutex<SpentFile>,
}

/// Why a proven member is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// No credential that follows from the issuer's key.
    #[error("it has no invitation of this network's issuer")]
    Uninvited,
    /// The credential is over.
    #[error("its invitation has expired")]
    Expired,
    /// The issuer took it back.
    #[error("its invitation was revoked")]
    Revoked,
    /// It was for one machine, and another one has it.
    #[error("its invitation was for one machine, and another one has used it")]
    Spent,
    /// This end could not write down that the invitation is spent.
    #[error("the disk at the other end is full or broken, so that an invitation for one machine can't be taken")]
    Disk,
    /// A reason of a later version.
    #[error("for a reason this version does not know (code {0})")]
    Other(u8),
}

impl Denial {
    /// As it travels; 0 is none.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Uninvited => 1,
            Self::Expired => 2,
            Self::Revoked => 3,
            Self::Spent => 4,
            Self::Disk => 5,
            Self::Other(code) => code,
        }
    }

    pub(super) fn of_code(code: u8) -> Self {
        match code {
            1 => Self::Uninvited,
            2 => Self::Expired,
            3 => Self::Revoked,
            4 => Self::Spent,
            5 => Self::Disk,
            other => Self::Other(other),
        }
    }
}

impl Guests {
    /// The guests of `issuer`, one of whom this node is by its credential.
    pub fn new(issuer: IssuerKey, network: NetworkId, own: &Credential, spent: SpentFile) -> Self {
        let inner = Inner {
            issuer,
            network,
            own: own.bytes(),
            grants: DashMap::new(),
            revoked: RwLock::default(),
            spent: Mutex::new(spent),
        };
        Self { inner: Arc::new(inner) }
    }

    /// This node's own credential, as it travels.
    pub(super) fn own(&self) -> &[u8] {
        &self.inner.own
    }

    /// What `node` may do by the credential it shows. Spends it if it is for one machine.
    pub(super) async fn admit(&self, node: NodeId, shown: &[u8]) -> Result<(), Denial> {
        let Inner { issuer, network, .. } = &*self.inner;
        let credential = Credential::decode(shown).map_err(|_| Denial::Uninvited)?;
        let grant = credential.verify(issuer, *network, &node).map_err(|_| Denial::Uninvited)?;
        if grant.is_expired(unix_ms()) {
            return Err(Denial::Expired);
        }
        if self.inner.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&grant.serial) {
            return Err(Denial::Revoked);
        }
        if grant.once {
            let mut spent = self.inner.spent.lock().await;
            match spent.holder(&grant.serial) {
                Some(holder) if holder == node => {}
                Some(_) => return Err(Denial::Spent),
                None => spent.spend(grant.serial, node, grant.expires_unix_s).map_err(|error| {
                    tracing::error!(%error, "an invitation for one machine is not taken");
                    Denial::Disk
                })?,
            }
        }
        let grants = &self.inner.grants;
        if grants.len() >= REMEMBERED
            && !grants.contains_key(&node)
            && let Some(victim) = grants.iter().next().map(|entry| *entry.key())
        {
            grants.remove(&victim);
        }
        grants.insert(node, grant);
        Ok(())
    }

    /// Invitations for one machine that the ledger shows to be used. Those already spent stay with whom they are.
    pub async fn learn(&self, used: impl IntoIterator<Item = (Serial, NodeId, u64)>) {
        let mut spent = self.inner.spent.lock().await;
        for (serial, node, expires_unix_s) in used {
            if spent.holder(&serial).is_none()
                && let Err(error) = spent.spend(serial, node, expires_unix_s)
            {
                tracing::warn!(%error, "an invitation used elsewhere is not written down");
                return;
            }
        }
    }

    /// The invitations that are worth nothing any more.
    pub fn revoke(&self, serials: BTreeSet<Serial>) {
        *self.inner.revoked.write().unwrap_or_else(PoisonError::into_inner) = serials;
    }

    /// What `node` was granted, if it showed that here.
    pub fn granted(&self, node: &NodeId) -> Option<Grant> {
        self.inner.grants.get(node).map(|grant| grant.clone())
    }

    /// Whether what `node` was granted counts no more.
    pub fn is_over(&self, node: &NodeId) -> bool {
        self.granted(node).is_none_or(|grant| {
            grant.is_expired(unix_ms())
                || self.inner.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&grant.serial)
        })
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
