//! The network between the nodes: who is linked, what is cut, what is on its way.
//!
//! Nodes pick some neighbours at random, and are picked by others; in small networks all are linked. Gossip runs along a
//! **mesh** of some of the links, as gossipsub does. It may be lost, doubled, late and out of order. A stream keeps
//! its order and loses nothing; while its link is cut it waits. A link whose ends don't hear each other goes down after
//! ten seconds, at once when an end dies, and up again when its ends try again: the longer it was down, the longer they
//! wait between tries. Who loses peers for good looks for others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    chance::Chance,
    node::Message,
    scenario::{ms, s},
};

/// Neighbours that a node ends up with on average, where a scenario says nothing else: eight that it picks itself, as
/// `net` does, and as many that pick it.
pub(crate) const DEGREE: usize = 16;
/// Links in the mesh that a node tops up to, when they get fewer than the second number; the third is the most.
const MESH: usize = 5;
const MESH_LOW: usize = 4;
const MESH_HIGH: usize = 7;
/// How often a node looks after its mesh.
const HEARTBEAT: Duration = s(1);
/// How long a cut link still counts as up.
const CUT_NOTICED: Duration = s(10);
/// Tries to connect again are at least and at most so far apart; in between, as far as the link has been down.
const REDIAL_MIN: Duration = ms(500);
const REDIAL_MAX: Duration = s(30);

/// Something on its way from one node to another.
pub(crate) enum Parcel {
    Gossip(Arc<Message>),
    /// The node has this one, if that is of interest.
    Offer(Arc<Message>),
    /// It is.
    Wish(Arc<Message>),
    /// One of the pieces of a stream, counted in each direction.
    Stream {
        session: u64,
        number: u64,
        piece: Piece,
    },
}

pub(crate) enum Piece {
    Opened,
    Frame(Vec<u8>),
    Closed,
}

/// Two nodes, the smaller number first.
pub(crate) type Ends = (usize, usize);

struct Link {
    ends: Ends,
    up: bool,
    /// Gossip goes along it.
    meshed: bool,
    /// Since when it is up and can't be used.
    broken_since: Option<Duration>,
    /// Since when it is down.
    down_since: Duration,
    /// When its ends try again.
    tried_at: Option<Duration>,
    streams: Vec<u64>,
}

/// A stream, from the end that opened it.
struct Stream {
    ends: (usize, usize),
    link: usize,
    /// What goes to either end.
    ways: [Way; 2],
}

/// One direction of a stream.
#[derive(Clone, Copy, Default)]
struct Way {
    /// When the last piece arrives, so that none overtakes it.
    last: Duration,
    sent: u64,
    arrived: u64,
}

/// Some of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    One(usize),
    /// Those with smaller numbers.
    Below(usize),
    /// This one and those with greater numbers.
    From(usize),
    All,
}

/// What the first send does not arrive at the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut(pub Side, pub Side);

pub(crate) struct Network {
    /// Neighbours that a node picks.
    picked: usize,
    links: Vec<Link>,
    /// Of each node its neighbours, and the numbers of the links with them.
    ends: Vec<Vec<(usize, usize)>>,
    /// Links that may change by themselves: those that are down or can't be used.
    restless: BTreeSet<usize>,
    /// Nodes that lost neighbours.
    lonely: BTreeSet<usize>,
    /// Nodes whose meshes are to be looked after, and when that is done.
    moved: BTreeSet<usize>,
    heartbeat: Duration,
    cuts: Vec<Cut>,
    /// Who has nothing to do with whom, until when.
    refused: BTreeMap<Ends, Duration>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
}

/// What became of the links.
#[derive(Default)]
pub(crate) struct Settled {
    pub came: Vec<Ends>,
    pub went: Vec<Ends>,
}

fn pair(a: usize, b: usize) -> Ends {
    (a.min(b), a.max(b))
}

impl Side {
    fn has(self, node: usize) -> bool {
        match self {
            Self::One(one) => node == one,
            Self::Below(end) => node < end,
            Self::From(start) => node >= start,
            Self::All => true,
        }
    }
}

// === impl Network: links ===

