//! Tells what happens: as a story for people, or as JSON lines.

use std::io::{self, Write};

use super::{
    event::{Event, Member},
    tally::Tally,
};

/// Columns of the longest bar. With name and count before it a line stays below 80.
const BAR: u64 = 40;

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For people, into a pipe or a file.
    Plain,
    /// For people, on a terminal.
    Colour,
    /// For scripts.
    Json,
}

/// Writes events as they happen.
#[derive(Debug)]
pub(super) struct Teller<W> {
    out: W,
    style: Style,
}

impl<W: Write> Teller<W> {
    /// Tells to `out`.
    pub(super) fn new(out: W, style: Style) -> Self {
        Self { out, style }
    }

    /// What it told to.
    #[cfg(test)]
    pub(super) fn into_inner(self) -> W {
        self.out
    }

    /// Tells one event, and sees to it that it can be read at once.
    ///
    /// # Errors
    /// Nobody can read any more.
    pub(super) fn tell(&mut self, event: &Event) -> io::Result<()> {
        if self.style == Style::Json {
            serde_json::to_writer(&mut self.out, event)?;
            writeln!(self.out)?;
        } else {
            self.narrate(event)?;
        }
        self.out.flush()
    }

    fn narrate(&mut self, event: &Event) -> io::Result<()> {
        let Paint { bold, dim, reset, .. } = self.paint();
        let out = &mut self.out;
        match event {
            Event::Begin { version } => {
                writeln!(
                    out,
                    "{bold}p2p-fed {version}{reset}: four nodes in this process, joined over real connections"
                )
            }
            Event::Step { step, title } => writeln!(out, "\n{bold}{step}  {title}{reset}"),
            Event::Joined { network, through, front, workers } => {
                writeln!(out, "   network {network}, joined through {through}")?;
                let Member { name, node, address } = front;
                writeln!(out, "   {name:<10}  {node}  balances http://{address}")?;
                for Member { name, node, address } in workers {
                    writeln!(out, "   {name:<10}  {node}  offers a backend at {address}")?;
                }
                Ok(())
            }
            Event::Answered { during, tally } => self.answered(during, tally),
            Event::Chunk { after, text } => {
                writeln!(out, "   {dim}after {:>5.2} s{reset}  {text}", after.as_secs_f64())
            }
            Event::Killed { worker } => {
                writeln!(out, "   {bold}{worker} is killed{reset}: node and backend, without a good-bye")
            }
            Event::Missed { worker, after } => {
                writeln!(out, "   the front has counted {worker} out after {:.0} ms", milliseconds(*after))
            }
            Event::Returned { worker, after } => {
                writeln!(
                    out,
                    "   {bold}{worker} is back{reset}, counted in {:.0} ms after its start",
                    milliseconds(*after)
                )
            }
            Event::Took { took, .. } => writeln!(out, "   {dim}took {:.2} s{reset}", took.as_secs_f64()),
            Event::Done { took } => {
                writeln!(out, "\n{bold}All as it should be{reset}, in {:.1} s.", took.as_secs_f64())
            }
            Event::Open { url, socket } => {
                writeln!(out, "\n{bold}Now you.{reset} The network stays until Ctrl-C.")?;
                writeln!(out, "   curl {url}")?;
                writeln!(out, "   curl -N {url}stream")?;
                writeln!(out, "   p2p-fed status --node {socket}")
            }
        }
    }

    fn answered(&mut self, during: &str, tally: &Tally) -> io::Result<()> {
        let Paint { colour, dim, reset, block, .. } = self.paint();
        let out = &mut self.out;
        let most = tally.answered.values().copied().max().unwrap_or(0).max(1);
        writeln!(out, "   {during}:")?;
        for (worker, count) in &tally.answered {
            // Whoever answered at all can be seen.
            let length = (count * BAR).div_ceil(most);
            let bar: String = std::iter::repeat_n(block, usize::try_from(length).unwrap_or(0)).collect();
            let gap = if bar.is_empty() { "" } else { "  " };
            writeln!(out, "   {worker:<10} {count:>5}{gap}{colour}{bar}{reset}")?;
        }
        let (total, failed, slowest) = (tally.total(), tally.failed, milliseconds(tally.slowest));
        writeln!(out, "   {dim}{total} answered, {failed} failed, the slowest in {slowest:.0} ms{reset}")
    }

