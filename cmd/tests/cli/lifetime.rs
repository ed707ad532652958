//! A node from its first line to its exit code.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
};

use rustix::process::Signal;

use crate::host::{Host, Node, QUIET, SOON, backend, get};

#[test]
fn the_first_minute() {
    let host = Host::with_token();
    let target = backend();
    let worker = host.start(&["expose", "--token-file", "token", "--name", "gpu1", &target]);
    let ready = worker.ready_line();
    let (head, addresses) = ready.split_once(" addresses=").unwrap();
    assert_eq!(head, "ready name=gpu1");
    assert!(addresses.starts_with("/ip4/127.0.0.1/tcp/") && addresses.contains("/p2p/12D3KooW"), "{ready}");
    let joined = worker.logs(" INF joined ");
    assert!(
        joined.contains(" network=") && joined.contains(" node=12D3KooW…") && joined.ends_with(" name=gpu1"),
        "{joined}"
    );
    assert!(worker.logs(" INF exposing ").ends_with(&format!(" service=federated target={target}")));

    let front = host.node(&["serve", "federated@0", "--name", "laptop", "--peer", addresses, "--wait", "30"]);
    let listening = front.logs(" INF listening ");
    assert!(
        listening.contains(&format!(" service=federated on=http://{} policy=least-used", front.front())),
        "{listening}"
    );
    let up = front.logs(" INF worker up ");
    assert!(up.contains(" service=federated worker=gpu1 path=direct"), "{up}");
    assert!(get(front.front()).ends_with("hello"));

    for node in [front, worker] {
        node.send(Signal::TERM);
        let said = node.end();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stderr.contains(" INF drained"), "{said:?}");
    }
}

#[test]
fn logs_for_programs() {
    let host = Host::with_token();
    let node = host.node(&["serve", "federated@0", "--log-format", "json"]);
    node.send(Signal::INT);
    let said = node.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in said.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["time"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn a_second_process_gets_a_name_of_its_own() {
    let host = Host::with_token();
    let (one, two) = (host.node(&["serve", "a@0"]), host.node(&["serve", "a@0"]));
    assert_eq!(two.name(), format!("{}-2", one.name()));
}

#[test]
fn all_files_that_may_be_open() {
    let host = Host::with_token();
    let arguments = [&["serve", "a@0", "--token-file", "token"][..], &QUIET].concat();
    let node = host.command(&arguments);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""]).arg(node.get_program()).args(node.get_args());
    shell.env_clear().envs(node.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(host.path(""));
    let node = Node::start(shell);
    node.ready_line();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [.., soft, hard, "files"] = open_files.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{open_files}");
    };
    assert!(soft == hard && soft != "256", "{open_files}");
}

#[test]
fn nobody_came() {
    let host = Host::with_token();
    let said = host.start(&["serve", "federated@0", "--token-file", "token", "--wait", "300ms"]).end();
    said.refused(3, &["no worker for every service came within 0.3 s"]);
    let target = backend();
    let said = host.start(&["expose", &target, "--token-file", "token", "--wait", "0"]).end();
    said.refused(3, &["no peer came within 0 s"]);
}

#[test]
fn interrupted_while_waiting() {
    let host = Host::with_token();
    let node = host.start(&["serve", "federated@0", "--token-file", "token", "--wait", "600"]);
    node.logs("listening");
    node.send(Signal::INT);
    node.end().refused(130, &["interrupted while waiting"]);
}

/// A worker, a front, and a client in the middle of something that will not end.
fn busy(host: &Host, limit: &str) -> (Node, Node, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let worker = host.node(&["expose", &target, "--name", "w", "--health", "off"]);
    let front = host.node(&[
        "serve",
        "federated@0",
        "--name",
        "f",
        "--mode",
        "tcp",
        "--peer",
        worker.address(),
        "--wait",
        "30",
        "--drain-timeout",
        limit,
    ]);
    let mut client = TcpStream::connect(front.front()).unwrap();
    client.write_all(b"x").unwrap();
    let (mut served, _) = listener.accept().unwrap();
    served.read_exact(&mut [0]).unwrap();
    // Kept open for as long as the test runs.
    std::mem::forget(served);
    (worker, front, client)
}

