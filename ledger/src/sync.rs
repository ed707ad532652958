//! One session of a sync: after it, both sides hold the same.
//!
//! Gossip loses messages; a sync compares whole ledgers and moves what is missing, both ways. The dialler asks, the
//! responder answers each frame with one frame and remembers nothing:
//!
//! ```text
//!  dialler                                responder
//!     Hello  ──────────────────────────────▶
//!       ◀──────────────────────────────  Hello        equal: the dialler closes
//!     Ask(after) ──────────────────────────▶
//!       ◀─────────────────────────  Digest, a page    the dialler compares it with its own
//!     Want(owners) ────────────────────────▶
//!       ◀────────────────────────────  Records        again, until all wanted came
//!     Records ─────────────────────────────▶
//!       ◀──────────────────────────────  Taken        again, until all lacking there were sent
//!     Ask(after the page), … the last page done: the dialler closes
//! ```
//!
//! So never more than one frame per session is on its way, and the peer's silence stops it. Costs about 50 bytes per
//! owner when two ledgers differ, and 42 in all when they are equal; a set reconciliation can take the place of `Ask`
//! and `Digest` without touching the rest.
//!
//! **Bounds.** Frames per session are counted; each page of a digest goes on where the one before ended; each `Want`
//! is shorter than the one before it. A peer that sends what was not asked for, or much that is old, or nothing for a
//! while, loses the session: see [`Offence`].
//!
//! What it deliberately does not do: verify or join. It hands the rumours out; the ledger judges them.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    NodeId,
    event::Offence,
    frame::{Frame, PAGE, Records},
    replica::Replica,
    rumour::Rumour,
};

/// How long a peer may take for its next frame: a frame is 64 KiB, which the slowest useful link carries in this time.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Rumours that told nothing new, in one session. Some overlap with gossip is normal; this many is a flood.
const USELESS_MAX: usize = 2048;
/// Frames from one peer in one session. A full ledger of the usual size takes a few hundred each way.
const FRAMES_MAX: u32 = 4096;

/// One session with one peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: NodeId,
    role: Role,
    /// Until when the peer has to say something.
    pub(crate) deadline: Duration,
    frames: u32,
    useless: usize,
}

#[derive(Debug)]
enum Role {
    Responder { greeted: bool },
    Dialler(Dialler),
}

/// What the dialler is waiting for.
#[derive(Debug)]
enum Dialler {
    Hello,
    Digest { after: Option<NodeId> },
    Records(Page),
    Taken(Page),
}

/// A page of the responder's digest being worked off.
#[derive(Debug)]
struct Page {
    /// The last owner of the page; none when it was the last page.
    until: Option<NodeId>,
    /// Owners whose rumours are lacking here.
    wants: BTreeSet<NodeId>,
    /// Owners whose rumours are lacking there.
    sends: VecDeque<NodeId>,
}

/// What a frame leads to.
#[derive(Debug, Default)]
pub(crate) struct Reaction {
    /// Rumours to be judged.
    pub(crate) rumours: Vec<Rumour>,
    /// The frame to send; none ends the session.
    pub(crate) answer: Option<Frame>,
}

impl Session {
    /// A session that this node (`dialled`) or the peer opened, and the dialler's first frame.
    pub(crate) fn open(now: Duration, peer: NodeId, dialled: bool, replica: &Replica) -> (Self, Option<Frame>) {
        let role = if dialled { Role::Dialler(Dialler::Hello) } else { Role::Responder { greeted: false } };
        let session = Self { peer, role, deadline: now + SILENCE_MAX, frames: 0, useless: 0 };
        (session, dialled.then(|| hello(replica)))
    }

    pub(crate) fn is_dialled(&self) -> bool {
        matches!(self.role, Role::Dialler(_))
    }

    /// Takes the peer's next frame.
    pub(crate) fn handle(&mut self, now: Duration, bytes: &[u8], replica: &Replica) -> Result<Reaction, Offence> {
        self.deadline = now + SILENCE_MAX;
        self.frames += 1;
        if self.frames > FRAMES_MAX {
            return Err(Offence::Excess);
        }
        let frame = Frame::decode(bytes).map_err(|_| Offence::Malformed)?;
        match &mut self.role {
            Role::Responder { greeted } => respond(greeted, frame, replica),
            Role::Dialler(state) => {
                // The state is put back unless the session ends here.
                let (reaction, next) = std::mem::replace(state, Dialler::Hello).step(frame, replica)?;
                if let Some(next) = next {
                    *state = next;
                }
                Ok(reaction)
            }
        }
    }

    /// The peer asked at least one question.
    pub(crate) fn has_worked(&self) -> bool {
        self.frames > 0
    }

