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
        matches!(self, Self::Identity(_) | Self::Worker(_))
    }
}
