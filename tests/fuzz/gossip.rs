//! Rumours that a peer passes on by gossip: as they are, and signed by someone so that they get further.

use p2p_fed::ledger::{Input, Ledger, Output, Unverified};

use crate::{
    peers::{IS_DECREE, IS_RECORD, accuse, at, config, credential, decree, key, node, record, sign, tell},
    script::Script,
};

/// Whose ledger it is, and who passes everything on.
const ME: u8 = 0;
const CARRIER: u8 = 1;

pub(crate) fn check(bytes: &[u8]) {
    let mut script = Script(bytes);
    let with_issuer = script.byte() % 2 == 1;
    let config = config(5, with_issuer);
    let mut ledger = Ledger::new(config, key(ME).clone(), None, at(0), 0);
    ledger.handle(at(0), Input::PeerUp(node(CARRIER)));
    while ledger.poll_output().is_some() {}

    let (mut now, mut last) = (0, Vec::new());
    while !script.is_over() {
        let (what, who) = (script.byte(), script.byte());
        let bytes = script.bytes();
        let rumour = match what % 7 {
            0 => bytes.to_vec(),
            1 => tell(IS_RECORD, bytes),
            2 => tell(IS_RECORD, &sign(who, bytes)),
            // The record before, changed a little: the same number, perhaps, and another content.
            3 => {
                let second = sign(who, bytes);
                let (a, b) = (Unverified::decode(&last), Unverified::decode(&second));
                let in_order = matches!((a, b), (Ok(a), Ok(b)) if a.id() < b.id());
                if in_order { accuse(&last, &second) } else { accuse(&second, &last) }
            }
            4 => {
                let shown = with_issuer.then(|| credential(who));
                tell(IS_RECORD, record(who, script.byte().into(), "gpu", at(now), shown).bytes())
            }
            5 => tell(IS_DECREE, decree(who.into(), script.byte(), script.byte(), script.byte() % 4).bytes()),
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