#[test]
fn a_second_signal_stops_at_once() {
    let host = Host::with_token();
    let (_worker, front, _client) = busy(&host, "600s");
    front.send(Signal::TERM);
    front.logs(" INF draining ");
    assert_eq!(host.run(&["status", "--node", "f", "-o", "json"]).json()["ready"], false);
    front.send(Signal::TERM);
    let said = front.end();
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(said.stderr.ends_with("p2p-fed: interrupted while draining"), "{said:?}");
}

#[test]
fn a_drain_has_a_deadline() {
    let host = Host::with_token();
    let (_worker, front, mut client) = busy(&host, "200ms");
    front.send(Signal::TERM);
    let said = front.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains(" WRN cut off connections=1"), "{said:?}");
    client.set_read_timeout(Some(SOON)).unwrap();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn everything_that_the_file_says_in_one_process() {
    let host = Host::with_token();
    let target = backend();
    host.write(
        "node.yaml",
        &format!(
            "
token_file: token
name: both
listen_addrs: [/ip4/127.0.0.1/tcp/0]
mdns: false
dht: off
exports: [{{name: llm, target: '{target}'}}]
fronts: [{{service: llm, listen: 0, policy: random}}]
"
        ),
    );
    let mut node = Node::start(host.command(&["run", "-c", "node.yaml", "-o", "json", "--wait", "30"]));
    node.become_ready();
    assert_eq!(node.name(), "both");
    assert!(get(node.front()).ends_with("hello"));
    let status = host.run(&["status", "-o", "json"]).json();
    assert_eq!(
        (status["fronts"][0]["policy"].as_str(), status["exports"][0]["service"].as_str()),
        (Some("random"), Some("llm"))
    );
}

#[test]
fn flags_go_before_the_file_and_variables_between() {
    let host = Host::with_token().with("P2P_FED_NAME", "variable").with("P2P_FED_POLICY", "random");
    host.write("node.yaml", "name: file\nfronts: [{service: llm, listen: 0, policy: least-used, mode: tcp}]\n");
    let node = host.node(&["serve", "-c", "node.yaml"]);
    let front = host.run(&["status", "-o", "json"]).json()["fronts"][0].clone();
    assert_eq!(node.name(), "variable");
    let shown = ["service", "policy", "mode"].map(|key| front[key].as_str().unwrap().to_owned());
    assert_eq!(shown, ["llm", "random", "tcp"]);
    drop(node);
    let node = host.node(&["serve", "-c", "node.yaml", "--name", "flag", "--policy", "least-used"]);
    assert_eq!(node.name(), "flag");
    assert_eq!(host.run(&["status", "-o", "json"]).json()["fronts"][0]["policy"], "least-used");
}

#[test]
fn the_file_is_read_again_and_a_broken_one_changes_nothing() {
    let host = Host::with_token();
    let target = backend();
    let write = |text: &str| host.write("node.yaml", text);
    let exports = |host: &Host| {
        let exports = host.run(&["status", "-o", "json"]).json()["exports"].clone();
        exports
            .as_array()
            .unwrap()
            .iter()
            .map(|export| export["service"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    write(&format!("exports: [{{name: a, target: '{target}'}}]"));
    let node = host.node(&["expose", "-c", "node.yaml"]);
    assert_eq!(exports(&host), ["a"]);

    write(&format!(
        "exports: [{{name: a, target: '{target}'}}, {{name: b, target: '{target}'}}]\nlog: {{level: debug}}"
    ));
    node.send(Signal::HUP);
    node.logs(" INF configuration reloaded");
    assert_eq!(exports(&host), ["a", "b"]);

    write("exports: [{name: c, tarjet: 80}]");
    node.send(Signal::HUP);
    let broken = node.logs(" ERR configuration is broken, the old one stays ");
    assert!(broken.contains("node.yaml:1:21: exports[0]: unknown field `tarjet`"), "{broken}");
    assert_eq!(exports(&host), ["a", "b"]);

    write(&format!("name: other\nexports: [{{name: d, target: '{target}'}}]"));
    node.send(Signal::HUP);
    node.logs(" WRN some changes need a restart");
    node.send(Signal::TERM);
    let said = node.end();
    assert_eq!(said.code, Some(0), "{said:?}");
}
