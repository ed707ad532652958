//! What is refused: one line, the right exit code, and nothing else.

use std::{net::TcpListener, os::unix::fs::PermissionsExt};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::host::{Host, QUIET};

/// Runs a node that must not come up.
fn refuse(host: &Host, arguments: &[&str], code: i32, parts: &[&str]) {
    let mut all = arguments.to_vec();
    all.extend(QUIET);
    host.run(&all).refused(code, parts);
}

#[test]
fn no_token() {
    let host = Host::new();
    for command in [&["serve"][..], &["expose", "80"], &["token", "show"]] {
        host.run(command).refused(2, &["no token: make one with `p2p-fed token"]);
    }
}

#[test]
fn tokens_that_are_none() {
    let host = Host::with_token();
    let token = host.read("token");
    let yaml = String::from_utf8(BASE64_STANDARD.decode(token.trim()).unwrap()).unwrap();
    let newer = BASE64_STANDARD.encode(yaml.replacen("version: 1", "version: 2", 1));
    let cut = &token[..token.len() - 20];
    for (text, part) in [
        (cut, "the token"),
        ("", "the token is empty"),
        ("hello, world", "is not standard base64"),
        (newer.as_str(), "made by a newer p2p-fed"),
    ] {
        let path = host.write("bad", text);
        for arguments in [&["serve", "--token-file", "bad"][..], &["token", "show", "--token-file", &path]] {
            let said = host.run(arguments);
            said.refused(2, &["bad: ", part]);
            assert!(!said.stderr.contains(&token[..40]), "{said:?}");
        }
        if !text.is_empty() {
            Host::new().with("P2P_TOKEN", text).run(&["serve"]).refused(2, &["P2P_TOKEN: ", part]);
            host.run(&["serve", "--token", text]).refused(2, &["--token or P2P_FED_TOKEN: ", part]);
            host.run(&["token", "show", text]).refused(2, &["the argument: ", part]);
        }
    }
}

/// It does not fall through to the next source.
#[test]
fn a_token_flag_that_is_empty() {
    let host = Host::with_token();
    let token = host.read("token");
    host.with("P2P_TOKEN", token.trim()).run(&["serve", "--token", ""]).refused(2, &["--token: the token is empty"]);
}

#[test]
fn a_token_file_that_cannot_be_read() {
    let host = Host::new();
    host.run(&["serve", "--token-file", "nowhere"]).refused(2, &["cannot read the token file nowhere: No such file"]);
    host.run(&["serve", "--token-file", "run"]).refused(2, &["cannot read the token file run: Is a directory"]);
}

