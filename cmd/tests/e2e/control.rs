//! Asking a running node: tables for people, JSON for scripts.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use serde_json::Value;

use crate::{
    backend::Backend,
    client,
    host::Host,
    machine,
    network::Network,
    node::Plan,
    process::{Process, command},
    streaming::one_worker,
    until,
};

#[tokio::test]
async fn the_json_has_the_shape_that_scripts_rely_on() {
    let _machine = machine::shared().await;
    let (_backend, worker, front) = one_worker().await;
    let address = front.front().await;
    for _ in 0..12 {
        client::who(address).await.unwrap();
    }
    until("a ping", async || front.status().await.peers[0].rtt_ms).await;

    let status = json(front.ask(&["status", "-o", "json"]).await);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["node"]["name"], &status["ready"]), (&"front".into(), &true.into()));
    let addresses = status["node"]["addresses"].as_array().unwrap();
    let id = status["node"]["id"].as_str().unwrap();
    assert!(id.starts_with("12D3KooW"), "{id}");
    assert!(
        !addresses.is_empty() && addresses.iter().all(|text| text.as_str().unwrap().ends_with(id)),
        "{addresses:?}"
    );
    let peer = &status["peers"][0];
    assert_eq!((&peer["name"], &peer["path"], peer["transport"].is_string()), (&"w".into(), &"direct".into(), true));
    assert!(peer["rtt_ms"].is_f64(), "{peer}");
    let service = &status["services"][0];
    assert_eq!((&service["name"], &service["protocol"]), (&"federated".into(), &"http".into()));
    let known = &service["workers"][0];
    assert_eq!(known["node"], json(worker.ask(&["status", "-o", "json"]).await)["node"]["id"]);
    assert_eq!((&known["name"], &known["state"], &known["in_flight"]), (&"w".into(), &"ready".into(), &0.into()));
    assert_eq!((&known["requests_total"], &known["failures_total"]), (&12.into(), &0.into()));
    assert!(known["latency_ms"]["p50"].is_f64() && known["latency_ms"]["p99"].is_f64(), "{known}");
    let own = &status["fronts"][0];
    assert_eq!((&own["service"], &own["policy"]), (&"federated".into(), &"least-used".into()));
    assert_eq!((&own["listen"], &own["requests_total"]), (&address.to_string().into(), &12.into()));
    assert_eq!(own["in_flight"], 0);

    // The others are parts of it.
    assert_eq!(json(front.ask(&["peers", "-o", "json"]).await)["peers"][0]["id"], peer["id"]);
    assert_eq!(json(front.ask(&["services", "-o", "json"]).await)["services"], status["services"]);
    let ledger = json(front.ask(&["ledger", "-o", "json"]).await);
    assert_eq!(ledger["records"].as_array().unwrap().len(), 2);
}

fn json(exit: crate::process::Exit) -> Value {
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{exit:?}");
    serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {}", exit.stdout))
}

#[tokio::test]
async fn the_tables_name_what_is_there() {
    let _machine = machine::shared().await;
    let (_backend, worker, front) = one_worker().await;
    for (view, parts) in [
        ("status", &["front", "federated", "w", "ready", "least-used"][..]),
        ("peers", &["w", "direct"]),
        ("services", &["federated", "http", "w", "ready"]),
        ("ledger", &["front", "w", "federated"]),
    ] {
        let exit = front.ask(&[view]).await;
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{exit:?}");
        for part in parts {
            let has = exit.stdout.split_whitespace().any(|word| word == *part);
            assert!(has, "no {part} in {view}:\n{}", exit.stdout);
        }
        assert!(!exit.stdout.contains('\x1b'), "a pipe got colours");
    }
    let exit = worker.ask(&["status"]).await;
    assert!(exit.stdout.contains("127.0.0.1") && exit.stdout.contains("federated"), "{}", exit.stdout);
}

#[tokio::test]
async fn watching_shows_changes_and_ends_with_its_reader() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let front = network.start(Plan::serve("front")).await;
    let backend = Backend::start("hyper").await;
    let socket = front.socket().display().to_string();
    let watch = front.host.start(["status", "--watch", "-o", "json", "--node", &socket]);
    watch.says("\"ready\":true").await;
    let _worker = network.start(Plan::expose("w", backend.address).join(front.peer())).await;
    let line = watch.says("\"state\":\"ready\"").await;
    serde_json::from_str::<Value>(&line).expect("one document a line");
    assert_eq!(watch.stderr(), "");

    let mut shell = command("bash");
    shell.args(["-c", "set -o pipefail; \"$@\" | head -n 1; echo \"${PIPESTATUS[0]}\" >&2", "bash"]);
    shell.arg(front.host.p2p_fed().as_std().get_args().last().unwrap());
    shell.args(["status", "--watch", "-o", "json", "--node", &socket]);
    let piped = Process::spawn("status --watch | head", &mut shell);
    // It notices when it has something to say.
    piped.says("\"ready\":true").await;
    for _ in 0..3 {
        client::who(front.front().await).await.unwrap();
    }
    let exit = piped.exit().await;
    assert_eq!((exit.stderr.as_str(), exit.stdout.lines().count()), ("0\n", 1), "{exit:?}");
}

#[tokio::test]
async fn of_several_nodes_one_must_be_named() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let host = Arc::new(Host::new());
    let none = host.run(["status"]).await;
    assert_eq!((none.code, none.stderr.lines().count()), (Some(1), 1), "{none:?}");

    let one = network.start_on(&host, Plan::serve("one")).await;
    let alone = host.run(["status", "-o", "json"]).await;
    assert_eq!(json(alone)["node"]["name"], "one");

    let two = network.start_on(&host, Plan::serve("two")).await;
    let several = host.run(["status"]).await;
    assert_eq!((several.code, several.stderr.lines().count()), (Some(2), 1), "{several:?}");
    assert!(several.stderr.contains("one, two") && several.stderr.contains("--node"), "{several:?}");
    assert_eq!(json(host.run(["status", "-o", "json", "--node", "two"]).await)["node"]["name"], "two");

    // One name for two on a host is refused.
    let again = host.run(Plan::serve("two").args(&host)).await;
    assert_eq!((again.code, again.stderr.lines().count()), (Some(2), 1), "{again:?}");
    assert!(again.stderr.contains("two"), "{again:?}");

    let folder = one.socket().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&one.socket()), 0o600);
    two.terminate().await;
    one.terminate().await;
    let left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".sock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn ready_is_one_line_and_json_when_asked() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let host = Host::new();
    host.write("token", &network.token);
    let node = host.start(Plan::serve("front").arg("-ojson").args(&host));
    let line = node.says("{").await;
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["name"], "front");
    assert!(!ready["addresses"].as_array().unwrap().is_empty(), "{ready}");
    assert_eq!(node.stdout().lines().count(), 1);
}
