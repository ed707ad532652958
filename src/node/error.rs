//! Why a node does not start, or does not go on.

use crate::{api, front, identity, net, worker};

/// Why a node does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its files.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// Its exports.
    #[error(transparent)]
    Worker(#[from] worker::ExportError),
    /// A listener.
    #[error(transparent)]
    Front(#[from] front::Error),
    /// The control socket.
    #[error(transparent)]
    Api(#[from] api::BindError),
    /// The network.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// The network admits by invitation, and the token carries none.
    #[error("this network admits by invitation and the token has none: ask its issuer for `p2p-fed token invite`")]
    Uninvited,
    /// The invitation does not let the node offer this service.
    #[error(
        "the invitation does not let this node expose {service:?} (it lets it {granted}): ask the issuer for another"
    )]
    MayNotExpose {
        /// The service.
        service: String,
        /// What it does let the node do.
        granted: String,
    },
    /// The invitation does not let the node balance services.
    #[error("the invitation does not let this node serve (it lets it {granted}): ask the issuer for another")]
    MayNotServe {
        /// What it does let the node do.
        granted: String,
    },
    /// The invitation does not let the node be a relay.
    #[error("the invitation does not let this node be a relay (it lets it {granted}): ask the issuer for another")]
    MayNotRelay {
        /// What it does let the node do.
        granted: String,
    },
    /// A task ended by itself; the node cannot go on without it.
    #[error("the task {0:?} ended unexpectedly; this is a bug")]
    TaskEnded(&'static str),
    /// A task panicked; the node cannot go on without it.
    #[error("a task failed: {0}; this is a bug")]
    TaskFailed(String),
}

impl Error {
    /// The user asked for something that cannot be; nothing was tried. Otherwise the world did not let it be.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Identity(_)
                | Self::Worker(_)
                | Self::Uninvited
                | Self::MayNotExpose { .. }
                | Self::MayNotServe { .. }
                | Self::MayNotRelay { .. }
        )
    }
}
