//! The side that asks.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use super::{Opening, SYMBOLS_IN_ALL, decode, is_far_behind};
use crate::{
    NodeId,
    event::Offence,
    frame::{Frame, LINES_MAX, Prefix, Records, SYMBOLS_MAX, What},
    replica::{Element, Replica},
    rumour::Rumour,
    sketch::{Difference, Peeler},
};

/// Symbols asked for at once are no fewer: they cost little more than the frame around them.
const SYMBOLS_MIN: usize = 8;

/// The prefix of the line that asks for the decree.
const DECREE: Prefix = [0; 8];

#[derive(Debug)]
pub(super) struct Dialler {
    opening: Opening,
    state: State,
    /// The difference was found to be empty although the greetings differed. That happens when something arrived in
    /// between; the second time something is wrong that elements don't show, and pages put it right.
    found_nothing: bool,
    /// The decrees differed, and the newer one was moved.
    decreed: bool,
    symbols: Option<usize>,
    /// Owners that the other side said it has.
    theirs: Option<u32>,
}

/// What the last frame led to, or what is waited for.
#[derive(Debug)]
enum State {
    AwaitHello,
    AwaitSymbols(Peeler),
    AwaitRecords(Work),
    AwaitTaken(Work),
    AwaitPage { after: Option<NodeId> },
    Greeted { count: u32, fingerprint: u128, decree: u64 },
    Peeled(Peeler, Option<Difference>),
    Turned { after: Option<NodeId>, until: Option<NodeId>, theirs: BTreeMap<Prefix, Element> },
    Working(Work),
    Over,
}

/// A difference being worked off.
#[derive(Debug)]
struct Work {
    /// What is lacking here.
    wants: BTreeMap<Prefix, What>,
    /// What is lacking there, with what they have of it.
    sends: VecDeque<Send>,
    /// What comes then.
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Send {
    /// What is here of an owner above what they have.
    Owner(Prefix, Option<Element>),
    Decree,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    End,
    Greet,
    Turn { after: NodeId },
}

impl Dialler {
    pub(super) fn new(opening: Opening) -> Self {
        Self { opening, state: State::AwaitHello, found_nothing: false, decreed: false, symbols: None, theirs: None }
    }

    pub(super) fn symbols(&self) -> Option<usize> {
        self.symbols
    }

    pub(super) fn theirs(&self) -> Option<u32> {
        self.theirs
    }

    // === what came ===

    pub(super) fn take(&mut self, frame: Frame) -> Result<Vec<Rumour>, Offence> {
        let (state, rumours) = match (mem::replace(&mut self.state, State::Over), frame) {
            (State::AwaitHello, Frame::Hello { count, fingerprint, decree }) => {
                self.theirs = Some(count);
                (State::Greeted { count, fingerprint, decree }, Vec::new())
            }
            (State::AwaitSymbols(mut peeler), Frame::Symbols(symbols)) => {
                let difference = peeler.take(&symbols).map_err(|_| Offence::Malformed)?;
                (State::Peeled(peeler, difference), Vec::new())
            }
            (State::AwaitRecords(mut work), Frame::Records(records)) => {
                let rumours = decode(&records)?;
                work.came(&rumours)?;
                (State::Working(work), rumours)
            }
            (State::AwaitTaken(work), Frame::Taken) => (State::Working(work), Vec::new()),
            (State::AwaitPage { after }, Frame::Page { until, records }) => {
                let rumours = decode(&records)?;
                // A page that is not the last one has something on it.
                let on = until.is_none_or(|until| !records.is_empty() && after.is_none_or(|after| after < until));
                let within =
                    |owner: NodeId| after.is_none_or(|after| after < owner) && until.is_none_or(|until| owner <= until);
                if !on || !rumours.iter().all(|rumour| rumour.owner().is_some_and(within)) {
                    return Err(Offence::Malformed);
                }
                (State::Turned { after, until, theirs: Element::told(&rumours) }, rumours)
            }
            _ => return Err(Offence::OutOfTurn),
        };
        self.state = state;
        Ok(rumours)
    }

    // === what follows ===

    pub(super) fn answer(&mut self, replica: &Replica) -> Option<Frame> {
        match mem::replace(&mut self.state, State::Over) {
            State::Greeted { count, fingerprint, decree } => self.greeted(replica, (count, fingerprint), decree),
            State::Peeled(peeler, difference) => self.peeled(replica, peeler, difference),
            State::Turned { after, until, theirs } => {
                let lacking = replica.lacking(after, until, &theirs);
                let sends = lacking.map(|prefix| Send::Owner(prefix, theirs.get(&prefix).copied())).collect();
                let then = until.map_or(Then::End, |after| Then::Turn { after });
                self.work(replica, Work { wants: BTreeMap::new(), sends, then })
            }
            State::Working(work) => self.work(replica, work),
            // Nothing came that could be answered.
            waiting => {
                self.state = waiting;
                None
            }
        }
    }