impl Network {
    /// A network of `nodes`, each with about `degree` neighbours. Nothing is up yet.
    pub(crate) fn new(nodes: usize, degree: usize, chance: &mut Chance) -> Self {
        let mut network = Self {
            picked: (degree / 2).max(2),
            links: Vec::new(),
            ends: vec![Vec::new(); nodes],
            restless: BTreeSet::new(),
            lonely: BTreeSet::new(),
            moved: BTreeSet::new(),
            heartbeat: Duration::ZERO,
            cuts: Vec::new(),
            refused: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
        };
        if nodes <= degree + 1 {
            (0..nodes).for_each(|a| (0..a).for_each(|b| network.join(a, b)));
            return network;
        }
        // A ring through all in some order keeps it in one piece.
        let mut ring: Vec<_> = (0..nodes).collect();
        chance.shuffle(&mut ring);
        (0..nodes).for_each(|at| network.join(ring[at], ring[(at + 1) % nodes]));
        for a in 0..nodes {
            (1..network.picked).for_each(|_| network.join(a, chance.below(nodes)));
        }
        network
    }

    /// One node picks the other.
    fn join(&mut self, a: usize, b: usize) {
        if a != b && self.link(a, b).is_none() {
            let link = self.links.len();
            let (broken_since, down_since, tried_at) = (None, Duration::ZERO, Some(Duration::ZERO));
            let ends = pair(a, b);
            self.links.push(Link {
                ends,
                up: false,
                meshed: false,
                broken_since,
                down_since,
                tried_at,
                streams: vec![],
            });
            self.ends[a].push((b, link));
            self.ends[b].push((a, link));
            self.restless.insert(link);
        }
    }

    fn link(&self, a: usize, b: usize) -> Option<usize> {
        self.ends[a].iter().find(|(other, _)| *other == b).map(|(_, link)| *link)
    }

    /// The nodes that `node` has a link with that is up.
    pub(crate) fn neighbours(&self, node: usize) -> Vec<usize> {
        self.ends[node].iter().filter(|(_, link)| self.links[*link].up).map(|(other, _)| *other).collect()
    }

    /// The neighbours that `node` sends gossip to, and the other ones.
    pub(crate) fn mesh(&self, node: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut inside, mut outside) = (Vec::with_capacity(MESH_HIGH), Vec::with_capacity(MESH_HIGH));
        for (other, link) in &self.ends[node] {
            match &self.links[*link] {
                Link { up: true, meshed: true, .. } => inside.push(*other),
                Link { up: true, .. } => outside.push(*other),
                Link { .. } => {}
            }
        }
        (inside, outside)
    }

    /// Whether what `from` sends arrives at `to` now.
    pub(crate) fn carries(&self, from: usize, to: usize) -> bool {
        self.is_up(from, to) && !self.is_cut(from, to)
    }

    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        self.link(a, b).is_some_and(|link| self.links[link].up)
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.iter().any(|Cut(a, b)| a.has(from) && b.has(to))
    }

    // --- what happens to it ---

    pub(crate) fn cut(&mut self, cuts: impl IntoIterator<Item = Cut>) {
        self.cuts.extend(cuts);
        self.restless.extend(0..self.links.len());
    }

    /// Takes back the cuts around one node.
    pub(crate) fn mend(&mut self, node: usize) {
        self.cuts.retain(|Cut(from, to)| *from != Side::One(node) && *to != Side::One(node));
    }

    /// Takes back all cuts.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// The node does not answer for a while.
    pub(crate) fn disturb(&mut self, node: usize) {
        self.restless.extend(self.ends[node].iter().map(|(_, link)| *link));
    }

    /// The node starts: it dials at once whom it knows.
    pub(crate) fn awake(&mut self, now: Duration, node: usize) {
        for (_, link) in &self.ends[node] {
            self.links[*link].tried_at = Some(now);
        }
    }

    /// The two have nothing to do with each other until then.
    pub(crate) fn refuse(&mut self, a: usize, b: usize, until: Duration) {
        self.refused.insert(pair(a, b), until);
        self.lonely.extend([a, b]);
    }

    /// Looks at the links that may change: which came up, and which are to go down because their ends don't hear each
    /// other. `awake`: the nodes that answer.
    pub(crate) fn settle(&mut self, now: Duration, awake: impl Fn(usize) -> bool, chance: &mut Chance) -> Settled {
        self.refused.retain(|_, until| now < *until);
        self.look_for_more(&awake, chance);
        let mut settled = Settled::default();
        for number in self.restless.clone() {
            let (a, b) = self.links[number].ends;
            let heard = !self.is_cut(a, b) && !self.is_cut(b, a) && !self.refused.contains_key(&(a, b));
            let usable = heard && awake(a) && awake(b);
            let link = &mut self.links[number];
            match (link.up, usable) {
                (true, true) => {
                    link.broken_since = None;
                    self.restless.remove(&number);
                }
                (true, false) => {
                    let since = *link.broken_since.get_or_insert(now);
                    if now.saturating_sub(since) >= CUT_NOTICED {
                        settled.went.push(link.ends);
                    }
                }
                (false, true) => {
                    let apart = (now - link.down_since).clamp(REDIAL_MIN, REDIAL_MAX);
                    let at = *link.tried_at.get_or_insert_with(|| now + chance.between(&(Duration::ZERO..apart)));
                    if at <= now {
                        link.up = true;
                        settled.came.push(link.ends);
                        self.restless.remove(&number);
                        self.moved.extend([a, b]);
                    }
                }
                (false, false) => {}
            }
        }
        if self.heartbeat <= now {
            self.heartbeat = now + HEARTBEAT;
            for node in std::mem::take(&mut self.moved) {
                self.graft(node, chance);
            }
        }
        settled
    }

    /// Who has lost too many peers to their deaths looks for another one.
    fn look_for_more(&mut self, awake: &impl Fn(usize) -> bool, chance: &mut Chance) {
        for node in self.lonely.clone() {
            let left = |(other, _): &&(usize, usize)| awake(*other) && !self.refused.contains_key(&pair(node, *other));
            let enough = self.ends[node].iter().filter(left).count() >= self.picked;
            if enough || !awake(node) {
                self.lonely.remove(&node);
            } else {
                self.join(node, chance.below(self.ends.len()));
            }
        }
    }

    /// Takes more links into the mesh where a node has too few.
    fn graft(&mut self, node: usize, chance: &mut Chance) {
        let (inside, mut others) = self.mesh(node);
        if inside.len() < MESH_LOW {
            others.retain(|other| self.mesh(*other).0.len() < MESH_HIGH);
            chance.shuffle(&mut others);
            if others.len() < MESH_LOW - inside.len() {
                self.moved.insert(node);
            }
            for other in others.into_iter().take(MESH - inside.len()) {
                let link = self.link(node, other).expect("a neighbour has a link");
                self.links[link].meshed = true;
            }
        }
    }

    /// Takes a link down. The streams that end with it.
    pub(crate) fn down(&mut self, now: Duration, a: usize, b: usize) -> Vec<u64> {
        let Some(number) = self.link(a, b) else { return Vec::new() };
        let link = &mut self.links[number];
        (link.up, link.meshed, link.broken_since, link.tried_at, link.down_since) = (false, false, None, None, now);
        let ended = std::mem::take(&mut link.streams);
        for stream in &ended {
            self.streams.remove(stream);
        }
        self.restless.insert(number);
        self.lonely.extend([a, b]);
        self.moved.extend([a, b]);
        ended
    }
}

