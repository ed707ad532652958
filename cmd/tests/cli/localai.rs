//! LocalAI's documentation with one word changed: `federated`, and the variables that people bring along.

use rustix::process::Signal;

use crate::host::{Host, Node, backend, get};

/// A host with a token that LocalAI's nodes could hold as well.
fn compat() -> Host {
    let host = Host::new();
    let token = host.run(&["token", "--compat"]).ok();
    host.write("token", &token);
    host
}

/// A worker of the service that LocalAI calls `federated`.
fn worker(host: &Host, name: &str) -> Node {
    host.node(&["expose", &format!("federated={}", backend()), "--name", name])
}

/// Starts `p2p-fed federated` with nothing but what is said here, and waits until it is ready.
fn federated(host: &Host, arguments: &[&str]) -> Node {
    let mut all = vec!["federated", "-o", "json"];
    all.extend(arguments);
    let mut node = host.start(&all);
    node.become_ready();
    node
}

#[test]
fn a_federated_server_by_flags() {
    let host = compat();
    let token = host.read("token");
    let worker = worker(&host, "gpu1");
    let flags = ["--p2p-token", token.trim(), "--address", "127.0.0.1:0", "--random-worker", "--debug"];
    let front = federated(&host, &[&flags[..], &["--wait", "30", "--peer", worker.address()]].concat());
    let listening = front.logs(" INF listening ");
    assert!(listening.contains(" service=federated ") && listening.contains(" policy=random"), "{listening}");
    assert!(get(front.front()).ends_with("hello"));
    front.send(Signal::TERM);
    let said = front.end();
    assert!(said.code == Some(0) && said.stderr.contains(" DBG "), "{said:?}");
}

#[test]
fn a_federated_server_by_variables() {
    let host = compat();
    let token = host.read("token");
    let worker = worker(&host, "gpu1");
    let host = host
        .with("TOKEN", token.trim())
        .with("ADDRESS", "127.0.0.1:0")
        .with("RANDOM_WORKER", "yes")
        .with("LOCALAI_P2P_NETWORK_ID", "lab")
        .with("LOCALAI_P2P_BOOTSTRAP_PEERS_MADDRS", worker.address())
        .with("LOCALAI_P2P_LOGLEVEL", "debug")
        .with("LOCALAI_LOG_FORMAT", "json");
    let front = federated(&host, &["--wait", "30"]);
    assert!(get(front.front()).ends_with("hello"));
    front.send(Signal::TERM);
    let said = front.end();
    let lines: Vec<serde_json::Value> = said.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["level"] == "debug"), "{said:?}");
    assert!(lines.iter().any(|line| line["message"] == "listening" && line["policy"] == "random"), "{said:?}");
    assert!(!said.stderr.contains("means nothing"), "the network is LocalAI's too: {said:?}");
}

/// `run --p2p --federated` is what LocalAI says of an instance; ours are offered by `expose`, which reads the same variables.
#[test]
fn a_worker_by_variables() {
    let host = compat();
    let token = host.read("token");
    let host = host
        .with("LOCALAI_TOKEN", token.trim())
        .with("LOCALAI_P2P_LISTEN_MADDRS", "/ip4/127.0.0.1/tcp/0")
        .with("LOCALAI_P2P_DHT_ANNOUNCE_MADDRS", "/dns4/gpu1.example/tcp/4001")
        .with("LOCALAI_P2P_DISABLE_DHT", "true")
        .with("EDGEVPNMDNS", "false");
    let mut node = Node::start(host.command(&["expose", &backend(), "-o", "json", "--name", "gpu1"]));
    node.become_ready();
    assert!(node.ready()["addresses"].to_string().contains("/dns4/gpu1.example/tcp/4001"), "{}", node.ready());
    let doctor: serde_json::Value = serde_json::from_str(&host.run(&["doctor", "-o", "json"]).stdout).unwrap();
    let findings = doctor["findings"].as_array().unwrap();
    for check in ["dht", "mdns"] {
        let finding = findings.iter().find(|finding| finding["check"] == check).unwrap();
        assert_eq!(finding["what"], "off", "{check}");
    }
}

#[test]
fn the_only_worker_by_the_id_that_localai_gave_it() {
    let host = compat();
    let (one, two) = (worker(&host, "other"), worker(&host, "gpu1-abcdefghij"));
    let peers = format!("{},{}", one.address(), two.address());
    let target = ["--token-file", "token", "--address", "0", "--target-worker", "GPU1-abcDEFghij", "--peer", &peers];
    let front = federated(&host, &[&target[..], &["--wait", "30", "--explain-header", "always"]].concat());
    for _ in 0..4 {
        let answer = get(front.front());
        assert!(answer.contains("x-p2p-fed-worker: gpu1-abcdefghij"), "{answer}");
    }
}

#[test]
fn it_listens_where_localai_does_and_a_flag_goes_before_a_variable() {
    let host = Host::with_token().with("LOCALAI_ADDRESS", "127.0.0.1:1").with("LOCALAI_P2P_LOGLEVEL", "error");
    let front = federated(&host, &["--token-file", "token", "--address", ":0", "--log-level", "info"]);
    assert!(front.front().starts_with("0.0.0.0:"), "{}", front.front());
    front.logs(" INF listening ");
    let host = host.with("P2P_FED_ADDRESS", "127.0.0.1:0");
    let front = federated(&host, &["--token-file", "token", "--log-level", "info"]);
    assert!(front.front().starts_with("127.0.0.1:"), "ours goes before LocalAI's: {}", front.front());
}

