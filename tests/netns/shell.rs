//! Commands of the system.

use std::process::{Command, Output};

/// Runs a command line of words without quotes, and returns what it printed.
pub fn run(line: &str) -> String {
    let output = tried(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Likewise, where it may fail.
pub fn tried(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{line}: {error}"))
}
