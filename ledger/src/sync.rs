//! One session of a sync: after it, both sides hold the same.
//!
//! Gossip loses messages and carries no leases; a sync finds what two ledgers differ in, at a cost of the difference, and
//! moves it, both ways. The dialler asks, the responder answers each frame with one frame:
//!
//! ```text
//!  dialler                                responder
//!     Hello  ──────────────────────────────▶
//!       ◀──────────────────────────────  Hello        equal: the dialler closes
//!     Ask ─────────────────────────────────▶
//!       ◀────────────────────────────  Symbols        again, until the dialler has peeled them
//!     Want(owners) ────────────────────────▶
//!       ◀────────────────────────────  Records        again, until all wanted came
//!     Records ─────────────────────────────▶
//!       ◀──────────────────────────────  Taken        again, until all lacking there were sent
//! ```
//!
//! Where one side has much less than the other, or the difference takes too many symbols, the dialler turns over the
//! responder's ledger page by page instead, and sends back what a page lacks:
//!
//! ```text
//!     Turn(after) ─────────────────────────▶
//!       ◀───────────────────────────────  Page
//!     Records ─────────────────────────────▶
//!       ◀──────────────────────────────  Taken        … Turn(after the page), until the last one
//! ```
//!
//! So never more than one frame per session is on its way, and the peer's silence stops it. Equal ledgers cost 58 bytes,
//! a difference about 26 bytes for each symbol and 1.5 symbols for each element that only one side has.
//!
//! **Bounds.** Frames per session are counted; each `Want` is shorter than the one before it; each page goes on after
//! the one before it; symbols are limited in all. A peer that sends what was not asked for, or much that is old, or
//! nothing for a while, loses the session: see [`Offence`].
//!
//! What it deliberately does not do: verify or join. It hands the rumours out; the ledger judges them, and then asks for
//! the answer.

mod dialler;
mod responder;
#[cfg(test)]
mod tests;

use std::time::Duration;

use dialler::Dialler;
use responder::Responder;

use crate::{
    NodeId, WireError,
    event::Offence,
    frame::{Frame, Records},
    replica::Replica,
    rumour::Rumour,
};

/// How long a peer may take for its next frame: a frame is 64 KiB, which the slowest useful link carries in this time.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Rumours that told nothing new, in one session. When a partition heals, several peers may bring the same news, so a
/// whole ledger of the largest size twice over is no offence; more is a flood.
const USELESS_MAX: usize = 40_000;
/// Frames from one peer in one session. A ledger of the largest size takes a few hundred.
const FRAMES_MAX: u32 = 2048;
/// A side that has less than half of the other's owners, by more than so many, gets them by pages: it lacks most of what
/// they hold, and pages take fewer round trips.
const FEWER: u32 = 4;
/// Where it is that many, one peer at a time is enough to bring them.
const MANY_FEWER: u32 = 64;
/// Symbols of one session. A difference that takes more is found by pages at less cost.
const SYMBOLS_IN_ALL: usize = 4096;

/// One session with one peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: NodeId,
    role: Role,
    /// When the peer said something last, or the session was opened.
    heard: Duration,
    frames: u32,
    useless: usize,
    /// The peer brings the bulk of the ledger.
    bulk: bool,
}

#[derive(Debug)]
enum Role {
    Responder(Responder),
    Dialler(Dialler),
}

/// What the dialler of a session brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// Random, drawn for this session.
    pub(crate) salt: u64,
    /// Symbols to ask for first.
    pub(crate) symbols: usize,
}

impl Session {
    /// A session that this node opened, and its first frame.
    pub(crate) fn dial(now: Duration, peer: NodeId, opening: Opening, replica: &Replica) -> (Self, Frame) {
        (Self::new(now, peer, Role::Dialler(Dialler::new(opening))), replica.hello())
    }

    /// A session that the peer opened.
    pub(crate) fn accept(now: Duration, peer: NodeId) -> Self {
        Self::new(now, peer, Role::Responder(Responder::default()))
    }

    fn new(now: Duration, peer: NodeId, role: Role) -> Self {
        Self { peer, role, heard: now, frames: 0, useless: 0, bulk: false }
    }

    pub(crate) fn is_dialled(&self) -> bool {
        matches!(self.role, Role::Dialler(_))
    }

    /// Until when the peer has to say something.
    pub(crate) fn deadline(&self) -> Duration {
        self.heard + SILENCE_MAX
    }

    /// Whether the peer said something within this time.
    pub(crate) fn is_lively(&self, now: Duration, within: Duration) -> bool {
        now < self.heard + within
    }

    /// Takes the peer's next frame: the rumours in it, which are to be judged before [`answer`](Self::answer).
    pub(crate) fn take(&mut self, now: Duration, bytes: &[u8]) -> Result<Vec<Rumour>, Offence> {
        self.heard = now;
        self.frames += 1;
        if self.frames > FRAMES_MAX {
            return Err(Offence::Excess);
        }
        let frame = Frame::decode(bytes).map_err(|_| Offence::Malformed)?;
        match &mut self.role {
            Role::Responder(responder) => responder.take(frame),
            Role::Dialler(dialler) => dialler.take(frame),
        }
    }

    /// The frame that follows; none ends the session.
    pub(crate) fn answer(&mut self, replica: &Replica) -> Result<Option<Frame>, Offence> {
        if self.frames == 1 {
            let theirs = match &self.role {
                Role::Responder(responder) => responder.theirs(),
                Role::Dialler(dialler) => dialler.theirs(),
            };
            let mine = replica.summary().0;
            self.bulk = theirs.is_some_and(|theirs| is_far_behind(mine, theirs) && theirs - mine > MANY_FEWER);
        }
        match &mut self.role {
            Role::Responder(responder) => responder.answer(replica),
            Role::Dialler(dialler) => Ok(dialler.answer(replica)),
        }
    }

    /// Whether the peer said at first that it has far more owners than this side.
    pub(crate) fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// The peer asked at least one question.
    pub(crate) fn has_worked(&self) -> bool {
        self.frames > 0
    }

    /// Symbols that it took to find the difference, where this side dialled and found it that way.
    pub(crate) fn symbols(&self) -> Option<usize> {
        match &self.role {
            Role::Dialler(dialler) => dialler.symbols(),
            Role::Responder(_) => None,
        }
    }

    /// Counts rumours of the last frame that told nothing new.
    pub(crate) fn count_useless(&mut self, rumours: usize) -> Result<(), Offence> {
        self.useless += rumours;
        if self.useless > USELESS_MAX { Err(Offence::Excess) } else { Ok(()) }
    }
}

/// Whether who has `less` owners gets those of who has `more` by pages.
fn is_far_behind(less: u32, more: u32) -> bool {
    more > less.saturating_mul(2).saturating_add(FEWER)
}

/// The rumours of a frame. Those of a newer protocol version are left out.
fn decode(records: &Records) -> Result<Vec<Rumour>, Offence> {
    let decoded = records.rumours().map_err(|_| Offence::Malformed)?.into_iter().map(Rumour::decode);
    let understood = decoded.filter(|rumour| !matches!(rumour, Err(WireError::Unsupported { .. })));
    understood.collect::<Result<_, _>>().map_err(|_| Offence::Malformed)
}
