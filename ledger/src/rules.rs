//! Who may take part and offer what.
//!
//! In an **open** network the rules are short: records of the token's generation, from whoever holds the token. In a
//! network with an **issuer**, each record has to carry its owner's credential, may offer what that grants and no more,
//! and the newest [decree](crate::Decree) may have banned the owner, revoked its invitation, or begun a new generation.
//!
//! **Generations.** A node takes records of all generations from the oldest that still counts to the newest it knows. A
//! decree that begins a new one starts the **grace** on this node's own monotonic clock; when that has passed, only the
//! new one counts.
//!
//! **Invariant.** The number of the decree in force never decreases, and only the issuer's are ever in force.

use std::time::Duration;

use crate::{Config, Grant, Moment, NodeId, NotIssuer, Record, SignedDecree, UnverifiedDecree, replica::Refusal};

/// Shortest grace in the ledger, whatever the decree says: members need a moment to move, and would vanish from sight.
const MOVING: Duration = Duration::from_secs(10);
/// Longest grace that a restart grants anew where the disk says no less: a month.
const GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What became of a decree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Enacted {
    /// It is in force now.
    Newer,
    /// Not newer than the one in force.
    Known,
    /// Not the issuer's, of whom there may be none.
    Forged,
    /// Of another network.
    Foreign,
}

#[derive(Debug)]
pub(crate) struct Rules {
    config: Config,
    decree: Option<SignedDecree>,
    /// The oldest generation that counts.
    oldest: u32,
    /// The newest generation known.
    newest: u32,
    /// When the oldest generation becomes the newest.
    grace_ends: Option<Duration>,
}

impl Rules {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, decree: None, oldest: config.generation, newest: config.generation, grace_ends: None }
    }

    /// The decree in force.
    pub(crate) fn decree(&self) -> Option<&SignedDecree> {
        self.decree.as_ref()
    }

    /// Its number; 0 without one.
    pub(crate) fn number(&self) -> u64 {
        self.decree.as_ref().map_or(0, |decree| decree.decree().number)
    }

    /// Whether records of this generation count.
    pub(crate) fn counts(&self, generation: u32) -> bool {
        (self.oldest..=self.newest).contains(&generation)
    }

    /// Whether the owner was banned.
    pub(crate) fn bans(&self, owner: &NodeId) -> bool {
        self.decree.as_ref().is_some_and(|decree| decree.decree().banned.contains(owner))
    }

    /// What the owner of `record`, which it signed, may do.
    ///
    /// # Errors
    /// Why the record is not to be taken.
    pub(crate) fn judge(&self, now: Moment, record: &Record) -> Result<(), Refusal> {
        if self.bans(&record.owner) {
            return Err(Refusal::Banned);
        }
        let Some(issuer) = &self.config.issuer else { return Ok(()) };
        let credential = record.credential.as_ref().ok_or(Refusal::Credential)?;
        self.judge_again(now, record)?;
        let grant = credential.verify(issuer, self.config.network, &record.owner).map_err(|_| Refusal::Credential)?;
        if offers_only_granted(record, &grant) { Ok(()) } else { Err(Refusal::Role) }
    }

    /// The same of a record that was judged before: what may have changed since.
    pub(crate) fn judge_again(&self, now: Moment, record: &Record) -> Result<(), Refusal> {
        if self.bans(&record.owner) {
            return Err(Refusal::Banned);
        }
        if !self.counts(record.generation) {
            return Err(Refusal::Generation);
        }
        let (Some(_), Some(credential)) = (&self.config.issuer, &record.credential) else { return Ok(()) };
        let invitation = credential.invitation();
        if self.decree.as_ref().is_some_and(|decree| decree.decree().revoked.contains(&invitation.serial)) {
            return Err(Refusal::Revoked);
        }
        let expired = invitation.expires_unix_s != 0 && invitation.expires_unix_s <= now.unix_ms / 1000;
        if expired { Err(Refusal::Expired) } else { Ok(()) }
    }

    /// Puts a decree in force if it is the issuer's and newer.
    pub(crate) fn enact(&mut self, now: Duration, decree: UnverifiedDecree) -> Enacted {
        if self.decree.as_ref().is_some_and(|held| decree.rank() <= held.rank()) {
            return Enacted::Known;
        }
        let Some(issuer) = &self.config.issuer else { return Enacted::Forged };
        if decree.decree().network != self.config.network {
            return Enacted::Foreign;
        }
        let Ok(decree) = decree.verify(issuer).map_err(|NotIssuer| ()) else { return Enacted::Forged };
        if let Some(rotation) = &decree.decree().rotation
            && rotation.generation > self.newest
        {
            self.newest = rotation.generation;
            self.grace_ends = Some(now + rotation.grace.max(MOVING));
        }
        self.decree = Some(decree);
        Enacted::Newer
    }

    /// A decree from this node's own disk, whose grace ends in so long.
    pub(crate) fn resume(&mut self, now: Duration, decree: UnverifiedDecree, left: Duration) -> Enacted {
        let enacted = self.enact(now, decree);
        if enacted == Enacted::Newer {
            self.grace_ends = self.grace_ends.map(|_| now + left.min(GRACE_MAX));
        }
        enacted
    }

    /// When the grace ends, if there is one.
    pub(crate) fn grace_ends(&self) -> Option<Duration> {
        self.grace_ends
    }

    /// Lets the grace end if it is time. Whether it did.
    pub(crate) fn expire(&mut self, now: Duration) -> bool {
        let ended = self.grace_ends.take_if(|at| *at <= now).is_some();
        if ended {
            self.oldest = self.newest;
        }
        ended
    }
}

