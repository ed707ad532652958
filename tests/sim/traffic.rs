//! What is on its way between the machines of a world: gossip along the mesh, offers of it, streams.

use std::{ops::Range, sync::Arc, time::Duration};

use p2p_fed_ledger::Input;

use crate::{
    network::{Parcel, Piece},
    node::Message,
    scenario::{ms, s},
    world::{Event, World},
};

/// How long a piece of a stream waits on a link that is cut, or behind another one, before it is tried again.
const RETRY: Range<Duration> = ms(100)..ms(500);
/// Messages kept for replays.
const ARCHIVE: usize = 256;
/// Gossip's heartbeat, with which a message is offered to so many neighbours outside of the mesh, and bytes of an id.
const HEARTBEAT: Duration = s(1);
const OFFERED_TO: usize = 3;
const ID: usize = 16;

impl World {
    pub(crate) fn settle_links(&mut self) {
        let (now, nodes) = (self.now, &self.nodes);
        let settled = self.network.settle(now, |node| nodes[node].answers(now), &mut self.chance);
        for (a, b) in settled.came {
            self.note(|| format!("{a} and {b} are linked"));
            self.costs.link(self.now, a, b, true);
            self.give(a, Input::PeerUp(self.nodes[b].id));
            self.give(b, Input::PeerUp(self.nodes[a].id));
        }
        settled.went.into_iter().for_each(|(a, b)| self.link_down(a, b));
    }

    pub(crate) fn link_down(&mut self, a: usize, b: usize) {
        if !self.network.is_up(a, b) {
            return;
        }
        self.note(|| format!("{a} and {b} are cut off"));
        self.costs.link(self.now, a, b, false);
        let streams = self.network.down(self.now, a, b);
        for (node, peer) in [(a, b), (b, a)] {
            let mut told: Vec<_> = streams.iter().map(|session| Input::SessionClosed { session: *session }).collect();
            told.push(Input::PeerDown(self.nodes[peer].id));
            self.chance.shuffle(&mut told);
            told.into_iter().for_each(|input| self.give(node, input));
        }
    }

    /// Sends a gossip message along the mesh, but not back.
    pub(crate) fn flood(&mut self, node: usize, from: Option<usize>, message: &Arc<Message>) {
        if self.archive.len() < ARCHIVE {
            self.archive.push(Arc::clone(message));
        }
        let mesh = self.network.mesh(node).0;
        self.offer_soon(node, message);
        for peer in mesh {
            if Some(peer) != from {
                self.pass_on(node, peer, message);
            }
        }
    }

    /// With the next heartbeat, a message is offered to some neighbours that it was not sent to.
    fn offer_soon(&mut self, node: usize, message: &Arc<Message>) {
        let at = self.now + self.chance.between(&(Duration::ZERO..HEARTBEAT));
        let life = self.nodes[node].life;
        self.queue.push(at, Event::Offer { node, life, message: Arc::clone(message) });
    }

    pub(crate) fn offer(&mut self, node: usize, message: &Arc<Message>) {
        let mut others = self.network.mesh(node).1;
        self.chance.shuffle(&mut others);
        for peer in others.into_iter().take(OFFERED_TO) {
            self.costs.offer(node, peer);
            self.lossy(node, peer, ID, Parcel::Offer(Arc::clone(message)));
        }
    }

    /// Sends what may be lost.
    fn lossy(&mut self, from: usize, to: usize, bytes: usize, parcel: Parcel) {
        if !self.chance.hits(self.scenario.loss) {
            let at = self.leaves(from, bytes) + self.chance.between(&self.scenario.delay.clone());
            self.dispatch(at, from, to, parcel);
        }
    }

    /// Sends a gossip message to one peer, as well as the network does.
    pub(crate) fn pass_on(&mut self, from: usize, to: usize, message: &Arc<Message>) {
        let copies = if self.chance.hits(self.scenario.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            self.costs.gossip(from, to, message.bytes.len());
            self.lossy(from, to, message.bytes.len(), Parcel::Gossip(Arc::clone(message)));
        }
    }

