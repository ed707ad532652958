//! What a worker knows of a model server behind it.
//!
//! Nobody has to say what a backend is: it is asked. What answers like a model server is one of a few **kinds** ([`Kind`]), found
//! out once and again after it was down. From then on its models are listed each [`SURVEY`], and its queue is looked at each
//! second while there are requests. The models go into the node's record, the rest into the reports.
//!
//! The questions are those that anybody may ask, they are few, and their answers are bounded in bytes and time. What is no
//! model server is asked two paths, ten minutes apart before long.
//!
//! It does not load, unload or choose models, and it sends nothing that makes a backend work.

mod figures;
mod kind;
mod list;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

pub(super) use figures::Figures;
pub use kind::Kind;
pub(super) use list::fit;

use super::{Target, ask, offering::Offering, vary};
use crate::ledger::Model;

/// Between two looks at the models. A model that was pulled may wait for half a minute.
const SURVEY: Duration = Duration::from_secs(30);

/// Between two surveys at least, however often the backend comes and goes: each may change the node's record.
const SURVEY_GAP: Duration = Duration::from_secs(5);

/// First and longest pause after a backend was found to be no model server. It may still be loading; it may be no server of
/// that kind at all, and its log is not to be filled.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10 * 60));

/// Between two looks at its queue while there are requests, and while there are none: others may use the backend as well.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Bytes of an answer at most: a list of thousands of models.
const MAX_BODY: usize = 1 << 20;

/// What is known of one model server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    pub(super) kind: Option<Kind>,
    /// As they are announced.
    pub(super) models: Vec<Model>,
    /// How many requests it works on at once; 0 if it does not say.
    pub(super) slots: u32,
}

/// Asks the backend of `offering` until its export is retired, and calls `changed` when there is something new to announce.
pub(super) async fn watch(offering: &Offering, changed: impl Fn()) {
    let target = &offering.export.target;
    let mut well = offering.well();
    let mut pause = PAUSE.0;
    loop {
        // The sender is the offering's, which we hold.
        let _ = well.wait_for(|is_well| *is_well).await;
        let began = Instant::now();
        let kind = kind::detect(target).await;
        tracing::debug!(service = %offering.export.service, ?kind, "backend asked what it is");
        let until = match kind {
            Some(kind) => {
                pause = PAUSE.0;
                keep(offering, kind, &changed, &mut well).await;
                began + SURVEY_GAP
            }
            None => {
                if offering.learn(Catalogue::default()) {
                    changed();
                }
                let until = began + vary(pause);
                pause = (pause * 2).min(PAUSE.1);
                until
            }
        };
        // One that was down and is back is asked at once, but not in a loop.
        tokio::select! {
            () = sleep_until(until) => {}
            Ok(_) = well.wait_for(|is_well| !is_well) => {
                pause = PAUSE.0;
                sleep_until(began + SURVEY_GAP).await;
            }
        }
    }
}

/// Asks a backend of a known kind, until it is down or something else.
async fn keep(offering: &Offering, kind: Kind, changed: &impl Fn(), well: &mut tokio::sync::watch::Receiver<bool>) {
    let (target, tally) = (&offering.export.target, &offering.tally);
    let mut tells_figures = kind.figures();
    let (mut survey_at, mut look_at) = (Instant::now(), Instant::now());
    loop {
        if Instant::now() >= survey_at {
            let Some(catalogue) = kind::survey(target, kind).await else { return };
            if offering.learn(catalogue) {
                changed();
            }
            survey_at = Instant::now() + vary(SURVEY);
        }
        let mut figures = None;
        if let Some(path) = tells_figures.filter(|_| Instant::now() >= look_at) {
            figures = figures::of(target, path).await;
            if figures.is_none() {
                // It was not told to, and will not change its mind.
                tells_figures = None;
            }
        }
        if let Some(Figures { queued, cache }) = figures {
            tally.learn(|facts| (facts.queued, facts.cache) = (queued, cache));
        }
        let woken = tally.woken();
        let is_busy = tally.activity().0 > 0;
        if figures.is_some() {
            look_at = Instant::now() + vary(if is_busy { LOOK.0 } else { LOOK.1 });
        }
        let next = if tells_figures.is_some() { survey_at.min(look_at) } else { survey_at };
        tokio::select! {
            () = sleep_until(next) => {}
            () = woken, if tells_figures.is_some() => look_at = look_at.min(Instant::now() + LOOK.0),
            Ok(_) = well.wait_for(|is_well| !is_well) => {
                tally.learn(|facts| (facts.queued, facts.cache) = (0, None));
                return;
            }
        }
    }
}

/// The body of a good answer, if there is one in time.
async fn answer(target: &Target, path: &str) -> Reply {
    match timeout(LIMIT, ask::get(target, path, MAX_BODY, LIMIT)).await {
        Ok(Ok(ask::Answer { status: 200, body: Some(body) })) => Reply::Body(body),
        Ok(Ok(ask::Answer { status, .. })) => Reply::Status(status),
        Ok(Err(_)) | Err(_) => Reply::None,
    }
}

/// What came of a question.
#[derive(Debug)]
enum Reply {
    Body(bytes::Bytes),
    Status(u16),
    None,
}

impl Reply {
    fn body(self) -> Option<bytes::Bytes> {
        match self {
            Self::Body(body) => Some(body),
            Self::Status(_) | Self::None => None,
        }
    }
}
