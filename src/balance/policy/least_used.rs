//! Least used relative to what a worker can take.

use crate::balance::contender::Contender;

/// What would be there over what it works off per second: the time after which the request's turn would be over, up to a
/// factor that is the same for all. Who does not say its slots is taken for one like the others in the field.
///
/// Where nobody says its slots and all seem equally fast, what *is* there over the weight: among idle ones the share
/// decides then, so that one with less weight gets its part of a trickle of requests as well.
pub(super) fn score(field: &mut [Contender<'_>]) {
    let known = field.iter().filter(|contender| contender.slots > 0);
    let (slots, count) = known.fold((0.0, 0u32), |(sum, count), c| (sum + f64::from(c.slots), count + 1));
    let usual = if count > 0 { slots / f64::from(count) } else { 1.0 };
    let is_blind = count == 0 && field.windows(2).all(|pair| matches!(pair, [a, b] if a.speed == b.speed));
    for contender in field {
        let slots = if contender.slots > 0 { f64::from(contender.slots) } else { usual };
        let load = f64::from(contender.load) + if is_blind { 0.0 } else { 1.0 };
        contender.score = load / (slots * contender.speed * contender.weight);
    }
}
