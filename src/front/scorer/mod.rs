//! The policy `external:URL`: a program of the user's own says who gets a request.
//!
//! For each pick the front tells the **scorer** who could have the request and what it knows of them, and picks the one
//! with the least score, as long as that one can take work. The scorer has a **deadline**; when it misses that, or answers
//! with anything but scores, `least-used` decides, and after a few failures in a row the scorer is left alone for a while
//! ([`breaker`]). So a scorer can make picks better, and cannot stop them.
//!
//! ```text
//! POST URL   {"service": …, "model": …, "candidates": [{"node": …, "name": …, "standing": …, …}, …]}
//! 200        {"scores": {NODE: NUMBER, …}}          the least wins; who has no score is not picked
//! ```
//!
//! **Absent on purpose.** A scorer is told nothing of a body, a header or a client. Who waits in the queue is given what
//! frees by `least-used`, and so is a hedge: neither can wait for an answer.

mod address;
mod breaker;
mod exchange;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

pub use address::{ParseScorerUrlError, ScorerUrl};
use breaker::Breaker;
use exchange::{Exchange, Fault};

use super::handle::Shared;
use crate::{
    balance::{Ask, Candidate, InFlight},
    ledger::NodeId,
};

/// Candidates that a scorer is told of at most, the best by `least-used`: a question stays within some tens of KiB.
const TOLD_MAX: usize = 256;

/// A scorer and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where it answers.
    pub url: ScorerUrl,
    /// How long it may take. Each request waits for it, so it is short.
    pub deadline: Duration,
}

impl External {
    /// How long a scorer may take when nothing else is said: many times what one on this machine takes, and hardly felt by
    /// people.
    pub const DEADLINE: Duration = Duration::from_millis(50);

    /// The longest deadline: what takes longer is no pick.
    pub const DEADLINE_MAX: Duration = Duration::from_secs(10);
}

/// What a scorer is asked.
#[derive(Serialize)]
struct Question<'a> {
    service: &'a str,
    /// The one that the request names.
    model: Option<&'a str>,
    candidates: Vec<Told<'a>>,
}

/// What it is told of one candidate; [`Candidate`] says what each means.
#[derive(Serialize)]
struct Told<'a> {
    node: String,
    name: &'a str,
    standing: &'static str,
    in_flight: u32,
    slots: u32,
    rate: f32,
    latency_ms: Option<f64>,
}

/// What it answers. More keys may be there.
#[derive(Deserialize)]
struct Answer {
    scores: HashMap<String, f64>,
}

/// Why it gave no scores.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("it did not answer within {0:?}")]
    Late(Duration),
    #[error("its answer is not {{\"scores\": {{NODE: NUMBER}}}}: {0}")]
    Garbage(serde_json::Error),
}

/// One front's scorer.
pub(super) struct Scorer {
    external: External,
    exchange: Exchange,
    /// Held for a comparison.
    breaker: Mutex<Breaker>,
    /// Where the breaker's time begins.
    began: Instant,
}

impl Scorer {
    pub(super) fn new(external: External) -> Self {
        let exchange = Exchange::new(external.url.clone());
        Self { external, exchange, breaker: Mutex::default(), began: Instant::now() }
    }

    /// Why it is left alone, if it is.
    pub(super) fn trouble(&self) -> Option<String> {
        self.breaker().reason().map(str::to_owned)
    }

    /// Its scores for `candidates`; `None` if it is left alone, or failed.
    async fn scores(&self, service: &str, ask: &Ask, candidates: &[Candidate]) -> Option<Vec<(NodeId, f64)>> {
        let pass = self.breaker().pass(self.began.elapsed())?;
        match self.ask(service, ask, candidates).await {
            Ok(scores) => {
                if self.breaker().answered() {
                    tracing::info!(service, scorer = %self.external.url, "scorer answers again");
                }
                Some(scores)
            }
            Err(reason) => {
                tracing::debug!(service, scorer = %self.external.url, %reason, "scorer failed");
                if self.breaker().failed(self.began.elapsed(), pass, reason.to_string()) {
                    tracing::warn!(service, scorer = %self.external.url, %reason, "scorer fails, so least-used decides");
                }
                None
            }
        }
    }

    async fn ask(&self, service: &str, ask: &Ask, candidates: &[Candidate]) -> Result<Vec<(NodeId, f64)>, Failure> {
        let told = candidates.iter().map(|candidate| Told {
            node: candidate.node.to_string(),
            name: &candidate.name,
            standing: candidate.standing,
            in_flight: candidate.in_flight,
            slots: candidate.slots,
            rate: candidate.rate,
            latency_ms: candidate.latency_ms,
        });
        let question = Question { service, model: ask.model.as_deref(), candidates: told.collect() };
        let body = serde_json::to_vec(&question).map_err(|error| Fault::Question(error.to_string()))?;
        let limit = self.external.deadline;
        let answer = timeout(limit, self.exchange.post(body.into())).await.map_err(|_| Failure::Late(limit))??;
        let Answer { scores } = serde_json::from_slice(&answer).map_err(Failure::Garbage)?;
        let known = candidates.iter().zip(&question.candidates);
        Ok(known.filter_map(|(candidate, told)| Some((candidate.node, *scores.get(&told.node)?))).collect())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Nothing in here panics half way.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The pick of the user's scorer, if there is one, it answers, and whom it wants can take work.
    pub(super) async fn pick_by_scorer(&self, ask: &Ask) -> Option<InFlight> {
        let scorer = self.scorer.as_ref()?;
        // Who comes while others wait waits behind them.
        if self.balancer.queued() > 0 {
            return None;
        }
        let mut candidates = self.balancer.candidates(self.now(), ask);
        candidates.truncate(TOLD_MAX);
        if !candidates.iter().any(|candidate| candidate.standing == "available") {
            return None;
        }
        // A future of some KiB that most fronts never need.
        let scores = Box::pin(scorer.scores(&self.config.service, ask, &candidates)).await?;
        self.balancer.pick_scored(self.now(), ask, &scores)
    }
}
