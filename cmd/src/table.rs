//! Rows and columns, for people.

use std::fmt;

/// Between two columns.
const GAP: &str = "  ";

/// A table: columns as wide as their widest cell, no lines around them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a heading for each column.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut table = Self::default();
        table.row(headings.map(str::to_owned));
        table
    }

    /// Adds a row. What a terminal would take for a command is shown as `?`.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    /// Without those of the columns with these headings in which nothing is known.
    #[must_use]
    pub(crate) fn without_unknown(mut self, headings: &[&str]) -> Self {
        let all = self.rows.first().cloned().unwrap_or_default();
        for (column, _) in all.iter().enumerate().filter(|(_, name)| headings.contains(&name.as_str())).rev() {
            let cells = self.rows.iter().skip(1).filter_map(|row| row.get(column));
            if cells.into_iter().all(|cell| cell == "-" || cell.is_empty()) {
                self.rows.iter_mut().filter(|row| column < row.len()).for_each(|row| drop(row.remove(column)));
            }
        }
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join(GAP).trim_end())?;
        }
        Ok(())
    }
}

/// What a terminal would take for a command is shown as `?`.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A cell for a value that may not be known.
pub(crate) fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Milliseconds with one digit behind the point.
pub(crate) fn milliseconds(value: f64) -> String {
    format!("{value:.1}ms")
}

/// Bytes, in the unit that leaves at most four digits before the point.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut told = format!("{count}B");
    for unit in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        told = format!("{value:.1}{unit}");
    }
    told
}

/// How long, in its two greatest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

/// A table under its name, or nothing where there is nothing to show.
pub(crate) fn section(name: &str, is_empty: bool, table: impl FnOnce() -> Table) -> String {
    if is_empty { String::new() } else { format!("{name}\n{}", table()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_clean() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["größer".into(), "ready".into()]);
        table.row(["a\u{1b}[31m".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME    STATE\ngrößer  ready\na?[31m\n");
    }

    #[test]
    fn columns_of_which_nothing_is_known_can_be_left_out() {
        let mut table = Table::new(["NAME", "RATE", "TIER", "NODE"]);
        table.row(["a".into(), "-".into(), "-".into(), "-".into()]);
        table.row(["b".into(), "-".into(), "1".into(), "-".into()]);
        table.row(["c".into()]);
        assert_eq!(
            table.without_unknown(&["RATE", "TIER"]).to_string(),
            "NAME  TIER  NODE\na     -     -\nb     1     -\nc\n"
        );
    }

    #[test]
    fn spans_are_short() {
        let said = [5, 60, 3_600, 90_061].map(span);
        assert_eq!(said, ["5s", "1m0s", "1h0m", "1d1h"]);
    }

    #[test]
    fn bytes_have_the_unit_that_suits_them() {
        let said = [0, 1023, 1536, 5 << 20, 3 << 50].map(bytes);
        assert_eq!(said, ["0B", "1023B", "1.5KiB", "5.0MiB", "3072.0TiB"]);
    }

    #[test]
    fn an_empty_one_is_nothing() {
        assert_eq!(Table::default().to_string(), "");
    }
}
