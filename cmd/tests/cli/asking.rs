//! `status`, `peers`, `services`, `ledger`: of which node, and what is answered.

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Host, Node, backend, get};

#[test]
fn nobody_to_ask() {
    let host = Host::new();
    for command in ["status", "peers", "services", "ledger"] {
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
