//! What this node says, and under which number.
//!
//! A record that still holds is renewed by a lease, which says so in 124 bytes, the less often the more nodes there are.
//! Several times a day the record itself is signed anew, so that its date is never old.
//!
//! **Invariant.** No number is used twice: each record is one above the last, the first one is above what was persisted
//! and not below the wall clock's milliseconds. A node that lost its disk finds its former records at the others as
//! *echoes*, and goes on above them.
//!
//! The others take changes of one owner only so often. This node keeps within that: a change that comes too soon waits,
//! and only the newest is published. What a leaving node says never waits.

use std::time::Duration;

use ed25519_dalek::SigningKey;

use crate::{
    Config, Credential, Moment, NodeId, Record, Statement, StatementError,
    bucket::Bucket,
    dice::Dice,
    lease::SignedLease,
    signed::{RecordId, SignedRecord},
};

/// After this time a record is signed anew instead of renewed by one more lease. Others take nothing on first sight that is
/// a day old by their clocks, which may be some hours off.
const SIGN_ANEW: Duration = Duration::from_secs(8 * 60 * 60);

/// Changes: one per 7 s, and eight at once. The others allow a little more, so a burst late by its way is still taken.
const PACE: Bucket = Bucket::new(Duration::from_secs(7), 8);
/// Echoes that are answered: three a minute. A former life causes one or two.
const ECHOES: Bucket = Bucket::new(Duration::from_secs(20), 3);
/// How often a shared key is told.
const TELL_SHARED: Bucket = Bucket::new(Duration::from_secs(60), 1);

pub(crate) struct Own {
    key: SigningKey,
    credential: Option<Credential>,
    /// The newest one that this node has the secret of.
    generation: u32,
    next_seq: u64,
    /// The newest record.
    said: Option<Said>,
    /// What is to be said next.
    wanted: Option<Statement>,
    /// The same is to be said again, above an echo.
    again: bool,
    renew_at: Option<Duration>,
    pace: Bucket,
    echoes: Bucket,
    tell_shared: Bucket,
}

/// What an echo means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Older than what this node says now.
    Old,
    /// A former life of this node.
    Former,
    /// Someone else uses the key.
    Shared,
}

struct Said {
    statement: Statement,
    id: RecordId,
    at: Duration,
}

/// What there is to tell the others.
pub(crate) enum Spoken {
    /// A record that says something new, or says it above an echo: others should learn at once.
    Changed(SignedRecord),
    /// The same record, signed anew because it was getting old.
    Anew(SignedRecord),
    /// The record still holds.
    Lease(SignedLease),
}

impl Own {
    pub(crate) fn new(key: SigningKey, generation: u32, persisted_seq: Option<u64>, unix_ms: u64) -> Self {
        let next_seq = persisted_seq.map_or(0, |seq| seq.saturating_add(1)).max(unix_ms);
        Self {
            key,
            credential: None,
            generation,
            next_seq,
            said: None,
            wanted: None,
            again: false,
            renew_at: None,
            pace: PACE,
            echoes: ECHOES,
            tell_shared: TELL_SHARED,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.key.verifying_key().into()
    }

    /// Shows this credential from the next record on.
    pub(crate) fn show(&mut self, credential: Credential) {
        self.credential = Some(credential);
    }

    /// Belongs to this generation from now on, and says so.
    pub(crate) fn move_to(&mut self, generation: u32) {
        if generation > self.generation {
            self.generation = generation;
            self.again = self.said.is_some();
        }
    }

    /// An own word with this number is on disk: what comes now is above it.
    pub(crate) fn resume(&mut self, number: u64) {
        self.next_seq = self.next_seq.max(number.saturating_add(1));
    }

    /// Notes what is to be said.
    pub(crate) fn want(&mut self, statement: Statement) -> Result<(), StatementError> {
        statement.check()?;
        let statement = statement.sorted();
        let said = self.said.as_ref().map(|said| &said.statement);
        self.wanted = (said != Some(&statement)).then_some(statement);
        Ok(())
    }

    /// An own record with this number was met.
    pub(crate) fn echo(&mut self, now: Duration, seq: u64) -> Echo {
        if seq.saturating_add(1) < self.next_seq {
            return Echo::Old;
        }
        self.next_seq = seq.saturating_add(1);
        if self.echoes.take(now) {
            self.again = self.said.is_some();
            Echo::Former
        } else if self.tell_shared.take(now) {
            Echo::Shared
        } else {
            Echo::Old
        }
    }

    /// When there is something to say, by [`speak`](Self::speak).
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let change = if self.is_urgent() {
            Some(Duration::ZERO)
        } else {
            (self.again || self.wanted.is_some()).then(|| self.pace.ready_at())
        };
        change.into_iter().chain(self.renew_at).min()
    }

