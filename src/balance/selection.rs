//! One pick, step by step: who can have the request, whom it suits best, and what the policy says of those.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{
    Ask, CANDIDATES_MAX, Candidate, Choice, Policy,
    affinity::Affinity,
    contender::{Contender, Place},
    endpoint::Fit,
    standing::Bar,
};
use crate::ledger::NodeId;

/// How much more than its part of the load a worker may have for the sake of a model, a prompt's beginning or a key:
/// 1.25 times, the bound of consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018).
const BOUND: f64 = 1.25;

/// Requests that a worker which does not say its slots may have for the sake of a model that it has in memory: loading it
/// elsewhere takes longer than a few requests side by side, and model servers take about so many.
const WARM_MODEL_LOAD: u32 = 4;

/// All contenders of one pick, those that the policy chooses among first.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    contenders: Vec<Contender<'a>>,
    /// How many of them are in the best place: the field.
    field: usize,
    /// `None` if nobody can have the request.
    place: Option<Place>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(mut contenders: Vec<Contender<'a>>) -> Self {
        let place = contenders.iter().filter_map(|contender| contender.place).min();
        let field = to_front(&mut contenders, |contender| contender.place == place && place.is_some());
        Self { contenders, field, place }
    }

    /// What is in the way of the best.
    pub(super) fn bar(&self) -> Bar {
        self.place.map_or(Bar::Barred, |(bar, ..)| bar)
    }

    /// Scores the field by the policy.
    pub(super) fn score(&mut self, now: Duration, policy: Policy, ask: &Ask) {
        let bar = self.bar();
        let field = self.contenders.get_mut(..self.field).unwrap_or_default();
        if bar == Bar::LeftOut {
            // The one that comes back first; among equals the least loaded.
            for contender in field {
                contender.score =
                    contender.standing.until().as_secs_f64() * 1e9 + f64::from(contender.load) / contender.weight;
            }
        } else {
            policy.score(now, field, ask);
        }
    }

    /// Puts the best first and says why it is the best; `None` if nobody can have the request.
    pub(super) fn decide(
        &mut self,
        policy: Policy,
        ask: &Ask,
        affinity: &Affinity,
        rng: &mut impl Rng,
    ) -> Option<&'static str> {
        let bar = self.bar();
        let field = self.contenders.get_mut(..self.field).filter(|field| !field.is_empty())?;
        let roomy = Room::of(field);
        let mut because = None;
        let mut left = field.len();
        if bar == Bar::Free && ask.model.is_some() {
            (left, because) = suit_model(field, &roomy);
        }
        if bar == Bar::Free && policy.heeds_prompts() && !ask.prefixes.is_empty() {
            let field = field.get_mut(..left)?;
            let has_room = |node| field.iter().any(|c| c.node == node && roomy.takes(c));
            let served = affinity.longest(&ask.prefixes, has_room);
            if !served.is_empty() {
                left = to_front(field, |contender| served.contains(&contender.node) && roomy.takes(contender));
                because = Some("its prompt's beginning was served there");
            }
        }
        let field = field.get_mut(..left)?;
        let best = if bar == Bar::LeftOut { least(field, rng) } else { policy.choose(field, rng) };
        let because = match bar {
            Bar::LeftOut => "the least bad: nobody is available",
            Bar::Busy => policy.because_busy(),
            Bar::Free | Bar::Barred => because.unwrap_or_else(|| policy.because(field)),
        };
        self.contenders.swap(0, best);
        Some(because)
    }

    /// The first, which is the best once it was decided.
    pub(super) fn best(&self) -> Option<NodeId> {
        self.contenders.first().map(|contender| contender.node)
    }

    /// All of them.
    pub(super) fn contenders(&self) -> &[Contender<'a>] {
        &self.contenders
    }

    /// Everybody who can have the request, best first.
    pub(super) fn into_candidates(mut self) -> Vec<Candidate> {
        let field = self.field;
        self.contenders.iter_mut().skip(field).for_each(|contender| contender.score = f64::INFINITY);
        self.contenders.sort_by(|a, b| a.place.cmp(&b.place).then(a.order(b)));
        let able = self.contenders.iter().filter(|contender| contender.place.is_some());
        able.map(|contender| contender.candidate(contender.score.is_finite().then_some(contender.score))).collect()
    }

    /// What to tell those who ask why.
    pub(super) fn into_choice(mut self, because: &'static str, waited: Duration) -> Choice {
        let field = self.field;
        let mut candidates = Vec::with_capacity(self.contenders.len().min(CANDIDATES_MAX));
        let Some((best, others)) = self.contenders.split_first_mut() else {
            return Choice { candidates, waited, because };
        };
        candidates.push(best.candidate(Some(best.score)));
        // Of hundreds only the next best are put in order.
        let (scored, others) = others.split_at_mut(field.saturating_sub(1).min(others.len()));
        for contender in first(scored, CANDIDATES_MAX - candidates.len(), |a, b| a.order(b)) {
            candidates.push(contender.candidate(Some(contender.score)));
        }
        // `None`, for those that can't have it, would come first.
        let last = |contender: &Contender<'_>| (contender.place.is_none(), contender.place);
        for contender in first(others, CANDIDATES_MAX - candidates.len(), |a, b| last(a).cmp(&last(b))) {
            candidates.push(contender.candidate(None));
        }
        Choice { candidates, waited, because }
    }
}

