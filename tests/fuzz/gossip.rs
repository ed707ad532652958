//! Rumours that a peer passes on by gossip: as they are, and signed by someone so that they get further.

use p2p_fed::ledger::{Config, Input, Ledger, Output, Unverified};

use crate::{
    peers::{NETWORK, accuse, at, key, node, sign, tell},
    script::Script,
};

/// Whose ledger it is, and who passes everything on.
const ME: u8 = 0;
const CARRIER: u8 = 1;

pub(crate) fn check(bytes: &[u8]) {
    let config = Config { owners_max: 5, ..Config::new(NETWORK, 0) };
    let mut ledger = Ledger::new(config, key(ME).clone(), None, at(0), 0);
    ledger.handle(at(0), Input::PeerUp(node(CARRIER)));
    while ledger.poll_output().is_some() {}

    let (mut script, mut now, mut last) = (Script(bytes), 0, Vec::new());
    while !script.is_over() {
        let (what, who) = (script.byte(), script.byte());
        let bytes = script.bytes();
        let rumour = match what % 5 {
            0 => bytes.to_vec(),
            1 => tell(bytes),
            2 => tell(&sign(who, bytes)),
            // The record before, changed a little: the same number, perhaps, and another content.
            3 => {
                let second = sign(who, bytes);
                let (a, b) = (Unverified::decode(&last), Unverified::decode(&second));
                let in_order = matches!((a, b), (Ok(a), Ok(b)) if a.id() < b.id());
                if in_order { accuse(&last, &second) } else { accuse(&second, &last) }
            }
            _ => {
                now += u64::from(who);
                ledger.handle_timeout(at(now));
                continue;
            }
        };
        last = sign(who, bytes);
        ledger.handle(at(now), Input::Gossip { ticket: 7, from: node(CARRIER), bytes: rumour });
        let outputs: Vec<_> = std::iter::from_fn(|| ledger.poll_output()).collect();
        let judged = outputs.iter().filter(|output| matches!(output, Output::Judge { ticket: 7, .. })).count();
        assert_eq!(judged, 1, "each message is judged once");
        assert!(outputs.len() <= 8, "one message leads to little: {outputs:?}");
        assert!(ledger.owners() <= config.owners_max, "the ledger is bounded");
        for (owner, entry) in &ledger.view().nodes {
            let held = ledger.record(owner).expect("what is shown is held");
            assert_eq!(held.record(), &entry.record);
            let whole = Unverified::decode(held.bytes()).expect("what is held is valid");
            assert_eq!(whole.verify().expect("what is held is signed").record().owner, *owner);
        }
    }
}
