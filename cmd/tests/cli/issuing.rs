//! Networks with an issuer: its key, invitations, rotation and bans. What nodes make of them is tested elsewhere; here a
//! stand-in answers at the control socket.

use std::{
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::SigningKey;
use p2p_fed::{
    api::InForce,
    identity::IssuerFile,
    ledger::{IssuerKey, NodeId, Roles, Serial, ServiceGlob, SignedDecree, UnverifiedDecree},
    token::{Terms, Token, seal},
};
use serde_json::{Value, json};

use crate::host::{Host, Said};

const SERIAL: &str = "000102030405060708090a0b0c0d0eff";

// === Fixtures ===

/// A host with the token of a network with an issuer, whose key lies at its usual place.
fn issuer() -> Host {
    let host = Host::new();
    let said = host.run(&["token", "--admin"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    host.write("token", &said.stdout);
    host
}

fn token(host: &Host) -> Token {
    Token::parse(&host.read("token")).unwrap()
}

fn key_file(host: &Host) -> std::path::PathBuf {
    host.path(&format!("config/p2p-fed/issuers/{}.key", token(host).short_id()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn identity(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn node(n: u8) -> NodeId {
    identity(n).verifying_key().into()
}

fn show(host: &Host, token: &str) -> Value {
    host.run(&["token", "show", "-o", "json", token.trim()]).json()
}

/// Answers at the control socket as a node of the host's network does, and takes every decree but what `declines` says.
struct StandIn {
    issued: Value,
    declines: Option<&'static str>,
    decree: Option<Vec<u8>>,
}

impl StandIn {
    /// Node 1, `laptop`, which knows of 2, `gpu1`, and 3, `gpu2`.
    fn start(host: &Host) -> Arc<Mutex<Self>> {
        let token = token(host);
        let member = |n, name, invitation: Option<&str>| json!({"node": node(n).to_string(), "name": name, "invitation": invitation});
        let issued = json!({
            "network": token.short_id(),
            "network_id": hex(&token.network_id().0),
            "issuer": token.issuer().map(|issuer| hex(issuer.as_bytes())),
            "node": node(1).to_string(),
            "decree": null,
            "members": [member(1, "laptop", None), member(2, "gpu1", Some(SERIAL)), member(3, "gpu2", None)],
        });
        let folder = host.path("run/p2p-fed");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let listener = UnixListener::bind(folder.join("laptop.sock")).unwrap();
        let shared = Arc::new(Mutex::new(Self { issued, declines: None, decree: None }));
        let state = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                state.lock().unwrap().answer(stream);
            }
        });
        shared
    }

    fn answer(&mut self, mut stream: UnixStream) {
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        let (head, body) = loop {
            // One who looks whether anybody is here says nothing.
            match stream.read(&mut piece).unwrap_or(0) {
                0 => return,
                read => request.extend_from_slice(&piece[..read]),
            }
            let text = String::from_utf8(request.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.map_or(0, |length| length.parse().unwrap()) <= body.len() {
                break (head.to_owned(), body.to_owned());
            }
        };
        let (status, answer) = if head.starts_with("GET /v1/decree ") {
            ("200 OK", self.issued.clone())
        } else if let Some(error) = self.declines {
            ("409 Conflict", json!({"error": error}))
        } else {
            assert!(head.starts_with("POST /v1/decree "), "{head}");
            let body: Value = serde_json::from_str(&body).unwrap();
            let signed = BASE64_STANDARD.decode(body["signed"].as_str().unwrap()).unwrap();
            let number = UnverifiedDecree::decode(&signed).unwrap().decree().number;
            self.decree = Some(signed);
            ("200 OK", json!({"number": number}))
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).unwrap();
    }

    /// The decree that it was given last, which the issuer signed.
    fn decree(&self, issuer: &IssuerKey) -> SignedDecree {
        UnverifiedDecree::decode(self.decree.as_ref().unwrap()).unwrap().verify(issuer).unwrap()
    }
}

// === The issuer's key ===

#[test]
fn the_key_is_put_into_a_file_and_the_token_alone_is_printed() {
    let host = Host::new();
    let said = host.run(&["token", "--admin"]);
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 1), "{said:?}");
    host.write("token", &said.stdout);
    let path = key_file(&host);
    assert!(said.stderr.contains(path.to_str().unwrap()) && said.stderr.contains("keep a copy"), "{said:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    let key = std::fs::read_to_string(&path).unwrap();
    let secret = key.trim().rsplit(' ').next().unwrap();
    assert!(secret.len() == 64 && !said.stderr.contains(secret) && !said.stdout.contains(secret));

    let shown = show(&host, &said.stdout);
    assert_eq!(shown["issuer"], token(&host).issuer().unwrap().fingerprint());
    assert_eq!((&shown["invitation"], shown["generation"].as_u64()), (&Value::Null, Some(1)));
    let text = host.run(&["token", "show", "--token-file", "token"]).ok();
    assert!(text.contains("none: machines are invited from this token by `p2p-fed token invite`"), "{text}");
    let open = host.run(&["token"]).ok();
    let text = host.run(&["token", "show", open.trim()]).ok();
    assert!(text.contains("none: every holder of the token may do everything"), "{text}");
}

#[test]
fn the_key_is_put_where_it_is_told_to_and_replaces_nothing() {
    let host = Host::new();
    let said = host.run(&["token", "--admin", "--issuer-key", "my.key"]);
    assert!(said.code == Some(0) && said.stderr.contains("file=my.key"), "{said:?}");
    let key = host.read("my.key");
    let refused = host.run(&["token", "--admin", "--issuer-key", "my.key"]);
    refused.refused(2, &["my.key is there already"]);
    assert_eq!(host.read("my.key"), key);
    host.run(&["token", "--admin", "--issuer-key", "no/such.key"]).refused(2, &["no/such.key: No such file"]);
    host.run(&["token", "--issuer-key", "other.key"]).refused(2, &["add --admin"]);
    host.run(&["token", "--admin", "--compat"]).refused(2, &["cannot be used with"]);
    assert!(!crate::host::exists(&host.path("other.key")));
}

// === Invitations ===

#[test]
fn an_invitation_says_what_its_machine_may_do() {
    let host = issuer();
    let invite = |arguments: &[&str]| {
        let mut all = vec!["token", "invite", "--token-file", "token"];
        all.extend(arguments);
        host.run(&all).ok()
    };
    let gpu = invite(&["--role", "expose", "--role", "relay", "--service", "llm-*", "--expires", "30d", "--once"]);
    assert_eq!(gpu.lines().count(), 1);
    let shown = show(&host, &gpu);
    assert_eq!((&shown["network"], &shown["issuer"]), (&show(&host, &host.read("token"))["network"], &shown["issuer"]));
    let invitation = &shown["invitation"];
    assert_eq!((&invitation["roles"], &invitation["services"]), (&json!(["expose", "relay"]), &json!("llm-*")));
    assert_eq!(invitation["once"], true);
    assert!(invitation["expires"].as_str().unwrap().ends_with('Z'), "{invitation}");
    let text = host.run(&["token", "show", gpu.trim()]).ok();
    for part in
        ["expose services llm-*, relay", "yes: for the first node alone", invitation["serial"].as_str().unwrap()]
    {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let invited = Token::parse(&gpu).unwrap();
    let credential = invited.invite().unwrap().bind(node(5));
    let grant = credential.verify(&token(&host).issuer().unwrap(), token(&host).network_id(), &node(5)).unwrap();
    assert!(grant.may_expose("llm-7b") && !grant.may_expose("ssh") && !grant.may_serve());

    let laptop = show(&host, &invite(&["--role", "serve"]))["invitation"].clone();
    assert_eq!((&laptop["expires"], &laptop["once"], &laptop["services"]), (&Value::Null, &json!(false), &json!("*")));
    // From a token with an invitation, another one is made.
    host.write("gpu", &gpu);
    let again = host.run(&["token", "invite", "--token-file", "gpu", "--role", "serve,expose"]).ok();
    assert_eq!(show(&host, &again)["invitation"]["roles"], json!(["serve", "expose"]));
}

#[test]
fn who_cannot_invite_is_told_what_to_do() {
    let host = issuer();
    let invite = |host: &Host, arguments: &[&str]| {
        let mut all = vec!["token", "invite", "--token-file", "token"];
        all.extend(arguments);
        host.run(&all)
    };
    invite(&host, &[]).refused(2, &["--role"]);
    invite(&host, &["--role", "admin"]).refused(2, &["invalid value 'admin'", "serve, expose, relay"]);
    invite(&host, &["--role", "serve", "--service", "llm"]).refused(2, &["add --role expose"]);
    invite(&host, &["--role", "expose", "--service", "LLM"]).refused(2, &["\"LLM\" is not 1 to 63"]);
    invite(&host, &["--role", "serve", "--expires", "0"]).refused(2, &["leave --expires out"]);
    invite(&host, &["--role", "serve", "--expires", "soon"]).refused(2, &["is not a span of time like 30s"]);
    invite(&Host::with_token(), &["--role", "serve"])
        .refused(2, &["the network has no issuer, so every holder of its token may do everything", "token --admin"]);

    let path = key_file(&host);
    let (other, mine) = (issuer(), std::fs::read(&path).unwrap());
    let theirs = key_file(&other);
    invite(&host, &["--role", "serve", "--issuer-key", theirs.to_str().unwrap()])
        .refused(2, &["is the key of issuer", &token(&host).issuer().unwrap().fingerprint()]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    invite(&host, &["--role", "serve"]).refused(2, &["is open to other users (mode 0644)"]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "rubbish").unwrap();
    invite(&host, &["--role", "serve"]).refused(2, &["holds no issuer key"]);
    std::fs::remove_file(&path).unwrap();
    invite(&host, &["--role", "serve"]).refused(2, &["no issuer key at ", "--issuer-key"]);
    host.write("moved.key", std::str::from_utf8(&mine).unwrap());
    assert_eq!(invite(&host, &["--role", "serve", "--issuer-key", "moved.key"]).code, Some(0));
}

#[test]
fn an_invitation_that_is_not_good_sends_no_packet() {
    let host = issuer();
    let serve = |token: &str| {
        host.write("bad", token);
        host.run(&["serve", "federated@0", "--token-file", "bad"])
    };
    let file = IssuerFile::open(&key_file(&host)).unwrap();
    let roles = Roles { serve: true, ..Roles::NONE };
    let terms = |expires_unix_s| Terms { roles, services: ServiceGlob::any(), expires_unix_s, once: false };
    let invite = |expires| token(&host).inviting(terms(expires), file.key()).unwrap().to_text().to_string();
    let short = invite(1_767_225_600);
    serve(&short).refused(2, &["the token's invitation expired at 2026-01-01T00:00:00Z: ", "p2p-fed token invite"]);
    let shown = show(&host, &short);
    assert!(shown["warnings"].to_string().contains("invitation expired at"), "{shown}");

    // The invitation of another network, in this one's token.
    let line = |token: &str, key: &str| {
        let yaml = String::from_utf8(BASE64_STANDARD.decode(token.trim()).unwrap()).unwrap();
        yaml.lines().find(|line| line.starts_with(key)).unwrap().to_owned()
    };
    let mine = invite(0);
    let elsewhere = issuer();
    let theirs = elsewhere.run(&["token", "invite", "--token-file", "token", "--role", "serve"]).ok();
    let yaml = String::from_utf8(BASE64_STANDARD.decode(mine.trim()).unwrap()).unwrap();
    let spliced = yaml.replace(&line(&mine, "  invite:"), &line(&theirs, "  invite:"));
    serve(&BASE64_STANDARD.encode(spliced)).refused(2, &["the token is damaged"]);
    let cut = yaml.replace(&line(&mine, "  invite:"), "  invite: \"AAAA\"");
    serve(&BASE64_STANDARD.encode(cut)).refused(2, &["the token's invitation is damaged"]);
}

// === Rotation and bans ===

fn rotate(host: &Host, arguments: &[&str]) -> Said {
    let mut all = vec!["token", "rotate", "--token-file", "token"];
    all.extend(arguments);
    host.run(&all)
}

#[test]
fn a_rotation_seals_the_new_secret_to_everybody_who_stays() {
    let host = issuer();
    let (first, key) = (token(&host), token(&host).issuer().unwrap());
    let stand_in = StandIn::start(&host);
    assert_eq!(host.run(&["ban", "gpu2"]).code, Some(0));
    let said = rotate(&host, &["--grace", "30m"]);
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 1), "{said:?}");
    for part in ["INF token rotated", "generation=2", "members=2", "decree=2"] {
        assert!(said.stderr.contains(part), "{part:?} in {said:?}");
    }
    let second = Token::parse(&said.stdout).unwrap();
    assert_eq!((second.generation(), second.network_id()), (2, first.network_id()));
    assert_ne!(second.admission_key(), first.admission_key());

    let decree = stand_in.lock().unwrap().decree(&key);
    let rotation = decree.decree().rotation.clone().unwrap();
    assert_eq!((decree.decree().number, rotation.generation, rotation.grace.as_secs()), (2, 2, 1800));
    assert_eq!(decree.decree().banned, [node(3)].into(), "what was decided before stays");
    for n in [1, 2] {
        let secret = seal::open(&rotation, first.network_id(), &identity(n)).unwrap();
        assert_eq!(Some(&secret), second.generation_secret());
    }
    assert!(seal::open(&rotation, first.network_id(), &identity(3)).is_err(), "who is banned gets nothing");

    // From the old token or the new one, the next is the third.
    let third = rotate(&host, &["--now"]);
    assert_eq!(Token::parse(&third.stdout).unwrap().generation(), 3);
    let decree = stand_in.lock().unwrap().decree(&key);
    assert_eq!((decree.decree().number, decree.decree().rotation.as_ref().unwrap().grace.as_secs()), (3, 0));
    host.write("token", &third.stdout);
    let fourth = rotate(&host, &[]);
    assert_eq!(Token::parse(&fourth.stdout).unwrap().generation(), 4);
    assert_eq!(stand_in.lock().unwrap().decree(&key).decree().rotation.as_ref().unwrap().grace.as_secs(), 86_400);
}

#[test]
fn what_the_node_knows_is_built_upon_if_it_is_later() {
    let host = issuer();
    let key = token(&host).issuer().unwrap();
    let stand_in = StandIn::start(&host);
    assert_eq!(host.run(&["ban", "gpu1"]).code, Some(0));
    // Another issuer's seat has banned another one meanwhile.
    let file = IssuerFile::open(&key_file(&host)).unwrap();
    let mut later = (**stand_in.lock().unwrap().decree(&key).decree()).clone();
    (later.number, later.banned) = (7, [node(9)].into());
    let later = SignedDecree::sign(later, file.key()).unwrap();
    let in_force = serde_json::to_value(InForce::of(&later)).unwrap();
    stand_in.lock().unwrap().issued["decree"] = in_force;
    let banned = host.run(&["ban", "gpu2", "-o", "json"]).json();
    assert_eq!((&banned["decree"], &banned["name"]), (&json!(8), &json!("gpu2")));
    assert_eq!(stand_in.lock().unwrap().decree(&key).decree().banned, [node(3), node(9)].into());
}

#[test]
fn a_ban_locks_a_node_out_and_its_invitation_if_asked_to() {
    let host = issuer();
    let key = token(&host).issuer().unwrap();
    let stand_in = StandIn::start(&host);
    let gpu1 = node(2).to_string();
    assert_eq!(host.run(&["ban", "gpu1"]).ok(), format!("banned gpu1 {gpu1}, decree 1\n"));
    let decree = stand_in.lock().unwrap().decree(&key);
    assert_eq!((&decree.decree().banned, decree.decree().revoked.len()), (&[node(2)].into(), 0));
    // Said again, it is in force already.
    stand_in.lock().unwrap().decree = None;
    assert_eq!(host.run(&["ban", &gpu1]).ok(), format!("banned gpu1 {gpu1}, decree 1\n"));
    assert_eq!(stand_in.lock().unwrap().decree, None);
    let said = host.run(&["ban", "gpu1", "--invite"]).ok();
    assert_eq!(said, format!("banned gpu1 {gpu1} and its invitation {SERIAL}, decree 2\n"));
    let revoked: Serial = SERIAL.parse().unwrap();
    assert_eq!(stand_in.lock().unwrap().decree(&key).decree().revoked, [revoked].into());
    // Nobody here knows it any more; it can still come back.
    let gone = node(9).to_string();
    assert_eq!(host.run(&["ban", &gone]).ok(), format!("banned {gone}, decree 3\n"));
}

#[test]
fn who_cannot_be_banned_is_told() {
    let host = issuer();
    host.run(&["ban", "gpu1"]).refused(1, &["no node is running here"]);
    let stand_in = StandIn::start(&host);
    host.run(&["ban"]).refused(2, &["NODE"]);
    host.run(&["ban", "gpu7"]).refused(2, &["no node gpu7 is known here"]);
    host.run(&["ban", "laptop"]).refused(2, &["would lock itself out"]);
    host.run(&["ban", "gpu2", "--invite"]).refused(2, &["the invitation of gpu2 is not known here"]);
    host.run(&["ban", "gpu1", "--node", "tower"]).refused(2, &["no node tower is running here", "laptop"]);
    stand_in.lock().unwrap().issued["members"][2]["name"] = json!("gpu1");
    host.run(&["ban", "gpu1"]).refused(2, &["several nodes go by gpu1", &node(2).to_string(), &node(3).to_string()]);
    stand_in.lock().unwrap().declines = Some("it is not signed by the network's issuer");
    let gpu1 = node(2).to_string();
    host.run(&["ban", &gpu1])
        .refused(1, &["laptop.sock declined the decree: it is not signed by the network's issuer"]);
    assert!(!crate::host::exists(&key_file(&host).with_extension("key.decree")), "nothing was decided");
    stand_in.lock().unwrap().issued["issuer"] = Value::Null;
    host.run(&["ban", &gpu1]).refused(2, &["has no issuer, so nobody can be locked out of it"]);
    stand_in.lock().unwrap().issued["network_id"] = json!("x");
    host.run(&["ban", &gpu1]).refused(1, &["gave no usable answer"]);
}

/// Asked of a node itself.
#[test]
fn in_an_open_network_nobody_is_banned() {
    let host = Host::with_token();
    let _node = host.node(&["serve", "federated@0"]);
    let network = token(&host).short_id();
    host.run(&["ban", "gpu1"]).refused(2, &[&format!("network {network} has no issuer"), "--admin"]);
}

#[test]
fn who_cannot_rotate_is_told_and_no_token_is_printed() {
    let host = issuer();
    rotate(&host, &["--grace", "1h", "--now"]).refused(2, &["cannot be used with"]);
    rotate(&host, &[]).refused(1, &["no node is running here"]);
    rotate(&Host::with_token(), &[]).refused(2, &["the network has no issuer"]);
    let stand_in = StandIn::start(&host);
    stand_in.lock().unwrap().declines = Some("a later one is in force, number 9");
    rotate(&host, &[]).refused(1, &["declined the decree: a later one is in force, number 9"]);
    let other = issuer();
    host.write("other", &other.read("token"));
    let theirs = key_file(&other);
    host.run(&["token", "rotate", "--token-file", "other", "--issuer-key", theirs.to_str().unwrap()])
        .refused(2, &["the node that runs here is in network ", &token(&host).short_id(), &token(&other).short_id()]);
}

#[test]
fn a_rotation_that_nobody_hears_of_is_warned_of() {
    let host = issuer();
    let stand_in = StandIn::start(&host);
    stand_in.lock().unwrap().issued["members"].as_array_mut().unwrap().truncate(1);
    let said = rotate(&host, &[]);
    assert!(said.code == Some(0) && said.stderr.contains("WRN no other node is known here"), "{said:?}");
}

#[test]
fn one_decision_at_a_time() {
    let host = issuer();
    let _stand_in = StandIn::start(&host);
    let file = IssuerFile::open(&key_file(&host)).unwrap();
    let held = file.decrees().unwrap();
    host.run(&["ban", "gpu1"]).refused(2, &[".key.lock is held by another process"]);
    drop(held);
    assert_eq!(host.run(&["ban", "gpu1"]).code, Some(0));
}

#[test]
fn no_secret_of_an_invitation_is_said() {
    let host = issuer();
    let stand_in = StandIn::start(&host);
    host.write("token", &rotate(&host, &[]).stdout);
    let invited = host.run(&["token", "invite", "--token-file", "token", "--role", "serve"]).ok();
    let yaml = String::from_utf8(BASE64_STANDARD.decode(invited.trim()).unwrap()).unwrap();
    let value = |key: &str| {
        let line = yaml.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_once(": ").unwrap().1.trim_matches('"').to_owned()
    };
    let loud = ["--log-level", "trace"];
    let outputs = [
        host.run(&["token", "show", invited.trim(), loud[0], loud[1]]),
        host.run(&["token", "show", invited.trim(), "-o", "json"]),
        host.run(&["ban", "gpu1", loud[0], loud[1]]),
    ];
    let key = std::fs::read_to_string(key_file(&host)).unwrap();
    let secrets = [value("  secret:"), value("  invite:"), key.trim().rsplit(' ').next().unwrap().to_owned()];
    for said in outputs {
        for secret in &secrets {
            assert!(!said.stdout.contains(secret) && !said.stderr.contains(secret), "{secret}");
        }
    }
    drop(stand_in);
}