    /// Signs what is due to be said in a ledger of so many owners.
    pub(crate) fn speak(
        &mut self,
        now: Moment,
        config: &Config,
        owners: usize,
        dice: &mut Dice,
    ) -> Option<Result<Spoken, StatementError>> {
        let changed = self.is_urgent() || ((self.again || self.wanted.is_some()) && self.pace.take(now.mono));
        if !changed && self.renew_at.is_none_or(|at| at > now.mono) {
            return None;
        }
        let (renew_interval, ttl) = config.pace(owners);
        if let Some(said) = &self.said
            && !changed
            && now.mono < said.at + SIGN_ANEW
        {
            let lease = SignedLease::sign(said.id, self.next_seq, ttl, &self.key);
            self.next_seq = self.next_seq.saturating_add(1);
            self.renew_at = Some(now.mono + dice.around(renew_interval));
            return Some(Ok(Spoken::Lease(lease)));
        }
        let wanted = if changed { self.wanted.take() } else { None };
        let statement = wanted.or_else(|| self.said.as_ref().map(|said| said.statement.clone()))?;
        let record = Record {
            network: config.network,
            generation: self.generation,
            owner: self.id(),
            seq: self.next_seq,
            issued_ms: now.unix_ms,
            ttl,
            statement,
            credential: self.credential.clone(),
        };
        let signed = match SignedRecord::sign(record, &self.key) {
            Ok(signed) => signed,
            Err(error) => return Some(Err(error)),
        };
        let statement = signed.record().statement.clone();
        self.next_seq = self.next_seq.saturating_add(1);
        self.again = self.again && !changed;
        self.renew_at = (!statement.leaving).then(|| now.mono + dice.around(renew_interval));
        self.said = Some(Said { statement, id: signed.id(), at: now.mono });
        Some(Ok(if changed { Spoken::Changed(signed) } else { Spoken::Anew(signed) }))
    }

