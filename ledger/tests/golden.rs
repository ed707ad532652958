//! The bytes on the wire and on the disk, as they are: who changes a format changes them, and its version.
//!
//! `golden.py` computes them apart from this code. Records, credentials and decrees by themselves are in `laws.rs` and
//! `formats.rs`.

// What clippy allows in tests it does not allow in their helpers.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ed25519_dalek::SigningKey;
use p2p_fed_ledger::{
    Config, Decree, Input, Ledger, Moment, NetworkId, NodeId, Output, Record, SignedDecree, SignedRecord, Statement,
    UnverifiedDecree, Verdict, message_id,
};

const NETWORK: NetworkId = NetworkId(*b"sixteen bytes id");
const ISSUED_MS: u64 = 1_800_000_000_000;
const NOW: Moment = Moment { mono: Duration::from_secs(10), unix_ms: ISSUED_MS };
/// Whose ledger is looked at, and who talks to it.
const ME: u8 = 0x2a;
const PEER: u8 = 0x2b;
const SESSION: u64 = 1;

/// What comes before a record in a rumour.
const KIND_RECORD: u8 = 1;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn node(n: u8) -> NodeId {
    key(n).verifying_key().into()
}

fn ledger(owner: u8, config: Config) -> Ledger {
    let mut ledger = Ledger::new(config, key(owner), None, NOW, 0);
    ledger.handle(NOW, Input::PeerUp(node(PEER)));
    drain(&mut ledger);
    ledger
}

fn open_network() -> Config {
    Config::new(NETWORK, 0)
}

fn drain(ledger: &mut Ledger) -> Vec<Output> {
    std::iter::from_fn(|| ledger.poll_output()).collect()
}

fn rumour(owner: u8, seq: u64, name: &str) -> Vec<u8> {
    let record = Record {
        network: NETWORK,
        generation: 0,
        owner: node(owner),
        seq,
        issued_ms: ISSUED_MS,
        ttl: Duration::from_secs(60),
        statement: Statement { name: name.into(), ..Statement::default() },
        credential: None,
    };
    [&[KIND_RECORD], SignedRecord::sign(record, &key(owner)).expect("a valid record").bytes()].concat()
}

fn hear(ledger: &mut Ledger, bytes: Vec<u8>) -> Vec<Output> {
    ledger.handle(NOW, Input::Gossip { ticket: 1, from: node(PEER), bytes });
    drain(ledger)
}

/// Opens a session as the one who answers.
fn open(ledger: &mut Ledger) {
    ledger.handle(NOW, Input::SessionOpened { session: SESSION, peer: node(PEER), dialled: false });
    assert!(drain(ledger).is_empty());
}

/// The frame that this one is answered by, as hexadecimal digits.
fn answer(ledger: &mut Ledger, frame: &[u8]) -> String {
    ledger.handle(NOW, Input::SessionFrame { session: SESSION, bytes: frame.to_vec() });
    let sent: Vec<_> = drain(ledger)
        .into_iter()
        .filter_map(|output| match output {
            Output::Send { session: SESSION, bytes } => Some(hex(&bytes)),
            Output::View(_) => None,
            other => panic!("{other:?}"),
        })
        .collect();
    sent.concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")).collect()
}

/// A rumour as it stands in a frame of records.
fn packed(rumour: &[u8]) -> Vec<u8> {
    [&(rumour.len() as u16).to_be_bytes()[..], rumour].concat()
}

/// The greeting of a node that knows nothing.
fn hello() -> Vec<u8> {
    [&[1][..], &[0; 28]].concat()
}

