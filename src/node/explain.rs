//! What the node's fronts took down, as it is told on the control socket.

use std::time::{Duration, UNIX_EPOCH};

use super::front::Running;
use crate::{
    api::{self, Unexplained, Wanted},
    balance,
    front::{Attempt, Entry, KEPT},
};

// What is asked for at most is what a front keeps.
const _: () = assert!(api::COUNT_MAX == KEPT);

/// The requests that are wanted.
pub(super) fn explain(fronts: &[Running], wanted: &Wanted) -> Result<api::Explained, Unexplained> {
    let services: Vec<_> = fronts.iter().map(Running::service).collect();
    let newest = if wanted.number.is_some() { KEPT } else { wanted.count };
    let of = |front: &Running| -> Vec<api::Request> {
        let entries = front.journal(newest).into_iter();
        entries
            .filter(|entry| wanted.takes(front.service(), entry.number))
            .map(|entry| request_of(front, &entry))
            .collect()
    };
    wanted.answer(&services, fronts.iter().flat_map(of).collect())
}

fn request_of(front: &Running, entry: &Entry) -> api::Request {
    let at = entry.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    api::Request {
        service: front.service().to_owned(),
        front: front.local_addr().to_string(),
        number: entry.number,
        id: entry.id.clone(),
        at_unix_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        client: entry.client.to_string(),
        what: entry.what.clone(),
        model: entry.model.as_deref().map(str::to_owned),
        attempts: entry.attempts.iter().map(attempt_of).collect(),
        status: entry.status,
        outcome: entry.outcome.clone(),
        first_byte_ms: entry.first_byte.map(ms),
        total_ms: ms(entry.total),
        bytes_sent: entry.bytes.0,
        bytes_received: entry.bytes.1,
        tokens: entry.tokens.map(|(read, made)| api::Tokens { read, made }),
    }
}

fn attempt_of(attempt: &Attempt) -> api::Attempt {
    let choice = &attempt.choice;
    let chosen = choice.candidates.iter().find(|candidate| candidate.node == attempt.node);
    api::Attempt {
        node: attempt.node.to_string(),
        name: chosen.map_or_else(|| attempt.node.short(), |candidate| candidate.name.to_string()),
        because: choice.because.to_owned(),
        waited_ms: ms(choice.waited),
        took_ms: ms(attempt.took),
        fault: attempt.fault.clone(),
        candidates: choice.candidates.iter().map(candidate_of).collect(),
    }
}

fn candidate_of(candidate: &balance::Candidate) -> api::Candidate {
    api::Candidate {
        node: candidate.node.to_string(),
        name: candidate.name.to_string(),
        // JSON has no infinity.
        score: candidate.score.filter(|score| score.is_finite()),
        standing: candidate.standing.to_owned(),
        in_flight: candidate.in_flight,
        slots: candidate.slots,
        rate: candidate.rate,
        latency_ms: candidate.latency_ms.filter(|latency| latency.is_finite()),
    }
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
