//! Tokens: made, found, explained.

use std::collections::BTreeSet;

use crate::host::Host;

fn network(host: &Host, arguments: &[&str]) -> String {
    let mut all = vec!["token", "show", "-o", "json"];
    all.extend(arguments);
    host.run(&all).json()["network"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_is_one_line_and_each_is_another() {
    let host = Host::new();
    let tokens: BTreeSet<_> = (0..3).map(|_| host.run(&["token"]).ok()).collect();
    assert_eq!(tokens.len(), 3);
    for token in tokens {
        assert!(token.ends_with('\n') && token.lines().count() == 1, "{token}");
    }
}

#[test]
fn what_was_made_can_be_read_from_everywhere() {
    let host = Host::with_token();
    let token = host.read("token");
    let network = network(&host, &[token.trim()]);
    assert_eq!(network.len(), 9, "{network}");
    let same = |said: crate::host::Said| assert_eq!(said.json()["network"], network.as_str());
    same(host.run(&["token", "show", "-o", "json", "--token-file", "token"]));
    same(host.feed(&["token", "show", "-o", "json", "-"], &token));
    same(host.feed(&["token", "show", "-o", "json", "--token-file", "-"], &token));
    for variable in ["P2P_FED_TOKEN", "P2P_TOKEN", "TOKEN", "LOCALAI_P2P_TOKEN", "LOCALAI_TOKEN", "EDGEVPNTOKEN"] {
        same(Host::new().with(variable, token.trim()).run(&["token", "show", "-o", "json"]));
    }
    let host = Host::new();
    std::fs::create_dir_all(host.path("config/p2p-fed")).unwrap();
    host.write("config/p2p-fed/token", &token);
    same(host.run(&["token", "show", "-o", "json"]));
}

#[test]
fn the_first_source_decides() {
    let made: Vec<_> = (0..4).map(|_| Host::with_token()).collect();
    let tokens: Vec<_> = made.iter().map(|host| host.read("token").trim().to_owned()).collect();
    let networks: Vec<_> = tokens.iter().map(|token| network(&made[0], &[token])).collect();

    let host = Host::new().with("TOKEN", &tokens[2]).with("P2P_FED_TOKEN", &tokens[1]).with("P2P_TOKEN", "");
    std::fs::create_dir_all(host.path("config/p2p-fed")).unwrap();
    host.write("config/p2p-fed/token", &tokens[3]);
    host.write("first", &tokens[0]);
    assert_eq!(network(&host, &["--token-file", "first"]), networks[0]);
    assert_eq!(network(&host, &[]), networks[1]);

    let joined = |host: &Host, arguments: &[&str]| {
        let mut all = vec!["serve", "federated@0", "-o", "json"];
        all.extend(arguments);
        let mut node = host.start(&all);
        node.become_ready();
        node.ready()["network"].as_str().unwrap().to_owned()
    };
    host.write("node.yaml", "token_file: configured");
    host.write("configured", &tokens[2]);
    assert_eq!(joined(&host, &["--token-file", "first", "--token", &tokens[2]]), networks[0], "file before flag");
    assert_eq!(joined(&host, &["--token", &tokens[2]]), networks[2], "flag before variable");
    assert_eq!(joined(&host, &["-c", "node.yaml"]), networks[1], "variable before configuration");
    let host = Host::new();
    host.write("node.yaml", "token_file: configured");
    host.write("configured", &tokens[2]);
    assert_eq!(joined(&host, &["-c", "node.yaml"]), networks[2], "configuration");
}

#[test]
fn what_is_inside_is_said_but_for_the_secrets() {
    let host = Host::with_token();
    let secrets = crate::secrets::of(&host.read("token"));
    let text = host.run(&["token", "show", "--token-file", "token"]).ok();
    let json = host.run(&["token", "show", "--token-file", "token", "-o", "json"]).ok();
    for secret in &secrets {
        assert!(!text.contains(secret) && !json.contains(secret), "{secret}");
    }
    assert!(text.contains("***") && text.contains("every node proves the token"), "{text}");
    assert!(text.contains("new every 360 s"), "{text}");
}

#[test]
fn a_token_for_edgevpn_and_with_other_intervals() {
    let host = Host::new();
    let token = host.run(&["token", "--compat", "--key-otp-interval", "20"]).ok();
    let inside = host.run(&["token", "show", "-o", "json", token.trim()]).json();
    assert_eq!((inside["strict"].as_bool(), inside["format"].as_str()), (Some(false), Some("p2p-fed")));
    assert_eq!((inside["dht"]["interval_s"].as_u64(), inside["crypto"]["interval_s"].as_u64()), (Some(20), Some(20)));
    let warnings = inside["warnings"].to_string();
    assert!(warnings.contains("`otp.dht.interval` is short"), "{warnings}");
}