fn offers_only_granted(record: &Record, grant: &Grant) -> bool {
    record.statement.services.iter().all(|service| grant.may_expose(&service.name))
}

#[cfg(test)]
mod tests {

    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::{
        Credential, Decree, Invitation, IssuerKey, NetworkId, Protocol, Roles, Rotation, Serial, Service,
        SignedInvitation, Statement,
    };

    const NETWORK: NetworkId = NetworkId([4; 16]);
    const NOW: Moment = Moment { mono: Duration::from_secs(10), unix_ms: 1_800_000_000_000 };

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn issuer() -> IssuerKey {
        key(99).verifying_key().into()
    }

    fn rules() -> Rules {
        Rules::new(Config { issuer: Some(issuer()), ..Config::new(NETWORK, 0) })
    }

    fn invitation() -> Invitation {
        Invitation {
            network: NETWORK,
            serial: Serial([1; 16]),
            holder: key(50).verifying_key().to_bytes(),
            roles: Roles { expose: true, ..Roles::NONE },
            services: "llm-*".parse().unwrap(),
            expires_unix_s: 0,
            once: false,
        }
    }

    fn record(invitation: Option<Invitation>, service: &str) -> Record {
        let owner = NodeId::from(key(1).verifying_key());
        let service = Service { weight: 1, ..Service::new(service, Protocol::Tcp) };
        Record {
            network: NETWORK,
            generation: 0,
            owner,
            seq: 1,
            issued_ms: NOW.unix_ms,
            ttl: Duration::from_secs(60),
            statement: Statement { name: "a".into(), services: vec![service], ..Statement::default() },
            credential: invitation
                .map(|invitation| Credential::bind(SignedInvitation::sign(invitation, &key(99)), &key(50), owner)),
        }
    }

    fn decree(number: u64, change: impl FnOnce(&mut Decree), by: &SigningKey) -> UnverifiedDecree {
        let mut decree = Decree::empty(NETWORK, number, 0);
        change(&mut decree);
        UnverifiedDecree::decode(SignedDecree::sign(decree, by).unwrap().bytes()).unwrap()
    }

    fn rotation(generation: u32) -> Option<Rotation> {
        let grace = Duration::from_secs(100);
        Some(Rotation { generation, grace, ephemeral: [0; 32], sealed: Default::default() })
    }

    #[test]
    fn in_an_open_network_nobody_needs_a_credential_and_nobody_decrees() {
        let mut open = Rules::new(Config::new(NETWORK, 0));
        assert_eq!(open.judge(NOW, &record(None, "anything")), Ok(()));
        assert_eq!(open.enact(NOW.mono, decree(1, |_| {}, &key(99))), Enacted::Forged);
        assert_eq!(open.number(), 0);
    }