/// A plain record, one that a lease renewed, and one against whom there is evidence.
fn full_ledger() -> Ledger {
    let mut ledger = ledger(ME, open_network());
    hear(&mut ledger, rumour(0x31, 7, "plain"));
    hear(&mut ledger, rumour(0x33, 5, "one"));
    let outputs = hear(&mut ledger, rumour(0x33, 5, "other"));
    let told = outputs.iter().find_map(|output| match output {
        Output::Broadcast(bytes) => Some(hex(bytes)),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some(EVIDENCE));
    open(&mut ledger);
    answer(&mut ledger, &hello());
    let leased = [&[5], &bytes(LEASE)[..], &rumour(0x32, 1, "renewed")[1..]].concat();
    assert_eq!(answer(&mut ledger, &[vec![5], packed(&leased)].concat()), "06", "taken");
    ledger.handle(NOW, Input::SessionClosed { session: SESSION });
    drain(&mut ledger);
    open(&mut ledger);
    ledger
}

#[test]
fn evidence_and_its_message() {
    full_ledger();
    assert_eq!(hex(&message_id(&bytes(EVIDENCE))), EVIDENCE_MESSAGE);
    let mut another = ledger(ME, open_network());
    hear(&mut another, rumour(0x33, 5, "one"));
    let judged = hear(&mut another, bytes(EVIDENCE));
    assert!(matches!(judged[0], Output::Judge { verdict: Verdict::Accept, .. }), "{judged:?}");
}

#[test]
fn frames_of_who_answers() {
    let mut ledger = full_ledger();
    assert_eq!(answer(&mut ledger, &hello()), HELLO);
    // Asked for in two parts, they are the same symbols.
    let ask = |from: u16, count: u16| {
        [&[2][..], &0x0102_0304_0506_0708_u64.to_be_bytes(), &from.to_be_bytes(), &count.to_be_bytes()].concat()
    };
    let (first, rest) = (answer(&mut ledger, &ask(0, 8)), answer(&mut ledger, &ask(8, 4)));
    assert_eq!([&first[..2], &rest[..2]], ["03", "03"]);
    assert_eq!([&first[2..], &rest[2..]].concat(), SYMBOLS);
    assert_eq!(answer(&mut ledger, &bytes(WANT)), RECORDS);
    assert_eq!(answer(&mut ledger, &bytes(WANT_LEASE)), RECORDS_LEASE);
    assert_eq!(answer(&mut ledger, &bytes(TURN)), PAGE);
}

/// A ledger that knows nothing of the three asks for pages; one that knows them by older records asks for symbols.
#[test]
fn frames_of_who_asks() {
    let dial = |ledger: &mut Ledger| {
        ledger.handle(NOW, Input::SessionOpened { session: SESSION, peer: node(PEER), dialled: true });
        match &drain(ledger)[..] {
            [Output::Send { bytes, .. }] => hex(bytes),
            other => panic!("{other:?}"),
        }
    };
    let mut old = ledger(ME, open_network());
    hear(&mut old, rumour(0x31, 6, "plain"));
    hear(&mut old, rumour(0x32, 1, "renewed"));
    assert!(dial(&mut old).starts_with("0100000002"));
    let ask = answer(&mut old, &bytes(HELLO));
    assert_eq!((&ask[..2], &ask[18..]), ("02", "00000008"), "kind, salt, from 0, count 8");

    // Another ledger answers with symbols for that salt.
    let mut full = full_ledger();
    answer(&mut full, &hello());
    let symbols = answer(&mut full, &bytes(&ask));
    let want = answer(&mut old, &bytes(&symbols));
    let lease_alone = |n: u8| [&node(n).as_bytes()[..8], &[1]].concat();
    let all = |n: u8| [&node(n).as_bytes()[..8], &[2]].concat();
    let mut lines = [all(0x31), lease_alone(0x32), all(0x33)];
    lines.sort();
    assert_eq!(want, hex(&[vec![4], lines.concat()].concat()));

    let mut new = ledger(ME, open_network());
    dial(&mut new);
    let many = [&[1][..], &5_u32.to_be_bytes(), &[1; 16], &[0; 8]].concat();
    assert_eq!(answer(&mut new, &many), "07");
}

#[test]
fn a_lease_by_the_ledgers_own_hand() {
    const OWNER: u8 = 0x34;
    let mut ledger = ledger(OWNER, open_network());
    ledger.handle(NOW, Input::Publish(Statement { name: "own".into(), ..Statement::default() }));
    let outputs = drain(&mut ledger);
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Broadcast(bytes) if hex(bytes) == OWN)),
        "{outputs:?}"
    );
    let later = Moment { mono: NOW.mono + Duration::from_secs(150), ..NOW };
    ledger.handle_timeout(later);
    drain(&mut ledger);
    open(&mut ledger);
    answer(&mut ledger, &hello());
    let want = [&[4][..], &node(OWNER).as_bytes()[..8], &[1]].concat();
    assert_eq!(answer(&mut ledger, &want), OWN_LEASE);
}