#[test]
fn a_variable_goes_before_the_file() {
    let host = Host::with_token().with("LOCALAI_ADDRESS", "127.0.0.1:0").with("LOCALAI_P2P_LOGLEVEL", "info");
    host.write("node.yaml", "log: {level: error}\nfronts: [{service: llm, listen: '127.0.0.1:1', policy: p2c}]");
    let front = federated(&host, &["--token-file", "token", "-c", "node.yaml"]);
    assert!(front.logs(" INF listening ").contains(" service=federated "));
    assert_ne!(front.front(), "127.0.0.1:1");
    let host = Host::with_token();
    host.write("node.yaml", "fronts: [{listen: '127.0.0.1:0', policy: p2c}]");
    let front = federated(&host, &["--token-file", "token", "-c", "node.yaml"]);
    let listening = front.logs(" INF listening ");
    assert!(listening.contains("on=http://127.0.0.1:") && listening.contains("policy=p2c"), "{listening}");
}

#[test]
fn an_id_of_a_localai_network_means_nothing_in_a_strict_one() {
    let host = Host::with_token();
    let serve = ["serve", "federated@0", "--token-file", "token"];
    let node = host.start(&[&serve[..], &["--localai-network-id", "lab"]].concat());
    node.ready_line();
    node.send(Signal::TERM);
    let said = node.end();
    assert_eq!(said.stderr.matches("LocalAI network id means nothing here").count(), 1, "{said:?}");
    let host = compat();
    host.write("node.yaml", "localai_network_id: lab\nfronts: [{listen: '0'}]\ntoken_file: token");
    let node = host.start(&["run", "-c", "node.yaml"]);
    node.ready_line();
    node.send(Signal::TERM);
    let said = node.end();
    assert!(said.code == Some(0) && !said.stderr.contains("means nothing"), "{said:?}");
}

#[test]
fn variables_that_cannot_be_understood() {
    let refused = |variable: &str, value: &str, command: &[&str], part: &str| {
        let host = Host::with_token().with(variable, value);
        host.run(&[command, &["--token-file", "token"]].concat()).refused(2, &[variable, part]);
    };
    let commands = [&["federated"][..], &["serve"], &["expose", "80"], &["relay"]];
    for command in commands {
        refused("LOCALAI_P2P_DISABLE_DHT", "perhaps", command, "say true or false");
        refused("LOCALAI_P2P_LISTEN_MADDRS", "0.0.0.0:4001", command, "is not a multiaddr like");
        refused("LOCALAI_P2P_DHT_ANNOUNCE_MADDRS", "a", command, "is not a multiaddr like");
        refused("LOCALAI_P2P_BOOTSTRAP_PEERS_MADDRS", "/ip4/127.0.0.1/tcp/1,b", command, "\"b\" is not a multiaddr");
        refused("LOCALAI_P2P_LOGLEVEL", "loud", command, "say trace, debug, info");
        refused("LOCALAI_P2P_NETWORK_ID", "two words", command, "no id of a LocalAI network");
        refused("EDGEVPNDHT", "private", command, "say true or false");
    }
    refused("LOCALAI_ADDRESS", "example.org:80", &["federated"], "is not a listener like");
    refused("ADDRESS", "10.1.0.1/24", &["federated"], "is not a listener like");
    refused("RANDOM_WORKER", "maybe", &["federated"], "say true or false");
    refused("LOCALAI_TARGET_WORKER", "a b", &["federated"], "is neither a node id");
    // Of these, only `federated` has a say.
    let serve = ["serve", "federated@0", "--token-file", "token"];
    Host::with_token().with("ADDRESS", "10.1.0.1/24").start(&serve).ready_line();
}

#[test]
fn flags_that_say_two_things() {
    let host = Host::with_token();
    for flags in [["--random-worker", "--policy=p2c"], ["--target-worker=a", "--worker=b"]] {
        let all = [&["federated", "--token-file", "token"][..], &flags].concat();
        host.run(&all).refused(2, &["say the same thing: leave one out"]);
    }
    let host = host.with("P2P_FED_POLICY", "p2c").with("P2P_FED_WORKER", "b");
    let all = ["--token-file", "token", "--address", "127.0.0.1:0", "--random-worker", "--target-worker", "a"];
    assert!(federated(&host, &all).logs(" INF listening ").contains("policy=random"), "a flag goes before a variable");
    let host = Host::with_token().with("P2P_FED_POLICY", "p2c").with("RANDOM_WORKER", "true");
    let front = federated(&host, &["--token-file", "token", "--address", "127.0.0.1:0"]);
    assert!(front.logs(" INF listening ").contains("policy=p2c"), "our variable goes before LocalAI's");
    let host = Host::with_token();
    host.run(&["federated", "--token-file", "token", "--random-worker=maybe"]).refused(2, &["--random-worker"]);
}

#[test]
fn the_help_names_what_localais_documentation_shows() {
    let help = Host::new().run(&["federated", "--help"]).ok();
    for word in ["--address", "--p2p-token", "--p2ptoken", "--random-worker", "--target-worker", "--p2p-network-id"] {
        assert!(help.contains(word), "{word} in {help}");
    }
    for variable in ["LOCALAI_ADDRESS, ADDRESS", "LOCALAI_P2P_DISABLE_DHT", "LOCALAI_P2P_BOOTSTRAP_PEERS_MADDRS"] {
        assert!(help.contains(variable), "{variable} in {help}");
    }
}
