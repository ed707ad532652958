//! Syncs between two ledgers, and somebody in between who changes, drops, repeats and makes up what they say.
//!
//! Whatever he does, a ledger holds what its owners signed, no number goes back, every frame and every count is within
//! its bound, and what is left alone ends.

use std::collections::{BTreeMap, VecDeque};

use p2p_fed::ledger::{FRAME_MAX, Input, Ledger, NodeId, Output, Unverified};

use crate::{
    peers::{
        IS_DECREE, IS_LEASE, IS_LEASED, IS_RECORD, accuse, at, config, credential, decree, key, lease, node, record,
        sign, tell,
    },
    script::Script,
};

/// The two sides are the first two nodes; the others are the owners of records.
const SIDES: [u8; 2] = [0, 1];
const CARRIER: u8 = 2;
const NAMES: [&str; 4] = ["a", "b", "gpu", "x.y"];

/// Owners that a side has room for.
const OWNERS: usize = 6;

/// Steps of one script, and frames after which a session that nobody disturbs has to have ended.
const STEPS: usize = 200;
const FRAMES: usize = 2000;
/// Outputs of one input. A frame of records may lead to a broadcast for each.
const OUTPUTS: usize = 3000;

struct Wire {
    with_issuer: bool,
    sides: [Ledger; 2],
    /// What is on its way to a side.
    queues: [VecDeque<Input>; 2],
    /// The last frame that each side sent, to make others from.
    last: [Vec<u8>; 2],
    /// The highest number that each side held of each owner.
    highest: [BTreeMap<NodeId, u64>; 2],
    sessions: u64,
    now: u64,
}

pub(crate) fn check(bytes: &[u8]) {
    let mut script = Script(bytes);
    let with_issuer = script.byte() % 2 == 1;
    let sides = SIDES.map(|side| Ledger::new(config(OWNERS, with_issuer), key(side).clone(), None, at(0), side.into()));
    let mut wire = Wire {
        with_issuer,
        sides,
        queues: Default::default(),
        last: Default::default(),
        highest: Default::default(),
        sessions: 0,
        now: 1,
    };
    for side in 0..2 {
        wire.input(side, Input::PeerUp(node(SIDES[1 - side])));
        wire.input(side, Input::PeerUp(node(CARRIER)));
    }
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        wire.step(&mut script);
    }
    wire.leave_alone();
}

