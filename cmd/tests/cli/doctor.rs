//! `doctor`: why nodes do not see each other, with a node and without.

use std::{net::TcpListener, time::Instant};

use serde_json::Value;

use crate::host::{Host, Node, SOON, Said, backend};

fn read(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Name and state of each check.
fn states(report: &Value) -> Vec<(&str, &str)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| (finding["check"].as_str().unwrap(), finding["state"].as_str().unwrap())).collect()
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings.find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check}: {report}"))
}

/// Asks until `is_it`: what nodes find out about each other takes them a moment.
fn until(host: &Host, node: &str, is_it: impl Fn(&Value) -> bool) -> (Said, Value) {
    let until = Instant::now() + SOON;
    loop {
        let said = host.run(&["doctor", "--node", node, "-o", "json"]);
        let report = read(&said);
        if is_it(&report) {
            return (said, report);
        }
        assert!(Instant::now() < until, "{report:#}");
    }
}

fn pair(host: &Host) -> (Node, Node) {
    let worker = host.node(&["expose", &backend(), "--name", "gpu1"]);
    worker.logs("service offered");
    let front = host.node(&[
        "serve",
        "federated@0",
        "--name",
        "laptop",
        "--max-connections",
        "10",
        "--wait",
        "30",
        "--peer",
        worker.address(),
    ]);
    (worker, front)
}

#[test]
fn nothing_fails_in_a_healthy_pair() {
    let host = Host::with_token();
    let (worker, front) = pair(&host);
    for node in [&worker, &front] {
        let (said, report) = until(&host, node.name(), |report| finding(report, "nat")["state"] == "ok");
        assert_eq!((said.code, said.stderr.as_str(), &report["ok"]), (Some(0), "", &Value::from(true)), "{report:#}");
        let states = states(&report);
        for check in ["node", "token", "clock", "members", "admission", "tcp"] {
            assert!(states.contains(&(check, "ok")), "{check}: {report:#}");
        }
        // Tests keep to themselves.
        assert!(states.contains(&("listening", "warn")) && states.contains(&("mdns", "unknown")), "{report:#}");
        assert_eq!(report["facts"]["node"]["name"], node.name());
        assert!(
            report["facts"]["net"]["listening"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"),
            "{report:#}"
        );
    }
    let (_, report) = until(&host, "laptop", |report| finding(report, "bootstrap")["state"] == "ok");
    assert_eq!(finding(&report, "tcp")["what"], "1 peer over tcp");
    if cfg!(target_os = "linux") {
        assert_eq!(finding(&report, "mtu")["state"], "ok", "{report:#}");
    }
    let page = host.run(&["doctor", "--node", "laptop"]).ok();
    assert!(page.starts_with("CHECK      STATE    FINDING\nnode       ok       laptop runs in network "), "{page}");
    assert!(page.contains("\nwhat to do\n* listening: "), "{page}");
}

#[test]
fn a_token_of_another_network_is_told_on_both_sides() {
    let host = Host::with_token();
    let member = host.node(&["serve", "federated@0", "--name", "member"]);
    let other = host.run(&["token"]).stdout;
    let other = host.write("other", &other);
    let start = ["serve", "federated@0", "--name", "stranger", "--token-file", &other, "-o", "json"];
    let mut stranger = host.start(&[&start[..], &["--peer", member.address()]].concat());
    stranger.become_ready();

    let (said, report) = until(&host, "stranger", |report| finding(report, "bootstrap")["state"] == "fail");
    assert_eq!((said.code, &report["ok"]), (Some(1), &Value::from(false)), "{said:?}");
    assert!(
        said.stderr.starts_with("p2p-fed: 1 of ") && said.stderr.ends_with(" checks failed: bootstrap\n"),
        "{said:?}"
    );
    let bootstrap = finding(&report, "bootstrap");
    assert!(
        bootstrap["what"].as_str().unwrap().ends_with("the peer does not hold this network's token"),
        "{bootstrap}"
    );
    assert!(bootstrap["advice"].as_str().unwrap().contains("p2p-fed token show"), "{bootstrap}");
    assert_eq!(finding(&report, "tcp")["state"], "ok", "it led there: {report:#}");
    assert_eq!(finding(&report, "members")["state"], "warn", "it is alone");

    let (said, report) = until(&host, "member", |report| finding(report, "admission")["state"] == "warn");
    let admission = finding(&report, "admission");
    assert_eq!(said.code, Some(0), "somebody else's trouble: {said:?}");
    assert!(
        admission["what"].as_str().unwrap().contains("token")
            && admission["advice"].as_str().unwrap().contains("token show"),
        "{admission}"
    );

    // The token that a command here would use is not that of the node.
    let said = host.run(&["doctor", "--node", "member", "--token-file", &other, "-o", "json"]);
    let report = read(&said);
    let token = finding(&report, "token");
    assert!(token["state"] == "warn" && token["what"].as_str().unwrap().contains(&other), "{token}");
    // Neither page has a secret in it.
    for line in host.read("token").lines() {
        assert!(!said.stdout.contains(line), "{said:?}");
    }
}

#[test]
fn a_bootstrap_peer_that_is_not_there_is_told() {
    let host = Host::with_token();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{gone}");
    let _node = host.node(&["serve", "federated@0", "--name", "laptop", "--peer", &address]);
    let (said, report) = until(&host, "laptop", |report| finding(report, "bootstrap")["state"] == "fail");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(finding(&report, "bootstrap")["what"], format!("{address}: connection refused"));
    assert_eq!(
        finding(&report, "tcp")["what"].as_str().unwrap().split_once(" in vain").unwrap().1,
        ": connection refused"
    );
}

#[test]
fn without_a_node_what_shows_without_one_is_looked_at() {
    let host = Host::with_token();
    let said = host.run(&["doctor", "--token-file", "token", "-o", "json"]);
    let all = read(&said);
    assert_eq!((said.code, &all["facts"], &all["ok"]), (Some(0), &Value::Null, &Value::from(true)), "{said:?}");
    assert!(states(&all).contains(&("node", "warn")) && states(&all).contains(&("token", "ok")), "{all:#}");
    assert!(host.run(&["doctor", "--token-file", "token"]).ok().contains("node      warn     no node is running here"));

    let said = host.run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.stderr, "p2p-fed: 1 of 5 checks failed: token\n");
    assert!(said.stdout.contains("token     FAIL     no token: make one with `p2p-fed token"), "{said:?}");
}

