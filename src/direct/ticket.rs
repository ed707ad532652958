//! What a worker gives a front over their admitted connection, so that the front can come by directly.
//!
//! ```text
//! front  → fingerprint[32] of its certificate
//! worker → length u16 ‖ ticket id[16] ‖ secret[32] ‖ fingerprint[32] of its certificate ‖ lifetime u32, seconds
//!          ‖ addresses, each length u8 ‖ multiaddr as text
//! ```
//!
//! Bytes behind the last address are skipped. The ticket names the front to the worker ([`Tickets`]) and the worker to the
//! front: both certificates are vouched for by the connection that carried this.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{
    certificate::Fingerprint,
    knock::{Id, Knock, Secret, Window},
};
use crate::ledger::NodeId;

/// How long a ticket is good for. Fronts ask anew before.
pub(super) const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Addresses in a ticket; a record has no more.
const ADDRESSES: usize = 8;

/// Bytes of a ticket on the wire at most.
const MAX_BODY: usize = 2048;

/// Tickets of one node that are good at the same time: the one in use, the next one, and those of connections that failed.
const PER_NODE: usize = 4;

/// Tickets in all. Four of each of a thousand fronts, some 200 bytes each; beyond, the oldest goes.
const IN_ALL: usize = 4096;

/// A ticket as the front holds it.
pub(super) struct Ticket {
    pub(super) id: Id,
    pub(super) secret: Zeroizing<Secret>,
    pub(super) fingerprint: Fingerprint,
    pub(super) lifetime: Duration,
    /// Where the worker listens, by its own account.
    pub(super) addresses: Vec<String>,
}

impl Ticket {
    /// Asks for one over a stream to the worker. The caller bounds the wait.
    pub(super) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, own: &Fingerprint) -> io::Result<Self> {
        stream.write_all(own).await?;
        stream.flush().await?;
        let length = usize::from(stream.read_u16().await?);
        if length > MAX_BODY {
            return Err(malformed());
        }
        let mut body = Zeroizing::new(vec![0; length]);
        stream.read_exact(&mut body).await?;
        Self::decode(&body).ok_or_else(malformed)
    }

    /// Answers one who asks: reads its fingerprint, and lets `vouch` make the ticket. The caller bounds the wait.
    pub(super) async fn answer(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        vouch: impl FnOnce(Fingerprint) -> Self,
    ) -> io::Result<()> {
        let mut theirs = Fingerprint::default();
        stream.read_exact(&mut theirs).await?;
        let body = Zeroizing::new(vouch(theirs).encode());
        stream.write_u16(u16::try_from(body.len()).map_err(io::Error::other)?).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.id);
        body.extend_from_slice(&*self.secret);
        body.extend_from_slice(&self.fingerprint);
        body.extend_from_slice(&u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
        let short = self.addresses.iter().filter_map(|text| Some((u8::try_from(text.len()).ok()?, text)));
        for (length, text) in short.filter(|(length, _)| *length > 0).take(ADDRESSES) {
            body.push(length);
            body.extend_from_slice(text.as_bytes());
        }
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (id, body) = body.split_first_chunk()?;
        let (secret, body) = body.split_first_chunk()?;
        let (fingerprint, body) = body.split_first_chunk()?;
        let (lifetime, mut body) = body.split_first_chunk()?;
        let mut addresses = Vec::new();
        while addresses.len() < ADDRESSES
            && let Some((length, rest)) = body.split_first()
        {
            let (text, rest) = rest.split_at_checked((*length).into())?;
            addresses.push(String::from_utf8(text.to_vec()).ok()?);
            body = rest;
        }
        Some(Self {
            id: *id,
            secret: Zeroizing::new(*secret),
            fingerprint: *fingerprint,
            lifetime: Duration::from_secs(u32::from_be_bytes(*lifetime).into()),
            addresses,
        })
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed ticket")
}

/// The tickets that a worker has given away.
#[derive(Default)]
pub(super) struct Tickets {
    /// Held for a few map operations, never across an `.await`.
    held: Mutex<HashMap<Id, Held>>,
}

struct Held {
    node: NodeId,
    secret: Zeroizing<Secret>,
    fingerprint: Fingerprint,
    numbers: Window,
    given: Instant,
}

impl Tickets {
    /// A ticket for `node`, which holds the certificate with `theirs` as its fingerprint; `own` is this node's.
    pub(super) fn give(
        &self,
        now: Instant,
        node: NodeId,
        theirs: Fingerprint,
        own: Fingerprint,
        addresses: Vec<String>,
    ) -> Ticket {
        let (id, secret): (Id, Secret) = (rand::random(), rand::random());
        let mut held = self.held();
        held.retain(|_, held| now.saturating_duration_since(held.given) < LIFETIME);
        while held.values().filter(|held| held.node == node).count() >= PER_NODE {
            remove_oldest(&mut held, |held| held.node == node);
        }
        while held.len() >= IN_ALL {
            remove_oldest(&mut held, |_| true);
        }
        let secret = Zeroizing::new(secret);
        let ours = Held { node, secret: secret.clone(), fingerprint: theirs, numbers: Window::default(), given: now };
        held.insert(id, ours);
        Ticket { id, secret, fingerprint: own, lifetime: LIFETIME, addresses }
    }