#[test]
fn a_decree_in_frames_and_in_a_snapshot() {
    let issuer = key(9);
    let config = Config { issuer: Some(issuer.verifying_key().into()), ..open_network() };
    let mut ledger = ledger(ME, config);
    let decree = SignedDecree::sign(Decree::empty(NETWORK, 7, ISSUED_MS), &issuer).expect("a small decree");
    ledger.handle(NOW, Input::Decree(Box::new(UnverifiedDecree::decode(decree.bytes()).expect("it is valid"))));
    drain(&mut ledger);
    open(&mut ledger);
    assert_eq!(answer(&mut ledger, &hello()), DECREE_HELLO);
    assert_eq!(answer(&mut ledger, &bytes(WANT_DECREE)), RECORDS_DECREE);
    assert_eq!(ledger.snapshot(NOW).map(|item| hex(&item)).collect::<Vec<_>>(), [DECREE_ITEM]);
}

#[test]
fn an_item_of_a_snapshot() {
    let items: Vec<_> = full_ledger().snapshot(NOW).map(|item| hex(&item)).collect();
    assert_eq!(items.len(), 3);
    assert!(items.contains(&ITEM.to_owned()), "{items:?}");
}

// --- the vectors ---

const LEASE: &str = concat!(
    "5e212c0980e4b39fc09721134aa02109374edfd260c0d3d03cb501c8d65457a9506a3a2884123263deb91ece38bc1f150000",
    "000000000009000001a44dd6a50cff12de0eaed15aeba10555fc5309cc583781e005f25c9d2d12bf4123950b82b87d31fc1b",
    "599d16910deed64403b60ed0716924f102d51558a762550b",
);

const EVIDENCE: &str = concat!(
    "0200aa010001010200107369787465656e2062797465732069640300040000000004002017cb79fb2b4120f2b1ec65e4198d",
    "6e08b28e813feb01e4a400839b85e18080ce0500080000000000000005060008000001a3185c50000700040000003c080001",
    "000900056f74686572cf834da6662380677d2f92207770a30632a4f770c2564728f3c91630f5ab335e34f5a7b5dc16bf5154",
    "f0039025c83f799a4d8cd847896a2edc266a197683e901010001010200107369787465656e20627974657320696403000400",
    "00000004002017cb79fb2b4120f2b1ec65e4198d6e08b28e813feb01e4a400839b85e18080ce050008000000000000000506",
    "0008000001a3185c50000700040000003c080001000900036f6e65c06cdb5eeb472394f01a703b151eb47d1c3986dd43a2ee",
    "fc547542e95a73bd0beb14adf51aafdc091df6f38fba28c156550fe357f256249289ff6c3368250201",
);

const EVIDENCE_MESSAGE: &str = "c0e139efd2bd878b83b2ae8d78bfe8fd";

const HELLO: &str = "0100000003e32f5a07762bff027ede817e9c7c1bca0000000000000000";

const SYMBOLS: &str = concat!(
    "01ed0fabd5d789787594c494000000000000000bda0ce62f00035fcc23a255333ae725fefebc000000000000000257fe6f25",
    "000248075a597e721a153643558500000000000000078d8a1e4b00015e212c0980e4b39f506a3a2800000000000000098df2",
    "890a00015e212c0980e4b39f506a3a2800000000000000098df2890a00015e212c0980e4b39f506a3a280000000000000009",
    "8df2890a000148075a597e721a153643558500000000000000078d8a1e4b0001000000000000000000000000000000000000",
    "000000000000000048075a597e721a153643558500000000000000078d8a1e4b000100000000000000000000000000000000",
    "0000000000000000000017cb79fb2b4120f213bdab390000000000000005da74716e000148075a597e721a15364355850000",
    "0000000000078d8a1e4b0001",
);

