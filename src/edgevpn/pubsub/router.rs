//! Who subscribes to what, what was heard, and whom to pass it on. Pure: time and chance are arguments.
//!
//! A message is passed on after a moment, and only to those that have not sent it themselves by then. Nodes of edgevpn pass
//! every message on to each other within milliseconds, and to this node as well, so that there is mostly nobody left. Where
//! this node is the only one between two of them, it is what connects them.
//!
//! Among members it goes to a few, chosen by chance, as each of them does the same.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use libp2p::PeerId;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IteratorRandom};

use super::replays::Replays;
use crate::edgevpn::rpc::{MessageId, SignedMessage};

/// A message that was heard once is not heard again for so long: the seen cache of go-libp2p-pubsub.
const SEEN_FOR: Duration = Duration::from_secs(120);

/// Messages remembered. A network of 500 nodes says about a hundred in a second; beyond, the oldest is forgotten, which costs a
/// repetition.
const SEEN: usize = 16_384;

/// Between hearing a message and passing it on: longer than edgevpn's own nodes take, shorter than anybody notices.
const POLITENESS: std::ops::Range<u64> = 100..400;

/// Messages that wait to be passed on; beyond, the oldest is dropped, and the next sync of its author repairs it.
const WAITING: usize = 256;

/// Bytes of their data at most, likewise: 256 of the largest messages would be a gigabyte.
const WAITING_BYTES: usize = 32 << 20;

/// Members that a message is passed on to.
const MEMBERS: usize = 3;

/// Topics that one peer may subscribe to here. A node of edgevpn has one or two.
const TOPICS: usize = 16;

/// Bytes of the name of such a topic; edgevpn's have 32. Whoever subscribes has proved nothing, and its names are kept.
const TOPIC: usize = 128;

/// Peers remembered as having one message.
const HOLDERS: usize = 64;

/// A message to be sent, and to whom.
#[derive(Debug)]
pub(in crate::edgevpn) struct Passed {
    pub(in crate::edgevpn) message: SignedMessage,
    pub(in crate::edgevpn) to: Vec<PeerId>,
}

