//! The two tables: what was measured, and p2p-fed as a ratio to each other path.

use std::io::{self, Write};

use super::{Report, number};
use crate::{
    figure::{Better, Figure},
    path::Path,
};

/// Columns of a title, and of a cell with the space before it: seven cells fit 160 columns.
const TITLE: usize = 34;
const CELL: usize = 18;

/// Columns of a ratio.
const RATIO: usize = 10;

impl Report {
    /// Rows are figures, columns paths.
    pub(super) fn print_values(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "\n{:<TITLE$}", "")?;
        for path in &self.paths {
            write!(out, "{:>CELL$}", path.name())?;
        }
        writeln!(out)?;
        for figure in &self.figures {
            self.print_row(out, figure.title, |path| self.cell(figure, path))?;
            if figure.is_added {
                self.print_row(out, "  added", |path| match path {
                    Path::Direct => String::new(),
                    _ => number::spread(self.added(figure.key, path)),
                })?;
            }
        }
        if self.errors.values().any(|errors| errors.count > 0) {
            writeln!(out, "! there were errors, see below")?;
        }
        Ok(())
    }

    fn print_row(&self, out: &mut impl Write, title: &str, cell: impl Fn(Path) -> String) -> io::Result<()> {
        write!(out, "{title:<TITLE$}")?;
        for &path in &self.paths {
            write!(out, "{:>CELL$}", cell(path))?;
        }
        writeln!(out)
    }

    fn cell(&self, figure: &Figure, path: Path) -> String {
        let value = self.measured(figure.key, path);
        let shown = match (figure.better, value) {
            (Better::Yes, Some(answer)) if answer.median > 0.0 => "yes".to_owned(),
            (Better::Yes, Some(_)) => "no".to_owned(),
            _ => number::spread(value),
        };
        if self.has_errors(figure.key, path) { format!("!{shown}") } else { shown }
    }

    /// Columns are the other paths.
    pub(super) fn print_ratios(&self, out: &mut impl Write) -> io::Result<()> {
        if !self.paths.contains(&Path::P2pFed) {
            return Ok(());
        }
        let others: Vec<_> = self.paths.iter().copied().filter(|path| *path != Path::P2pFed).collect();
        write!(out, "\n{:<TITLE$}{:>8}", "p2p-fed, of", "good is")?;
        for other in &others {
            write!(out, "{:>RATIO$}", other.name())?;
        }
        writeln!(out)?;
        for figure in &self.figures {
            let good = match figure.better {
                Better::Higher => "more",
                Better::Lower => "less",
                Better::Yes => continue,
            };
            let ratio = |other| self.ratio(figure.key, Path::P2pFed, other).map(|ratio| ratio.median);
            print_ratio_row(out, figure.title, good, others.iter().map(|&other| ratio(other)))?;
            if figure.is_added {
                let ratio = |other| self.ratio_of_added(figure.key, Path::P2pFed, other);
                print_ratio_row(out, "  added", good, others.iter().map(|&other| ratio(other)))?;
            }
        }
        Ok(())
    }
}

fn print_ratio_row(
    out: &mut impl Write,
    title: &str,
    good: &str,
    ratios: impl Iterator<Item = Option<f64>>,
) -> io::Result<()> {
    let ratios: Vec<_> = ratios.collect();
    // What p2p-fed alone has.
    if ratios.iter().all(Option::is_none) {
        return Ok(());
    }
    write!(out, "{title:<TITLE$}{good:>8}")?;
    for ratio in ratios {
        write!(out, "{:>RATIO$}", number::ratio(ratio))?;
    }
    writeln!(out)
}
