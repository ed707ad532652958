//! Commands of the system.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

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

/// Runs a command line of words, which reads `input`.
pub fn feed(line: &str, input: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let mut child = command.args(words).stdin(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{line}: {input}");
}
