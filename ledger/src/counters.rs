//! How often what happened.

/// Counts since the ledger was made. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gossip messages taken and passed on.
    pub gossip_accepted: u64,
    /// Gossip messages dropped without blame: old, too much, or not understood.
    pub gossip_ignored: u64,
    /// Gossip messages dropped as invalid.
    pub gossip_rejected: u64,
    /// Of those ignored: more than the sender may pass on.
    pub dropped_sender: u64,
    /// Records not taken: the owner changes too often.
    pub refused_pace: u64,
    /// Records not taken: of another generation.
    pub refused_generation: u64,
    /// Records not taken: first seen and dated too far from now.
    pub refused_date: u64,
    /// Records not taken: the number is too high.
    pub refused_sequence: u64,
    /// Records not taken: the ledger is full.
    pub refused_full: u64,
    /// Leases not taken: their record is not held.
    pub refused_unfounded: u64,
    /// Records not taken: without a credential of the network's issuer.
    pub refused_credential: u64,
    /// Records not taken: they offer more than their credential grants.
    pub refused_role: u64,
    /// Records not taken: the issuer banned their owner.
    pub refused_banned: u64,
    /// Records not taken: the issuer revoked their owner's invitation.
    pub refused_revoked: u64,
    /// Records not taken: their owner's credential has expired.
    pub refused_expired: u64,
    /// Decrees of the issuer put in force.
    pub decrees: u64,
    /// Own records published because the statement changed.
    pub published: u64,
    /// Times that the own record was renewed because it still holds.
    pub renewed: u64,
    /// Own records met that were not older than the newest.
    pub echoes: u64,
    /// Owners quarantined.
    pub quarantined: u64,
    /// Sync sessions opened, by either side.
    pub sessions_opened: u64,
    /// Sync sessions that this node dialled and brought to their end.
    pub sessions_completed: u64,
    /// Sync sessions that ended before, for whatever reason, or with the other side's end.
    pub sessions_ended: u64,
    /// Sync sessions not opened: too many, or a second one with one peer.
    pub sessions_declined: u64,
    /// Newer records that came by sync.
    pub synced: u64,
    /// Of those, passed on by gossip.
    pub retold: u64,
    /// Offences of peers.
    pub offences: u64,
    /// Peers expelled for their offences.
    pub expelled: u64,
}
