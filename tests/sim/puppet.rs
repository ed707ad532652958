//! The end of a sync session that is no ledger: what a member can say there that an honest node does not.
//!
//! Frames are put together by hand, from the description of the format alone.

use p2p_fed_ledger::{FRAME_MAX, NodeId, Offence, SignedRecord};

use crate::{
    attack::{payload, replace},
    chance::Chance,
    world::World,
};

const HELLO: u8 = 1;
const ASK: u8 = 2;
const SYMBOLS: u8 = 3;
const WANT: u8 = 4;
const RECORDS: u8 = 5;
const TAKEN: u8 = 6;
const TURN: u8 = 7;
const PAGE: u8 = 8;

/// Bytes of a symbol.
const SYMBOL: usize = 26;

/// A way to lie. Where it says nothing about a frame, the answer is that of a ledger that knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lie {
    /// Takes the stream and never says a word.
    Silence,
    /// Says bytes that mean nothing.
    Babble,
    /// Sends frames longer than any may be.
    Oversize,
    /// Claims to hold more owners than there can be.
    Boast,
    /// Sends symbols that are of no set.
    Symbols,
    /// Sends more symbols than it was asked for.
    MoreSymbols,
    /// Tells records that nobody asked for instead of answering.
    Unasked,
    /// Tells a forged record where one was asked for.
    Forged,
    /// Sends the same old record again and again.
    OldNews,
    /// Sends pages without records, each a little further on, and never the last one.
    Pages,
    /// Sends the same page again and again.
    Rounds,
    /// Opens stream after stream.
    Reopen,
}

pub(crate) const LIES: [Lie; 12] = [
    Lie::Silence,
    Lie::Babble,
    Lie::Oversize,
    Lie::Boast,
    Lie::Symbols,
    Lie::MoreSymbols,
    Lie::Unasked,
    Lie::Forged,
    Lie::OldNews,
    Lie::Pages,
    Lie::Rounds,
    Lie::Reopen,
];

fn hello(count: u32, chance: &mut Chance) -> Vec<u8> {
    [&[HELLO][..], &count.to_be_bytes(), &chance.bytes(16), &[0; 8]].concat()
}

fn records<'a>(rumours: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut frame = vec![RECORDS];
    for rumour in rumours {
        frame.extend_from_slice(&u16::try_from(rumour.len()).expect("a short rumour").to_be_bytes());
        frame.extend_from_slice(rumour);
    }
    frame
}