/// Who has room for more than its part.
#[derive(Debug)]
pub(super) struct Room {
    load: f64,
    weight: f64,
}

impl Room {
    pub(super) fn of(field: &[Contender<'_>]) -> Self {
        let load = field.iter().map(|contender| f64::from(contender.load)).sum();
        Self { load, weight: field.iter().map(|contender| contender.weight).sum() }
    }

    /// One more would be within the bound.
    pub(super) fn bounds(&self, contender: &Contender<'_>) -> bool {
        let limit = (BOUND * (self.load + 1.0) * contender.weight / self.weight).ceil();
        f64::from(contender.load) + 1.0 <= limit
    }

    /// It has a free slot; where its slots are not known, one more is within the bound.
    fn takes(&self, contender: &Contender<'_>) -> bool {
        contender.slots > 0 || self.bounds(contender)
    }
}

/// Puts those first that suit the model best and have room, and says how many they are, and why if that decides anything.
fn suit_model(field: &mut [Contender<'_>], room: &Room) -> (usize, Option<&'static str>) {
    for (fit, because) in [
        (Fit::Loaded, "the model is in memory there"),
        (Fit::Has, "it has the model"),
        (Fit::Unknown, "nobody who is known to have the model has room"),
    ] {
        let has_room =
            |contender: &Contender<'_>| room.takes(contender) || fit == Fit::Loaded && contender.load < WARM_MODEL_LOAD;
        let suited = to_front(field, |contender| contender.fit == fit && has_room(contender));
        if suited > 0 {
            return (suited, (suited < field.len()).then_some(because));
        }
    }
    (field.len(), None)
}

/// The least in score, then in work so far, then at random.
pub(super) fn least(field: &[Contender<'_>], rng: &mut impl Rng) -> usize {
    let mut best = 0;
    let mut equals = 0u32;
    for (place, contender) in field.iter().enumerate() {
        match field.get(best).map_or(std::cmp::Ordering::Less, |best| contender.order(best)) {
            std::cmp::Ordering::Less => (best, equals) = (place, 1),
            // Each of the equals ends up chosen as often, without a list of them.
            std::cmp::Ordering::Equal => {
                equals += 1;
                if rng.random_range(0..equals) == 0 {
                    best = place;
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    best
}

/// Moves those that `is` holds for to the front, in their order, and counts them.
fn to_front<T>(all: &mut [T], is: impl Fn(&T) -> bool) -> usize {
    let mut front = 0;
    for place in 0..all.len() {
        if all.get(place).is_some_and(&is) {
            if place != front {
                all.swap(place, front);
            }
            front += 1;
        }
    }
    front
}

/// The first `count`, in order.
fn first<T>(all: &mut [T], count: usize, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> &mut [T] {
    let count = count.min(all.len());
    if count > 0 && count < all.len() {
        all.select_nth_unstable_by(count - 1, &order);
    }
    let first = all.get_mut(..count).unwrap_or_default();
    first.sort_unstable_by(order);
    first
}
