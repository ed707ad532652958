//! For how long a member is refused that went too far. Pure: the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::ledger::NodeId;

/// How long a member is refused that was expelled for the first time: longer than whatever made it misbehave lasts, if that
/// is a fault, and short enough for a person who repaired it to wait.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// Each further expulsion doubles it, up to this.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A member that was not expelled again for so long after its last time began anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Members remembered; the one whose time is over first goes.
const REMEMBERED: usize = 4096;

/// Who was expelled, and how often.
#[derive(Debug, Default)]
pub(super) struct Expulsions {
    /// Per member: how often, and when its last time is over.
    members: BTreeMap<NodeId, (u32, Instant)>,
}

impl Expulsions {
    /// `member` went too far. How long it is to be refused.
    pub(super) fn expel(&mut self, now: Instant, member: NodeId) -> Duration {
        self.members.retain(|_, (_, over)| now.saturating_duration_since(*over) < FORGIVEN_AFTER);
        if self.members.len() >= REMEMBERED && !self.members.contains_key(&member) {
            let first = self.members.iter().min_by_key(|(_, (_, over))| *over).map(|(member, _)| *member);
            first.and_then(|member| self.members.remove(&member));
        }
        let (times, over) = self.members.entry(member).or_insert((0, now));
        let length = FIRST.saturating_mul(1 << (*times).min(16)).min(LONGEST);
        *times = times.saturating_add(1);
        *over = now + length;
        length
    }

    /// How often each member was expelled that is remembered.
    pub(super) fn times(&self) -> BTreeMap<NodeId, u32> {
        self.members.iter().map(|(member, (times, _))| (*member, *times)).collect()
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
    fn each_expulsion_doubles_the_time_up_to_a_day() {
        let (mut expulsions, now) = (Expulsions::default(), Instant::now());
        let minutes: Vec<_> = (0..10).map(|_| expulsions.expel(now, node(1)).as_secs() / 60).collect();
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(expulsions.expel(now, node(2)), FIRST, "one does not pay for another");
        assert_eq!(expulsions.times(), [(node(1), 10), (node(2), 1)].into());
    }

    #[test]
    fn a_day_after_its_time_a_member_begins_anew() {
        let (mut expulsions, now) = (Expulsions::default(), Instant::now());
        expulsions.expel(now, node(1));
        let later = now + FIRST + FORGIVEN_AFTER - HOUR;
        assert_eq!(expulsions.expel(later, node(1)), 2 * FIRST);
        assert_eq!(expulsions.expel(later + 2 * FIRST + FORGIVEN_AFTER, node(1)), FIRST);
    }

    #[test]
    fn as_many_are_remembered_as_there_is_room_for() {
        let (mut expulsions, now) = (Expulsions::default(), Instant::now());
        for n in 0..=REMEMBERED as u16 {
            assert_eq!(expulsions.expel(now + HOUR * n.into() / 1000, node(n)), FIRST);
        }
        let times = expulsions.times();
        assert!(times.len() <= REMEMBERED && !times.contains_key(&node(0)));
    }
}
