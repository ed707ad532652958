//! What a worker knows of a model server behind it.
//!
//! Nobody has to say what a backend is: it is asked. What answers like a model server is one of a few **kinds** ([`Kind`]),
//! found out once and again after it was down. From then on its models are listed each [`SURVEY`], and how busy it is is
//! looked at each [`LOOK`], where it tells. The models and slots go into the node's record, the rest into the reports.
//!
//! ```text
//!  backend is well ─▶ detect ──▶ known kind ─▶ survey, look, survey … ─▶ down, or no model server any more
//!        ▲              │                                                        │
//!        └── a pause ───┴────────────────────────────────────────────────────────┘
//! ```
//!
//! The questions are those that anybody may ask, they are few, and their answers are bounded in bytes and time. What is no
//! model server is asked two paths, before long no more often than each ten minutes.
//!
//! It does not load, unload or choose models, and it sends nothing that makes a backend work.

mod figures;
mod kind;
mod list;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use figures::{Figures, Source};
pub use kind::Kind;
use kind::Nature;
pub(super) use list::fit;

use super::{
    Target,
    ask::{self, AskError},
    offering::Offering,
    vary,
};
use crate::ledger::Model;

/// Between two looks at the models, while there are requests and while there are none. Each may change the node's record,
/// which costs every node of the network some hundred bytes.
const SURVEY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// Between two times that a backend is asked what it is at least, however often it comes and goes.
const DETECT_GAP: Duration = Duration::from_secs(5);

/// First and longest pause after a backend was found to be no model server. It may become one; it may be no server of that
/// kind at all, and its log is not to be filled.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10 * 60));

/// Between two looks at how busy it is while there are requests, and while there are none: others may use the backend.
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

/// Asks the backend of `offering`, and calls `changed` when there is something new to announce. Never returns: the caller
/// drops it when the export is retired.
pub(super) async fn watch(offering: &Offering, changed: impl Fn()) {
    let Offering { export, .. } = offering;
    let mut well = offering.well();
    let mut pause = PAUSE.0;
    loop {
        becomes(&mut well, true).await;
        let began = Instant::now();
        let nature = kind::detect(&export.target).await;
        tracing::debug!(service = %export.service, ?nature, "backend asked what it is");
        match nature {
            Nature::Is(kind) => {
                tracing::info!(service = %export.service, %kind, "backend is a model server");
                keep(offering, kind, &changed, &mut well).await;
                pause = DETECT_GAP;
            }
            // What was known of it is believed: it is down, not up yet, or has too much to do to answer.
            Nature::NotReady => pause = PAUSE.0,
            Nature::Silent => pause = (pause * 2).clamp(PAUSE.0, PAUSE.1),
            Nature::Other => {
                if offering.learn(Catalogue::default()) {
                    changed();
                }
                pause = (pause * 2).clamp(PAUSE.0, PAUSE.1);
            }
        }
        // One that was down and is back is asked at once, but not in a loop.
        tokio::select! {
            () = sleep_until(began + vary(pause)) => {}
            () = becomes(&mut well, false) => {
                pause = Duration::ZERO;
                sleep_until(began + DETECT_GAP).await;
            }
        }
    }
}

/// Follows a backend of a known kind, until it is down or something else.
async fn keep(offering: &Offering, kind: Kind, changed: &impl Fn(), well: &mut watch::Receiver<bool>) {
    let (target, tally) = (&offering.export.target, &offering.tally);
    let source = Source::of(target, kind).await;
    let (mut survey_at, mut look_at) = (Instant::now(), Instant::now());
    loop {
        let now = Instant::now();
        // Before the questions, so that nothing that begins meanwhile is missed.
        let woken = tally.woken();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if now >= survey_at {
            let Some(catalogue) = kind::survey(target, kind).await else { break };
            if offering.learn(catalogue) {
                changed();
            }
            survey_at = now + vary(if tally.is_busy() { SURVEY.0 } else { SURVEY.1 });
        }
        if let Some(asked) = source
            && now >= look_at
        {
            let before = tally.activity().0;
            let answer = asked.figures(target).await;
            // Those that ended or began while it answered are no strangers.
            let ours = before.max(tally.activity().0);
            let is_soon = answer.is_some() && tally.is_busy();
            let Figures { running, queued, cache } = answer.unwrap_or_default();
            let foreign = u16::try_from(u32::from(running).saturating_sub(ours)).unwrap_or(u16::MAX);
            tally.learn(|facts| (facts.foreign, facts.queued, facts.cache) = (foreign, queued, cache));
            look_at = now + vary(if is_soon { LOOK.0 } else { LOOK.1 });
        }
        let next = if source.is_some() { survey_at.min(look_at) } else { survey_at };
        tokio::select! {
            () = sleep_until(next) => {}
            () = woken => {
                look_at = look_at.min(now + LOOK.0);
                survey_at = survey_at.min(now + SURVEY.0);
            }
            () = becomes(well, false) => break,
        }
    }
    tally.learn(|facts| (facts.foreign, facts.queued, facts.cache) = (0, 0, None));
}

/// Returns when the backend is well, or is not.
async fn becomes(well: &mut watch::Receiver<bool>, wanted: bool) {
    // An error says that the sender is gone; it belongs to the offering, which the caller holds.
    let _ = well.wait_for(|is_well| *is_well == wanted).await;
}

/// What came of a question.
#[derive(Debug)]
enum Reply {
    /// A good answer.
    Body(bytes::Bytes),
    /// Another one, or a good one that is too long or broke off.
    Status(u16),
    /// Nobody listens.
    Away,
    /// Somebody does, but does not answer in time or does not speak HTTP.
    Silent,
}

async fn question(target: &Target, path: &str) -> Reply {
    match timeout(LIMIT, ask::get(target, path, MAX_BODY, LIMIT)).await {
        Ok(Ok(ask::Answer { status: 200, body: Some(body) })) => Reply::Body(body),
        Ok(Ok(ask::Answer { status, .. })) => Reply::Status(status),
        Ok(Err(AskError::Connect(_))) => Reply::Away,
        Ok(Err(AskError::Http(_))) | Err(_) => Reply::Silent,
    }
}

/// The JSON of a good answer.
async fn json<T: serde::de::DeserializeOwned>(target: &Target, path: &str) -> Option<T> {
    match question(target, path).await {
        Reply::Body(body) => serde_json::from_slice(&body).ok(),
        Reply::Status(_) | Reply::Away | Reply::Silent => None,
    }
}
