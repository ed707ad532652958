//! `status`, `peers`, `services`, `ledger`, `explain`: of which node, and what is answered.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Host, Node, SOON, backend, get};

#[test]
fn nobody_to_ask() {
    let host = Host::new();
    for command in ["status", "peers", "services", "ledger", "explain"] {
        host.run(&[command]).refused(1, &["no node is running here: start one with `p2p-fed serve`"]);
        host.run(&[command, "--node", "gpu1"]).refused(1, &["no node is running here"]);
        host.run(&[command, "--node", "./nowhere.sock"]).refused(1, &["no node answers at ./nowhere.sock: "]);
    }
}

#[test]
fn one_of_several_must_be_named() {
    let host = Host::with_token();
    let one = host.node(&["serve", "federated@0", "--name", "one"]);
    assert_eq!(host.run(&["status", "-o", "json"]).json()["node"]["name"], "one");
    let two = host.node(&["serve", "federated@0", "--name", "two"]);
    host.run(&["status"]).refused(2, &["several nodes are running here: choose one with --node NAME: one, two"]);
    host.run(&["peers", "--node", "three"]).refused(2, &["no node three is running here", "one, two"]);
    assert_eq!(host.run(&["status", "--node", "two", "-o", "json"]).json()["node"]["name"], "two");
    let socket = one.ready()["control_socket"].as_str().unwrap();
    assert_eq!(host.run(&["status", "--node", socket, "-o", "json"]).json()["node"]["name"], "one");
    // Killed, it leaves its socket; that is not taken for a node.
    drop(two);
    assert!(crate::host::exists(&host.path("run/p2p-fed/two.sock")));
    assert_eq!(host.run(&["status", "-o", "json"]).json()["node"]["name"], "one");
    let heir = host.node(&["serve", "federated@0", "--name", "two"]);
    assert_eq!(heir.name(), "two");
    heir.send(Signal::TERM);
    assert_eq!(heir.end().code, Some(0));
    assert!(!crate::host::exists(&host.path("run/p2p-fed/two.sock")), "an orderly end leaves nothing");
}

fn pair(host: &Host) -> (Node, Node) {
    let target = backend();
    let worker = host.node(&["expose", &target, "--name", "gpu1", "--label", "model=llama", "--weight", "50"]);
    worker.logs("service offered");
    let front = host.node(&["serve", "federated@0", "--name", "laptop", "--wait", "30", "--peer", worker.address()]);
    (worker, front)
}

#[test]
fn scripts_get_the_shape_that_they_rely_on() {
    let host = Host::with_token();
    let (worker, front) = pair(&host);
    assert!(get(front.front()).ends_with("hello"));
    let ask = |command, node| host.run(&[command, "--node", node, "-o", "json"]).json();

    let status = ask("status", "laptop");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["network"], front.ready()["network"]);
    assert_eq!(status["node"]["id"], front.ready()["node"]);
    assert_eq!(status["node"]["addresses"], front.ready()["addresses"]);
    assert_eq!(status["ready"], true);
    let peer = &status["peers"][0];
    assert_eq!((&peer["id"], &peer["name"]), (&worker.ready()["node"], &Value::from("gpu1")));
    assert_eq!((peer["path"].as_str(), peer["transport"].as_str()), (Some("direct"), Some("tcp")));
    let service = &status["services"][0];
    assert_eq!((service["name"].as_str(), service["protocol"].as_str()), (Some("federated"), Some("http")));
    let endpoint = &service["workers"][0];
    assert_eq!((&endpoint["node"], &endpoint["name"]), (&worker.ready()["node"], &Value::from("gpu1")));
    assert!(matches!(endpoint["state"].as_str(), Some("warming" | "ready")), "{endpoint}");
    assert_eq!((endpoint["requests_total"].as_u64(), endpoint["failures_total"].as_u64()), (Some(1), Some(0)));
    assert!(endpoint["in_flight"].is_u64() && endpoint["latency_ms"]["p50"].is_f64(), "{endpoint}");
    assert_eq!((endpoint["weight"].as_u64(), endpoint["labels"]["model"].as_str()), (Some(50), Some("llama")));
    let listener = &status["fronts"][0];
    assert_eq!((listener["service"].as_str(), listener["listen"].as_str()), (Some("federated"), Some(front.front())));
    assert_eq!((listener["policy"].as_str(), listener["requests_total"].as_u64()), (Some("least-used"), Some(1)));

    assert_eq!(ask("peers", "laptop")["peers"][0]["id"], worker.ready()["node"]);
    assert_eq!(ask("services", "laptop")["services"][0]["workers"][0]["name"], "gpu1");
    let ledger = ask("ledger", "laptop");
    assert!(ledger["revision"].as_u64().unwrap() > 0);
    let names: Vec<_> = ledger["records"].as_array().unwrap().iter().map(|record| &record["name"]).collect();
    assert!(names.contains(&&Value::from("gpu1")) && names.contains(&&Value::from("laptop")), "{ledger}");
    let export = &ask("status", "gpu1")["exports"][0];
    assert_eq!((export["healthy"].as_bool(), export["tunnels_total"].as_u64()), (Some(true), Some(1)), "{export}");
}