    fn greeted(&mut self, replica: &Replica, theirs: (u32, u128), decree: u64) -> Option<Frame> {
        if decree != replica.decree() && !mem::replace(&mut self.decreed, true) {
            // The decree first: it says what else is to be taken.
            let (wants, sends) = if decree > replica.decree() {
                (BTreeMap::from([(DECREE, What::Decree)]), VecDeque::new())
            } else {
                (BTreeMap::new(), VecDeque::from([Send::Decree]))
            };
            return self.work(replica, Work { wants, sends, then: Then::Greet });
        }
        let mine = replica.summary();
        if mine == theirs {
            return None;
        }
        if self.found_nothing || is_far_behind(mine.0, theirs.0) || is_far_behind(theirs.0, mine.0) {
            return self.turn(None);
        }
        let peeler = Peeler::new(replica.elements().map(|element| element.encode()), self.opening.salt);
        // They differ in at least as many elements as one side has more.
        let more = usize::try_from(mine.0.abs_diff(theirs.0)).unwrap_or(SYMBOLS_MAX);
        self.ask(peeler, self.opening.symbols.max(2 * more))
    }

    fn peeled(&mut self, replica: &Replica, peeler: Peeler, difference: Option<Difference>) -> Option<Frame> {
        let Some(difference) = difference else {
            let more = peeler.taken() / 2;
            return if peeler.taken() >= SYMBOLS_IN_ALL { self.turn(None) } else { self.ask(peeler, more) };
        };
        self.symbols = Some(peeler.taken());
        if difference == Difference::default() {
            self.found_nothing = true;
            return self.greet(replica);
        }
        let by_prefix = |elements: &[_]| -> BTreeMap<Prefix, Element> {
            elements.iter().map(Element::decode).map(|element| (element.prefix, element)).collect()
        };
        let (mine, theirs) = (by_prefix(&difference.here), by_prefix(&difference.there));
        let mut work = Work { wants: BTreeMap::new(), sends: VecDeque::new(), then: Then::End };
        for prefix in mine.keys().chain(theirs.keys().filter(|prefix| !mine.contains_key(*prefix))) {
            let element = theirs.get(prefix);
            let lack = replica.lack(*prefix, element);
            work.wants.extend(lack.here.map(|what| (*prefix, what)));
            work.sends.extend(lack.there.map(|_| Send::Owner(*prefix, element.copied())));
        }
        self.work(replica, work)
    }

    /// The next frame of the work, or what comes after it.
    fn work(&mut self, replica: &Replica, mut work: Work) -> Option<Frame> {
        if !work.wants.is_empty() {
            let lines = work.wants.iter().take(LINES_MAX).map(|(prefix, what)| (*prefix, *what)).collect();
            self.state = State::AwaitRecords(work);
            return Some(Frame::Want(lines));
        }
        let mut records = Records::default();
        while let Some(send) = work.sends.front() {
            // What they had may have become what is here by now.
            let (prefix, what) = match send {
                Send::Owner(prefix, theirs) => (*prefix, replica.lack(*prefix, theirs.as_ref()).there),
                Send::Decree => (DECREE, Some(What::Decree)),
            };
            if what.is_some_and(|what| !replica.tell(prefix, what, &mut records)) {
                break;
            }
            work.sends.pop_front();
        }
        if !records.is_empty() {
            self.state = State::AwaitTaken(work);
            return Some(Frame::Records(records));
        }
        match work.then {
            Then::Turn { after } => self.turn(Some(after)),
            Then::Greet => self.greet(replica),
            Then::End => None,
        }
    }

    /// Begins anew.
    fn greet(&mut self, replica: &Replica) -> Option<Frame> {
        self.state = State::AwaitHello;
        Some(replica.hello())
    }

    fn ask(&mut self, peeler: Peeler, count: usize) -> Option<Frame> {
        let room = SYMBOLS_IN_ALL - peeler.taken().min(SYMBOLS_IN_ALL);
        let count = count.clamp(SYMBOLS_MIN, SYMBOLS_MAX).min(room);
        let (from, count) = (u16::try_from(peeler.taken()).ok()?, u16::try_from(count).ok()?);
        self.state = State::AwaitSymbols(peeler);
        Some(Frame::Ask { salt: self.opening.salt, from, count })
    }

    fn turn(&mut self, after: Option<NodeId>) -> Option<Frame> {
        self.state = State::AwaitPage { after };
        Some(Frame::Turn { after })
    }
}

impl Work {
    /// Crosses out what came.
    fn came(&mut self, rumours: &[Rumour]) -> Result<(), Offence> {
        if rumours.is_empty() {
            // What was promised is gone there by now.
            self.wants.clear();
        }
        let line = |rumour: &Rumour| match rumour.owner() {
            Some(owner) => owner.prefix(),
            None => DECREE,
        };
        let mut came: Vec<Prefix> = rumours.iter().map(line).collect();
        came.dedup();
        for prefix in came {
            self.wants.remove(&prefix).ok_or(Offence::OutOfTurn)?;
        }
        Ok(())
    }
}