#[test]
fn a_token_file_that_others_can_read_is_warned_of() {
    let host = Host::with_token();
    std::fs::set_permissions(host.path("token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = host.run(&["token", "show", "--token-file", "token"]);
    assert_eq!(said.code, Some(0));
    assert!(said.stderr.contains("WRN token file is open to other users"), "{said:?}");
    assert!(said.stderr.contains("cure=\"chmod 600 token\""), "{said:?}");
}

#[test]
fn flags_and_values_that_make_no_sense() {
    let host = Host::with_token();
    for (arguments, part) in [
        (&["swerve"][..], "unrecognized subcommand 'swerve'"),
        (&["serve", "--polcy", "random"], "unexpected argument '--polcy' found; a similar argument exists: '--policy'"),
        (&["serve", "--policy", "fastest"], "\"fastest\" is not a policy; choose least-used, random,"),
        (
            &["serve", "--policy", "p2C"],
            "choose least-used, random, round-robin, p2c, peak-ewma, prequal, sticky or external:URL",
        ),
        (
            &["serve", "--policy", "external:https://a/"],
            "\"https://a/\" is not a scorer: TLS to a scorer is not supported",
        ),
        (&["serve", "--policy", "external:ftp://a/"], "expected http://HOST:PORT/PATH or unix:PATH"),
        (
            &["serve", "--policy", "external:unix:/s", "--policy-deadline", "1m"],
            "the policy's deadline is more than zero",
        ),
        (&["serve", "--mode", "sctp"], "\"sctp\" is not a mode"),
        (&["serve", "dns@5353", "--mode", "udp", "--proxy-protocol"], "not for mode udp"),
        (&["expose", "dns=udp://127.0.0.1:53", "--health", "tcp"], "cannot be probed"),
        (&["expose", "dns=udp://127.0.0.1:53", "--send-proxy", "v1"], "leave --send-proxy out"),
        (&["serve", "--worker", "No Name"], "is neither a node id"),
        (&["serve", "llm@example.org:80"], "is not a listener like 127.0.0.1:8080"),
        (&["serve", "a", "b"], "service a: no listener; with several services each needs its own"),
        (&["serve", "a@81", "b@81"], "services a and b are both to listen on 127.0.0.1:81"),
        (&["serve", "A_B"], "the name of a service is 1 to 63"),
        (&["serve", "--retries", "1000"], "retries are 0 to 100"),
        (&["serve", "--connect-timeout", "0"], "the connect timeout is more than zero"),
        (&["serve", "--idle-timeout", "5"], "is not a span of time like 30s"),
        (&["serve", "--tls-cert", "a.pem"], "--tls-key"),
        (
            &["serve", "--tls-cert", "a.pem", "--tls-key", "b.pem"],
            "cannot speak TLS for service federated: cannot read a.pem",
        ),
        (&["serve", "--tls-cert", "token", "--tls-key", "token"], "token has no certificate in PEM form"),
        (&["serve", "--trust-forwarded", "10.0.0.0/33"], "is not a network like 10.0.0.0/8"),
        (&["serve", "--max-body", "many"], "--max-body"),
        (&["expose", "80", "--send-proxy", "v3"], "is not a version of the PROXY protocol; choose v1 or v2"),
        (&["serve", "--peer", "192.0.2.7:4001"], "is not a multiaddr like"),
        (&["serve", "--dht", "perhaps"], "is not public, private or off"),
        (&["serve", "--name", "My Node"], "is not a node name"),
        (&["serve", "--wait", "long"], "is not a span of time"),
        (&["serve", "--log-level", "loud"], "\"loud\" is no log filter"),
        (&["serve", "--log-format", "xml"], "\"xml\" is no log format"),
        (&["serve", "-o", "xml"], "invalid value 'xml' for '--output <FORMAT>' [possible values: text, json, yaml]"),
        (&["expose"], "nothing to expose: name a target"),
        (&["expose", "nowhere"], "\"nowhere\" is not a target"),
        (&["expose", "80", "81"], "service federated is exposed twice"),
        (&["expose", "80", "--weight", "0"], "invalid value '0' for '--weight"),
        (&["expose", "80", "--health", "ok"], "\"ok\" is not a health check"),
        (&["expose", "80", "--label", "model"], "\"model\" is not a label: KEY=VALUE"),
        (&["expose", "80", "--allow", "gpu1"], "is not a node id"),
        (&["expose", "80", "--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (&["run"], "config/p2p-fed/config.yaml"),
        (&["token", "--key-otp-interval", "0"], "invalid value '0'"),
        (&["completions", "csh"], "invalid value 'csh'"),
        (&["man", "swerve"], "there is no command \"swerve\""),
    ] {
        let mut all = arguments.to_vec();
        if matches!(arguments[0], "serve" | "expose" | "run") {
            all.extend(["--token-file", "token"]);
        }
        host.run(&all).refused(2, &[part]);
    }
}

#[test]
fn variables_that_make_no_sense() {
    for (variable, value) in [
        ("P2P_FED_DHT", "perhaps"),
        ("P2P_FED_LOG", "loud"),
        ("P2P_FED_NO_MDNS", "perhaps"),
        ("P2P_FED_POLICY", "fastest"),
        ("P2P_FED_PEER", "/ip4/127.0.0.1/tcp/1,nowhere"),
    ] {
        Host::with_token().with(variable, value).run(&["serve", "--token-file", "token"]).refused(2, &[]);
    }
}

#[test]
fn configurations_that_make_no_sense() {
    let host = Host::with_token();
    for (text, part) in [
        ("exprots: []\n", "node.yaml:1:1: unknown field `exprots`, expected one of `token_file`, `name`,"),
        (
            "name: a\nfronts:\n  - polcy: random\n",
            "node.yaml:3:5: fronts[0]: unknown field `polcy`, expected one of `service`",
        ),
        ("name: a\nfronts:\n  - policy: fastest\n", "node.yaml:3:13: fronts[0].policy: \"fastest\" is not a policy"),
        ("fronts: [{service: a}, {service: b}]", "service a: no listener"),
        ("fronts: [{limits: {fields: 0}}]", "service federated: a head has 1 to 1000 fields"),
        ("fronts: [{limits: {feilds: 1}}]", "unknown field `feilds`, expected one of `head_bytes`"),
        ("fronts: [{tls_cert: a.pem}]", "a certificate and its key go together"),
        ("log: {level: loud}", "\"loud\" is no log filter"),
        ("{", "node.yaml:"),
    ] {
        host.write("node.yaml", text);
        for command in ["run", "serve"] {
            host.run(&[command, "--token-file", "token", "-c", "node.yaml"]).refused(2, &[part]);
        }
    }
}

#[test]
fn ports_in_use() {
    let host = Host::with_token();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let front = format!("federated@{port}");
    refuse(
        &host,
        &["serve", &front, "--token-file", "token"],
        1,
        &[&format!("cannot listen on 127.0.0.1:{port}"), "in use"],
    );
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let said =
        host.run(&["serve", "federated@0", "--token-file", "token", "--no-mdns", "--no-dht", "--listen-addr", &listen]);
    said.refused(1, &[&format!("cannot listen on {listen}"), "in use"]);
}

#[test]
fn identities_that_cannot_be_used() {
    let host = Host::with_token();
    let serve = |identity: &str, part| {
        refuse(&host, &["serve", "federated@0", "--token-file", "token", "--identity", identity], 2, &[identity, part]);
    };
    let path = host.write("identity", "not a key");
    serve(&path, "holds no ed25519 identity");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    serve(&path, "is open to other users (mode 0644)");
    serve(host.path("run").to_str().unwrap(), "is not a plain file");
    serve("/nonexistent/identity", "No such file");
}

#[test]
fn a_name_in_use() {
    let host = Host::with_token();
    let _first = host.node(&["serve", "federated@0", "--name", "gpu1"]);
    refuse(
        &host,
        &["serve", "federated@0", "--token-file", "token", "--name", "gpu1"],
        2,
        &["is held by another process", "--name"],
    );
}

#[test]
fn nothing_but_help_without_a_command() {
    let said = Host::new().run(&[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("Usage: p2p-fed") && said.stderr.contains("The first minute:"), "{said:?}");
}
