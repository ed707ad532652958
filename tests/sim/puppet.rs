//! The end of a sync session that is no ledger: what a member can say there that an honest node does not.
//!
//! Frames are put together by hand, from the description of the format alone.

use p2p_fed_ledger::{FRAME_MAX, NodeId, Offence, SignedRecord};

use sha2::{Digest as _, Sha256};

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

/// All that is known of an owner.
const WHAT_ALL: u8 = 2;
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
    /// Sends symbols of a set that has one element alone: somebody's last word that nobody ever said.
    Promise,
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
    /// Says hello again and again.
    Hellos,
    /// Asks for the first page again and again.
    Turns,
    /// Asks for the same records again and again.
    Wants,
    /// Asks for the first symbol again and again.
    Asks,
}

pub(crate) const LIES: [Lie; 17] = [
    Lie::Silence,
    Lie::Babble,
    Lie::Oversize,
    Lie::Boast,
    Lie::Symbols,
    Lie::Promise,
    Lie::MoreSymbols,
    Lie::Unasked,
    Lie::Forged,
    Lie::OldNews,
    Lie::Pages,
    Lie::Rounds,
    Lie::Reopen,
    Lie::Hellos,
    Lie::Turns,
    Lie::Wants,
    Lie::Asks,
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

/// So many symbols of a set whose one element says that `owner` said something with the last number there is. `ask` is
/// the frame that asks for them.
fn symbols_of_one(owner: NodeId, ask: &[u8], count: usize) -> Vec<u8> {
    let (salt, from) = (&ask[1..9], usize::from(u16::from_be_bytes([ask[9], ask[10]])));
    let element = [&owner.as_bytes()[..8], &[0x5a; 4], &u64::MAX.to_be_bytes()].concat();
    let hash = Sha256::new().chain_update(b"p2p-fed/sketch/v1\0").chain_update(salt).chain_update(&element).finalize();
    let symbol = [&element[..], &hash[..4], &1_u16.to_be_bytes()].concat();
    let mut walk = Chance::seeded(u64::from_be_bytes(hash[4..12].try_into().expect("eight bytes")));
    let mut frame = vec![0; 1 + count * SYMBOL];
    frame[0] = SYMBOLS;
    let mut at = 0;
    while at < from + count {
        if at >= from {
            frame[1 + (at - from) * SYMBOL..][..SYMBOL].copy_from_slice(&symbol);
        }
        let part = ((walk.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        at += (((at as f64 + 1.5) * (1.0 / part.sqrt() - 1.0)).ceil() as usize).max(1);
    }
    frame
}

impl Lie {
    /// How a scenario with it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence in syncs",
            Self::Babble => "babble in syncs",
            Self::Oversize => "long frames in syncs",
            Self::Boast => "boasting in syncs",
            Self::Symbols => "made-up symbols",
            Self::Promise => "a promise",
            Self::MoreSymbols => "more symbols than asked for",
            Self::Unasked => "records that nobody asked for",
            Self::Forged => "forged records in syncs",
            Self::OldNews => "old news in syncs",
            Self::Pages => "pages without an end",
            Self::Rounds => "the same page again",
            Self::Reopen => "stream after stream",
            Self::Hellos => "hello again and again",
            Self::Turns => "the first page again and again",
            Self::Wants => "the same records again and again",
            Self::Asks => "the first symbol again and again",
        }
    }

    /// What it may be blamed for.
    pub(crate) fn blamed(self) -> &'static [Offence] {
        match self {
            Self::Silence => &[Offence::Stalled],
            // They have nothing to show, and that is all: an honest ledger may be as far away.
            Self::Boast | Self::Symbols | Self::Promise => &[],
            Self::Forged => &[Offence::Forged],
            Self::OldNews | Self::Reopen => &[Offence::Excess],
            Self::Hellos | Self::Turns | Self::Wants | Self::Asks => &[Offence::Excess, Offence::OutOfTurn],
            Self::Unasked => &[Offence::OutOfTurn],
            Self::Babble | Self::Oversize | Self::MoreSymbols | Self::Pages | Self::Rounds => {
                &[Offence::Malformed, Offence::OutOfTurn]
            }
        }
    }

    /// The answer to a frame. `own`: a record that was honestly signed; `forged`: a rumour that was not.
    fn answer(self, frame: &[u8], own: &SignedRecord, forged: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        let (owner, own) = (own.record().owner, payload(own));
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
            // As many owners as the other side has: far fewer would be sent as pages.
            (Self::Symbols | Self::Promise | Self::MoreSymbols, HELLO) => {
                let count = frame[1..].first_chunk().map_or(0, |count| u32::from_be_bytes(*count));
                hello(count, chance)
            }
            (Self::Symbols, ASK) => [vec![SYMBOLS], chance.bytes(asked * SYMBOL)].concat(),
            (Self::Promise, ASK) => symbols_of_one(owner, frame, asked),
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

    /// What it says first on a stream that it opened, where it opens any.
    fn opens_with(self, own: &SignedRecord, forged: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        match self {
            Self::Unasked | Self::Babble | Self::Oversize | Self::Boast => self.answer(&[HELLO], own, forged, chance),
            Self::Forged | Self::OldNews | Self::Hellos | Self::Turns | Self::Wants | Self::Asks => {
                Some(hello(1, chance))
            }
            _ => None,
        }
    }

    /// What it says there then, each time it was answered.
    fn goes_on(self, own: &SignedRecord, forged: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        let (owner, own) = (own.record().owner, payload(own));
        match self {
            Self::OldNews => Some(records(std::iter::repeat_n(&own[..], FRAME_MAX / (own.len() + 2) - 1))),
            Self::Forged => Some(records([forged])),
            Self::Hellos => Some(hello(1, chance)),
            Self::Turns => Some(vec![TURN]),
            Self::Wants => Some([&[WANT][..], &owner.as_bytes()[..8], &[WHAT_ALL]].concat()),
            Self::Asks => Some([&[ASK][..], &[0; 8], &0_u16.to_be_bytes(), &1_u16.to_be_bytes()].concat()),
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
            if lie == Lie::Reopen {
                for _ in 0..REOPENS {
                    self.open_stream(by, peer).into_iter().for_each(|session| self.close_stream(by, session));
                }
            } else if let Some(frame) = lie.opens_with(&own, &forged, &mut self.chance)
                && let Some(session) = self.open_stream(by, peer)
            {
                self.send_frame(by, session, frame);
            }
        }
    }

    /// A frame came to a node that lies.
    pub(crate) fn answer_with_a_lie(&mut self, by: usize, session: u64, frame: &[u8]) {
        let (Some(lie), Some((own, forged))) = (self.nodes[by].lie, self.props(by)) else { return };
        let said = if self.network.opened_by(session) == Some(by) {
            lie.goes_on(&own, &forged, &mut self.chance)
        } else {
            lie.answer(frame, &own, &forged, &mut self.chance)
        };
        match said {
            Some(frame) => self.send_frame(by, session, frame),
            None if lie == Lie::Silence => {}
            None => self.close_stream(by, session),
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
