//! How a command ends that does not end well.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use p2p_fed::{api::client, config, node, telemetry};

/// Why a command ends early. Exit codes are part of the command's interface; people script against them.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong usage or invalid configuration, decided before any packet was sent: 2.
    Usage(String),
    /// The world did not let it be: 1.
    Run(String),
    /// Nothing came in time (`--wait`): 3.
    TimedOut(String),
    /// A signal, before the node was ready or while it drained: 130.
    Interrupted(&'static str),
    /// What there was to say is said already: this code, without a word.
    Told(u8),
    /// Whoever read stdout has enough, as `head` has: 0, without a word.
    Closed,
    /// Help instead of a command: 2, as it is.
    Help(String),
}

impl Failure {
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self::Usage(what.to_string())
    }

    pub(crate) fn run(what: impl fmt::Display) -> Self {
        Self::Run(what.to_string())
    }

    /// What happened.
    pub(crate) fn what(&self) -> &str {
        match self {
            Self::Usage(what) | Self::Run(what) | Self::TimedOut(what) | Self::Help(what) => what,
            Self::Interrupted(what) => what,
            Self::Told(_) | Self::Closed => "",
        }
    }

    /// Says it on stderr, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (code, line) = match self {
            Self::Usage(what) => (2, one_line(&what)),
            Self::Run(what) => (1, one_line(&what)),
            Self::TimedOut(what) => (3, one_line(&what)),
            Self::Interrupted(what) => (130, one_line(what)),
            Self::Told(code) => (code, String::new()),
            Self::Closed => (0, String::new()),
            Self::Help(help) => (2, help),
        };
        // A stderr that is closed cannot be told of.
        let _ = io::stderr().lock().write_all(line.as_bytes());
        ExitCode::from(code)
    }
}

/// Whatever a file or a peer put into the message, it is one line, and no escape sequence.
fn one_line(what: &str) -> String {
    let what: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("p2p-fed: {what}\n")
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::usage(error)
    }
}

impl From<telemetry::Error> for Failure {
    fn from(error: telemetry::Error) -> Self {
        Self::usage(error)
    }
}

impl From<node::Error> for Failure {
    fn from(error: node::Error) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::run(error) }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::run(error) }
    }
}

impl From<clap::Error> for Failure {
    /// Clap explains itself in paragraphs; the first of them says what is wrong.
    fn from(error: clap::Error) -> Self {
        use clap::error::ErrorKind;
        let text = error.render().to_string();
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::Help(text);
        }
        Self::Usage(format!("{}; --help explains", first_paragraph(&text)))
    }
}

/// What is wrong, on one line. Of the tips, those that name something similar help.
fn first_paragraph(text: &str) -> String {
    let is_said = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
    let mut said = String::new();
    for line in text.lines().take_while(is_said).map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("tip: ") {
            Some(tip) if tip.contains("similar") => said.extend(["; ", tip]),
            Some(_) => {}
            None if said.is_empty() => said.push_str(line.strip_prefix("error: ").unwrap_or(line)),
            None => said.extend([" ", line]),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_paragraphs_the_first_is_said() {
        let text = "error: unexpected argument '--polcy' found\n\n  tip: a similar argument exists: '--policy'\n  tip: to pass it as a value, use '--'\n\nUsage: p2p-fed serve\n\nFor more information, try '--help'.\n";
        assert_eq!(first_paragraph(text), "unexpected argument '--polcy' found; a similar argument exists: '--policy'");
        let text = "error: the following required arguments were not provided:\n  <SHELL>\n\nUsage: p2p-fed completions <SHELL>\n";
        assert_eq!(first_paragraph(text), "the following required arguments were not provided: <SHELL>");
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(one_line("bad name \"a\nb\u{1b}[31m\""), "p2p-fed: bad name \"a b [31m\"\n");
    }
}