#[test]
fn people_get_tables() {
    let host = Host::with_token();
    let (_worker, _front) = pair(&host);
    let status = host.run(&["status", "--node", "laptop"]).ok();
    for part in ["network  ", "state    ready", "\npeers\nNAME ", "\nservices\nSERVICE ", "\nfronts\nSERVICE "] {
        assert!(status.contains(part), "{part:?} in {status}");
    }
    assert!(host.run(&["peers", "--node", "laptop"]).ok().contains("\ngpu1  direct  tcp "));
    assert!(host.run(&["services", "--node", "laptop"]).ok().contains("model=llama"));
    assert!(host.run(&["ledger", "--node", "gpu1"]).ok().starts_with("revision "));
}

#[test]
fn alone_in_the_network_is_an_answer_too() {
    let host = Host::with_token();
    let _front = host.node(&["serve", "llm@0"]);
    assert!(host.run(&["peers"]).ok().starts_with("no peers"));
    let services = host.run(&["services"]).ok();
    assert!(services.contains("llm") && services.contains("no worker"), "{services}");
}

#[test]
fn changes_are_followed_until_interrupted() {
    let host = Host::with_token();
    let one = host.node(&["serve", "federated@0", "--name", "one"]);
    let watch = Node::start(host.command(&["peers", "--node", "one", "--watch", "-o", "json"]));
    assert_eq!(watch.says(|line| line.starts_with('{')), r#"{"peers":[]}"#);
    let _two = host.node(&["serve", "federated@0", "--name", "two", "--peer", one.address()]);
    let news = watch.says(|line| line.contains("\"name\":\"two\""));
    let news: Value = serde_json::from_str(&news).unwrap();
    assert_eq!(news["peers"].as_array().unwrap().len(), 1);
    watch.send(Signal::INT);
    assert_eq!(watch.end().code, Some(130));

    let watch = Node::start(host.command(&["status", "--node", "one", "--watch"]));
    watch.says(|line| line.starts_with("state    ready"));
    drop(one);
    let said = watch.end();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.starts_with("p2p-fed: ") && said.stderr.contains("one.sock"), "{said:?}");
}

/// Asks until `count` requests are taken down: a client has its answer a moment before.
fn explained(host: &Host, arguments: &[&str], count: usize) -> Value {
    let mut all = vec!["explain", "-o", "json"];
    all.extend(arguments);
    let until = Instant::now() + SOON;
    loop {
        let answer = host.run(&all).json();
        if answer["requests"].as_array().unwrap().len() == count {
            return answer;
        }
        assert!(Instant::now() < until, "{answer}");
    }
}

