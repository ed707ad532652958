//! A ledger hears news, and two ledgers become equal. Every record that is new is verified, as it would be.

use std::{collections::VecDeque, time::Duration};

use p2p_fed::ledger::{Config, Input, Ledger, Moment, NodeId, Output, SignedRecord, Verdict};

use super::{
    Round,
    fleet::{NETWORK, NOW_MS, key, node, signed},
};

/// Records heard in a round.
pub(super) const NEWS: u32 = 100;

const NOW: Moment = Moment { mono: Duration::from_secs(1), unix_ms: NOW_MS };
/// Those whose ledgers are looked at; their numbers are above those of all owners.
const THIS: u32 = 1_000_000;
const OTHER: u32 = 1_000_001;
/// Who passes everything on.
const CARRIER: u32 = 1_000_002;
/// Comes before the record in a gossip payload.
const KIND_RECORD: u8 = 1;
const SESSION: u64 = 1;

/// A ledger of so many records hears newer ones, and shows each in a new view.
pub(super) fn record(owners: u32) -> Round {
    let mut ledger = ledger(THIS, 0..owners);
    let carrier = node(CARRIER);
    let news: Vec<_> = (0..NEWS).map(|owner| payload(&signed(owner, 2))).collect();
    Box::new(move || {
        for bytes in news {
            ledger.handle(NOW, Input::Gossip { ticket: 1, from: carrier, bytes });
            while let Some(output) = ledger.poll_output() {
                assert!(matches!(output, Output::Judge { verdict: Verdict::Accept, .. } | Output::View(_)));
            }
        }
        Box::new(ledger)
    })
}

/// Two ledgers of so many records each, half of them the same ones, sync.
pub(super) fn ledgers(owners: u32) -> Round {
    let mut dialler = ledger(THIS, 0..owners);
    let mut responder = ledger(OTHER, owners / 2..owners / 2 + owners);
    let (at_dialler, at_responder) = (dialler.node_id(), responder.node_id());
    dialler.handle(NOW, Input::PeerUp(at_responder));
    responder.handle(NOW, Input::PeerUp(at_dialler));
    Box::new(move || {
        sync(&mut dialler, &mut responder);
        assert_eq!(dialler.owners(), (owners / 2 + owners) as usize);
        assert_eq!(dialler.fingerprint(), responder.fingerprint());
        Box::new((dialler, responder))
    })
}

/// Carries the frames of one session until it is closed.
fn sync(dialler: &mut Ledger, responder: &mut Ledger) {
    let (at_dialler, at_responder) = (dialler.node_id(), responder.node_id());
    let mut inputs = VecDeque::from([
        (at_responder, Input::SessionOpened { session: SESSION, peer: at_dialler, dialled: false }),
        (at_dialler, Input::SessionOpened { session: SESSION, peer: at_responder, dialled: true }),
    ]);
    while let Some((to, input)) = inputs.pop_front() {
        let (ledger, peer) =
            if to == at_dialler { (&mut *dialler, at_responder) } else { (&mut *responder, at_dialler) };
        ledger.handle(NOW, input);
        while let Some(output) = ledger.poll_output() {
            match output {
                Output::Send { session, bytes } => inputs.push_back((peer, Input::SessionFrame { session, bytes })),
                Output::CloseSession { session } => inputs.push_back((peer, Input::SessionClosed { session })),
                other => assert!(matches!(other, Output::View(_)), "{other:?}"),
            }
        }
    }
}

/// A ledger that holds the records of these owners.
fn ledger(number: u32, owners: std::ops::Range<u32>) -> Ledger {
    // What one peer may pass on at once is not what is looked at here.
    let config = Config { sender_burst: owners.end + NEWS, ..Config::new(NETWORK, 0) };
    let mut ledger = Ledger::new(config, key(number), None, NOW, number.into());
    let from: NodeId = node(CARRIER);
    ledger.handle(NOW, Input::PeerUp(from));
    for owner in owners {
        ledger.handle(NOW, Input::Gossip { ticket: 1, from, bytes: payload(&signed(owner, 1)) });
    }
    while ledger.poll_output().is_some() {}
    ledger
}

fn payload(record: &SignedRecord) -> Vec<u8> {
    [&[KIND_RECORD], record.bytes()].concat()
}