    #[test]
    fn what_the_issuer_granted_may_be_offered_and_no_more() {
        let rules = rules();
        assert_eq!(rules.judge(NOW, &record(Some(invitation()), "llm-7b")), Ok(()));
        assert_eq!(rules.judge(NOW, &record(Some(invitation()), "ssh")), Err(Refusal::Role));
        assert_eq!(rules.judge(NOW, &record(None, "llm-7b")), Err(Refusal::Credential));
        let serves = Invitation { roles: Roles { serve: true, ..Roles::NONE }, ..invitation() };
        assert_eq!(rules.judge(NOW, &record(Some(serves), "llm-7b")), Err(Refusal::Role));
        let mut stolen = record(Some(invitation()), "llm-7b");
        stolen.owner = NodeId::from(key(2).verifying_key());
        assert_eq!(rules.judge(NOW, &stolen), Err(Refusal::Credential));
    }

    #[test]
    fn an_invitation_expires_by_the_wall_clock() {
        let until = |unix_s| record(Some(Invitation { expires_unix_s: unix_s, ..invitation() }), "llm-7b");
        let now_s = NOW.unix_ms / 1000;
        assert_eq!(rules().judge(NOW, &until(now_s + 1)), Ok(()));
        assert_eq!(rules().judge(NOW, &until(now_s)), Err(Refusal::Expired));
        assert_eq!(rules().judge_again(NOW, &until(now_s)), Err(Refusal::Expired));
    }

    #[test]
    fn a_decree_bans_revokes_and_is_replaced_whole() {
        let mut rules = rules();
        let owner = record(None, "x").owner;
        let banning = decree(5, |d| _ = d.banned.insert(owner), &key(99));
        assert_eq!(rules.enact(NOW.mono, banning), Enacted::Newer);
        assert_eq!(rules.judge(NOW, &record(Some(invitation()), "llm-7b")), Err(Refusal::Banned));
        assert_eq!(rules.enact(NOW.mono, decree(4, |_| {}, &key(99))), Enacted::Known);
        assert_eq!(rules.enact(NOW.mono, decree(6, |_| {}, &key(98))), Enacted::Forged);
        let foreign = Decree::empty(NetworkId([9; 16]), 7, 0);
        let foreign = UnverifiedDecree::decode(SignedDecree::sign(foreign, &key(99)).unwrap().bytes()).unwrap();
        assert_eq!(rules.enact(NOW.mono, foreign), Enacted::Foreign);
        let revoking = decree(6, |d| _ = d.revoked.insert(Serial([1; 16])), &key(99));
        assert_eq!(rules.enact(NOW.mono, revoking), Enacted::Newer);
        assert_eq!(rules.judge(NOW, &record(Some(invitation()), "llm-7b")), Err(Refusal::Revoked));
        assert_eq!(rules.number(), 6);
    }

    #[test]
    fn after_the_grace_only_the_new_generation_counts() {
        let mut rules = rules();
        assert!(rules.counts(0) && !rules.counts(1));
        rules.enact(NOW.mono, decree(5, |d| d.rotation = rotation(2), &key(99)));
        assert!(rules.counts(0) && rules.counts(2));
        rules.enact(NOW.mono + Duration::from_secs(50), decree(6, |d| d.rotation = rotation(2), &key(99)));
        assert_eq!(rules.grace_ends(), Some(NOW.mono + Duration::from_secs(100)), "the same again is no more grace");
        assert!(!rules.expire(NOW.mono + Duration::from_secs(99)));
        assert!(rules.expire(NOW.mono + Duration::from_secs(100)));
        assert!(!rules.counts(0) && !rules.counts(1) && rules.counts(2));
        assert_eq!(rules.grace_ends(), None);
    }

    #[test]
    fn a_restart_is_no_more_grace_either() {
        let mut rules = rules();
        let again = decree(5, |d| d.rotation = rotation(2), &key(99));
        assert_eq!(rules.resume(NOW.mono, again, Duration::from_secs(7)), Enacted::Newer);
        assert_eq!(rules.grace_ends(), Some(NOW.mono + Duration::from_secs(7)));
        let mut rules = self::rules();
        rules.resume(NOW.mono, decree(5, |d| d.rotation = rotation(2), &key(99)), Duration::MAX);
        let month = Duration::from_secs(30 * 24 * 3600);
        assert_eq!(rules.grace_ends(), Some(NOW.mono + month), "whatever the disk says");
    }
}
