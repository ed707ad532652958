//! Results, on stdout.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::exit::Failure;

/// Clears a terminal and goes to its first line (ECMA-48: ED 2, CUP).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What results look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one document, or one line each where results keep coming.
    Json,
    /// The same for programs and people: one document, or one each where results keep coming.
    Yaml,
}

/// `-o json`, `-o yaml`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputFlags {
    /// What results look like
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Output,
}

/// Prints a text, and the end of its line where it lacks one.
///
/// # Errors
/// When nobody can read it any more.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::run(format_args!("cannot write the result: {error}")),
    })
}

impl Output {
    /// Prints the only result there is: `text` for people, `value` for programs.
    ///
    /// # Errors
    /// When nobody can read it any more.
    pub(crate) fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self {
            Self::Text => print(&text()),
            Self::Json => print(&serde_json::to_string_pretty(value).map_err(unwritable)?),
            Self::Yaml => print(&serde_yaml::to_string(value).map_err(unwritable)?),
        }
    }

    /// Prints one of several results, likewise.
    ///
    /// # Errors
    /// When nobody can read it any more.
    pub(crate) fn show_next(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self {
            Self::Text => print(&text()),
            Self::Json => print(&serde_json::to_string(value).map_err(unwritable)?),
            Self::Yaml => print(&format!("---\n{}", serde_yaml::to_string(value).map_err(unwritable)?)),
        }
    }
}

/// Prints a text in the place of the last one; below it, where there is no terminal.
///
/// # Errors
/// When nobody can read it any more.
pub(crate) fn redraw(text: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() { print(&format!("{CLEAR}{text}")) } else { print(&format!("{text}\n")) }
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::run(format_args!("cannot write the result: {error}"))
}
