//! The network between the nodes: who is linked, what is cut, what is on its way.
//!
//! Links form a random mesh of degree about six, or all pairs in small networks. Gossip on a link may be lost,
//! doubled, late and out of order. A stream keeps its order and loses nothing; while its link is cut it waits. A link
//! whose ends don't hear each other goes down after ten seconds, at once when an end dies, and up again a moment after
//! it can. Who loses peers for good looks for others.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc, time::Duration};

use crate::{chance::Chance, scenario::Act};

/// Links that each node looks for.
const DEGREE: usize = 3;
/// Up to this many nodes, all are linked.
const FULL_MESH: usize = 7;
/// How long a cut link still counts as up.
const CUT_NOTICED: Duration = Duration::from_secs(10);

/// Something on its way from one node to another.
pub(crate) enum Parcel {
    Gossip { from: usize, bytes: Arc<[u8]> },
    Opened { session: u64, peer: usize, dialled: bool },
    Frame { session: u64, bytes: Vec<u8> },
    Closed { session: u64 },
}

/// Two nodes, the smaller number first.
pub(crate) type Link = (usize, usize);

/// A stream, from the end that opened it.
struct Stream {
    ends: (usize, usize),
    /// When the last parcel arrives at either end, so that none overtakes it.
    last: (Duration, Duration),
}

#[derive(Default)]
pub(crate) struct Network {
    links: BTreeSet<Link>,
    up: BTreeSet<Link>,
    /// Since when a link that is up can't be used.
    broken_since: BTreeMap<Link, Duration>,
    /// Who does not reach whom.
    cuts: BTreeSet<(usize, usize)>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
}

fn pair(a: usize, b: usize) -> Link {
    (a.min(b), a.max(b))
}

impl Network {
    pub(crate) fn mesh(nodes: usize, chance: &mut Chance) -> Self {
        let mut links = BTreeSet::new();
        if nodes <= FULL_MESH {
            links.extend((0..nodes).flat_map(|a| (0..a).map(move |b| (b, a))));
        } else {
            // A ring through all in some order keeps it in one piece.
            let mut ring: Vec<_> = (0..nodes).collect();
            chance.shuffle(&mut ring);
            links.extend((0..nodes).map(|at| pair(ring[at], ring[(at + 1) % nodes])));
            for a in 0..nodes {
                for _ in 1..DEGREE {
                    let b = chance.below(nodes);
                    if a != b {
                        links.insert(pair(a, b));
                    }
                }
            }
        }
        Self { links, ..Self::default() }
    }

    /// The nodes that `node` has a link with that is up.
    pub(crate) fn neighbours(&self, node: usize) -> Vec<usize> {
        self.up
            .iter()
            .filter_map(|(a, b)| [(*a, *b), (*b, *a)].into_iter().find(|end| end.0 == node))
            .map(|(_, b)| b)
            .collect()
    }

    /// Whether what `from` sends arrives at `to`.
    pub(crate) fn carries(&self, from: usize, to: usize) -> bool {
        self.up.contains(&pair(from, to)) && !self.cuts.contains(&(from, to))
    }

    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        self.up.contains(&pair(a, b))
    }

    /// Applies an act on the network.
    pub(crate) fn act(&mut self, act: &Act, nodes: usize) {
        let all = || (0..nodes).flat_map(move |a| (0..nodes).map(move |b| (a, b)));
        match act {
            Act::Split => self.cuts.extend(all().filter(|(a, b)| (*a < nodes / 2) != (*b < nodes / 2))),
            Act::CutOneWay(a, b) => drop(self.cuts.insert((a % nodes, b % nodes))),
            Act::Isolate(n) => self.cuts.extend(all().filter(|(a, b)| (*a == n % nodes) != (*b == n % nodes))),
            Act::Heal => self.cuts.clear(),
            _ => {}
        }
    }

    /// Looks at each link: which came up, and which are to go down because their ends don't hear each other.
    pub(crate) fn settle(&mut self, now: Duration, alive: &[bool], chance: &mut Chance) -> (Vec<Link>, Vec<Link>) {
        self.look_for_more(alive, chance);
        let (mut came, mut lost) = (Vec::new(), Vec::new());
        for link in self.links.clone() {
            let (a, b) = link;
            let heard = !self.cuts.contains(&(a, b)) && !self.cuts.contains(&(b, a));
            if alive[a] && alive[b] && heard {
                self.broken_since.remove(&link);
                if self.up.insert(link) {
                    came.push(link);
                }
            } else if self.up.contains(&link) {
                let since = *self.broken_since.entry(link).or_insert(now);
                if now.saturating_sub(since) >= CUT_NOTICED {
                    lost.push(link);
                }
            }
        }
        (came, lost)
    }

    /// Who has lost too many peers to their deaths looks for another one.
    fn look_for_more(&mut self, alive: &[bool], chance: &mut Chance) {
        for node in (0..alive.len()).filter(|node| alive[*node]) {
            let left = self.links.iter().filter(|(a, b)| (*a == node || *b == node) && alive[*a] && alive[*b]).count();
            let other = chance.below(alive.len());
            if left < DEGREE && other != node {
                self.links.insert(pair(node, other));
            }
        }
    }

    /// Opens a stream.
    pub(crate) fn open(&mut self, from: usize, to: usize) -> u64 {
        self.next_stream += 1;
        self.streams.insert(self.next_stream, Stream { ends: (from, to), last: Default::default() });
        self.next_stream
    }

    /// The other end of a stream, and when a parcel sent to it arrives, no earlier than `at`. None if it is closed.
    pub(crate) fn along(&mut self, session: u64, from: usize, at: Duration) -> Option<(usize, Duration)> {
        let stream = self.streams.get_mut(&session)?;
        let (to, last) = if stream.ends.0 == from {
            (stream.ends.1, &mut stream.last.1)
        } else {
            (stream.ends.0, &mut stream.last.0)
        };
        *last = at.max(*last + Duration::from_micros(1));
        Some((to, *last))
    }

    pub(crate) fn close(&mut self, session: u64) {
        self.streams.remove(&session);
    }

    /// Takes a link down. The streams that end with it.
    pub(crate) fn down(&mut self, a: usize, b: usize) -> Vec<u64> {
        self.up.remove(&pair(a, b));
        self.broken_since.remove(&pair(a, b));
        let on_link = |stream: &Stream| pair(stream.ends.0, stream.ends.1) == pair(a, b);
        let ended: Vec<_> = self.streams.iter().filter(|(_, stream)| on_link(stream)).map(|(id, _)| *id).collect();
        ended.iter().for_each(|id| self.close(*id));
        ended
    }
}