    /// Counts rumours of the last frame that told nothing new.
    pub(crate) fn count_useless(&mut self, rumours: usize) -> Result<(), Offence> {
        self.useless += rumours;
        if self.useless > USELESS_MAX { Err(Offence::Excess) } else { Ok(()) }
    }
}

// === the responder ===

fn respond(greeted: &mut bool, frame: Frame, replica: &Replica) -> Result<Reaction, Offence> {
    match frame {
        Frame::Hello { .. } if !*greeted => {
            *greeted = true;
            Ok(answer(hello(replica)))
        }
        _ if !*greeted => Err(Offence::OutOfTurn),
        Frame::Ask { after } => {
            let (lines, last) = replica.page(after, PAGE);
            Ok(answer(Frame::Digest { last, lines }))
        }
        Frame::Want(owners) => {
            let mut records = Records::default();
            let _all_fit = owners.iter().all(|owner| records.add(replica.rumours(owner)));
            Ok(answer(Frame::Records(records)))
        }
        Frame::Records(records) => Ok(Reaction { rumours: decode(&records)?, answer: Some(Frame::Taken) }),
        Frame::Hello { .. } | Frame::Digest { .. } | Frame::Taken => Err(Offence::OutOfTurn),
    }
}

// === the dialler ===

impl Dialler {
    /// What the frame leads to, and what to wait for then.
    fn step(self, frame: Frame, replica: &Replica) -> Result<(Reaction, Option<Self>), Offence> {
        match (self, frame) {
            (Self::Hello, Frame::Hello { count, fingerprint }) => {
                if (count, fingerprint) == replica.summary() {
                    Ok((Reaction::default(), None))
                } else {
                    Ok(ask(None))
                }
            }
            (Self::Digest { after }, Frame::Digest { last, lines }) => {
                let ascending = lines.first().is_none_or(|line| after.is_none_or(|after| after < line.owner));
                if !ascending {
                    return Err(Offence::Malformed);
                }
                let until = if last { None } else { lines.last().map(|line| line.owner) };
                let wants = lines.iter().filter(|line| replica.lack(line).here).map(|line| line.owner).collect();
                let unnamed = |owner: &NodeId| lines.binary_search_by(|line| line.owner.cmp(owner)).is_err();
                let absent = replica.fresh_between(after, until).filter(unnamed);
                let older = lines.iter().filter(|line| replica.lack(line).there).map(|line| line.owner);
                let page = Page { until, wants, sends: absent.chain(older).collect() };
                Ok(page.next(replica))
            }
            (Self::Records(mut page), Frame::Records(records)) => {
                let rumours = decode(&records)?;
                let came: BTreeSet<_> = rumours.iter().map(Rumour::owner).collect();
                if !came.is_subset(&page.wants) {
                    return Err(Offence::OutOfTurn);
                }
                page.wants.retain(|owner| !came.contains(owner));
                if came.is_empty() {
                    // What was promised is gone there by now.
                    page.wants.clear();
                }
                let (reaction, next) = page.next(replica);
                Ok((Reaction { rumours, ..reaction }, next))
            }
            (Self::Taken(page), Frame::Taken) => Ok(page.next(replica)),
            _ => Err(Offence::OutOfTurn),
        }
    }
}

impl Page {
    /// The next frame of this page, or the question for the next page, or the end.
    fn next(mut self, replica: &Replica) -> (Reaction, Option<Dialler>) {
        if !self.wants.is_empty() {
            let want = Frame::Want(self.wants.iter().copied().collect());
            return (answer(want), Some(Dialler::Records(self)));
        }
        let mut records = Records::default();
        while self.sends.front().is_some_and(|owner| records.add(replica.rumours(owner))) {
            self.sends.pop_front();
        }
        if records != Records::default() {
            return (answer(Frame::Records(records)), Some(Dialler::Taken(self)));
        }
        match self.until {
            Some(after) => ask(Some(after)),
            None => (Reaction::default(), None),
        }
    }
}

fn ask(after: Option<NodeId>) -> (Reaction, Option<Dialler>) {
    (answer(Frame::Ask { after }), Some(Dialler::Digest { after }))
}

fn answer(frame: Frame) -> Reaction {
    Reaction { rumours: Vec::new(), answer: Some(frame) }
}

fn hello(replica: &Replica) -> Frame {
    let (count, fingerprint) = replica.summary();
    Frame::Hello { count, fingerprint }
}

/// The rumours of a frame. Those of a newer protocol version are left out.
fn decode(records: &Records) -> Result<Vec<Rumour>, Offence> {
    let decoded = records.rumours().map_err(|_| Offence::Malformed)?.into_iter().map(Rumour::decode);
    let understood = decoded.filter(|rumour| !matches!(rumour, Err(crate::WireError::Unsupported { .. })));
    understood.collect::<Result<_, _>>().map_err(|_| Offence::Malformed)
}

#[cfg(test)]
mod tests;