    /// Who knocks, and which certificate it must hold. None for a stranger, and for what was said before.
    pub(super) fn admit(&self, now: Instant, knock: &Knock) -> Option<(NodeId, Fingerprint)> {
        let mut held = self.held();
        let ticket = held.get_mut(&knock.id)?;
        let is_good = now.saturating_duration_since(ticket.given) < LIFETIME
            && knock.is_proved_by(&ticket.secret)
            && ticket.numbers.take(knock.number);
        is_good.then_some((ticket.node, ticket.fingerprint))
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Id, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_oldest(held: &mut HashMap<Id, Held>, among: impl Fn(&Held) -> bool) {
    let oldest = held.iter().filter(|(_, held)| among(held)).min_by_key(|(_, held)| held.given).map(|(id, _)| *id);
    if let Some(oldest) = oldest {
        held.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRONT: NodeId = NodeId::from_bytes([1; 32]);

    fn give(tickets: &Tickets, now: Instant, node: NodeId) -> Ticket {
        tickets.give(now, node, [2; 32], [3; 32], vec!["/ip4/192.0.2.1/tcp/4001".to_owned()])
    }

    #[tokio::test]
    async fn what_is_asked_for_arrives() {
        let tickets = Tickets::default();
        let (front, worker) = tokio::io::duplex(16);
        let (asked, answered) = tokio::join!(
            Ticket::ask(front, &[2; 32]),
            Ticket::answer(worker, |theirs| {
                assert_eq!(theirs, [2; 32]);
                give(&tickets, Instant::now(), FRONT)
            })
        );
        answered.unwrap();
        let ticket = asked.unwrap();
        assert_eq!(ticket.fingerprint, [3; 32]);
        assert_eq!(ticket.addresses, ["/ip4/192.0.2.1/tcp/4001"]);
        let knock = Knock::new(ticket.id, 0, &ticket.secret);
        assert_eq!(tickets.admit(Instant::now(), &knock), Some((FRONT, [2; 32])));
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let ticket = Ticket {
            id: [1; 16],
            secret: Zeroizing::new([2; 32]),
            fingerprint: [3; 32],
            lifetime: Duration::from_secs(3600),
            addresses: vec!["/ip4/192.0.2.1/tcp/1".to_owned()],
        };
        let mut expected = [&[1; 16][..], &[2; 32], &[3; 32], &[0, 0, 0x0e, 0x10], &[20]].concat();
        expected.extend_from_slice(b"/ip4/192.0.2.1/tcp/1");
        assert_eq!(ticket.encode(), expected);
        // A later version may say more.
        expected.extend_from_slice(&[0]);
        assert!(Ticket::decode(&expected).is_some());
    }

    #[test]
    fn a_knock_is_heard_once_and_only_while_its_ticket_is_good() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ticket = give(&tickets, now, FRONT);
        let knock = |number| Knock::new(ticket.id, number, &ticket.secret);
        assert!(tickets.admit(now, &knock(1)).is_some());
        assert!(tickets.admit(now, &knock(1)).is_none(), "overheard");
        assert!(tickets.admit(now, &knock(0)).is_some(), "out of order");
        assert!(tickets.admit(now, &Knock::new(ticket.id, 2, &[0; 32])).is_none(), "guessed");
        assert!(tickets.admit(now, &knock(2)).is_some(), "a guess takes no number");
        assert!(tickets.admit(now, &Knock::new([0; 16], 3, &ticket.secret)).is_none(), "unknown");
        assert!(tickets.admit(now + LIFETIME, &knock(4)).is_none(), "too late");
    }

    #[test]
    fn a_node_holds_four_and_the_oldest_goes() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let given: Vec<_> =
            (0..=PER_NODE as u64).map(|second| give(&tickets, now + Duration::from_secs(second), FRONT)).collect();
        let other = give(&tickets, now, NodeId::from_bytes([9; 32]));
        let is_good = |ticket: &Ticket| tickets.admit(now, &Knock::new(ticket.id, 0, &ticket.secret)).is_some();
        let good: Vec<bool> = given.iter().map(is_good).collect();
        assert_eq!(good, [false, true, true, true, true]);
        assert!(is_good(&other));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_ticket_or_refused(bytes in any::<Vec<u8>>()) {
            if let Some(ticket) = Ticket::decode(&bytes) {
                prop_assert!(ticket.addresses.len() <= ADDRESSES);
            }
        }

        #[test]
        fn a_ticket_comes_back(addresses in prop::collection::vec("[a-z0-9/.]{1,255}", 0..=ADDRESSES)) {
            let ticket = Ticket {
                id: [1; 16],
                secret: Zeroizing::new([2; 32]),
                fingerprint: [3; 32],
                lifetime: Duration::from_secs(3600),
                addresses,
            };
            let back = Ticket::decode(&ticket.encode()).unwrap();
            prop_assert_eq!(&back.addresses, &ticket.addresses);
            prop_assert_eq!((back.id, *back.secret, back.fingerprint, back.lifetime), (ticket.id, *ticket.secret, ticket.fingerprint, ticket.lifetime));
        }
    }
}
