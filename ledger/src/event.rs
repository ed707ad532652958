//! What goes into the ledger and what comes out.

use std::{fmt, sync::Arc};

use crate::{NodeId, SignedDecree, Statement, StatementError, UnverifiedDecree, View};

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// This node has this to say from now on. The same statement again produces nothing.
    Publish(Statement),
    /// The issuer, at this node, decided something. Put in force and told the others if it is newer than what is known.
    Decree(Box<UnverifiedDecree>),
    /// This node has the secret of this generation: its record belongs to it from now on.
    Generation(u32),
    /// A gossip message; [`Output::Judge`] with the same ticket says what is to become of it.
    Gossip {
        /// The driver's name for the message.
        ticket: u64,
        /// The connected peer that passed it on.
        from: NodeId,
        /// The payload: one rumour.
        bytes: Vec<u8>,
    },
    /// A peer was admitted. Gossip and sessions of peers that are not up are ignored.
    PeerUp(NodeId),
    /// The last connection to a peer is gone.
    PeerDown(NodeId),
    /// A sync stream is open.
    SessionOpened {
        /// The driver's name for the stream, never used twice.
        session: u64,
        /// The peer at the other end.
        peer: NodeId,
        /// This node opened it, after [`Output::OpenSession`].
        dialled: bool,
    },
    /// A frame of a sync stream arrived, whole and without its length.
    SessionFrame {
        /// The stream.
        session: u64,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// A sync stream ended, by the other end or by a failure.
    SessionClosed {
        /// The stream.
        session: u64,
    },
}

/// Something to be done outside. Outputs are to be executed in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Keep this number for [`Ledger::new`](crate::Ledger::new). It must be durable before the outputs that follow are
    /// executed: otherwise a crash could make this node use a number twice.
    Persist {
        /// The number of this node's newest record.
        seq: u64,
    },
    /// Hand this payload to gossip, with [`message_id`](crate::message_id) as its message id.
    Broadcast(Vec<u8>),
    /// What is to become of a gossip message.
    Judge {
        /// The message's [`Input::Gossip`] ticket.
        ticket: u64,
        /// Pass it on, drop it, or drop it and hold it against the peer.
        verdict: Verdict,
    },
    /// Open a sync stream to this peer, then say [`Input::SessionOpened`]. If that fails, nothing need be said.
    OpenSession {
        /// A peer that is up.
        peer: NodeId,
    },
    /// Send a frame, after its length, on a sync stream.
    Send {
        /// The stream.
        session: u64,
        /// The frame, at most [`FRAME_MAX`](crate::FRAME_MAX) bytes.
        bytes: Vec<u8>,
    },
    /// Close a sync stream once all frames before are sent. It is not spoken of again.
    CloseSession {
        /// The stream.
        session: u64,
    },
    /// The ledger changed.
    View(Arc<View>),
    /// This decree of the network's issuer is in force now: lock out whom it bans, and look for the secret of a new
    /// generation in it.
    Decree(SignedDecree),
    /// A peer broke the rules. What follows from it is up to the driver.
    Misbehaved {
        /// The peer.
        peer: NodeId,
        /// What it did.
        offence: Offence,
    },
    /// A peer broke the rules too often: close its connections, and take none of it for a while.
    Expel {
        /// The peer.
        peer: NodeId,
        /// What it did last.
        offence: Offence,
    },
    /// A statement was not published: it would not fit. The one before stays.
    Refused(StatementError),
    /// Another node keeps publishing with this node's key. Said at most once a minute. Two processes share an
    /// identity, or the key was stolen: this node should stop exposing.
    KeyShared,
}

/// What is to become of a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Valid and new: pass it on.
    Accept,
    /// Old, too much, or not understood: drop it.
    Ignore,
    /// Not valid: drop it and count it against the peer.
    Reject,
}

/// How a peer broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Offence {
    /// It sent bytes that are not in the one form that is valid.
    Malformed,
    /// It passed on a record that its owner did not sign.
    Forged,
    /// It passed on a record of another network.
    Foreign,
    /// It passed on more gossip than [`Config::sender_rate`](crate::Config::sender_rate) allows. Said once per burst.
    Flood,
    /// It sent a frame that had no place in the session, or by gossip what only a sync may carry.
    OutOfTurn,
    /// It opened too many sessions, or sent too much in one.
    Excess,
    /// It said nothing for too long in a session. The network may be to blame.
    Stalled,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Foreign => "foreign",
            Self::Flood => "flood",
            Self::OutOfTurn => "out of turn",
            Self::Excess => "excess",
            Self::Stalled => "stalled",
        })
    }
}