impl Wire {
    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        let side = usize::from(what >> 7);
        match what & 0x1f {
            0..=7 => self.deliver(side),
            8 => self.open(side),
            9 | 10 => {
                let rumour = self.made_up(script);
                self.rumour(side, rumour);
            }
            11 => self.change(side, |frame| {
                let at = script.number();
                frame.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= script.byte());
            }),
            12 => self.change(side, |frame| frame.truncate(script.number())),
            13 => self.change(side, |frame| frame.extend_from_slice(script.bytes())),
            14 => self.change(side, |frame| {
                let at = script.number().min(frame.len());
                drop(frame.splice(at.., script.bytes().iter().copied()));
            }),
            // The same again, or what the side itself said.
            15 => self.put(side, self.last[1 - side].clone()),
            16 => self.put(side, self.last[side].clone()),
            17 => self.put(side, script.bytes().to_vec()),
            // Frames that begin like each kind there is.
            18 => self.put(side, [&[script.byte() % 16], script.bytes()].concat()),
            19 => {
                // A frame of records, as who answers takes it at any time.
                let rumours: Vec<_> = (0..=script.byte() % 4).map(|_| self.made_up(script)).collect();
                let packed = rumours.iter().map(|rumour| [&(rumour.len() as u16).to_be_bytes()[..], rumour].concat());
                self.put(side, [vec![5], packed.collect::<Vec<_>>().concat()].concat());
            }
            20 => drop(self.queues[side].pop_front()),
            21 => self.queues[side].rotate_left(1.min(self.queues[side].len())),
            22 => self.input(side, Input::PeerDown(node(SIDES[1 - side]))),
            23 => self.input(side, Input::PeerUp(node(SIDES[1 - side]))),
            24 => self.input(side, Input::SessionClosed { session: self.sessions }),
            25 => {
                self.now += u64::from(script.byte());
                self.wait();
            }
            _ => {
                self.now += 1;
                self.wait();
            }
        }
    }

    /// A rumour whose signatures are right, about some owner or by the issuer.
    fn made_up(&self, script: &mut Script<'_>) -> Vec<u8> {
        let (kind, who, seq, now) = (script.byte(), script.byte(), u64::from(script.byte()), at(self.now));
        let shown = || self.with_issuer.then(|| credential(who));
        let [one, other] = [name(script), name(script)].map(|name| record(who, seq, name, now, shown()));
        match kind % 7 {
            0 | 1 => tell(IS_RECORD, one.bytes()),
            2 if one.id() < other.id() => accuse(one.bytes(), other.bytes()),
            2 => accuse(other.bytes(), one.bytes()),
            3 => tell(IS_LEASE, &lease(who, &one, seq + u64::from(script.byte()))),
            4 => tell(IS_LEASED, &[&lease(who, &one, seq + u64::from(script.byte()))[..], one.bytes()].concat()),
            5 => tell(IS_DECREE, decree(seq, who, script.byte(), script.byte() % 4).bytes()),
            _ => tell(IS_RECORD, &sign(who, script.bytes())),
        }
    }

    fn wait(&mut self) {
        for side in 0..2 {
            self.sides[side].handle_timeout(at(self.now));
            self.collect(side);
        }
    }

    fn rumour(&mut self, side: usize, bytes: Vec<u8>) {
        self.input(side, Input::Gossip { ticket: 0, from: node(CARRIER), bytes });
    }

    /// A new session that a side dialled.
    fn open(&mut self, side: usize) {
        self.sessions += 1;
        let session = self.sessions;
        self.input(1 - side, Input::SessionOpened { session, peer: node(SIDES[side]), dialled: false });
        self.input(side, Input::SessionOpened { session, peer: node(SIDES[1 - side]), dialled: true });
    }

    fn deliver(&mut self, side: usize) {
        if let Some(input) = self.queues[side].pop_front() {
            self.input(side, input);
        }
    }

    /// Puts a frame of the last session before all that is on its way.
    fn put(&mut self, side: usize, bytes: Vec<u8>) {
        self.queues[side].push_front(Input::SessionFrame { session: self.sessions, bytes });
    }

    fn change(&mut self, side: usize, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(Input::SessionFrame { bytes, .. }) = self.queues[side].front_mut() {
            change(bytes);
        }
    }

    fn input(&mut self, side: usize, input: Input) {
        self.sides[side].handle(at(self.now), input);
        self.collect(side);
    }

    /// Takes what a side has to say, and looks at what it holds.
    fn collect(&mut self, side: usize) {
        let mut count = 0;
        while let Some(output) = self.sides[side].poll_output() {
            count += 1;
            match output {
                Output::Send { session, bytes } => {
                    assert!(bytes.len() <= FRAME_MAX, "a frame of {} bytes", bytes.len());
                    self.last[side].clone_from(&bytes);
                    self.queues[1 - side].push_back(Input::SessionFrame { session, bytes });
                }
                Output::CloseSession { session } => self.queues[1 - side].push_back(Input::SessionClosed { session }),
                // As the driver does: who is expelled is disconnected.
                Output::Expel { peer, .. } => self.sides[side].handle(at(self.now), Input::PeerDown(peer)),
                Output::View(_) => self.look(side),
                _ => {}
            }
        }
        assert!(count <= OUTPUTS, "one input led to {count} outputs");
        assert!(self.sides[side].owners() <= OWNERS && self.sides[side].sessions() <= 64, "bounds are kept");
    }

    fn look(&mut self, side: usize) {
        let ledger = &self.sides[side];
        for owner in ledger.view().nodes.keys() {
            let held = ledger.record(owner).expect("what is shown is held");
            let whole = Unverified::decode(held.bytes()).expect("what is held is valid");
            assert_eq!(whole.verify().expect("what is held is signed").record().owner, *owner);
            let (number, highest) = (ledger.number(owner), self.highest[side].entry(*owner).or_default());
            assert!(number >= Some(*highest), "a number went back");
            *highest = number.unwrap_or_default();
        }
    }

    /// Nobody is in between any more: what is on its way arrives, and so does a last sync; then nothing is left to say.
    fn leave_alone(&mut self) {
        for side in 0..2 {
            self.input(side, Input::PeerUp(node(SIDES[1 - side])));
        }
        self.open(0);
        let mut frames = 0;
        while let Some(side) = (0..2).find(|side| !self.queues[*side].is_empty()) {
            self.deliver(side);
            frames += 1;
            assert!(frames < FRAMES, "sessions do not end");
        }
        // Streams that were opened and never answered run into their deadlines.
        for _ in 0..4 {
            self.now += 60;
            for side in 0..2 {
                self.input(side, Input::PeerDown(node(SIDES[1 - side])));
                self.input(side, Input::PeerDown(node(CARRIER)));
            }
            self.wait();
        }
        assert!(self.sides.iter().all(|ledger| ledger.sessions() == 0), "a session is left open");
    }
}

fn name(script: &mut Script<'_>) -> &'static str {
    NAMES[usize::from(script.byte()) % NAMES.len()]
}
