//! What explains the command: help, manual, completions, version.

use std::process::Stdio;

use serde_json::Value;

use crate::host::{Host, Said};

const COMMANDS: [&str; 17] = [
    "token",
    "ban",
    "expose",
    "serve",
    "federated",
    "run",
    "status",
    "peers",
    "services",
    "ledger",
    "explain",
    "ping",
    "doctor",
    "demo",
    "completions",
    "man",
    "version",
];

#[test]
fn every_command_has_an_example() {
    let host = Host::new();
    for command in COMMANDS {
        let help = host.run(&[command, "--help"]).ok();
        assert!(help.contains("Example") && help.contains(&format!("p2p-fed {command}")), "{help}");
    }
    for command in ["show", "invite", "rotate"] {
        let help = host.run(&["token", command, "--help"]).ok();
        assert!(help.contains("Example") && help.contains(&format!("p2p-fed token {command}")), "{help}");
    }
    let help = host.run(&["--help"]).ok();
    assert!(help.contains("p2p-fed expose --token-file token 11434"), "{help}");
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in {help}");
    }
}

#[test]
fn completions_for_each_shell() {
    let host = Host::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = host.run(&["completions", shell]).ok();
        assert!(script.contains("expose") && script.contains("drain-timeout"), "{shell}");
    }
}

#[test]
fn a_manual_page_for_each_command() {
    let host = Host::new();
    assert!(host.run(&["man"]).ok().contains(".TH p2p-fed 1"));
    for command in COMMANDS {
        let page = host.run(&["man", command]).ok();
        assert!(page.contains(&format!(".TH p2p-fed-{command} 1")) && page.contains("xample"), "{page}");
    }
}

#[test]
fn the_version_says_what_is_inside() {
    let host = Host::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(host.run(&["--version"]).ok(), format!("p2p-fed {version}\n"));
    let facts = host.run(&["version", "-o", "json"]).json();
    assert_eq!(facts["version"], version);
    assert!(facts["libp2p"].as_str().unwrap().starts_with("0."), "{facts}");
    assert!(facts["commit"].is_string() && matches!(facts["features"], Value::Array(_)), "{facts}");
    assert!(host.run(&["version"]).ok().starts_with(&format!("p2p-fed   {version}\n")));
}

/// As in `p2p-fed man | head -1`.
#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let host = Host::new();
    for arguments in [&["man"][..], &["completions", "bash"], &["--help"], &["version"], &["token"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = host.command(arguments);
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        // The command holds the other end of the pipe as long as it lives.
        drop(command);
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
