//! Secrets are never printed, at any level, and not in the process title.

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::process::Signal;

use crate::host::{Host, backend, get};

/// Everything in a token that nobody may read, and the token itself. (`mdns` travels over the local network in clear.)
pub(crate) fn of(token: &str) -> Vec<String> {
    let token = token.trim();
    let yaml = String::from_utf8(BASE64_STANDARD.decode(token).unwrap()).unwrap();
    let secret = |line: &str| {
        let (key, value) = line.trim().split_once(": ")?;
        matches!(key, "key" | "room" | "rendezvous").then(|| value.to_owned())
    };
    let mut secrets: Vec<_> = yaml.lines().filter_map(secret).collect();
    assert_eq!(secrets.len(), 4, "{yaml}");
    secrets.push(token.to_owned());
    secrets
}

fn title(id: u32) -> String {
    std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap()
}

#[test]
fn no_secret_in_any_output_at_the_loudest() {
    let host = Host::with_token();
    let token = host.read("token");
    let loud = ["--log-level", "trace,libp2p=trace,hyper=trace,quinn=trace"];
    let target = backend();
    let mut worker =
        host.start(&["expose", &target, "--token", token.trim(), "-o", "json", "--name", "w", loud[0], loud[1]]);
    worker.become_ready();
    worker.logs("service offered");
    let front = host.node(&[
        "serve",
        "federated@0",
        "--name",
        "f",
        "--wait",
        "30",
        "--peer",
        worker.address(),
        loud[0],
        loud[1],
    ]);
    assert!(get(front.front()).ends_with("hello"));
    let mut outputs = vec![title(worker.id()), title(front.id())];
    for command in ["status", "peers", "services", "ledger", "explain"] {
        outputs.push(host.run(&[command, "--node", "f"]).stdout);
        outputs.push(host.run(&[command, "--node", "w", "-o", "json"]).stdout);
    }
    for node in [front, worker] {
        node.send(Signal::TERM);
        let said = node.end();
        assert!(said.stderr.contains(" TRC "), "it was loud");
        outputs.extend([said.stdout, said.stderr]);
    }
    for secret in of(&token) {
        for output in &outputs {
            assert!(!output.contains(&secret), "{secret} was said");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_token_among_the_arguments_leaves_the_title_and_nothing_else_does() {
    let host = Host::with_token();
    let token = host.read("token");
    for given in [vec!["--token", token.trim()], vec![&*format!("--token={}", token.trim())]] {
        let mut arguments = vec!["serve", "federated@0", "--name", "f", "-o", "json"];
        arguments.extend(given);
        let mut node = host.start(&arguments);
        node.become_ready();
        let title = title(node.id());
        assert!(!title.contains("--token"), "{title}");
        let words: Vec<_> = title.split_terminator('\0').collect();
        assert!(words[0].ends_with("p2p-fed"), "{title}");
        assert_eq!(words[1..6], ["serve", "federated@0", "--name", "f", "-o"], "{title}");
    }
}

/// LocalAI's names of the flag as well.
#[cfg(target_os = "linux")]
#[test]
fn a_token_under_localais_flag_leaves_the_title() {
    let host = Host::with_token();
    let token = host.read("token");
    for given in [vec!["--p2p-token", token.trim()], vec![&*format!("--p2ptoken={}", token.trim())]] {
        let mut arguments = vec!["federated", "--address", "127.0.0.1:0", "-o", "json"];
        arguments.extend(given);
        let mut node = host.start(&arguments);
        node.become_ready();
        let title = title(node.id());
        assert!(title.contains("--address") && !title.contains("token"), "{title}");
    }
}
