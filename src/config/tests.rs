//! What a file says, what it must not say, and what comes out.

use std::{path::Path, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    balance::{Pin, Policy},
    front::Mode,
    ledger::NodeId,
    net::Dht,
    node,
    telemetry::Format,
    worker::Health,
};

const EVERYTHING: &str = "
token_file: /etc/p2p-fed/token
name: gpu1
state_dir: /var/lib/p2p-fed
identity: /etc/p2p-fed/identity
listen_addrs: [/ip4/0.0.0.0/tcp/4001, /ip4/0.0.0.0/udp/4001/quic-v1]
announce_addrs: [/ip4/192.0.2.7/tcp/4001]
peers:
  - /dns4/example.org/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
mdns: false
dht: private
lan: false
log: {level: 'info,p2p_fed::net=debug', format: json}
drain_timeout: 1m
exports:
  - name: llm
    target: http://127.0.0.1:11434
    health: /health
    max_connections: 4
    weight: 200
    labels: {model: llama, size: '7'}
    allow: [12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN]
    idle_timeout: 10m
  - target: 8000
fronts:
  - service: llm
    listen: :9000
    policy: random
    mode: http
    worker: gpu1
    retries: 1
    connect_timeout: 500ms
    idle_timeout: 5m
    max_connections: 10
";

