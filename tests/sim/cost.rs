//! What the network carries for the ledger, below what the ledger hands out: bytes per node and kind.
//!
//! The constants are those of TCP with TLS 1.3 and yamux, as `net` sets them up, read from the libraries. A yamux frame
//! is two writes, header and body, and without Nagle's delay each write is a TLS record and a segment of its own. What
//! Ethernet adds, retransmissions and connections that fail are left out. `make fleet` measures real processes: two and
//! ten idle ones send what is counted here to a twentieth, by the kernel's count, a change costs the same, and the cost of
//! a connection is from there.

use std::{array, time::Duration};

/// Headers of IPv4 and of TCP with time stamps.
const SEGMENT_HEAD: usize = 20 + 32;
/// What fits in a segment beside them where a packet has 1500 bytes.
const SEGMENT: usize = 1448;
/// A TLS 1.3 record: head, inner content type, tag.
const TLS: usize = 5 + 1 + 16;
/// A yamux header.
const YAMUX: usize = 12;
/// Yamux splits longer writes.
const YAMUX_MAX: usize = 16 * 1024;
/// `session` writes the length of a sync frame by itself.
const LENGTH: usize = 4;
/// A gossip message around its payload: topic, and the RPC around both, as protobuf. Nobody signs it.
const GOSSIP_HEAD: usize = 3 + (2 + 32) + 3 + 2;
/// The id of a message in an RPC, with the topic.
const OFFER: usize = (2 + 16) + (2 + 32) + 8;
/// What each end of a stream says by multistream-select, each with its length and line break, in two writes.
const NEGOTIATION: [usize; 2] = [1 + 18 + 1, 1 + 15 + 1];
/// What each end sends to set up a connection: TCP, both certificates in TLS, yamux, admission, identify, and the
/// topic.
const CONNECTION: usize = 5500;
/// A ping: 32 bytes each way on a stream that stays open, every so often from one end of a link. Members to whom clients
/// are sent are pinged more often; here are none.
const PING: usize = 32;
const PING_EVERY: Duration = Duration::from_secs(15);

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Rumours and offers of them.
    Gossip,
    /// Frames of sessions.
    Sync,
    /// Setting up streams and connections, and closing them.
    Setup,
    /// Whether neighbours are there.
    Ping,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Gossip, Kind::Sync, Kind::Setup, Kind::Ping];

/// Bytes per kind.
pub(crate) type Bytes = [u64; KINDS.len()];

/// What one node sent and got.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    sent: Bytes,
    got: Bytes,
    /// Links that are up, and until when their pings are counted.
    links: u64,
    pinged: Duration,
}

/// The accounts of all nodes.
pub(crate) struct Costs(Vec<Account>);

/// Segments and bytes of one write on a stream.
const fn write(payload: usize) -> (usize, usize) {
    let frames = if payload == 0 { 1 } else { payload.div_ceil(YAMUX_MAX) };
    let mut segments = frames;
    let mut rest = payload;
    while rest > 0 {
        let body = if rest < YAMUX_MAX { rest } else { YAMUX_MAX };
        segments += (body + TLS).div_ceil(SEGMENT);
        rest -= body;
    }
    let bodies = if payload == 0 { 0 } else { frames };
    (segments, payload + frames * (YAMUX + TLS) + bodies * TLS + segments * SEGMENT_HEAD)
}

impl Costs {
    pub(crate) fn new(nodes: usize) -> Self {
        Self(vec![Account::default(); nodes])
    }

    /// A write from one node to another. Every second segment is acknowledged.
    fn charge(&mut self, kind: Kind, from: usize, to: usize, payload: usize) {
        let (segments, bytes) = write(payload);
        self.move_bytes(kind, from, to, bytes);
        self.move_bytes(kind, to, from, segments / 2 * SEGMENT_HEAD);
    }

    fn move_bytes(&mut self, kind: Kind, from: usize, to: usize, bytes: usize) {
        self.0[from].sent[kind as usize] += bytes as u64;
        self.0[to].got[kind as usize] += bytes as u64;
    }

    pub(crate) fn gossip(&mut self, from: usize, to: usize, payload: usize) {
        self.charge(Kind::Gossip, from, to, GOSSIP_HEAD + payload);
    }

    /// The id of a message, in an RPC: whether it is of interest, or that it is.
    pub(crate) fn offer(&mut self, from: usize, to: usize) {
        self.charge(Kind::Gossip, from, to, OFFER);
    }

    pub(crate) fn frame(&mut self, from: usize, to: usize, payload: usize) {
        self.charge(Kind::Sync, from, to, LENGTH);
        self.charge(Kind::Sync, from, to, payload);
    }

    /// A stream is opened, and will be closed.
    pub(crate) fn stream(&mut self, from: usize, to: usize) {
        for (from, to) in [(from, to), (to, from)] {
            NEGOTIATION.into_iter().for_each(|line| self.charge(Kind::Setup, from, to, line));
            self.charge(Kind::Setup, from, to, 0);
        }
    }

    /// A link came up or went down.
    pub(crate) fn link(&mut self, now: Duration, a: usize, b: usize, up: bool) {
        for (node, other) in [(a, b), (b, a)] {
            self.ping(now, node);
            self.0[node].links = if up { self.0[node].links + 1 } else { self.0[node].links - 1 };
            if up {
                self.move_bytes(Kind::Setup, node, other, CONNECTION);
            }
        }
    }

    /// Counts pings up to now. Of each, an end sends one write on average, and every other one of them the acknowledgement
    /// of the last.
    fn ping(&mut self, now: Duration, node: usize) {
        let account = &mut self.0[node];
        let each = write(PING).1 + SEGMENT_HEAD / 2;
        let bytes =
            each as u128 * u128::from(account.links) * (now - account.pinged).as_nanos() / PING_EVERY.as_nanos();
        let bytes = u64::try_from(bytes).expect("a short run");
        account.sent[Kind::Ping as usize] += bytes;
        account.got[Kind::Ping as usize] += bytes;
        account.pinged = now;
    }

    /// What a node sent so far.
    pub(crate) fn sent(&mut self, now: Duration, node: usize) -> Bytes {
        self.ping(now, node);
        self.0[node].sent
    }

    /// What a node sent and got so far.
    pub(crate) fn moved(&mut self, now: Duration, node: usize) -> Bytes {
        self.ping(now, node);
        let Account { sent, got, .. } = self.0[node];
        array::from_fn(|kind| sent[kind] + got[kind])
    }
}

/// All kinds together.
pub(crate) fn total(bytes: &Bytes) -> u64 {
    bytes.iter().sum()
}

/// The difference of two accounts.
pub(crate) fn since(before: Bytes, now: Bytes) -> Bytes {
    array::from_fn(|kind| now[kind] - before[kind])
}

#[test]
fn small_writes_cost_more_than_they_say() {
    assert_eq!(write(0), (1, YAMUX + TLS + SEGMENT_HEAD));
    assert_eq!(write(32), (2, 32 + YAMUX + 2 * TLS + 2 * SEGMENT_HEAD));
    let (segments, bytes) = write(64 * 1024);
    assert_eq!(segments, 4 + 4 * 12);
    assert_eq!(bytes, 64 * 1024 + 4 * (YAMUX + 2 * TLS) + segments * SEGMENT_HEAD);
}