const WANT: &str = "0417cb79fb2b4120f20248075a597e721a15025e212c0980e4b39f02";

const RECORDS: &str = concat!(
    "0500a901010001010200107369787465656e2062797465732069640300040000000004002017cb79fb2b4120f2b1ec65e419",
    "8d6e08b28e813feb01e4a400839b85e18080ce0500080000000000000005060008000001a3185c50000700040000003c0800",
    "01000900036f6e65c06cdb5eeb472394f01a703b151eb47d1c3986dd43a2eefc547542e95a73bd0beb14adf51aafdc091df6",
    "f38fba28c156550fe357f256249289ff6c336825020101550200aa010001010200107369787465656e206279746573206964",
    "0300040000000004002017cb79fb2b4120f2b1ec65e4198d6e08b28e813feb01e4a400839b85e18080ce0500080000000000",
    "000005060008000001a3185c50000700040000003c080001000900056f74686572cf834da6662380677d2f92207770a30632",
    "a4f770c2564728f3c91630f5ab335e34f5a7b5dc16bf5154f0039025c83f799a4d8cd847896a2edc266a197683e901010001",
    "010200107369787465656e2062797465732069640300040000000004002017cb79fb2b4120f2b1ec65e4198d6e08b28e813f",
    "eb01e4a400839b85e18080ce0500080000000000000005060008000001a3185c50000700040000003c080001000900036f6e",
    "65c06cdb5eeb472394f01a703b151eb47d1c3986dd43a2eefc547542e95a73bd0beb14adf51aafdc091df6f38fba28c15655",
    "0fe357f256249289ff6c336825020100ab01010001010200107369787465656e206279746573206964030004000000000400",
    "2048075a597e721a156e2e0799de5cc0c5324dc6e7eaf1cdd46250868ec53215dd0500080000000000000007060008000001",
    "a3185c50000700040000003c08000100090005706c61696eecd6ffabe4bfb8001fb62de531e47bb86dc41fe104a5fd910298",
    "9abab9453ceababf614674cea32afdde57dd1cceb0b30af364af70ffd3f5c2f7b6c0349512040129055e212c0980e4b39fc0",
    "9721134aa02109374edfd260c0d3d03cb501c8d65457a9506a3a2884123263deb91ece38bc1f150000000000000009000001",
    "a44dd6a50cff12de0eaed15aeba10555fc5309cc583781e005f25c9d2d12bf4123950b82b87d31fc1b599d16910deed64403",
    "b60ed0716924f102d51558a762550b010001010200107369787465656e206279746573206964030004000000000400205e21",
    "2c0980e4b39fc09721134aa02109374edfd260c0d3d03cb501c8d65457a90500080000000000000001060008000001a3185c",
    "50000700040000003c0800010009000772656e657765643464ffc19bf0badd342a9369ca60e403095c87e5b9e412fa1b543d",
    "87117e2471ae0a3c52d3fa5ace8b7045437bbebc5684daf309ce7a2fa9c87138714cbc9f01",
);

const WANT_LEASE: &str = "045e212c0980e4b39f01";

const RECORDS_LEASE: &str = concat!(
    "05007d035e212c0980e4b39fc09721134aa02109374edfd260c0d3d03cb501c8d65457a9506a3a2884123263deb91ece38bc",
    "1f150000000000000009000001a44dd6a50cff12de0eaed15aeba10555fc5309cc583781e005f25c9d2d12bf4123950b82b8",
    "7d31fc1b599d16910deed64403b60ed0716924f102d51558a762550b",
);

const TURN: &str = "0717cb79fb2b4120f2b1ec65e4198d6e08b28e813feb01e4a400839b85e18080ce";