fn parse(text: &str) -> Settings {
    Settings::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn resolve(text: &str) -> Result<node::Config, String> {
    parse(text).resolve().map_err(|error| error.to_string())
}

#[test]
fn everything_arrives() {
    let settings = parse(EVERYTHING);
    assert_eq!(settings.token_file.as_deref(), Some(Path::new("/etc/p2p-fed/token")));
    assert_eq!(settings.drain_timeout(), Duration::from_secs(60));
    let log = settings.log.resolve();
    assert_eq!((log.format, log.filter.as_str()), (Format::Json, "info,p2p_fed::net=debug"));

    let config = settings.resolve().unwrap();
    assert_eq!(config.name.unwrap().as_str(), "gpu1");
    assert_eq!(config.state_dir.unwrap(), Path::new("/var/lib/p2p-fed"));
    assert_eq!(config.identity.unwrap(), Path::new("/etc/p2p-fed/identity"));
    let lengths = (config.net.listen.len(), config.net.announce.len(), config.net.peers.len());
    assert_eq!(lengths, (2, 1, 1));
    assert_eq!((config.net.mdns, config.net.dht, config.net.lan), (false, Dht::Private, false));

    let [llm, other] = &config.exports[..] else { panic!("{:?}", config.exports) };
    assert_eq!((llm.service.as_str(), llm.target.to_string().as_str()), ("llm", "http://127.0.0.1:11434"));
    assert_eq!(llm.health, Health::Path("/health".into()));
    assert_eq!((llm.max_connections, llm.weight, llm.allow.len()), (4, 200, 1));
    assert_eq!(llm.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<String>(), "model=llamasize=7");
    assert_eq!(llm.idle_timeout, Duration::from_secs(600));
    assert_eq!((other.service.as_str(), other.target.to_string().as_str()), ("federated", "127.0.0.1:8000"));

    let [front] = &config.fronts[..] else { panic!("{:?}", config.fronts) };
    assert_eq!((front.policy, front.pin.clone()), (Policy::Random, Some(Pin::Name("gpu1".into()))));
    let front = &front.front;
    assert_eq!((front.service.as_str(), front.listen.to_string().as_str()), ("llm", "0.0.0.0:9000"));
    assert_eq!((front.mode, front.retries, front.max_connections), (Mode::Http, 1, 10));
    assert_eq!((front.connect_timeout, front.idle_timeout), (Duration::from_millis(500), Duration::from_secs(300)));
}

#[test]
fn nothing_said_is_the_usual() {
    for text in ["", "# nothing\n", "---\n", "{}", "peers:\nname:\nexports: []\n"] {
        let settings = parse(text);
        assert_eq!(settings.drain_timeout(), Duration::from_secs(30), "{text:?}");
        let config = settings.resolve().unwrap();
        assert!(config.exports.is_empty() && config.fronts.is_empty() && config.name.is_none(), "{text:?}");
        assert_eq!((config.net.mdns, config.net.dht, config.net.lan), (true, Dht::Public, false), "{text:?}");
    }
    let config = resolve("fronts: [{}]").unwrap();
    let front = &config.fronts[0];
    assert_eq!(
        (front.front.service.as_str(), front.front.listen.to_string().as_str()),
        ("federated", "127.0.0.1:8080")
    );
    assert_eq!((front.policy, front.pin.is_none()), (Policy::LeastUsed, true));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, place, message) in [
        ("name: gpu1\nexprots: []\n", (2, 1), "unknown field `exprots`, expected one of `token_file`, `name`,"),
        ("log:\n  levle: debug\n", (2, 3), "unknown field `levle`, expected `level` or `format`"),
        (
            "exports:\n  - target: 80\n    wieght: 3\n",
            (3, 5),
            "unknown field `wieght`, expected one of `name`, `target`,",
        ),
        ("exports:\n  - name: a\n    target: nowhere\n", (3, 13), "\"nowhere\" is not a target"),
        ("exports:\n  - name: a\n", (2, 5), "missing field `target`"),
        ("exports:\n  - target: 80\n    weight: 0\n", (3, 13), "expected a nonzero u8"),
        ("exports:\n  - target: 80\n    health: ok\n", (3, 13), "\"ok\" is not a health check"),
        ("exports:\n  - target: 80\n    allow: [gpu1]\n", (3, 13), "is not a node id"),
        ("fronts:\n  - policy: fastest\n", (2, 13), "\"fastest\" is not a policy; choose least-used, random,"),
        ("fronts:\n  - listen: example.org:80\n", (2, 13), "is not a listener like 127.0.0.1:8080"),
        ("fronts:\n  - mode: sctp\n", (2, 11), "\"sctp\" is not a mode"),
        ("fronts:\n  - max_connections: 0\n", (2, 22), "nonzero"),
        ("fronts:\n  - sticky: user\n", (2, 13), "choose client, header:NAME or cookie:NAME"),
        ("fronts:\n  - explain_header: yes\n", (2, 21), "choose on-request, always or off"),
        ("peers:\n  - 192.0.2.7:4001\n", (2, 5), "is not a multiaddr like"),
        ("peers: /ip4/127.0.0.1/tcp/1\n", (1, 8), "expected a list"),
        ("drain_timeout: 30\n", (1, 16), "\"30\" is not a span of time like 30s"),
        ("dht: maybe\n", (1, 6), "\"maybe\" is not public, private or off"),
        ("mdns: perhaps\n", (1, 7), "expected a boolean"),
        ("name: Not A Name\n", (1, 7), "is not a node name"),
        ("name: a\nname: b\n", (1, 1), "duplicate field `name`"),
        ("peers: [\n", (2, 1), "did not find expected node content"),
        ("- a\n- b\n", (1, 1), "expected keys with values"),
        ("name: a\n---\nname: b\n", (1, 1), "more than one document"),
    ] {
        let error = Settings::parse(text).unwrap_err();
        assert!(error.message.contains(message), "{text:?}: {error}");
        assert_eq!((error.line, error.column), place, "{text:?}: {error}");
        assert!(!error.message.contains(" at line ") || message.contains("did not find"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn what_only_shows_as_a_whole_is_named_with_its_service() {
    let many = |count: usize| (0..count).map(|_| "{}").collect::<Vec<_>>().join(",");
    let peers = vec!["/ip4/127.0.0.1/tcp/1"; 257].join(",");
    for (text, message) in [
        ("exports: [{name: A B, target: 80}]", "\"A B\" is not the name of a service"),
        ("exports: [{target: 80}, {target: 81}]", "service federated is exposed twice"),
        ("exports: [{target: 80, idle_timeout: 0}]", "the idle timeout is more than zero"),
        ("fronts: [{service: A B}]", "the name of a service is 1 to 63"),
        ("fronts: [{retries: 101}]", "service federated: retries are 0 to 100"),
        ("fronts: [{connect_timeout: 0}]", "the connect timeout is more than zero"),
        ("fronts: [{idle_timeout: 0s}]", "the idle timeout is more than zero"),
        ("fronts: [{request_timeout: 0}]", "the request timeout is more than zero"),
        ("fronts: [{first_byte_timeout: 0}]", "the first byte timeout is more than zero"),
        ("fronts: [{hedge_after: 0}]", "the time to a hedge is more than zero"),
        ("fronts: [{replay_bytes: 67108865}]", "replay bytes are 0 to 67108864"),
        ("fronts: [{service: a}, {service: b, listen: 81}]", "service a: no listener; with several services"),
        ("fronts: [{service: a, listen: 81}, {service: b, listen: 81}]", "services a and b are both to listen on"),
        (&format!("fronts: [{}]", many(65)), "65 listeners are too many"),
        (&format!("peers: [{peers}]"), "257 of peers are too many"),
    ] {
        let error = resolve(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
    assert!(resolve("fronts: [{service: a, listen: 0}, {service: b, listen: 0}]").is_ok(), "free ports differ");
}

#[test]
fn what_is_said_above_stands() {
    let file = parse("{name: file, peers: [/ip4/127.0.0.1/tcp/1], mdns: true, log: {level: debug, format: json}}");
    let flags = parse("{name: flag, mdns: false, log: {level: warn}, peers: [/ip4/127.0.0.1/tcp/2]}");
    let both = flags.over(file);
    assert_eq!(both.name.as_ref().unwrap().as_str(), "flag");
    assert_eq!(
        (both.mdns, both.log.level.as_deref(), both.log.format),
        (Some(false), Some("warn"), Some(Format::Json))
    );
    assert_eq!(both.peers, parse("peers: [/ip4/127.0.0.1/tcp/2]").peers, "a list is one value");
}

#[test]
fn nothing_over_something_changes_nothing() {
    let file = parse(EVERYTHING);
    assert_eq!(Settings::default().over(file.clone()), file);
    assert_eq!(file.clone().over(Settings::default()), file);
    assert_eq!(file.clone().over(parse("name: other\nlan: true\nexports: []\nfronts: []")), file);
}

#[test]
fn terms_hold_for_each_and_keep_the_rest() {
    let settings =
        parse("exports: [{name: a, target: 80, weight: 7}, {name: b, target: 81}]\nfronts: [{listen: 82, retries: 1}]");
    let exports = ExportSettings { max_connections: Some(4), ..ExportSettings::default() };
    let fronts = FrontSettings { policy: Some(Policy::Random.into()), ..FrontSettings::default() };
    let config = settings.with_export_terms(&exports).with_front_terms(&fronts).resolve().unwrap();
    let said: Vec<_> = config.exports.iter().map(|e| (e.service.as_str(), e.max_connections, e.weight)).collect();
    assert_eq!(said, [("a", 4, 7), ("b", 4, 100)]);
    assert_eq!((config.fronts[0].policy, config.fronts[0].front.retries), (Policy::Random, 1));
}

#[test]
fn a_scorer_of_ones_own_has_a_deadline() {
    let front = |text: &str| resolve(&format!("fronts: [{{policy: 'external:http://a:1/s'{text}}}]"));
    for (text, deadline) in [("", 50), (", policy_deadline: 200ms", 200)] {
        let config = front(text).unwrap();
        let scorer = config.fronts[0].front.scorer.clone().unwrap();
        assert_eq!(
            (scorer.url.to_string().as_str(), scorer.deadline),
            ("http://a:1/s", Duration::from_millis(deadline))
        );
        assert_eq!(config.fronts[0].policy, Policy::LeastUsed);
    }
    for text in [", policy_deadline: 0", ", policy_deadline: 11s"] {
        assert!(front(text).unwrap_err().contains("the policy's deadline is more than zero, and 10s at most"));
    }
}

#[test]
fn an_export_without_a_target_is_refused() {
    let settings = Settings { exports: Some(vec![ExportSettings::default()]), ..Settings::default() };
    assert!(settings.resolve().unwrap_err().to_string().starts_with("service federated: no target"));
}

#[test]
fn lan_needs_no_dht() {
    assert_eq!(resolve("{lan: true, dht: public}").unwrap().net.dht, Dht::Off);
}

#[test]
fn a_file_is_named_in_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.yaml");
    let shown = path.display();
    let read = || Settings::read(&path).map_err(|error| error.to_string());
    assert!(read().unwrap_err().starts_with(&format!("cannot read the configuration {shown}: ")));
    std::fs::write(&path, "nmae: x\n").unwrap();
    assert!(read().unwrap_err().starts_with(&format!("{shown}:1:1: unknown field `nmae`, expected one of")));
    std::fs::write(&path, b"name: \xff\n").unwrap();
    assert!(read().unwrap_err().contains("UTF-8"));
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(read().unwrap_err().contains("this is some other file"));
    std::fs::write(&path, EVERYTHING).unwrap();
    assert_eq!(read(), Ok(parse(EVERYTHING)));
}

#[test]
fn node_ids_are_those_of_logs_and_addresses() {
    let id = NodeId::from_bytes([7; 32]);
    let settings = parse(&format!("exports: [{{target: 80, allow: [{id}]}}]\nfronts: [{{worker: {id}}}]"));
    let config = settings.resolve().unwrap();
    assert_eq!(config.exports[0].allow, [id]);
    assert_eq!(config.fronts[0].pin, Some(Pin::Node(id)));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = Settings::parse(&text).map(Settings::resolve);
    }

    /// Pieces of real files, in any order: deeper than arbitrary characters get.
    #[test]
    fn no_file_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..12)) {
        let text: String = pieces.concat();
        match Settings::parse(&text) {
            Ok(settings) => drop(settings.resolve()),
            Err(error) => prop_assert!(error.line >= 1 && error.column >= 1 && !error.message.contains('\n')),
        }
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "exports:\n",
        "fronts:\n",
        "  - target: 80\n",
        "    weight: 1\n",
        "  - service: a\n",
        "    listen: 0\n",
        "log:\n",
        "  level: x\n",
        "name: a\n",
        "peers: [",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "  ",
        "- ",
        "&a ",
        "*a ",
        "<<: ",
        "!tag ",
        "'",
        "\"",
        "drain_timeout: 1s\n",
        "dht: off\n",
        "null",
        ": ",
        "---\n",
        "\t",
        "\u{0}",
        "é",
    ])
}

#[test]
fn limits_and_hops_are_taken_over_and_the_rest_is_usual() {
    let text = "fronts: [{proxy_protocol: true, trust_forwarded: [10.0.0.0/8], \
                limits: {body_bytes: 7, head_timeout: 1s, body_rate: 0, streams: 5}}]";
    let terms = FrontSettings {
        limits: LimitSettings { body_bytes: Some(0), ..LimitSettings::default() },
        ..FrontSettings::default()
    };
    let front = parse(text).resolve().unwrap().fronts.remove(0).front;
    assert!(front.proxy_protocol && front.trust_forwarded[0].contains([10, 1, 2, 3].into()));
    let usual = crate::front::Limits::default();
    let expected = crate::front::Limits {
        body_bytes: Some(7),
        head_timeout: Duration::from_secs(1),
        body_rate: 0,
        streams: 5,
        ..usual
    };
    assert_eq!(front.limits, expected);
    let front = parse(text).with_front_terms(&terms).resolve().unwrap().fronts.remove(0).front;
    assert_eq!(front.limits.body_bytes, None, "0 on the command line goes before the file");
    assert_eq!(parse("fronts: [{}]").resolve().unwrap().fronts[0].front.limits, usual);

    let export = |text| parse(text).resolve().unwrap().exports.remove(0);
    assert_ne!(export("exports: [{target: 80, send_proxy: v2}]"), export("exports: [{target: 80}]"));
    assert!(export("exports: [{target: 80}]").inspect && !export("exports: [{target: 80, inspect: false}]").inspect);
}

#[test]
fn the_documented_example_is_one() {
    let page = include_str!("../../docs/config.md");
    let example = page.split_once("```yaml\n").and_then(|(_, rest)| rest.split_once("```")).map(|(example, _)| example);
    let config = parse(example.unwrap()).resolve().unwrap();
    assert!(!config.exports.is_empty() && !config.fronts.is_empty());
    for text in ["?: 1", "exports: [{?: 1}]", "fronts: [{?: 1}]", "fronts: [{limits: {?: 1}}]"] {
        let unknown = Settings::parse(text).unwrap_err().message;
        let keys = unknown.split('`').skip(3).step_by(2);
        for key in keys.filter(|key| !["log", "exports", "fronts"].contains(key)) {
            let is_documented = |start| page.contains(&format!("{start}`{key}`"));
            assert!(is_documented("| ") || is_documented("`, "), "{key} is not documented");
        }
    }
}
