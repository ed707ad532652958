//! What can't work is refused with one line and the right exit code, and nothing is left running.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    host::Host,
    machine,
    network::Network,
    node::{Join, Plan},
    process::Exit,
};

/// Refused before anything was done, in one line that names all of `parts`.
fn is_usage_error(exit: &Exit, parts: &[&str]) {
    assert_eq!(exit.code, Some(2), "{exit:?}");
    is_one_line(exit, parts);
}

fn is_one_line(exit: &Exit, parts: &[&str]) {
    assert_eq!((exit.stdout.as_str(), exit.stderr.lines().count()), ("", 1), "{exit:?}");
    for part in parts {
        assert!(exit.stderr.contains(part), "no {part:?} in {:?}", exit.stderr);
    }
}

#[tokio::test]
async fn without_a_token_the_command_that_makes_one_is_named() {
    let _machine = machine::shared().await;
    for command in [&["expose", "1"][..], &["serve"]] {
        is_usage_error(&Host::new().run(command).await, &["p2p-fed token"]);
    }
}

#[tokio::test]
async fn a_token_that_was_cut_off_is_refused() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let host = Host::new();
    for length in [1, network.token.len() / 2, network.token.len() - 4] {
        host.write("token", &network.token[..length]);
        let exit = host.run(Plan::expose("w", 1).args(&host)).await;
        is_usage_error(&exit, &["token"]);
        assert!(length < 20 || !exit.stderr.contains(&network.token[..20]), "the token was printed");
    }
}

#[tokio::test]
async fn a_token_of_a_later_version_is_refused() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let yaml = String::from_utf8(BASE64_STANDARD.decode(&network.token).unwrap()).unwrap();
    let later = yaml.replace("version: 1", "version: 99");
    assert_ne!(yaml, later);
    let host = Host::new();
    host.write("token", &BASE64_STANDARD.encode(later));
    is_usage_error(&host.run(Plan::expose("w", 1).args(&host)).await, &["newer", "99"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let host = Host::new();
    host.write("token", &network.token);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let quiet = ["--log-level", "error", "--no-mdns", "--no-dht"];
    let front = format!("federated@127.0.0.1:{port}");
    let token_file = host.path("token").display().to_string();
    let of_front = ["serve", &front, "--token-file", &token_file, "--listen-addr", "/ip4/127.0.0.1/tcp/0"];
    let exit = host.run(of_front.iter().chain(&quiet)).await;
    assert_eq!(exit.code, Some(1), "{exit:?}");
    is_one_line(&exit, &["127.0.0.1", &port, "in use"]);

    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let of_node = ["expose", "1", "--token-file", &token_file, "--listen-addr", &address];
    let exit = host.run(of_node.iter().chain(&quiet)).await;
    assert_eq!(exit.code, Some(1), "{exit:?}");
    is_one_line(&exit, &[&address, "in use"]);
}

#[tokio::test]
async fn an_identity_that_cannot_be_used_is_refused() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let host = Host::new();
    host.write("token", &network.token);
    let refused = async |path: &std::path::Path, part: &str| {
        let plan = Plan::expose("w", 1).arg("--identity").arg(path.display());
        let exit = host.run(plan.args(&host)).await;
        is_usage_error(&exit, &[&path.display().to_string(), part]);
    };
    refused(&host.path("home"), "").await;
    refused(&host.write("garbage", "this is no key"), "").await;

    // A good one that others may read.
    let path = host.path("identity");
    let node = network.start_at(host, Plan::expose("w", 1).arg("--identity").arg(path.display())).await;
    let host = std::sync::Arc::clone(&node.host);
    node.terminate().await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let exit = host.run(Plan::expose("w", 1).arg("--identity").arg(path.display()).args(&host)).await;
    is_usage_error(&exit, &[&path.display().to_string(), "600"]);
}

#[tokio::test]
async fn an_unknown_key_of_the_configuration_is_refused_with_its_place() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let host = Host::new();
    host.write("token", &network.token);
    let config = host.write("config.yaml", "name: w\nexports:\n- target: 1\npolcy: random\n");
    let exit = host.run(Plan::run("w", config.display()).join(Join::Alone).args(&host)).await;
    is_usage_error(&exit, &["polcy", "config.yaml:4:1"]);
}
