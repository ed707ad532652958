//! What members did against the rules, and for how long one is refused that went too far. Pure: the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::ledger::{NodeId, Offence};

/// How long a member is refused that was expelled for the first time: longer than whatever made it misbehave lasts, if that
/// is a fault, and short enough for a person who repaired it to wait.
const FIRST_BAR: Duration = Duration::from_secs(10 * 60);

/// Each further expulsion doubles it, up to this.
const LONGEST_BAR: Duration = Duration::from_secs(24 * 60 * 60);

/// A member that kept the rules for so long, since its last offence and its last bar, begins anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Members of whom something is remembered, some 200 bytes each; the one that was quiet for longest goes.
const MEMBERS: usize = 1024;

/// What one member did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// How often it broke which rule.
    pub offences: BTreeMap<Offence, u64>,
    /// How often it was expelled.
    pub expulsions: u32,
    /// Its last offence, or the end of its last bar.
    last: Instant,
}

/// The sheets of all members that have one.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    sheets: BTreeMap<NodeId, Sheet>,
}

impl Conduct {
    /// `member` broke a rule.
    pub(super) fn offended(&mut self, now: Instant, member: NodeId, offence: Offence) {
        let sheet = self.sheet(now, member);
        *sheet.offences.entry(offence).or_default() += 1;
        sheet.last = sheet.last.max(now);
    }

    /// `member` went too far. How long it is to be refused.
    pub(super) fn expelled(&mut self, now: Instant, member: NodeId) -> Duration {
        let sheet = self.sheet(now, member);
        let length = FIRST_BAR.saturating_mul(1 << sheet.expulsions.min(16)).min(LONGEST_BAR);
        sheet.expulsions = sheet.expulsions.saturating_add(1);
        sheet.last = now + length;
        length
    }

    /// What is remembered now.
    pub(super) fn sheets(&self) -> &BTreeMap<NodeId, Sheet> {
        &self.sheets
    }

    fn sheet(&mut self, now: Instant, member: NodeId) -> &mut Sheet {
        self.sheets.retain(|_, sheet| now.saturating_duration_since(sheet.last) < FORGIVEN_AFTER);
        if self.sheets.len() >= MEMBERS && !self.sheets.contains_key(&member) {
            let quietest = self.sheets.iter().min_by_key(|(_, sheet)| sheet.last).map(|(member, _)| *member);
            quietest.and_then(|member| self.sheets.remove(&member));
        }
        self.sheets.entry(member).or_insert_with(|| Sheet { offences: BTreeMap::new(), expulsions: 0, last: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn node(n: u16) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn each_expulsion_doubles_the_bar_up_to_a_day() {
        let (mut conduct, now) = (Conduct::default(), Instant::now());
        let minutes: Vec<_> = (0..10).map(|_| conduct.expelled(now, node(1)).as_secs() / 60).collect();
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(conduct.expelled(now, node(2)), FIRST_BAR, "one does not pay for another");
    }

    #[test]
    fn a_day_within_the_rules_after_the_bar_makes_a_fresh_start() {
        let (mut conduct, now) = (Conduct::default(), Instant::now());
        conduct.expelled(now, node(1));
        let later = now + FIRST_BAR + FORGIVEN_AFTER;
        assert_eq!(conduct.expelled(later - HOUR, node(1)), 2 * FIRST_BAR);
        let later = later - HOUR + 2 * FIRST_BAR + FORGIVEN_AFTER;
        assert_eq!(conduct.expelled(later, node(1)), FIRST_BAR);
    }

    #[test]
    fn offences_are_counted_by_kind_and_the_quietest_member_is_forgotten_first() {
        let (mut conduct, now) = (Conduct::default(), Instant::now());
        conduct.offended(now, node(0), Offence::Forged);
        conduct.offended(now, node(1), Offence::Forged);
        conduct.offended(now + HOUR, node(0), Offence::Forged);
        conduct.offended(now + HOUR, node(0), Offence::Flood);
        let sheet = &conduct.sheets()[&node(0)];
        assert_eq!(sheet.offences, [(Offence::Forged, 2), (Offence::Flood, 1)].into());
        (2..=MEMBERS as u16).for_each(|n| conduct.offended(now + HOUR, node(n), Offence::Flood));
        assert_eq!(conduct.sheets().len(), MEMBERS);
        assert!(conduct.sheets().contains_key(&node(0)) && !conduct.sheets().contains_key(&node(1)));
    }
}