const PAGE: &str = concat!(
    "080000ab01010001010200107369787465656e2062797465732069640300040000000004002048075a597e721a156e2e0799",
    "de5cc0c5324dc6e7eaf1cdd46250868ec53215dd0500080000000000000007060008000001a3185c50000700040000003c08",
    "000100090005706c61696eecd6ffabe4bfb8001fb62de531e47bb86dc41fe104a5fd9102989abab9453ceababf614674cea3",
    "2afdde57dd1cceb0b30af364af70ffd3f5c2f7b6c0349512040129055e212c0980e4b39fc09721134aa02109374edfd260c0",
    "d3d03cb501c8d65457a9506a3a2884123263deb91ece38bc1f150000000000000009000001a44dd6a50cff12de0eaed15aeb",
    "a10555fc5309cc583781e005f25c9d2d12bf4123950b82b87d31fc1b599d16910deed64403b60ed0716924f102d51558a762",
    "550b010001010200107369787465656e206279746573206964030004000000000400205e212c0980e4b39fc09721134aa021",
    "09374edfd260c0d3d03cb501c8d65457a90500080000000000000001060008000001a3185c50000700040000003c08000100",
    "09000772656e657765643464ffc19bf0badd342a9369ca60e403095c87e5b9e412fa1b543d87117e2471ae0a3c52d3fa5ace",
    "8b7045437bbebc5684daf309ce7a2fa9c87138714cbc9f01",
);

const ITEM: &str = concat!(
    "01000001a31862b8a0000129055e212c0980e4b39fc09721134aa02109374edfd260c0d3d03cb501c8d65457a9506a3a2884",
    "123263deb91ece38bc1f150000000000000009000001a44dd6a50cff12de0eaed15aeba10555fc5309cc583781e005f25c9d",
    "2d12bf4123950b82b87d31fc1b599d16910deed64403b60ed0716924f102d51558a762550b01000101020010736978746565",
    "6e206279746573206964030004000000000400205e212c0980e4b39fc09721134aa02109374edfd260c0d3d03cb501c8d654",
    "57a90500080000000000000001060008000001a3185c50000700040000003c0800010009000772656e657765643464ffc19b",
    "f0badd342a9369ca60e403095c87e5b9e412fa1b543d87117e2471ae0a3c52d3fa5ace8b7045437bbebc5684daf309ce7a2f",
    "a9c87138714cbc9f01",
);

const OWN: &str = concat!(
    "01010001010200107369787465656e20627974657320696403000400000000040020eb2cf13bf7ae3a5f614168a1fb09272d",
    "39771ec4b8523727815e466caf8ee163050008000001a3185c5000060008000001a3185c5000070004000001a40800010009",
    "00036f776e44349fc8d0adf0e2163b1655c113f49397b3a65584285f06bb483b40c57e80709b1479ec247ab870d72b63e0c0",
    "ccd9f66bc77cf404b3e1fcac0917efb3ee9702",
);

const OWN_LEASE: &str = concat!(
    "05007d03eb2cf13bf7ae3a5f614168a1fb09272d39771ec4b8523727815e466caf8ee16314847f3b6d63fc56a61c5d40128f",
    "466e000001a3185c5001000001a4c2cf6058c299e2c2c9519e1b904fbf219fe780eeebce91a959baa41cbf57c5855fdfdc81",
    "4518cfdd74d6885122f6e286fe9b4f2b75c53139fadcbf35faab4102",
);

const DECREE_HELLO: &str = "0100000000000000000000000000000000000000000000000000000007";

const WANT_DECREE: &str = "04000000000000000003";

const RECORDS_DECREE: &str = concat!(
    "05007404010001010200107369787465656e2062797465732069640300080000000000000007040008000001a3185c500005",
    "00000600009f46d6fb56cf28d9d417681686cbcf288bcb280045b4bb2e71111eed3c24c691cf8bcf972cd8816c1c736b3b50",
    "d4a908dcb1569147dfc78da2f3e71b6c542a07",
);

const DECREE_ITEM: &str = concat!(
    "030000000000000000010001010200107369787465656e2062797465732069640300080000000000000007040008000001a3",
    "185c50000500000600009f46d6fb56cf28d9d417681686cbcf288bcb280045b4bb2e71111eed3c24c691cf8bcf972cd8816c",
    "1c736b3b50d4a908dcb1569147dfc78da2f3e71b6c542a07",
);