/// The state machine.
#[derive(Debug)]
pub(in crate::edgevpn) struct Router {
    rng: StdRng,
    peers: BTreeMap<PeerId, Peer>,
    seen: HashMap<MessageId, Seen>,
    replays: Replays,
    /// In the order they were first heard.
    order: VecDeque<(Duration, MessageId)>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Peer {
    is_member: bool,
    topics: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Seen {
    holders: BTreeSet<PeerId>,
}

#[derive(Debug)]
struct Waiting {
    at: Duration,
    id: MessageId,
    message: SignedMessage,
}

impl Router {
    pub(in crate::edgevpn) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            peers: BTreeMap::new(),
            seen: HashMap::new(),
            replays: Replays::default(),
            order: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// `peer` can be sent to from now on.
    pub(in crate::edgevpn) fn connected(&mut self, peer: PeerId, is_member: bool) {
        let topics = BTreeSet::new();
        self.peers.entry(peer).or_insert(Peer { is_member, topics }).is_member = is_member;
    }

    /// Nobody but those that `stays` says so of can be sent to any more.
    pub(in crate::edgevpn) fn keep(&mut self, stays: impl Fn(&PeerId) -> bool) {
        self.peers.retain(|peer, _| stays(peer));
    }

    /// `peer` has begun anew, and wants nothing but what it says from now on.
    pub(in crate::edgevpn) fn began(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.topics.clear();
        }
    }

    /// `peer` wants, or no longer wants, what is said on `topic`.
    /// Whether that is news.
    pub(in crate::edgevpn) fn subscribes(&mut self, peer: &PeerId, topic: String, wants: bool) -> bool {
        let Some(peer) = self.peers.get_mut(peer) else { return false };
        match wants {
            true => topic.len() <= TOPIC && peer.topics.len() < TOPICS && peer.topics.insert(topic),
            false => peer.topics.remove(&topic),
        }
    }

    /// Whether a message that `from` sent is new. One that is, is not remembered before it was verified ([`Self::learn`]): a
    /// forged one sent ahead would silence it.
    pub(in crate::edgevpn) fn hears(&mut self, now: Duration, from: PeerId, id: &MessageId) -> bool {
        self.forget(now);
        let Some(seen) = self.seen.get_mut(id) else { return true };
        if seen.holders.len() < HOLDERS {
            seen.holders.insert(from);
        }
        false
    }

    /// A new message is its author's. Whether it is to be heeded: one that was said long ago, and is sent once more, is not.
    pub(in crate::edgevpn) fn learn(&mut self, now: Duration, from: PeerId, message: &SignedMessage) -> bool {
        self.remember(now, message.id(), Some(from));
        let Some((author, seqno)) = message.author().zip(message.seqno()) else { return false };
        let is_replay = self.replays.is_one(now, &author, seqno);
        if !is_replay {
            self.replays.learn(now, author, seqno, SEEN_FOR);
        }
        !is_replay
    }

    /// A message that was found good is passed on.
    pub(in crate::edgevpn) fn pass_on(&mut self, now: Duration, id: MessageId, message: SignedMessage) {
        let mut bytes: usize = self.waiting.iter().map(|waiting| waiting.message.data().len()).sum();
        bytes += message.data().len();
        while (self.waiting.len() >= WAITING || bytes > WAITING_BYTES)
            && let Some(dropped) = self.waiting.pop_front()
        {
            bytes -= dropped.message.data().len();
        }
        let at = now + Duration::from_millis(self.rng.random_range(POLITENESS));
        self.waiting.push_back(Waiting { at, id, message });
    }

    /// This node says something: to all that want to hear it.
    pub(in crate::edgevpn) fn publish(&mut self, now: Duration, message: SignedMessage) -> Passed {
        self.remember(now, message.id(), None);
        let to = self.subscribers(message.topic()).map(|(id, _)| *id).collect();
        Passed { message, to }
    }

    /// This node says something to these alone, who have just come.
    pub(in crate::edgevpn) fn greet(
        &mut self,
        now: Duration,
        message: SignedMessage,
        newcomers: &BTreeSet<PeerId>,
    ) -> Passed {
        self.remember(now, message.id(), None);
        let to = self.subscribers(message.topic()).map(|(id, _)| *id).filter(|id| newcomers.contains(id)).collect();
        Passed { message, to }
    }

    /// The next message that is due to be passed on. To nobody, where everybody has it.
    pub(in crate::edgevpn) fn poll_output(&mut self, now: Duration) -> Option<Passed> {
        let due = self.waiting.iter().position(|waiting| waiting.at <= now)?;
        let Waiting { id, message, .. } = self.waiting.remove(due)?;
        let nobody = BTreeSet::new();
        let holders = self.seen.get(&id).map_or(&nobody, |seen| &seen.holders);
        let author = message.author();
        let lacking: Vec<_> = self
            .subscribers(message.topic())
            .filter(|(peer, _)| !holders.contains(*peer) && Some(**peer) != author)
            .map(|(peer, is_member)| (*peer, is_member))
            .collect();
        let mut to: Vec<_> = lacking.iter().filter(|(_, is_member)| !is_member).map(|(peer, _)| *peer).collect();
        let members = lacking.iter().filter(|(_, is_member)| *is_member).map(|(peer, _)| *peer);
        to.extend(members.sample(&mut self.rng, MEMBERS));
        Some(Passed { message, to })
    }

    /// When [`Self::poll_output`] should be asked again.
    pub(in crate::edgevpn) fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.at).min()
    }

    /// Peers that want what is said on `topic`.
    pub(in crate::edgevpn) fn listeners(&self, topic: &str) -> usize {
        self.subscribers(topic).count()
    }

    fn subscribers(&self, topic: &str) -> impl Iterator<Item = (&PeerId, bool)> {
        let wants = move |(_, peer): &(&PeerId, &Peer)| peer.topics.contains(topic);
        self.peers.iter().filter(wants).map(|(id, peer)| (id, peer.is_member))
    }

    fn remember(&mut self, now: Duration, id: MessageId, holder: Option<PeerId>) {
        if self.seen.len() >= SEEN
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.order.push_back((now, id.clone()));
        self.seen.insert(id, Seen { holders: holder.into_iter().collect() });
    }

    fn forget(&mut self, now: Duration) {
        while let Some((at, _)) = self.order.front()
            && *at + SEEN_FOR <= now
            && let Some((_, id)) = self.order.pop_front()
        {
            self.seen.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Lab {
        router: Router,
        peers: Vec<PeerId>,
    }

    impl Lab {
        /// A router with peers that subscribe to `t`, the first `members` of them members.
        fn new(peers: usize, members: usize) -> Self {
            let mut router = Router::new(7);
            let peers: Vec<_> = (0..peers).map(|_| PeerId::random()).collect();
            for (n, peer) in peers.iter().enumerate() {
                router.connected(*peer, n < members);
                router.subscribes(peer, "t".to_owned(), true);
            }
            Self { router, peers }
        }

        fn hear(&mut self, now: Duration, from: usize, message: &SignedMessage) -> bool {
            let is_new = self.router.hears(now, self.peers[from], &message.id());
            if is_new {
                self.router.learn(now, self.peers[from], message);
                self.router.pass_on(now, message.id(), message.clone());
            }
            is_new
        }

        /// Whom the one message that waits is passed on to in the end.
        fn passed(&mut self) -> BTreeSet<usize> {
            let at = self.router.poll_timeout().unwrap();
            assert!(self.router.poll_output(at - MS).is_none());
            let Passed { to, .. } = self.router.poll_output(at).unwrap();
            to.iter().map(|peer| self.peers.iter().position(|other| other == peer).unwrap()).collect()
        }
    }

    fn message(seqno: u64) -> SignedMessage {
        SignedMessage::sign(&Keypair::generate_ed25519(), seqno, "t", b"x".to_vec()).unwrap()
    }

    #[test]
    fn a_message_goes_to_those_that_have_not_sent_it_themselves() {
        let (mut lab, message) = (Lab::new(4, 0), message(1));
        assert!(lab.hear(MS, 0, &message));
        assert!(!lab.hear(2 * MS, 2, &message), "heard already");
        assert_eq!(lab.passed(), [1, 3].into());
        assert!(lab.router.poll_timeout().is_none());
        assert!(!lab.hear(SEEN_FOR, 1, &message));
        assert!(lab.hear(SEEN_FOR + MS, 1, &message), "forgotten after a while");
    }

    #[test]
    fn of_members_a_few_get_it() {
        let (mut lab, message) = (Lab::new(12, 10), message(1));
        lab.hear(MS, 0, &message);
        let passed = lab.passed();
        assert!(passed.contains(&10) && passed.contains(&11), "{passed:?}");
        assert_eq!(passed.len(), 2 + MEMBERS);
        assert!(!passed.contains(&0));
    }

    #[test]
    fn who_began_anew_hears_nothing_until_it_subscribes() {
        let mut lab = Lab::new(2, 0);
        let peer = lab.peers[0];
        assert_eq!(lab.router.listeners("t"), 2);
        lab.router.began(&peer);
        assert_eq!(lab.router.publish(MS, message(1)).to, [lab.peers[1]]);
        lab.router.subscribes(&peer, "u".to_owned(), true);
        assert_eq!(lab.router.listeners("t"), 1);
        lab.router.subscribes(&peer, "t".to_owned(), true);
        assert_eq!(lab.router.publish(MS, message(2)).to.len(), 2);
        lab.router.keep(|other| *other != peer);
        assert_eq!(lab.router.listeners("t"), 1);
    }

    #[test]
    fn what_this_node_said_is_not_news_when_it_comes_back() {
        let (mut lab, message) = (Lab::new(2, 0), message(1));
        lab.router.publish(MS, message.clone());
        assert!(!lab.hear(2 * MS, 0, &message));
        assert!(lab.router.poll_timeout().is_none());
    }

    #[test]
    fn floods_are_bounded() {
        let mut lab = Lab::new(1, 0);
        let peer = lab.peers[0];
        for n in 0..2 * TOPICS {
            lab.router.subscribes(&peer, n.to_string(), true);
        }
        assert_eq!(lab.router.peers[&peer].topics.len(), TOPICS);
        let keypair = Keypair::generate_ed25519();
        for n in 0..u64::try_from(2 * WAITING).unwrap() {
            let message = SignedMessage::sign(&keypair, n, "t", Vec::new()).unwrap();
            lab.hear(MS, 0, &message);
        }
        assert_eq!(lab.router.waiting.len(), WAITING);
    }

    #[test]
    fn names_of_topics_that_strangers_subscribe_to_are_bounded() {
        let mut lab = Lab::new(1, 0);
        let peer = lab.peers[0];
        assert!(!lab.router.subscribes(&peer, "t".repeat(TOPIC + 1), true));
        assert!(lab.router.subscribes(&peer, "t".repeat(TOPIC), true));
    }

    #[test]
    fn large_messages_that_wait_are_bounded_by_their_bytes() {
        let mut lab = Lab::new(2, 0);
        let keypair = Keypair::generate_ed25519();
        for seqno in 0..10 {
            let message = SignedMessage::sign(&keypair, seqno, "t", vec![0; 4 << 20]).unwrap();
            lab.router.pass_on(MS, message.id(), message);
        }
        assert_eq!(lab.router.waiting.len(), WAITING_BYTES / (4 << 20));
    }
}
