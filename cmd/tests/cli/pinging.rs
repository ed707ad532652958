//! `ping`: round trips to a peer and to the workers of a service.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Host, Node, SOON, backend};

/// A node beside another one, which has heard its name.
fn beside(host: &Host, name: &str, other: &Node) -> Node {
    let node = host.node(&["expose", &backend(), "--name", name, "--wait", "30", "--peer", other.address()]);
    node.logs("service offered");
    let ledger = ["ledger", "--node", other.name(), "-o", "json"];
    let until = Instant::now() + SOON;
    let knows = |ledger: &Value| ledger["records"].as_array().unwrap().iter().any(|record| record["name"] == name);
    while !knows(&host.run(&ledger).json()) {
        assert!(Instant::now() < until, "{} does not hear of {name}", other.name());
    }
    node
}

/// A front that has these workers.
fn front_of(host: &Host, workers: &[&Node]) -> Node {
    let mut arguments = vec!["serve", "federated@0", "--name", "laptop", "--wait", "30"];
    workers.iter().for_each(|worker| arguments.extend(["--peer", worker.address()]));
    host.node(&arguments)
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_peer_answers_and_all_is_summed_up() {
    let host = Host::with_token();
    let worker = host.node(&["expose", &backend(), "--name", "gpu1"]);
    worker.logs("service offered");
    let front = front_of(&host, &[&worker]);
    let quickly = ["--node", "laptop", "-c", "3", "-i", "0.01"];
    let page = host.run(&[&["ping", "gpu1"][..], &quickly].concat()).ok();
    let said: Vec<_> = page.lines().collect();
    for (line, seq) in said.iter().zip(1..=3) {
        let head = format!("gpu1: seq={seq} time=");
        assert!(line.starts_with(&head) && line.ends_with("ms path=direct transport=tcp"), "{page}");
    }
    assert!(
        said[4].starts_with("NAME  SENT  ANSWERED  LOSS ") && said[5].starts_with("gpu1  3     3         0.0% "),
        "{page}"
    );
    assert_eq!(said.len(), 6, "{page}");

    let id = worker.ready()["node"].as_str().unwrap();
    let short = format!("{}…{}", &id[..8], &id[id.len() - 4..]);
    for whom in [id, &short] {
        let told = lines(&host.run(&[&["ping", whom, "-o", "json"][..], &quickly].concat()).ok());
        let [answers @ .., summary] = &*told else { panic!("{told:?}") };
        assert_eq!(answers.len(), 3, "{told:?}");
        for (answer, seq) in answers.iter().zip(1..) {
            assert_eq!((answer["type"].as_str(), answer["seq"].as_u64()), (Some("answer"), Some(seq)), "{answer}");
            assert_eq!((answer["node"].as_str(), answer["name"].as_str()), (Some(id), Some("gpu1")), "{answer}");
            assert_eq!(
                (answer["path"].as_str(), answer["transport"].as_str()),
                (Some("direct"), Some("tcp")),
                "{answer}"
            );
            assert!(answer["time_ms"].as_f64().unwrap() > 0.0, "{answer}");
        }
        assert_eq!((summary["type"].as_str(), summary["sent"].as_u64()), (Some("summary"), Some(3)), "{summary}");
        let peer = &summary["peers"][0];
        assert_eq!((peer["answered"].as_u64(), peer["loss_percent"].as_f64()), (Some(3), Some(0.0)), "{summary}");
        let times = ["min_ms", "p50_ms", "p90_ms", "p99_ms"].map(|field| peer[field].as_f64().unwrap());
        assert!(times.is_sorted() && times[3] == peer["max_ms"].as_f64().unwrap(), "{summary}");
    }
    // The other way round as well: who was dialled answers and asks like who dialled.
    assert!(host.run(&["ping", "laptop", "--node", "gpu1", "-c", "1"]).ok().contains("laptop: seq=1 time="));
    drop(front);
}

#[test]
fn each_worker_of_a_service_is_asked() {
    let host = Host::with_token();
    let one = host.node(&["expose", &backend(), "--name", "gpu1"]);
    one.logs("service offered");
    let two = beside(&host, "gpu2", &one);
    let _front = front_of(&host, &[&one, &two]);
    let ask = ["ping", "federated", "--node", "laptop", "-c", "2", "-i", "0.01", "-o", "json"];
    // That it has a worker says nothing of the second one.
    let told = loop {
        let told = lines(&host.run(&ask).ok());
        if told.last().unwrap()["peers"].as_array().unwrap().len() == 2 {
            break told;
        }
    };
    let summary = told.last().unwrap();
    let mut names: Vec<_> =
        summary["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["gpu1", "gpu2"], "{summary}");
    assert_eq!(summary["answered"], summary["sent"], "{summary}");
    // A worker asks the others.
    let others = lines(&host.run(&["ping", "federated", "--node", "gpu1", "-c", "1", "-o", "json"]).ok());
    assert_eq!((others.len(), others[0]["name"].as_str()), (2, Some("gpu2")), "{others:?}");
}

#[test]
fn who_is_not_there_is_told_at_once() {
    let host = Host::with_token();
    host.run(&["ping", "gpu1"]).refused(1, &["no node is running here"]);
    let node = host.node(&["serve", "federated@0", "--name", "laptop"]);
    let refused = |arguments: &[&str], code, part: &str| {
        host.run(&[&["ping"], arguments].concat()).refused(code, &[part]);
    };
    refused(&["gpu1"], 2, "no node and no service gpu1 is known here");
    refused(&["gpu1", "--service"], 2, "no service gpu1 is known here");
    refused(&["laptop"], 2, "laptop is the node that runs here");
    refused(&[node.ready()["node"].as_str().unwrap()], 2, "is the node that runs here");
    refused(&["federated"], 1, "no other node offers service federated");
    let stranger = "12D3KooWPi4DKkcJN3BrpVSvSfpd6da3hferGsBh75KPEWHKAjuD";
    refused(&[stranger], 1, &format!("{stranger} is not connected to the node that runs here"));
    refused(&["laptop", "-c", "0"], 2, "number would be zero");
    refused(&["laptop", "-i", "0.001"], 2, "\"0.001\" is no time from 10ms");
    refused(&["laptop", "-W", "5"], 2, "\"5\" is no time from 1ms to 4s");
    refused(&[], 2, "<PEER|SERVICE>");
}

#[test]
fn an_interrupted_ping_sums_up() {
    let host = Host::with_token();
    let one = host.node(&["serve", "federated@0", "--name", "one"]);
    let two = beside(&host, "two", &one);
    let ping = Node::start(host.command(&["ping", "two", "--node", "one", "-i", "0.01"]));
    ping.says(|line| line.starts_with("two: seq=3 "));
    ping.send(Signal::INT);
    let said = ping.end();
    assert_eq!((said.code, said.stderr.as_str()), (Some(130), ""), "{said:?}");
    assert!(said.stdout.lines().last().unwrap().starts_with("two   "), "{said:?}");
    drop(two);
}

#[test]
fn a_peer_that_goes_is_loss_and_one_that_comes_back_is_told() {
    let host = Host::with_token();
    let one = host.node(&["serve", "federated@0", "--name", "one"]);
    let two = beside(&host, "two", &one);
    let ping = Node::start(host.command(&["ping", "two", "--node", "one", "-i", "0.05", "-o", "json"]));
    ping.says(|line| line.contains("\"answer\""));
    drop(two);
    ping.says(|line| line.contains("\"no_answer\"") && line.contains("not connected"));
    let _two = beside(&host, "two", &one);
    let back = ping.says(|line| line.contains("\"path\"") && line.contains("\"before\":null"));
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!((back["name"].as_str(), back["now"]["path"].as_str()), (Some("two"), Some("direct")), "{back}");
    ping.send(Signal::INT);
    let said = ping.end();
    let told = lines(&said.stdout);
    let summary = told.last().unwrap();
    assert_eq!(summary["type"], "summary", "{summary}");
    assert!(summary["loss_percent"].as_f64().unwrap() > 0.0 && summary["answered"].as_u64().unwrap() > 0, "{summary}");
}