#[test]
fn without_a_node_its_ports_are_tried() {
    let host = Host::with_token();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    host.write(
        "node.yaml",
        &format!(
            "token_file: token\nlisten_addrs: [/ip4/127.0.0.1/tcp/{port}]\nfronts: [{{listen: \"127.0.0.1:0\"}}]\n"
        ),
    );
    let said = host.run(&["doctor", "--config", "node.yaml", "-o", "json"]);
    let all = read(&said);
    assert_eq!(said.code, Some(1), "{said:?}");
    let ports = finding(&all, "ports");
    assert!(ports["state"] == "fail" && ports["what"].as_str().unwrap().contains(&format!("/tcp/{port}: ")), "{ports}");
    assert_eq!(finding(&all, "token")["state"], "ok", "{all:#}");
    drop(other);
    let all = read(&host.run(&["doctor", "--config", "node.yaml", "-o", "json"]));
    assert_eq!(finding(&all, "ports")["state"], "ok", "{all:#}");
    host.write("broken.yaml", "listen_addr: []\n");
    host.run(&["doctor", "--config", "broken.yaml"]).refused(2, &["broken.yaml", "listen_addr"]);
}

#[test]
fn a_node_that_was_named_has_to_be_there() {
    let host = Host::with_token();
    host.run(&["doctor", "--node", "gpu1"]).refused(1, &["no node is running here"]);
    let _nodes = [host.node(&["serve", "a@0", "--name", "one"]), host.node(&["serve", "a@0", "--name", "two"])];
    host.run(&["doctor"]).refused(2, &["several nodes are running here", "one, two"]);
    host.run(&["doctor", "--node", "three"]).refused(2, &["no node three is running here"]);
}