    /// A name for a message that waits for its verdict.
    pub(crate) fn ticket(&mut self, from: usize, message: Arc<Message>) -> u64 {
        self.named += 1;
        self.tickets.insert(self.named, (from, message));
        self.named
    }

    /// When the last of so many bytes has left the node.
    fn leaves(&mut self, node: usize, bytes: usize) -> Duration {
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.scenario.uplink);
        self.uplinks[node] = self.uplinks[node].max(self.now) + takes;
        self.uplinks[node]
    }

    /// Opens a sync stream and tells the other end; it is for this one to be told.
    pub(crate) fn open_stream(&mut self, node: usize, to: usize) -> Option<u64> {
        let session = self.network.open(node, to)?;
        self.costs.stream(node, to);
        self.send(node, session, Piece::Opened);
        Some(session)
    }

    pub(crate) fn send_frame(&mut self, node: usize, session: u64, bytes: Vec<u8>) {
        if let Some(to) = self.network.other_end(session, node) {
            self.costs.frame(node, to, bytes.len());
            self.send(node, session, Piece::Frame(bytes));
        }
    }

    pub(crate) fn close_stream(&mut self, node: usize, session: u64) {
        self.send(node, session, Piece::Closed);
    }

    /// Sends something along a stream; a loss costs a retransmission.
    fn send(&mut self, from: usize, session: u64, piece: Piece) {
        let bytes = if let Piece::Frame(bytes) = &piece { bytes.len() } else { 0 };
        let lost = if self.chance.hits(self.scenario.loss) { ms(200) } else { Duration::ZERO };
        let at = self.leaves(from, bytes) + lost + self.chance.between(&self.scenario.delay.clone());
        if let Some((to, number, at)) = self.network.along(session, from, at) {
            self.dispatch(at, from, to, Parcel::Stream { session, number, piece });
        }
    }

    fn dispatch(&mut self, at: Duration, from: usize, to: usize, parcel: Parcel) {
        let life = self.nodes[to].life;
        self.queue.push(at, Event::Parcel { to, life, from, parcel });
    }

    pub(crate) fn arrive(&mut self, to: usize, from: usize, parcel: Parcel) {
        let carried = self.network.carries(from, to);
        match parcel {
            // A stream waits for its link, and keeps its order.
            Parcel::Stream { session, number, piece } => {
                if self.network.other_end(session, from) != Some(to) {
                    // It was closed, or its link went down.
                } else if carried && self.network.take(session, from, number) {
                    self.take_piece(to, from, session, piece);
                } else {
                    let at = self.now + self.chance.between(&RETRY);
                    self.dispatch(at, from, to, Parcel::Stream { session, number, piece });
                }
            }
            _ if !carried => {}
            Parcel::Offer(message) => {
                if !self.nodes[to].has_seen(&message) {
                    self.costs.offer(to, from);
                    self.lossy(to, from, ID, Parcel::Wish(message));
                }
            }
            Parcel::Wish(message) => self.pass_on(to, from, &message),
            Parcel::Gossip(message) => {
                if self.nodes[to].ledger.is_some() && self.nodes[to].sees(self.now, &message) {
                    let ticket = self.ticket(from, Arc::clone(&message));
                    let from = self.nodes[from].id;
                    self.give(to, Input::Gossip { ticket, from, bytes: message.bytes.clone() });
                }
            }
        }
    }

    fn take_piece(&mut self, to: usize, from: usize, session: u64, piece: Piece) {
        let lies = self.nodes[to].lie.is_some();
        match piece {
            Piece::Closed => {
                self.network.close(session);
                self.give(to, Input::SessionClosed { session });
            }
            Piece::Opened if lies => {}
            Piece::Opened => {
                self.give(to, Input::SessionOpened { session, peer: self.nodes[from].id, dialled: false });
            }
            Piece::Frame(bytes) if lies => self.answer_with_a_lie(to, session, &bytes),
            Piece::Frame(bytes) => self.give(to, Input::SessionFrame { session, bytes }),
        }
    }
}
