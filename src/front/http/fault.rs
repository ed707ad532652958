//! What can go wrong between a request and its response.

use std::time::Duration;

use super::{answer::Answer, intake::Excess};
use crate::{balance::Outcome, front::search::Miss};

/// Why a worker's response could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Nothing of the request reached a backend.
    #[error("{0}")]
    Missed(#[from] Miss),
    /// The tunnel broke before the response began.
    #[error("the connection broke before the response: {error}")]
    Broken { sent: bool, error: hyper::Error },
    /// What came is no response that can be passed on.
    #[error("its response is not valid: {0}")]
    Garbled(String),
    /// Nothing came.
    #[error("nothing for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The client sends a body as it may not.
    #[error("{0}")]
    Excess(Excess),
    /// The client broke off in the middle of its request.
    #[error("the client broke off")]
    Client,
}

impl Fault {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Missed(miss) => miss.outcome(),
            _ => Outcome::Failed,
        }
    }

    /// No backend got anything of the request.
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self, Self::Missed(_) | Self::Broken { sent: false, .. })
    }

    pub(super) fn answer(&self, service: &str) -> Answer {
        match self {
            Self::Missed(miss) if miss.outcome() == Outcome::Full => Answer::busy(service, miss),
            Self::Missed(miss) => Answer::no_worker(service, miss),
            Self::Excess(excess) => Answer::refused(excess.status(), &excess.to_string()),
            Self::Silent(_) => Answer::gateway_timeout(service, self),
            _ => Answer::bad_gateway(service, self),
        }
    }
}