impl Lie {
    /// What it may be blamed for.
    fn blamed(self) -> &'static [Offence] {
        match self {
            Self::Silence => &[Offence::Stalled],
            Self::Boast => &[],
            Self::Forged => &[Offence::Forged],
            Self::OldNews | Self::Reopen => &[Offence::Excess],
            Self::Unasked => &[Offence::OutOfTurn],
            Self::Babble | Self::Oversize | Self::Symbols | Self::MoreSymbols | Self::Pages | Self::Rounds => {
                &[Offence::Malformed, Offence::OutOfTurn]
            }
        }
    }

    /// The answer to a frame. `own`: a record that was honestly signed; `forged`: a rumour that was not.
    fn answer(self, frame: &[u8], own: &SignedRecord, forged: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        let own = payload(own);
        let kind = frame.first().copied().unwrap_or_default();
        let asked = frame.last_chunk().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
        let honest = match kind {
            HELLO => hello(1, chance),
            ASK => [vec![SYMBOLS], vec![0; asked * SYMBOL]].concat(),
            WANT => vec![RECORDS],
            RECORDS => vec![TAKEN],
            TURN => vec![PAGE, 0],
            _ => return None,
        };
        let lie = match (self, kind) {
            (Self::Silence, _) => return None,
            (Self::Babble, _) => {
                let len = 1 + chance.below(100);
                chance.bytes(len)
            }
            (Self::Oversize, _) => vec![RECORDS; FRAME_MAX + 1],
            (Self::Boast, HELLO) => hello(u32::MAX, chance),
            (Self::Symbols, ASK) => [vec![SYMBOLS], chance.bytes(asked * SYMBOL)].concat(),
            (Self::MoreSymbols, ASK) => [vec![SYMBOLS], chance.bytes(2 * asked * SYMBOL)].concat(),
            (Self::Unasked, _) => records([&own[..]]),
            (Self::Forged, WANT | TURN) => match kind {
                WANT => records([forged]),
                _ => [&[PAGE, 0][..], &records([forged])[1..]].concat(),
            },
            (Self::OldNews, TURN) => {
                let many = records(std::iter::repeat_n(&own[..], FRAME_MAX / (own.len() + 2) - 1));
                [&[PAGE, 0][..], &many[1..]].concat()
            }
            (Self::Pages, TURN) => {
                // The next owner after the one that was asked for, as a number.
                let mut until = frame[1..].to_vec();
                until.resize(32, 0);
                for byte in until.iter_mut().rev() {
                    let (next, carry) = byte.overflowing_add(1);
                    *byte = next;
                    if !carry {
                        break;
                    }
                }
                [&[PAGE, 1][..], &until].concat()
            }
            (Self::Rounds, TURN) => [&[PAGE, 1][..], &[7; 32]].concat(),
            _ => honest,
        };
        Some(lie)
    }

    /// What it says first on a stream that it opened.
    fn opens_with(self, own: &SignedRecord, forged: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        match self {
            Self::Silence | Self::Reopen => None,
            Self::Boast => Some(hello(u32::MAX, chance)),
            Self::Unasked | Self::Babble | Self::Oversize => self.answer(&[HELLO], own, forged, chance),
            _ => Some(hello(1, chance)),
        }
    }

    /// What it goes on with there, where it has something of its own to say.
    fn goes_on(self, own: &SignedRecord, forged: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        let own = payload(own);
        match self {
            Self::OldNews => Some(records(std::iter::repeat_n(&own[..], FRAME_MAX / (own.len() + 2) - 1))),
            Self::Forged => Some(records([forged])),
            Self::Symbols | Self::MoreSymbols => Some([vec![SYMBOLS], chance.bytes(64 * SYMBOL)].concat()),
            Self::Pages => Some([&[PAGE, 1][..], &[1; 32]].concat()),
            Self::Rounds => Some(vec![TURN]),
            _ => None,
        }
    }
}

/// Streams that a node which opens them again and again opens at once, to each neighbour.
const REOPENS: usize = 10;

impl World {
    /// The node lies on all its streams from now on, and opens some to do so.
    pub(crate) fn lie(&mut self, by: usize, lie: Lie) {
        self.attackers.entry(self.nodes[by].id).or_default().extend(lie.blamed());
        self.nodes[by].lie = Some(lie);
        let Some((own, forged)) = self.props(by) else { return };
        for peer in self.network.neighbours(by) {
            for _ in 0..if lie == Lie::Reopen { REOPENS } else { 1 } {
                let Some(session) = self.open_stream(by, peer) else { continue };
                if let Some(frame) = lie.opens_with(&own, &forged, &mut self.chance) {
                    self.send_frame(by, session, frame);
                }
                if lie == Lie::Reopen {
                    self.close_stream(by, session);
                }
            }
        }
    }

    /// A frame came to a node that lies.
    pub(crate) fn answer_with_a_lie(&mut self, by: usize, session: u64, frame: &[u8]) {
        let (Some(lie), Some((own, forged))) = (self.nodes[by].lie, self.props(by)) else { return };
        // On a stream that it opened, the peer answers; what the answer is, does not matter.
        let goes_on = if self.network.opened_by(session) == Some(by) {
            lie.goes_on(&own, &forged, &mut self.chance)
        } else {
            None
        };
        if let Some(frame) = goes_on.or_else(|| lie.answer(frame, &own, &forged, &mut self.chance)) {
            self.send_frame(by, session, frame);
        }
    }

    /// The node's own record, and one in the name of somebody else.
    fn props(&mut self, by: usize) -> Option<(SignedRecord, Vec<u8>)> {
        let node = &self.nodes[by];
        let own = node.ledger.as_ref()?.record(&node.id)?.clone();
        let victim = self.nodes[(by + 1) % self.nodes.len()].id;
        let forged = self.forged_rumour(by, victim, &own);
        Some((own, forged))
    }

    /// A record in the victim's name with the liar's signature, a newer one than there is.
    pub(crate) fn forged_rumour(&self, by: usize, victim: NodeId, own: &SignedRecord) -> Vec<u8> {
        let signed = self.say_as(by, own, |record| {
            record.seq += 1 << 30;
            record.statement.name = "forged".into();
        });
        replace(&payload(&signed), self.nodes[by].id.as_bytes(), victim.as_bytes())
    }
}