    /// A leaving node has no time to wait.
    fn is_urgent(&self) -> bool {
        self.wanted.as_ref().is_some_and(|statement| statement.leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetworkId;

    const CONFIG: Config = Config::new(NetworkId([0; 16]), 0);

    fn own(persisted: Option<u64>, unix_ms: u64) -> Own {
        Own::new(SigningKey::from_bytes(&[1; 32]), 0, persisted, unix_ms)
    }

    fn at(seconds: u64) -> Moment {
        Moment { mono: Duration::from_secs(seconds), unix_ms: 1_000_000 + seconds * 1000 }
    }

    fn statement(name: &str) -> Statement {
        Statement { name: name.into(), ..Statement::default() }
    }

    fn speak(own: &mut Own, seconds: u64) -> Option<(u64, String, bool)> {
        match own.speak(at(seconds), &CONFIG, 1, &mut Dice::new(0))?.unwrap() {
            Spoken::Changed(signed) => Some((signed.record().seq, signed.record().statement.name.clone(), true)),
            Spoken::Anew(signed) => Some((signed.record().seq, signed.record().statement.name.clone(), false)),
            Spoken::Lease(lease) => Some((lease.lease().seq, "lease".into(), false)),
        }
    }

    #[test]
    fn numbers_start_above_what_was_persisted_and_the_wall_clock() {
        for (persisted, unix_ms, first) in [(None, 500, 500), (Some(700), 500, 701), (Some(3), 500, 500)] {
            let mut own = own(persisted, unix_ms);
            own.want(statement("a")).unwrap();
            assert_eq!(speak(&mut own, 0), Some((first, "a".into(), true)));
            own.want(statement("b")).unwrap();
            assert_eq!(speak(&mut own, 0), Some((first + 1, "b".into(), true)));
        }
        assert_eq!(own(Some(u64::MAX), 0).next_seq, u64::MAX);
    }

    #[test]
    fn the_same_again_is_not_said() {
        let mut own = own(None, 1);
        own.want(statement("a")).unwrap();
        assert!(speak(&mut own, 0).is_some());
        own.want(statement("a")).unwrap();
        assert_eq!(speak(&mut own, 1), None);
        own.want(statement("b")).unwrap();
        own.want(statement("a")).unwrap();
        assert_eq!(speak(&mut own, 1), None, "a change taken back is none");
    }

    #[test]
    fn it_renews_in_time_without_a_change() {
        let mut own = own(None, 1);
        assert_eq!(own.deadline(), None, "nothing was said");
        own.want(statement("a")).unwrap();
        speak(&mut own, 0);
        let due = own.deadline().unwrap();
        assert!((Duration::from_secs(96)..=Duration::from_secs(144)).contains(&due));
        assert_eq!(speak(&mut own, 95), None);
        assert_eq!(speak(&mut own, 144), Some((2, "lease".into(), false)));
    }

    #[test]
    fn what_is_old_is_signed_anew() {
        let mut own = own(None, 1);
        own.want(statement("a")).unwrap();
        speak(&mut own, 0);
        let hours = SIGN_ANEW.as_secs();
        assert_eq!(speak(&mut own, hours - 1), Some((2, "lease".into(), false)));
        assert_eq!(speak(&mut own, 2 * hours), Some((3, "a".into(), false)));
        assert_eq!(speak(&mut own, 3 * hours - 1), Some((4, "lease".into(), false)));
    }

    #[test]
    fn a_fast_changer_is_paced_and_says_the_newest() {
        let mut own = own(None, 1);
        let mut said = 0;
        for n in 0..20 {
            own.want(statement(&format!("s{n}"))).unwrap();
            said += u32::from(speak(&mut own, 0).is_some());
        }
        assert_eq!(said, 8);
        let due = own.deadline().unwrap();
        assert_eq!(due, Duration::from_secs(7));
        assert_eq!(speak(&mut own, 7).unwrap().1, "s19");
        own.want(statement("s20").farewell()).unwrap();
        assert_eq!(own.deadline(), Some(Duration::ZERO));
        assert!(speak(&mut own, 7).is_some(), "a farewell never waits");
        assert_eq!(own.deadline(), None, "who left does not renew");
    }

    #[test]
    fn an_echo_is_answered_above_it_and_many_tell_of_a_shared_key() {
        let mut own = own(None, 100);
        own.want(statement("a")).unwrap();
        speak(&mut own, 0);
        assert_eq!(own.echo(Duration::ZERO, 99), Echo::Old);
        assert_eq!(own.echo(Duration::ZERO, 900), Echo::Former);
        assert_eq!(speak(&mut own, 0), Some((901, "a".into(), true)));
        assert_eq!(own.echo(Duration::ZERO, 901), Echo::Former, "the same number in another record");
        assert_eq!(own.echo(Duration::ZERO, 950), Echo::Former);
        assert_eq!(speak(&mut own, 0), Some((951, "a".into(), true)));
        assert_eq!(own.echo(Duration::ZERO, 960), Echo::Shared);
        assert_eq!(own.echo(Duration::ZERO, 970), Echo::Old, "it is told once a minute");
        assert_eq!(speak(&mut own, 0), None, "and not fought over");
        assert_eq!(speak(&mut own, 144), Some((971, "lease".into(), false)));
    }

    #[test]
    fn an_echo_before_the_first_word_only_lifts_the_number() {
        let mut own = own(None, 100);
        assert_eq!(own.echo(Duration::ZERO, 500), Echo::Former);
        assert_eq!(speak(&mut own, 0), None);
        own.want(statement("a")).unwrap();
        assert_eq!(speak(&mut own, 0), Some((501, "a".into(), true)));
    }

    #[test]
    fn a_new_generation_is_told_in_a_new_record() {
        let mut own = own(None, 1);
        own.move_to(1);
        assert_eq!(speak(&mut own, 0), None, "nothing was said yet");
        own.want(statement("a")).unwrap();
        let generation = |own: &mut Own, seconds| match own.speak(at(seconds), &CONFIG, 1, &mut Dice::new(0)) {
            Some(Ok(Spoken::Changed(signed))) => Some(signed.record().generation),
            _ => None,
        };
        assert_eq!(generation(&mut own, 0), Some(1));
        own.move_to(3);
        assert_eq!(generation(&mut own, 1), Some(3));
        own.move_to(2);
        assert_eq!(generation(&mut own, 2), None, "there is no way back");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_forgotten() {
        let mut own = own(None, 1);
        assert!(own.want(statement("Not A Name")).is_err());
        assert_eq!(own.deadline(), None);
    }
}
