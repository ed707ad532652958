//! The side that answers.

use super::{SYMBOLS_IN_ALL, decode};
use crate::{
    NodeId,
    event::Offence,
    frame::{Frame, Prefix, Records, What},
    replica::Replica,
    rumour::Rumour,
    sketch::Sketch,
};

/// What it remembers: that it was greeted, the ledger as it was when symbols were first asked for, so that they are all
/// of one set, where the last page began, and the question that is to be answered.
///
/// Symbols and pages are asked for from the start once in a session, and owners and the decree about once, so that small
/// questions don't make it look at the whole ledger, or send it, over and over.
#[derive(Debug, Default)]
pub(super) struct Responder {
    /// Owners that the other side said it has; none before its greeting.
    theirs: Option<u32>,
    sketch: Option<(u64, Sketch)>,
    /// After whom the last page was asked for; at the first one, after nobody.
    turned: Option<Option<NodeId>>,
    /// Greetings of the other side.
    hellos: u32,
    /// Owners told of, one by one.
    told: usize,
    /// The decree was told.
    decreed: bool,
    question: Option<Question>,
}

/// Greetings of one session: at first, after the decree, and after symbols that showed no difference.
const HELLOS: u32 = 3;
/// A dialler wants each owner once; some change meanwhile and are wanted anew. So many more than twice are a waste.
const TOLD_MORE: usize = 64;

#[derive(Debug)]
enum Question {
    Hello,
    Symbols { salt: u64, from: usize, count: usize },
    Want(Vec<(Prefix, What)>),
    Turn { after: Option<NodeId> },
    Taken,
}

impl Responder {
    pub(super) fn take(&mut self, frame: Frame) -> Result<Vec<Rumour>, Offence> {
        if self.theirs.is_none() && !matches!(frame, Frame::Hello { .. }) {
            return Err(Offence::OutOfTurn);
        }
        let mut rumours = Vec::new();
        self.question = Some(match frame {
            Frame::Hello { count, .. } => {
                self.theirs = Some(count);
                self.hellos += 1;
                if self.hellos > HELLOS {
                    return Err(Offence::Excess);
                }
                Question::Hello
            }
            Frame::Ask { salt, from, count } => Question::Symbols { salt, from: from.into(), count: count.into() },
            Frame::Want(lines) => Question::Want(lines),
            Frame::Turn { after } => Question::Turn { after },
            Frame::Records(records) => {
                rumours = decode(&records)?;
                Question::Taken
            }
            Frame::Symbols(_) | Frame::Page { .. } | Frame::Taken => return Err(Offence::OutOfTurn),
        });
        Ok(rumours)
    }

    pub(super) fn theirs(&self) -> Option<u32> {
        self.theirs
    }

    pub(super) fn answer(&mut self, replica: &Replica) -> Result<Option<Frame>, Offence> {
        let Some(question) = self.question.take() else { return Ok(None) };
        Ok(Some(match question {
            Question::Hello => replica.hello(),
            Question::Symbols { salt, from, count } => {
                if from + count > SYMBOLS_IN_ALL {
                    return Err(Offence::Excess);
                }
                if from == 0 && self.sketch.is_none() {
                    self.sketch = Some((salt, replica.sketch(salt)));
                }
                match &mut self.sketch {
                    Some((of, sketch)) if *of == salt && sketch.made() == from => Frame::Symbols(sketch.next(count)),
                    _ => return Err(Offence::OutOfTurn),
                }
            }
            Question::Want(lines) => {
                let mut records = Records::default();
                let fit = lines.iter().take_while(|(prefix, what)| replica.tell(*prefix, *what, &mut records)).count();
                self.told += fit.max(1);
                let decree_again =
                    lines.iter().any(|(_, what)| *what == What::Decree) && std::mem::replace(&mut self.decreed, true);
                if decree_again || self.told > 2 * replica.owners() + TOLD_MORE {
                    return Err(Offence::Excess);
                }
                Frame::Records(records)
            }
            Question::Turn { after } => {
                if self.turned.replace(after).is_some_and(|before| after <= before) {
                    return Err(Offence::OutOfTurn);
                }
                let (until, records) = replica.page(after);
                Frame::Page { until, records }
            }
            Question::Taken => Frame::Taken,
        }))
    }
}