    fn paint(&self) -> Paint {
        match self.style {
            Style::Colour => {
                Paint { bold: "\x1b[1m", dim: "\x1b[2m", colour: "\x1b[36m", reset: "\x1b[0m", block: '█' }
            }
            Style::Plain | Style::Json => Paint { bold: "", dim: "", colour: "", reset: "", block: '#' },
        }
    }
}

/// What a terminal is told between the words.
struct Paint {
    bold: &'static str,
    dim: &'static str,
    colour: &'static str,
    reset: &'static str,
    /// What bars are made of.
    block: char,
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    fn told(style: Style, events: &[Event]) -> String {
        let mut teller = Teller::new(Vec::new(), style);
        for event in events {
            teller.tell(event).unwrap();
        }
        String::from_utf8(teller.out).unwrap()
    }

    fn member(name: &str) -> Member {
        Member { name: name.to_owned(), node: "12D3KooW…QnTz".to_owned(), address: "127.0.0.1:65535".to_owned() }
    }

    /// One of each.
    fn events() -> Vec<Event> {
        let answered =
            BTreeMap::from([("demo-1".to_owned(), 12_000), ("demo-2".to_owned(), 1), ("demo-3".to_owned(), 0)]);
        let (worker, after) = ("demo-2".to_owned(), Duration::from_micros(1_234_567));
        let tally = Tally { answered, failed: 1, failure: Some("reset".to_owned()), slowest: after };
        vec![
            Event::Begin { version: "10.10.10" },
            Event::Step { step: 1, title: "Start a front and three workers".to_owned() },
            Event::Joined {
                network: "k7qd-93ma".to_owned(),
                through: "/ip4/127.0.0.1/udp/65535/quic-v1".to_owned(),
                front: member("demo-front"),
                workers: vec![member("demo-1")],
            },
            Event::Answered { during: "while demo-2 is dead".to_owned(), tally },
            Event::Chunk { after, text: "word".to_owned() },
            Event::Killed { worker: worker.clone() },
            Event::Missed { worker: worker.clone(), after },
            Event::Returned { worker, after },
            Event::Took { step: 1, took: after },
            Event::Done { took: after },
            Event::Open { url: "http://127.0.0.1:65535/".to_owned(), socket: "/tmp/x/run/demo-front.sock".to_owned() },
        ]
    }

    #[test]
    fn fits_a_terminal() {
        for line in told(Style::Plain, &events()).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_pipe_gets_no_colours() {
        let (plain, colour) = (told(Style::Plain, &events()), told(Style::Colour, &events()));
        assert!(!plain.contains('\x1b') && colour.contains('\x1b'));
        assert_eq!(plain.lines().count(), colour.lines().count());
    }

    #[test]
    fn bars_are_to_scale_and_show_the_smallest_share() {
        let story = told(Style::Plain, &events());
        let bar = |worker: &str| {
            let line = story.lines().find(|line| line.trim_start().starts_with(&format!("{worker} "))).unwrap();
            line.matches('#').count()
        };
        let tally = told(Style::Plain, &events()[3..4]);
        assert!(tally.contains("demo-1     12000  "), "{tally}");
        assert_eq!((tally.matches('#').count(), bar("demo-2"), bar("demo-3")), (41, 1, 0));
    }

    #[test]
    fn json_is_one_object_a_line_that_says_what_it_is() {
        let lines = told(Style::Json, &events());
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), events().len());
        assert!(lines.iter().all(|line| line["event"].is_string()));
        assert_eq!(lines[3]["answered"]["demo-1"], 12_000);
        assert_eq!(lines[4]["after_s"], 1.234_567);
    }
}