#[test]
fn requests_are_explained() {
    let host = Host::with_token();
    let (worker, front) = pair(&host);
    assert!(host.run(&["explain", "--node", "laptop"]).ok().starts_with("no requests"));
    host.run(&["explain", "--node", "gpu1"]).refused(1, &["this node has no front"]);
    for _ in 0..3 {
        assert!(get(front.front()).ends_with("hello"));
    }
    let all = explained(&host, &["--node", "laptop"], 3);
    let request = &all["requests"][2];
    assert_eq!((request["service"].as_str(), request["number"].as_u64()), (Some("federated"), Some(3)));
    assert_eq!((request["front"].as_str(), request["what"].as_str()), (Some(front.front()), Some("GET /")));
    assert_eq!((request["status"].as_u64(), request["outcome"].as_str()), (Some(200), Some("served")));
    assert!(request["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{request}");
    assert!(request["total_ms"].as_f64() >= request["first_byte_ms"].as_f64(), "{request}");
    assert!(request["at_unix_ms"].as_u64().unwrap() > 1_700_000_000_000 && request["model"].is_null(), "{request}");
    assert_eq!((request["bytes_sent"].as_u64(), request["bytes_received"].as_u64()), (Some(0), Some(5)));
    let attempt = &request["attempts"][0];
    assert_eq!((&attempt["node"], attempt["name"].as_str()), (&worker.ready()["node"], Some("gpu1")));
    assert_eq!((attempt["because"].as_str(), attempt["fault"].as_str()), (Some("fewest in flight"), None));
    let candidate = &attempt["candidates"][0];
    assert_eq!((&candidate["node"], candidate["standing"].as_str()), (&worker.ready()["node"], Some("available")));
    assert!(candidate["score"].is_number() && candidate["in_flight"] == 0, "{candidate}");

    let ask = |arguments: &[&str]| host.run(&[&["explain", "--node", "laptop"], arguments].concat());
    assert_eq!(explained(&host, &["--node", "laptop", "-n", "2"], 2)["requests"][1], *request);
    for which in [&["3"][..], &["federated/3"], &["3", "--service", "federated"]] {
        let one = ask(&[which, &["-o", "json"]].concat()).json();
        assert_eq!(one["requests"], Value::from(vec![request.clone()]), "{which:?}");
    }
    let list = ask(&[]).ok();
    assert!(list.starts_with("REQUEST  TIME") && list.contains("  GET /  gpu1    fewest in flight  "), "{list}");
    let story = ask(&["3"]).ok();
    assert!(
        story.contains("outcome  200, served\n") && story.contains("\n1. gpu1: fewest in flight; tried for "),
        "{story}"
    );
    assert!(story.contains("\nCANDIDATE  SCORE  STANDING "), "{story}");
    ask(&["4"]).refused(1, &["request 4 is not known here"]);
    ask(&["llm/3"]).refused(1, &["no front for service llm", "federated"]);
    for (arguments, part) in [
        (&["x"][..], "a request is its number, or SERVICE/NUMBER"),
        (&["-n", "0"], "0 is not in 1..=512"),
        (&["-n", "513"], "513 is not in 1..=512"),
        (&["3", "-n", "5"], "cannot be used with"),
        (&["a/3", "--service", "b"], "the request is one of a, not of b"),
        (&["--service", "A b"], "the name of a service is 1 to 63"),
    ] {
        ask(arguments).refused(2, &[part]);
    }

    let watch = Node::start(host.command(&["explain", "--node", "laptop", "--watch", "-o", "json"]));
    watch.says(|line| line.contains("\"number\":3"));
    get(front.front());
    watch.says(|line| line.contains("\"number\":4"));
    watch.send(Signal::INT);
    assert_eq!(watch.end().code, Some(130));
}

#[test]
fn of_several_fronts_the_one_is_named() {
    let host = Host::with_token();
    let node = host.node(&["serve", "a@0", "b@0"]);
    for front in node.ready()["fronts"].as_array().unwrap() {
        assert!(get(front["listen"].as_str().unwrap()).starts_with("HTTP/1.1 503 "));
    }
    explained(&host, &[], 2);
    host.run(&["explain", "1"]).refused(2, &["several fronts have such a request: choose one of a/1, b/1"]);
    assert_eq!(host.run(&["explain", "b/1", "-o", "json"]).json()["requests"][0]["status"], 503);
    assert!(host.run(&["explain"]).ok().contains("\na/1 "));
}

#[test]
fn a_scorer_of_the_users_own_is_asked_and_told_of() {
    let host = Host::with_token();
    // Its answers are no scores.
    let policy = format!("external:http://{}/score", backend());
    let target = backend();
    let worker = host.node(&["expose", &target, "--name", "gpu1"]);
    worker.logs("service offered");
    let serve = ["serve", "federated@0", "--name", "laptop", "--wait", "30", "--policy", &policy, "--policy-deadline"];
    let front = host.node(&[&serve[..], &["10s", "--peer", worker.address()]].concat());
    let listener = || host.run(&["status", "--node", "laptop", "-o", "json"]).json()["fronts"][0].clone();
    assert_eq!((listener()["policy"].as_str(), listener()["policy_fault"].as_str()), (Some(&*policy), None));
    for _ in 0..5 {
        assert!(get(front.front()).ends_with("hello"));
    }
    front.logs("scorer fails, so least-used decides");
    assert!(
        listener()["policy_fault"].as_str().unwrap().starts_with("its answer is not {\"scores\""),
        "{}",
        listener()
    );
    assert!(host.run(&["status", "--node", "laptop"]).ok().contains(&format!("{policy} (failing)")));
}

#[test]
fn yaml_says_what_json_says() {
    let host = Host::with_token();
    let node = host.node(&["serve", "llm@0", "--name", "one"]);
    let page = host.run(&["status", "-o", "yaml"]).ok();
    assert!(
        page.starts_with("version: ") && page.contains("\nnode:\n  id: 12D3KooW") && page.contains("\n  name: one\n"),
        "{page}"
    );
    assert!(host.run(&["version", "-o", "yaml"]).ok().contains("\nlibp2p: "));
    assert!(host.run(&["doctor", "-o", "yaml"]).ok().starts_with("ok: true\nfindings:\n- check: node\n"));
    let watch = Node::start(host.command(&["peers", "--watch", "-o", "yaml"]));
    watch.says(|line| line == "---");
    watch.says(|line| line == "peers: []");
    drop(node);
    host.run(&["demo", "-o", "yaml"]).refused(2, &["text or as json"]);
}