// === impl Network: streams ===

impl Network {
    /// Opens a stream on a link that is up.
    pub(crate) fn open(&mut self, from: usize, to: usize) -> Option<u64> {
        let link = self.link(from, to).filter(|link| self.links[*link].up)?;
        self.next_stream += 1;
        self.links[link].streams.push(self.next_stream);
        self.streams.insert(self.next_stream, Stream { ends: (from, to), link, ways: Default::default() });
        Some(self.next_stream)
    }

    /// The other end of a stream, which number the next piece to it has, and when that arrives, no earlier than `at`. None
    /// if it is closed.
    pub(crate) fn along(&mut self, session: u64, from: usize, at: Duration) -> Option<(usize, u64, Duration)> {
        let to = self.other_end(session, from)?;
        let way = self.way(session, from)?;
        way.last = at.max(way.last + Duration::from_micros(1));
        way.sent += 1;
        Some((to, way.sent, way.last))
    }

    /// Whether a piece is the next one to arrive. If so, it has.
    pub(crate) fn take(&mut self, session: u64, from: usize, number: u64) -> bool {
        let next = self.way(session, from).filter(|way| way.arrived + 1 == number);
        next.map(|way| way.arrived = number).is_some()
    }

    /// The direction from this end.
    fn way(&mut self, session: u64, from: usize) -> Option<&mut Way> {
        let Stream { ends, ways, .. } = self.streams.get_mut(&session)?;
        let [there, back] = ways;
        Some(if ends.0 == from { there } else { back })
    }

    /// The other end of a stream that is not closed.
    pub(crate) fn other_end(&self, session: u64, from: usize) -> Option<usize> {
        let (a, b) = self.streams.get(&session)?.ends;
        Some(if a == from { b } else { a })
    }

    pub(crate) fn opened_by(&self, session: u64) -> Option<usize> {
        self.streams.get(&session).map(|stream| stream.ends.0)
    }

    /// The end of a stream has arrived.
    pub(crate) fn close(&mut self, session: u64) {
        if let Some(stream) = self.streams.remove(&session) {
            self.links[stream.link].streams.retain(|on_link| *on_link != session);
        }
    }
}
